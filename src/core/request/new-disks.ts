/** The disks that a new VM is to have, from its request and its images. Pure. */
import { CodedError } from '../../base/errors.ts';
import { parseDiskId, type Sha256, type StorageName, type VmId } from '../../base/ids.ts';
import type { DiskRecord, DiskSource, ImageRecord } from '../model/cluster.ts';
import type { VmBoot, VmDisk } from '../model/vm.ts';
import type { Basis } from './basis.ts';
import { demandDiskCount } from './demands.ts';
import { POOL_RESERVE_BYTES, type Room } from './storage-choice.ts';

const MIB = 1024 * 1024;
/** OVMF_VARS_4M.fd of Debian 12. */
export const NVRAM_BYTES = 540_672;

/** A disk that a request asks for: a blank one, or a clone of an image's. */
export type DiskRequest =
  | { readonly sizeBytes: number }
  | { readonly image: string; readonly sizeBytes?: number | undefined };

export interface PlannedDisk {
  readonly role: VmDisk['role'];
  readonly sizeBytes: number;
  readonly source: DiskSource;
}

/** The NoCloud seed of a VM: a file that its storage node holds under its hash. */
export interface SeedFile {
  readonly sha256: Sha256;
  readonly sizeBytes: number;
}

/** CodedError 'bad-input' for a VM without a disk, or with more disks than its machine has places. */
export function demandDisks(name: string, planned: readonly PlannedDisk[]): void {
  if (planned.length === 0) {
    // Also required with direct boot: fencing cuts a VM's access to its disks, so a VM without disks could not be
    // fenced.
    throw new CodedError('bad-input', `${name} has no disk, so it could not be fenced when its host is lost.`, {
      advice: 'Nothing was created. Name an image with a disk, or a disk of any size.',
    });
  }
  const count = (role: VmDisk['role']): number => planned.filter((disk) => disk.role === role).length;
  demandDiskCount({ data: count('data'), seed: count('seed'), nvram: count('nvram') });
}

function cloneOf(image: ImageRecord, sizeBytes: number | undefined): PlannedDisk {
  const { disk } = image;
  if (disk === null)
    throw new CodedError('bad-input', `Image ${image.name} has no disk to clone.`, { advice: 'Nothing was created.' });
  if (sizeBytes !== undefined && sizeBytes < disk.virtualSizeBytes) {
    throw new CodedError(
      'bad-input',
      `A clone of ${image.name} needs at least ${disk.virtualSizeBytes} bytes, not ${sizeBytes}.`,
      { advice: 'Nothing was created.' },
    );
  }
  return {
    role: 'data',
    sizeBytes: sizeBytes ?? disk.virtualSizeBytes,
    source: { kind: 'image', artifact: disk.sha256, format: disk.format },
  };
}

/**
 * The image's own disk first, then those asked for; an image without one brings its default blank disk when no other is
 * asked for.
 */
export function dataDisks(
  requested: readonly DiskRequest[],
  image: ImageRecord | null,
  findImage: (name: string) => ImageRecord,
): PlannedDisk[] {
  const asked = requested.map(
    (disk): PlannedDisk =>
      'image' in disk
        ? cloneOf(findImage(disk.image), disk.sizeBytes)
        : { role: 'data', sizeBytes: disk.sizeBytes, source: { kind: 'blank' } },
  );
  if (image?.disk) return [cloneOf(image, undefined), ...asked];
  const blank = image?.defaults.blankDiskBytes ?? null;
  if (asked.length === 0 && blank !== null) return [{ role: 'data', sizeBytes: blank, source: { kind: 'blank' } }];
  return asked;
}

/** The disks that no request names: the seed of cloud-init, and the variables of UEFI. */
export function specialDisks(boot: VmBoot, seed: SeedFile | null): PlannedDisk[] {
  const disks: PlannedDisk[] = [];
  if (seed !== null) {
    const source = { kind: 'content', artifact: seed.sha256 } as const;
    disks.push({ role: 'seed', sizeBytes: seed.sizeBytes, source });
  }
  if (boot.firmware === 'uefi') disks.push({ role: 'nvram', sizeBytes: NVRAM_BYTES, source: { kind: 'nvram' } });
  return disks;
}

/** The room that the disks of one VM need on a storage node. */
export function roomFor(disks: readonly PlannedDisk[]): Room {
  return {
    artifacts: disks.flatMap(({ source }) => (source.kind === 'image' ? [source.artifact] : [])),
    neededBytes: disks.reduce(
      (sum, { source }) => sum + (source.kind === 'content' || source.kind === 'nvram' ? 2 * MIB : MIB),
      POOL_RESERVE_BYTES,
    ),
    largest: [{ sizeBytes: Math.max(...disks.map(({ sizeBytes }) => sizeBytes)), format: 'qcow2' }],
  };
}

/** The record of a disk that is to be made. */
export function newDisk(
  { randomHex }: Pick<Basis, 'randomHex'>,
  given: { readonly vm: VmId; readonly disk: PlannedDisk; readonly node: StorageName; readonly port: number },
): DiskRecord {
  const { vm, disk, node, port } = given;
  const id = parseDiskId(`disk-${randomHex(6)}`);
  return { id, vm, node, port, sizeBytes: disk.sizeBytes, source: disk.source, phase: 'creating' };
}
