/**
 * Inspects an untrusted disk image.
 * Guarantees: only raw images and qcow2 images without external references pass, and a raw image never begins with
 * qcow2's first bytes; qemu-img never has to guess a format, so that an image crafted by a guest cannot make it open
 * another file (CVE-2008-2004's kind); qemu-img runs with a deadline and with limits on memory, CPU time and output.
 * The file is only read.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CodedError, messageOf } from '../base/errors.ts';
import { LIMITS } from '../core/model/limits.ts';
import { asUser, type RunResult, tryRun } from '../os/child-process.ts';
import { toolEnv } from './packages.ts';

export type ImageFormat = 'qcow2' | 'raw';

export interface ImageFacts {
  readonly format: ImageFormat;
  /** Size of the disk that a guest sees, a multiple of 512. */
  readonly virtualSizeBytes: number;
}

export interface InspectOptions {
  /** The format according to the caller. Without it, a file that looks like any other format is not taken as raw. */
  readonly format?: ImageFormat | undefined;
  readonly deadlineMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The user that qemu-img runs as, who must be able to read the file. Absent: the user of this process. */
  readonly uid?: number | undefined;
}

const VIRTUAL_SIZE_BYTES_MAX = LIMITS.diskBytes.max;
const VIRTUAL_SIZE_BYTES_MIN = 512;
const DEADLINE_MS = 120_000;
const ADDRESS_SPACE_BYTES = 1024 * 1024 * 1024;
const CPU_SECONDS_MAX = 60;
const OUTPUT_BYTES_MAX = 1024 * 1024;
const HEAD_BYTES = 64 * 1024;
const ADVICE = 'Nothing was imported and the file was not changed.';

interface Signature {
  readonly at: number;
  readonly bytes: string;
  readonly what: string;
  readonly advice: string;
}

const CONVERT = 'Convert it on a machine you trust: qemu-img convert -O qcow2 OLD NEW.qcow2';
const UNPACK = 'Unpack it first.';
/** Formats that are certainly not a raw disk, by their first bytes (latin1). */
const SIGNATURES: readonly Signature[] = [
  { at: 0, bytes: 'QFI\xfb', what: 'a qcow image', advice: 'Say --format qcow2.' },
  { at: 0, bytes: 'QED\0', what: 'a QED image', advice: CONVERT },
  { at: 0, bytes: 'KDMV', what: 'a VMDK image', advice: CONVERT },
  { at: 0, bytes: 'COWD', what: 'a VMDK image', advice: CONVERT },
  { at: 0, bytes: '# Disk DescriptorFile', what: 'a VMDK descriptor', advice: CONVERT },
  { at: 0, bytes: 'vhdxfile', what: 'a VHDX image', advice: CONVERT },
  { at: 0, bytes: 'conectix', what: 'a VHD image', advice: CONVERT },
  { at: 0, bytes: 'WithoutFreeSpace', what: 'a Parallels image', advice: CONVERT },
  { at: 0, bytes: 'WithouFreSpacExt', what: 'a Parallels image', advice: CONVERT },
  { at: 0x40, bytes: '\x7f\x10\xda\xbe', what: 'a VDI image', advice: CONVERT },
  { at: 0, bytes: 'LUKS\xba\xbe', what: 'a LUKS volume', advice: 'Decrypt it first.' },
  { at: 0, bytes: '\x1f\x8b', what: 'a gzip file', advice: UNPACK },
  { at: 0, bytes: '\xfd7zXZ\0', what: 'an xz file', advice: UNPACK },
  { at: 0, bytes: '\x28\xb5\x2f\xfd', what: 'a zstd file', advice: UNPACK },
  { at: 0, bytes: 'BZh', what: 'a bzip2 file', advice: UNPACK },
  { at: 0, bytes: 'PK\x03\x04', what: 'a zip or OVA file', advice: UNPACK },
  {
    at: 257,
    bytes: 'ustar',
    what: 'a tar or OVA file',
    advice: 'Unpack it and convert the disk in it: qemu-img convert -O qcow2.',
  },
  { at: 0, bytes: '\x7fELF', what: 'a program', advice: 'A kernel is imported with --kernel.' },
];
const QCOW2_MAGIC = 'QFI\xfb';
const ISO_MAGIC_AT = 0x8001;

