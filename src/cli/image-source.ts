/**
 * Opens a disk image to import as a file that can be read twice (once to hash it, once to send it). Files are used as
 * they are; standard input, pipes and compressed files are unpacked into a temporary file.
 *
 * Guarantees: zeroes take no room in the temporary file; the file is never larger than an image may be, leaves room in
 * its file system, and is removed when the import ends, however it ends.
 */
import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm, stat, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { addAbortSignal, Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { CodedError, messageOf } from '../base/errors.ts';
import { LIMITS } from '../core/model/limits.ts';
import { filter } from '../os/child-process.ts';
import { SparseWriter } from '../os/sparse-file.ts';
import { cannotRead } from './cluster-location.ts';
import type { Io } from './io.ts';

const READ_BYTES = 1024 * 1024;
/** Bytes left free in the file system of the temporary file. */
const KEPT_BYTES = 64 * 1024 ** 2;
/** Free space is checked again after this many bytes were written. */
const LOOK_EVERY_BYTES = 64 * 1024 ** 2;
const HEAD_BYTES = 6;
/** Memory limit for xz: an xz file itself says how much memory its decoder needs. */
const XZ_MEMORY = '1GiB';

/** A disk image to import. */
export interface Source {
  /** Path of the file to read on this machine. */
  readonly file: string;
  /** The name that the user gave. */
  readonly label: string;
}

interface Packing {
  readonly name: string;
  readonly magic: Buffer;
  readonly unpack: (packed: Readable, signal: AbortSignal) => Readable;
}

const PACKINGS: readonly Packing[] = [
  { name: 'gzip', magic: Buffer.from('1f8b', 'hex'), unpack: (packed) => through(packed, createGunzip()) },
  { name: 'zstd', magic: Buffer.from('28b52ffd', 'hex'), unpack: (packed) => through(packed, createZstdDecompress()) },
  { name: 'xz', magic: Buffer.from('fd377a585a00', 'hex'), unpack: unxz },
];

/**
 * Runs `use` with the image at `path` (`-`: standard input) as a file. CodedError 'bad-input', 'bad-image',
 * 'too-large', 'no-capacity'.
 */
export async function withSource<T>(io: Io, path: string, use: (source: Source) => Promise<T>): Promise<T> {
  const label = path === '-' ? 'standard input' : path;
  const file = resolve(io.cwd, path);
  const isStream = path === '-' || (await isPipe(file, path));
  if (!isStream && (await packingOf(file, path)) === null) return use({ file, label });
  const dir = await mkdtemp(join(temporaryDir(io), 'gp-image-'));
  try {
    const from = path === '-' ? (io.stdin as Readable) : createReadStream(file, { highWaterMark: READ_BYTES });
    const unpacked = join(dir, 'image');
    await store(from, unpacked, { io, label });
    return await named(unpacked, label, use);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Replaces the temporary file's path in an error by the name that the user gave. */
async function named<T>(file: string, label: string, use: (source: Source) => Promise<T>): Promise<T> {
  try {
    return await use({ file, label });
  } catch (error) {
    if (!(error instanceof CodedError) || !error.message.includes(file)) throw error;
    const { advice } = error;
    const more = { cause: error, ...(advice === undefined ? {} : { advice }) };
    throw new CodedError(error.code, error.message.replaceAll(file, label), more);
  }
}

function temporaryDir({ env }: Io): string {
  const named = env['TMPDIR'] ?? '';
  return named === '' ? tmpdir() : named;
}

async function isPipe(file: string, path: string): Promise<boolean> {
  const found = await stat(file).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  return found.isFIFO() || found.isCharacterDevice() || found.isSocket();
}

async function packingOf(file: string, path: string): Promise<Packing | null> {
  const opened = await open(file, 'r').catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  try {
    if (!(await opened.stat()).isFile()) return null;
    const { buffer, bytesRead } = await opened.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return packingBy(buffer.subarray(0, bytesRead));
  } finally {
    await opened.close();
  }
}

function packingBy(head: Buffer): Packing | null {
  return PACKINGS.find(({ magic }) => head.subarray(0, magic.length).equals(magic)) ?? null;
}

/** Writes the stream, unpacked if it is compressed, to a new file. */
async function store(
  from: Readable,
  path: string,
  { io, label }: { readonly io: Io; readonly label: string },
): Promise<void> {
  const { head, whole } = await headOf(addAbortSignal(io.signal, from));
  const packing = packingBy(head);
  const content = packing === null ? whole : packing.unpack(whole, io.signal);
  const file = await open(path, 'wx', 0o600);
  try {
    const room = new Room(path, label);
    const writer = new SparseWriter(file);
    await pipeline(content, (chunks: AsyncIterable<Buffer>) => writeAll(chunks, writer, room), { signal: io.signal });
    await writer.finish();
  } catch (error) {
    throw told(error, { label, packing, isAborted: io.signal.aborted });
  } finally {
    from.destroy();
    await file.close();
  }
}

async function writeAll(chunks: AsyncIterable<Buffer>, writer: SparseWriter, room: Room): Promise<void> {
  for await (const chunk of chunks) {
    await writer.write(chunk);
    await room.demand(writer.count);
  }
}

/** Bounds the bytes that may still be written. */
class Room {
  readonly #path: string;
  readonly #label: string;
  #lookAtBytes = 0;

  constructor(path: string, label: string) {
    this.#path = path;
    this.#label = label;
  }

  /** CodedError 'too-large' above the limit of images, 'no-capacity' if the file system would become full. */
  async demand({ sizeBytes, dataBytes }: SparseWriter['count']): Promise<void> {
    const { max } = LIMITS.fileBytes;
    if (sizeBytes > max)
      throw new CodedError('too-large', `The content of ${this.#label} is larger than an image may be: ${max} bytes.`, {
        advice: 'Nothing was imported.',
      });
    if (dataBytes < this.#lookAtBytes) return;
    this.#lookAtBytes = dataBytes + LOOK_EVERY_BYTES;
    const { bavail, bsize } = await statfs(this.#path);
    if (bavail * bsize > LOOK_EVERY_BYTES + KEPT_BYTES) return;
    throw new CodedError(
      'no-capacity',
      `${dirname(dirname(this.#path))} has too little room to unpack ${this.#label} in.`,
      {
        advice: 'Nothing was imported. Name a directory with more room in TMPDIR.',
      },
    );
  }
}

function told(error: unknown, about: { label: string; packing: Packing | null; isAborted: boolean }): unknown {
  // xz's own message about its input is a CodedError already.
  if ((error instanceof CodedError && error.code !== 'failed') || about.isAborted) return error;
  const what = about.packing === null ? 'could not be read' : `is a damaged ${about.packing.name} file`;
  return new CodedError('bad-image', `${about.label} ${what}: ${messageOf(error)}.`, {
    cause: error,
    advice: 'Nothing was imported.',
  });
}

/** Returns the first bytes of a stream, and the whole stream. */
async function headOf(from: Readable): Promise<{ readonly head: Buffer; readonly whole: Readable }> {
  const chunks = (from as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  const begun: Buffer[] = [];
  for (let have = 0; have < HEAD_BYTES; have += begun.at(-1)?.length ?? 0) {
    const next = await chunks.next();
    if (next.done === true) break;
    begun.push(next.value);
  }
  const head = Buffer.concat(begun);
  const all = async function* (): AsyncGenerator<Buffer> {
    if (head.length > 0) yield head;
    yield* { [Symbol.asyncIterator]: () => chunks };
  };
  return { head, whole: Readable.from(all(), { objectMode: false, highWaterMark: READ_BYTES }) };
}

function through(packed: Readable, unpacker: Transform): Readable {
  // An error of the compressed input reaches the reader through `unpacker`.
  pipeline(packed, unpacker).catch((error: unknown) => unpacker.destroy(error as Error));
  return unpacker;
}

/** Starts the decompressor; Node has none for xz. */
function unxz(packed: Readable, signal: AbortSignal): Readable {
  return filter(['xz', '--decompress', '--stdout', `--memlimit=${XZ_MEMORY}`, '--no-warn'], packed, signal);
}
