/**
 * The positions of the first block and the number of blocks in CDBs of 6, 10, 12 and 16 bytes, and the checks that all
 * of them share.
 */
import { u16, u32, u64 } from '../../wire/scsi/bytes.ts';
import { CONDITION } from '../../wire/scsi/sense.ts';
import type { ScsiAnswer } from './target-port.ts';
import type { UnitContext } from './unit-context.ts';

/** One size of CDB. */
export interface BlockCdb {
  readonly lba: (cdb: Uint8Array) => number;
  readonly count: (cdb: Uint8Array) => number;
  /** Whether byte 1 has protection, DPO and FUA bits. */
  readonly hasFlags: boolean;
}

export const CDB_6: BlockCdb = {
  lba: (cdb) => u32(cdb, 0) & 0x1f_ffff,
  count: (cdb) => cdb[4] || 256,
  hasFlags: false,
};

export const CDB_10: BlockCdb = { lba: (cdb) => u32(cdb, 2), count: (cdb) => u16(cdb, 7), hasFlags: true };

export const CDB_12: BlockCdb = { lba: (cdb) => u32(cdb, 2), count: (cdb) => u32(cdb, 6), hasFlags: true };

export const CDB_16: BlockCdb = { lba: (cdb) => u64(cdb, 2), count: (cdb) => u32(cdb, 10), hasFlags: true };

/** RDPROTECT, WRPROTECT, VRPROTECT: the unit has no protection information. */
const PROTECT = 0xe0;
const FUA = 0x08;

/** Whether the protection bits ask for protection that the unit lacks. */
export function asksProtection(layout: BlockCdb, cdb: Uint8Array): boolean {
  return layout.hasFlags && ((cdb[1] ?? 0) & PROTECT) !== 0;
}

/** Whether the FUA bit is set. */
export function forcesUnitAccess(layout: BlockCdb, cdb: Uint8Array): boolean {
  return layout.hasFlags && ((cdb[1] ?? 0) & FUA) !== 0;
}

/** Null where the blocks exist. A range of no block may start at the end, not after it (SBC-3 4.3). */
export function rangeRefusal(unit: UnitContext, lba: number, count: number): ScsiAnswer | null {
  const { blockCount } = unit.backing;
  return lba + count > blockCount ? unit.refuse(CONDITION.lbaOutOfRange) : null;
}

/** Null where a unit may be written. */
export function writeRefusal(unit: UnitContext): ScsiAnswer | null {
  if (unit.backing.isReadOnly) return unit.refuse(CONDITION.writeProtected);
  return unit.mode.isWriteProtected ? unit.refuse(CONDITION.softwareWriteProtected) : null;
}