function bad(path: string, what: string, advice = '', cause?: unknown): CodedError {
  return new CodedError('bad-image', `${path} ${what}.`, { advice: `${advice} ${ADVICE}`.trim(), cause });
}

/**
 * Format and size of the image at `path`.
 * Errors: 'not-found', 'bad-image' (with what to do), 'not-installed', 'deadline', or the signal's reason.
 */
export async function inspectImage(path: string, options: InspectOptions = {}): Promise<ImageFacts> {
  const { head, sizeBytes } = await readHead(path);
  if (head.startsWith(QCOW2_MAGIC)) {
    if (options.format !== 'raw') return inspectQcow2(path, head, options);
    throw bad(
      path,
      'is a qcow image, and the stated format is raw',
      'Say --format qcow2; or convert it: qemu-img convert -O raw.',
    );
  }
  if (options.format === 'qcow2')
    throw bad(path, 'is not a qcow2 image: its first bytes are others', 'Pass --format raw if it is a raw disk.');
  if (options.format === undefined) refuseWhatIsNotRaw(path, head);
  if (sizeBytes % 512 !== 0) {
    throw bad(
      path,
      `has ${sizeBytes} bytes, no whole number of 512-byte sectors: it was cut short or is no disk image`,
    );
  }
  return { format: 'raw', virtualSizeBytes: checkedSize(path, sizeBytes) };
}

async function readHead(path: string): Promise<{ head: string; sizeBytes: number }> {
  // Without O_NONBLOCK, opening a FIFO would block the caller until a process writes to it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: unknown) => {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new CodedError('not-found', `There is no file ${path}.`, { cause });
    throw bad(path, `cannot be read (${messageOf(cause)})`, '', cause);
  });
  try {
    const about = await file.stat();
    if (about.isDirectory()) throw bad(path, 'is a directory', 'Name the image file itself.');
    if (!about.isFile())
      throw bad(path, 'is not an ordinary file', 'Copy the device into a file first: qemu-img convert -O qcow2.');
    if (about.size === 0) throw bad(path, 'is empty');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return { head: buffer.toString('latin1', 0, bytesRead), sizeBytes: about.size };
  } finally {
    await file.close();
  }
}

function refuseWhatIsNotRaw(path: string, head: string): void {
  const known = SIGNATURES.find((signature) => head.startsWith(signature.bytes, signature.at));
  if (known !== undefined) throw bad(path, `is ${known.what}, not a raw disk`, known.advice);
  // An ISO made to be written to a disk as well has a partition table's signature in its first sector.
  const bootable = head.startsWith('\x55\xaa', 510);
  if (head.startsWith('CD001', ISO_MAGIC_AT) && !bootable) {
    throw bad(path, 'is a CD or DVD image, not a disk', 'If it is meant as a raw disk, pass --format raw.');
  }
  const first = head.slice(0, 512);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what tells a disk from a text
  if (!/[\x00-\x08\x0e-\x1f\x7f-\xff]/.test(first)) {
    throw bad(path, 'is a text, not a disk', 'If it is meant as a raw disk, pass --format raw.');
  }
}

function checkedSize(path: string, sizeBytes: number): number {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < VIRTUAL_SIZE_BYTES_MIN)
    throw bad(path, `describes a disk of ${sizeBytes} bytes`);
  if (sizeBytes > VIRTUAL_SIZE_BYTES_MAX)
    throw bad(path, `describes a disk of ${sizeBytes} bytes; at most ${VIRTUAL_SIZE_BYTES_MAX} are accepted`);
  return sizeBytes;
}

/**
 * Version 2 and 3 headers (QEMU's specification of qcow2): what points to other files is refused from the header
 * itself, before any tool opens the image.
 */
