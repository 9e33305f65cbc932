/**
 * The identity of a shared disk for its guests: a UUID and a worldwide name that follow from its id, so that they never
 * change and nothing has to be stored. The numbers (LUNs) and /dev/sdX names of a disk may differ between members;
 * these do not.
 */
import { createHash } from 'node:crypto';
import type { DiskId } from '../base/ids.ts';

/** The disk's UUID as guests see it: derived from its id (RFC 9562, version 8). */
export function unitUuid(disk: DiskId): string {
  const hex = createHash('sha256').update(`groundplane ${disk}`).digest('hex');
  const variant = ((Number.parseInt(hex[16] ?? '0', 16) & 3) | 8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * The unit's worldwide name, as Linux has it under /dev/disk/by-id: the NAA designator of VPD page 0x83
 * (wire/scsi/inquiry.ts).
 */
export function wwnOf(disk: DiskId): string {
  return `wwn-0x3${unitUuid(disk).replaceAll('-', '').slice(17)}`;
}
