/** The eight bytes of a logical unit number (SAM-5 4.7) <-> a number: peripheral and flat addressing of one level. */

/** The highest number that flat space addressing holds. */
export const LUN_MAX = 0x3fff;

/** Numbers below this are written in the peripheral format, the only one that every initiator reads. */
const PERIPHERAL_LUNS = 256;

/** The number at `offset` in `bytes`; -1 for any other form of address, a second level or a missing byte. */
export function lunFromBytes(bytes: Uint8Array, offset = 0): number {
  for (let index = offset + 2; index < offset + 8; index++) if (bytes[index] !== 0) return -1;
  const first = bytes[offset] ?? 0xff;
  const second = bytes[offset + 1] ?? 0xff;
  const method = first >> 6;
  if (method === 0) return (first & 0x3f) === 0 ? second : -1;
  return method === 1 ? ((first & 0x3f) << 8) | second : -1;
}

/** The address of logical unit `lun`, 0 to LUN_MAX. */
export function lunToBytes(lun: number): Uint8Array {
  const bytes = new Uint8Array(8);
  if (lun < PERIPHERAL_LUNS) bytes[1] = lun;
  else {
    bytes[0] = 0x40 | (lun >> 8);
    bytes[1] = lun & 0xff;
  }
  return bytes;
}
