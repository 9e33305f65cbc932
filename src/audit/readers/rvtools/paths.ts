/** Paths of files in datastores, as RVTools writes them. */
import type { Disk, Reach } from '../../estate/estate.ts';

/** Newer versions write the guest's mount points into "Disk Path": only a datastore path counts. */
export function pathOf(cell: string): string {
  return /^\[[^\]]+\]\s*\S/.test(cell) ? cell : '';
}

/** Returns the file of a CD or of the configuration, as a disk. */
export function mediaDisk(
  label: string,
  where: { storage: string | null; reach: Reach },
  place: Disk['evidence'],
): Disk {
  return {
    label,
    identities: [],
    permit: null,
    ...where,
    sizeGib: null,
    isRaw: false,
    isReadOnly: true,
    isMedia: true,
    evidence: place,
  };
}
