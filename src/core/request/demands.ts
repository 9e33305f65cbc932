/**
 * Checks a VM against the table of limits at admission, so that a host or a storage node does not refuse it at every
 * attempt to start. Pure; all functions throw CodedError 'bad-input' or 'no-capacity'.
 */
import { CodedError } from '../../base/errors.ts';
import { LIMITS, type Limit } from '../model/limits.ts';

const MIB = 1024 ** 2;

/** The number of disks that one VM is to have, by purpose. */
export interface DiskCount {
  readonly data: number;
  readonly seed: number;
  readonly nvram: number;
}

/** Formats a limit: `at most 16 disks`. */
function atMost({ max, unit }: Limit): string {
  return `at most ${max} ${unit}`;
}

/** Checks that a cluster may have one more object of a limited kind. CodedError 'no-capacity'. */
export function demandCount(present: number, limit: Limit): void {
  if (present < limit.max) return;
  throw new CodedError('no-capacity', `There are ${present} ${limit.unit} already; ${atMost(limit)} are allowed.`, {
    advice: 'Nothing was created. Delete what is not needed.',
  });
}

/** Checks the size of an uploaded file. CodedError 'too-large'. */
export function demandFileSize(kind: string, sizeBytes: number): void {
  const { max } =
    kind === 'seed'
      ? LIMITS.seedBytes
      : kind === 'kernel' || kind === 'initrd'
        ? LIMITS.directBootBytes
        : LIMITS.fileBytes;
  if (sizeBytes <= max) return;
  throw new CodedError('too-large', `The ${kind} file has ${sizeBytes} bytes; at most ${max} are taken.`, {
    advice: 'Nothing was stored.',
  });
}

/** Checks the number of the VM's own disks: each needs a place in the machine. */
export function demandDiskCount({ data, seed, nvram }: DiskCount): void {
  const all = data + seed + nvram;
  if (all <= LIMITS.vmDisks.max) return;
  const others = [seed > 0 ? 'its cloud-init seed' : [], nvram > 0 ? 'its UEFI variables' : []].flat();
  const besides = others.length === 0 ? '' : ` besides ${others.join(' and ')}`;
  throw new CodedError(
    'bad-input',
    `A VM has ${atMost(LIMITS.vmDisks)}, and this one would have ${data}${besides} (the disk of its image is among them).`,
    { advice: `Nothing was created. Ask for at most ${LIMITS.vmDisks.max - seed - nvram} disks in all.` },
  );
}

/** `cards`: how many cards the VM would have. */
export function demandCardCount(name: string, cards: number): void {
  if (cards <= LIMITS.vmNics.max) return;
  throw new CodedError('bad-input', `A VM has ${atMost(LIMITS.vmNics)}, and ${name} would have ${cards}.`, {
    advice: 'Nothing was changed. Leave out a network.',
  });
}

/** Checks a whole kernel command line, in bytes of UTF-8. */
export function demandAppend(bytes: number, done: 'created' | 'stored'): void {
  if (bytes <= LIMITS.kernelAppendBytes.max) return;
  throw new CodedError(
    'bad-input',
    `The kernel command line, the image’s and the VM’s together, has ${bytes} bytes; ${atMost(LIMITS.kernelAppendBytes)} are allowed.`,
    { advice: `Nothing was ${done}. Shorten it (--append).` },
  );
}

/** Sizes of the kernel and the initial RAM disk, in bytes: a host holds both at once. */
export function demandDirectBoot({ kernelBytes, initrdBytes }: DirectBoot): void {
  const { max } = LIMITS.directBootBytes;
  if (kernelBytes + initrdBytes <= max) return;
  throw new CodedError(
    'bad-input',
    `Kernel and initial RAM disk have ${kernelBytes + initrdBytes} bytes together; at most ${max} (${max / MIB} MiB) are allowed.`,
    { advice: 'Nothing was stored. Use smaller ones, or an image with a disk that its own boot loader starts.' },
  );
}

export interface DirectBoot {
  readonly kernelBytes: number;
  /** 0 if there is none. */
  readonly initrdBytes: number;
}

/**
 * Checks that the initial RAM disk fits: QEMU puts it below the end of the VM's memory, and refuses to start otherwise.
 */
export function demandMemoryFor({ kernelBytes, initrdBytes }: DirectBoot, memoryBytes: number, done: string): void {
  const needed = Math.ceil((kernelBytes + initrdBytes) / MIB) + 1;
  if (memoryBytes >= needed * MIB) return;
  throw new CodedError(
    'bad-input',
    `The kernel and the initial RAM disk of this VM need ${needed} MiB of memory, and it would have ${memoryBytes / MIB} MiB.`,
    { advice: `Nothing was ${done}. Give it more (--memory).` },
  );
}

/** Sizes of the three files of a NoCloud seed, in bytes. */
export interface SeedSizes {
  readonly userData: number;
  readonly networkConfig: number;
  readonly metaData: number;
}

/** Checks that each file is within its limit. */
export function demandSeed(sizes: SeedSizes): void {
  for (const [what, bytes, limit] of [
    ['user-data', sizes.userData, LIMITS.userDataBytes],
    ['network-config', sizes.networkConfig, LIMITS.networkConfigBytes],
    ['meta-data', sizes.metaData, LIMITS.metaDataBytes],
  ] as const)
    if (bytes > limit.max)
      throw new CodedError('bad-input', `The ${what} has ${bytes} bytes; ${atMost(limit)} are allowed.`, {
        advice: 'Nothing was created. Compress it (gzip), or let the guest fetch large files.',
      });
}

/** A storage node's report about the files of its pool. */
export interface PoolFiles {
  /**
   * The largest possible file of the pool's file system, in bytes; absent or null in the reports of older storage
   * services.
   */
  readonly largestFileBytes?: number | null;
}

/** The largest file that storage services accepted before they reported this number, in bytes. */
const UNREPORTED_BYTES_MAX = 16 * 1024 ** 4 - MIB;
/** The overhead of a fully written qcow2 file: 10 bytes of tables for each cluster of 64 KiB, and headers. */
const TABLES_PART = 4096;

/** Returns the largest disk that can be written in full in a pool, in bytes. */
export function largestDiskBytes(pool: PoolFiles, format: 'qcow2' | 'raw'): number {
  const largestFileBytes = pool.largestFileBytes ?? UNREPORTED_BYTES_MAX;
  const { max, step } = LIMITS.diskBytes;
  const tables = format === 'raw' ? 0 : Math.ceil(largestFileBytes / TABLES_PART) + MIB;
  return Math.min(max, Math.max(0, Math.floor((largestFileBytes - tables) / step) * step));
}
