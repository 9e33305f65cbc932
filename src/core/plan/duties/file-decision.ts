/**
 * Decides about the files of images and seeds: which of them nobody needs, and which storage node lacks which. Pure.
 * Guarantees: a file that an image, a VM, or a disk that is still to be made names is needed; while a record that may
 * name a file cannot be read, every file is needed.
 */
import type { Sha256, StorageName } from '../../../base/ids.ts';
import type { ImageRecord } from '../../model/cluster.ts';
import { PREFIX } from '../../model/keys.ts';
import type { FileKind } from '../../ports/file-link.ts';
import type { Snapshot } from '../../ports/store.ts';
import { unreadableUser } from '../vm/unreadable.ts';

/** Returns the files of an image: disk, kernel, initrd. */
export function filesOf({ disk, direct }: Pick<ImageRecord, 'disk' | 'direct'>): Sha256[] {
  return [disk?.sha256, direct?.kernel.sha256, direct?.initrd?.sha256].filter(
    (sha256): sha256 is Sha256 => sha256 !== undefined,
  );
}

/** A file that an image names, as what it was taken in. */
export interface NamedFile {
  readonly kind: FileKind;
  readonly sizeBytes: number;
  /** For disk images. */
  readonly virtualSizeBytes: number | null;
}

/** Returns the description of a file in images' records; undefined if no image names it. */
export function fileNamed({ images }: Pick<Snapshot, 'images'>, sha256: Sha256): NamedFile | undefined {
  for (const { value } of images.values()) {
    const { disk, direct } = value;
    if (disk?.sha256 === sha256) {
      const { format, sizeBytes, virtualSizeBytes } = disk;
      return { kind: `disk-${format}`, sizeBytes, virtualSizeBytes };
    }
    for (const [kind, file] of [
      ['kernel', direct?.kernel],
      ['initrd', direct?.initrd],
    ] as const)
      if (file?.sha256 === sha256) return { kind, sizeBytes: file.sizeBytes, virtualSizeBytes: null };
  }
  return undefined;
}

/** Returns true while a record that may name a file cannot be read. */
export function isUseUnclear({ unreadable }: Pick<Snapshot, 'unreadable'>): boolean {
  return [PREFIX.image, PREFIX.vm, PREFIX.disk].some((prefix) => unreadableUser(prefix, unreadable) !== null);
}

/** Returns the files that images, VMs and disks that are still to be cloned or made name. */
export function filesInUse({ images, vms, disks }: Pick<Snapshot, 'images' | 'vms' | 'disks'>): ReadonlySet<Sha256> {
  const used = new Set<Sha256>();
  for (const { value } of images.values()) for (const sha256 of filesOf(value)) used.add(sha256);
  for (const { value } of vms.values()) {
    const { boot } = value.spec;
    if (boot.firmware !== 'direct') continue;
    used.add(boot.kernel);
    if (boot.initrd !== null) used.add(boot.initrd);
  }
  for (const { value } of disks.values()) {
    const { source, phase } = value;
    // A seed is copied into its disk; what is cloned from an image goes on reading it.
    if (source.kind === 'image' || (source.kind === 'content' && phase === 'creating')) used.add(source.artifact);
  }
  return used;
}

/** A file that a storage node lacks. */
export interface MissingFile {
  readonly image: ImageRecord['name'];
  readonly sha256: Sha256;
  readonly to: StorageName;
}

/** Returns the files of images that nodes lack, by `holds`; each pair of file and node once. */
export function missingFiles(
  { images }: Pick<Snapshot, 'images'>,
  nodes: readonly StorageName[],
  holds: (node: StorageName, sha256: Sha256) => boolean,
): readonly MissingFile[] {
  const missing = new Map<string, MissingFile>();
  for (const { value } of images.values())
    for (const sha256 of filesOf(value))
      for (const to of nodes) if (!holds(to, sha256)) missing.set(`${to} ${sha256}`, { image: value.name, sha256, to });
  return [...missing.values()];
}
