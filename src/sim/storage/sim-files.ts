/**
 * The files that images are made of, in a simulated node's pool: whole contents, checked as the storage service checks
 * them.
 */
import { createHash } from 'node:crypto';
import { CodedError } from '../../base/errors.ts';
import type { Sha256 } from '../../base/ids.ts';
import type { ArtifactInfo } from '../../core/ports/storage-link.ts';

/** The largest file that a simulated pool takes in, in bytes: its content is kept in memory. */
const FILE_BYTES_MAX = 64 * 2 ** 20;
const QCOW2_MAGIC = 'QFI\xfb';
/** Offset of the virtual size in a qcow2 header. */
const VIRTUAL_SIZE_AT = 24;

/** A file to be stored. */
export interface FileUpload {
  readonly sha256: Sha256;
  readonly sizeBytes: number;
  readonly isDisk: boolean;
  readonly content: AsyncIterable<Uint8Array>;
}

/** What outlives the storage service; `put` keeps a file whole or not at all. */
export class SimFiles {
  readonly #files = new Map<Sha256, Buffer>();
  /** A mistake on purpose: files are kept without being compared with their hash. */
  keepsAnything = false;
  /** Called with each file that is kept, and whether it is what its hash says. */
  onKept: (sha256: Sha256, isRight: boolean) => void = () => undefined;
  /** Called with each file that is deleted. */
  onDeleted: (sha256: Sha256) => void = () => undefined;

  has(sha256: Sha256): boolean {
    return this.#files.has(sha256);
  }

  list(): readonly Sha256[] {
    return [...this.#files.keys()].sort();
  }

  /** CodedError 'not-found'. */
  read(sha256: Sha256): Buffer {
    const content = this.#files.get(sha256);
    if (content === undefined) throw new CodedError('not-found', `No file ${sha256} is stored.`);
    return content;
  }

  delete(sha256: Sha256): void {
    if (this.#files.delete(sha256)) this.onDeleted(sha256);
  }

  /** CodedError 'bad-input' if the content has another hash or size, 'too-large'. */
  async put({ sha256, sizeBytes, isDisk, content }: FileUpload): Promise<ArtifactInfo> {
    if (sizeBytes > FILE_BYTES_MAX)
      throw new CodedError('too-large', `A simulated pool takes files of at most ${FILE_BYTES_MAX} bytes.`, {
        advice: 'Nothing was stored.',
      });
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    const file = Buffer.concat(chunks);
    const isRight = file.length === sizeBytes && createHash('sha256').update(file).digest('hex') === sha256;
    if (!isRight && !this.keepsAnything)
      throw new CodedError('bad-input', `The content of ${sha256} has another hash or size.`, {
        advice: 'Nothing was stored. Send it again.',
      });
    this.#files.set(sha256, file);
    this.onKept(sha256, isRight);
    return { sha256, sizeBytes, virtualSizeBytes: isDisk ? virtualSize(file) : null };
  }
}

function virtualSize(file: Buffer): number {
  const isQcow2 = file.length >= VIRTUAL_SIZE_AT + 8 && file.subarray(0, 4).toString('latin1') === QCOW2_MAGIC;
  return isQcow2 ? Number(file.readBigUInt64BE(VIRTUAL_SIZE_AT)) : file.length;
}
