/**
 * CRC32C (Castagnoli), the digest of iSCSI headers and data (RFC 7143, 13.1; polynomial 0x1EDC6F41, reflected).
 * Eight bytes a step by tables made once.
 */

const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;
const TABLE = makeTable();

function makeTable(): Uint32Array {
  const table = new Uint32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  for (let at = 256; at < table.length; at++) {
    const before = table[at - 256] ?? 0;
    table[at] = (before >>> 8) ^ (table[before & 0xff] ?? 0);
  }
  return table;
}

/** The CRC32C of `bytes`, as an unsigned number; `crc`: the result for what came before them. */
export function crc32c(bytes: Uint8Array, crc = 0): number {
  const t = TABLE as unknown as readonly number[];
  const b = bytes as unknown as readonly number[];
  const end = bytes.length;
  const wide = end - (end % SLICES);
  let c = ~crc;
  let at = 0;
  // Table lookups cannot miss: every index is a byte plus the start of its slice.
  for (; at < wide; at += SLICES) {
    c ^=
      (b[at] as number) | ((b[at + 1] as number) << 8) | ((b[at + 2] as number) << 16) | ((b[at + 3] as number) << 24);
    c =
      (t[1792 + (c & 0xff)] as number) ^
      (t[1536 + ((c >>> 8) & 0xff)] as number) ^
      (t[1280 + ((c >>> 16) & 0xff)] as number) ^
      (t[1024 + (c >>> 24)] as number) ^
      (t[768 + (b[at + 4] as number)] as number) ^
      (t[512 + (b[at + 5] as number)] as number) ^
      (t[256 + (b[at + 6] as number)] as number) ^
      (t[b[at + 7] as number] as number);
  }
  for (; at < end; at++) c = (c >>> 8) ^ (t[(c ^ (b[at] as number)) & 0xff] as number);
  return ~c >>> 0;
}