function refuseOutsideReferences(path: string, head: string): void {
  const header = Buffer.from(head.slice(0, 112), 'latin1');
  if (header.length < 72) throw bad(path, 'is a qcow2 image cut short in its header');
  const version = header.readUInt32BE(4);
  if (version !== 2 && version !== 3)
    throw bad(path, `is a qcow image of version ${version}; versions 2 and 3 are accepted`, CONVERT);
  if (header.readBigUInt64BE(8) !== 0n || header.readUInt32BE(16) !== 0) {
    throw bad(
      path,
      'refers to a backing file, which would be read from this machine',
      'Make it stand alone: qemu-img convert -O qcow2 OLD NEW.qcow2',
    );
  }
  if (header.readUInt32BE(32) !== 0) throw bad(path, 'is encrypted', 'Decrypt it first: qemu-img convert.');
  if (version === 2) return;
  if (header.length < 104) throw bad(path, 'is a qcow2 image cut short in its header');
  const incompatible = header.readBigUInt64BE(72);
  if ((incompatible & 4n) !== 0n) {
    throw bad(
      path,
      'keeps its data in another file, which would be read from this machine',
      'Make it stand alone: qemu-img convert -O qcow2 OLD NEW.qcow2',
    );
  }
  if ((incompatible & 2n) !== 0n) throw bad(path, 'is marked corrupt', 'Repair a copy: qemu-img check -r all COPY');
}

async function inspectQcow2(path: string, head: string, options: InspectOptions): Promise<ImageFacts> {
  refuseOutsideReferences(path, head);
  const info = await qemuImg('info', path, options);
  if (info.exitCode !== 0) throw bad(path, `is a damaged qcow2 image: ${lastLine(info)}`);
  const facts = parsed(path, info);
  const size = facts['virtual-size'];
  const outside = ['backing-filename', 'full-backing-filename'].some((key) => facts[key] !== undefined);
  // The values of the header again, from the reader that will be used: they must agree.
  if (facts['format'] !== 'qcow2' || typeof size !== 'number' || outside)
    throw bad(path, 'is not read as a qcow2 image that stands alone');
  const virtualSizeBytes = checkedSize(path, size);
  if (virtualSizeBytes % 512 !== 0)
    throw bad(path, `describes a disk of ${virtualSizeBytes} bytes, no whole number of sectors`);
  await checkConsistency(path, options);
  return { format: 'qcow2', virtualSizeBytes };
}

/** qemu-img check: 0 is good, 3 leaked clusters (harmless space), 2 corruption, 1 it could not be checked. */
async function checkConsistency(path: string, options: InspectOptions): Promise<void> {
  const check = await qemuImg('check', path, options);
  if (check.exitCode === 0 || check.exitCode === 3) return;
  if (check.exitCode !== 2) throw bad(path, `could not be checked: ${lastLine(check)}`);
  const count = parsed(path, check)['corruptions'];
  const advice = 'Fetch it again, or repair a copy: qemu-img check -r all COPY';
  throw bad(path, `is a damaged qcow2 image: ${typeof count === 'number' ? count : 'some'} corruptions`, advice);
}

/** The driver is named in full, so that neither a colon in the path nor the image's content can choose another one. */
async function qemuImg(command: 'info' | 'check', path: string, options: InspectOptions): Promise<RunResult> {
  const image = `driver=qcow2,file.driver=file,file.filename=${path.replaceAll(',', ',,')}`;
  const limits = [`--as=${ADDRESS_SPACE_BYTES}`, `--cpu=${CPU_SECONDS_MAX}`, '--core=0', '--nofile=64'];
  const user = options.uid === undefined ? [] : asUser(options.uid);
  const argv = [...user, 'prlimit', ...limits, 'qemu-img', command, '--output=json', '--image-opts', image];
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const result = await tryRun(argv, {
    deadlineMs,
    signal: options.signal,
    env: toolEnv(),
    outputBytesMax: OUTPUT_BYTES_MAX,
  });
  if (result.exitCode === 127)
    throw new CodedError('not-installed', 'qemu-img is not installed.', { advice: 'Install the package qemu-utils.' });
  return result;
}

function parsed(path: string, { stdout }: RunResult): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(stdout);
    if (typeof value === 'object' && value !== null) return { ...value };
  } catch (cause) {
    throw bad(path, 'could not be described by qemu-img', '', cause);
  }
  throw bad(path, 'could not be described by qemu-img');
}

function lastLine({ stderr, exitCode }: RunResult): string {
  const line = stderr.trim().split('\n').at(-1) ?? '';
  return line === '' ? `qemu-img ended with ${exitCode}` : line.replace(/^qemu-img: /, '').slice(0, 300);
}
