/**
 * Big-endian numbers in byte arrays, without a DataView per field: the decoding of a CDB is on the path of every
 * command.
 */

/** Two bytes at `offset`; a missing byte counts as zero. */
export function u16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
}

/** Four bytes at `offset`, unsigned. */
export function u32(bytes: Uint8Array, offset: number): number {
  return u16(bytes, offset) * 0x10000 + u16(bytes, offset + 2);
}

/** Eight bytes at `offset`; above 2^53 rounded, which is beyond every disk. */
export function u64(bytes: Uint8Array, offset: number): number {
  return u32(bytes, offset) * 0x100000000 + u32(bytes, offset + 4);
}

/** Writes the low 16 bits of `value`. */
export function putU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = (value >> 8) & 0xff;
  bytes[offset + 1] = value & 0xff;
}

/** Writes a number from 0 to 2^32 - 1. */
export function putU32(bytes: Uint8Array, offset: number, value: number): void {
  putU16(bytes, offset, value >>> 16);
  putU16(bytes, offset + 2, value & 0xffff);
}

/** Writes a safe integer. */
export function putU64(bytes: Uint8Array, offset: number, value: number): void {
  putU32(bytes, offset, Math.floor(value / 0x100000000));
  putU32(bytes, offset + 4, value % 0x100000000);
}

/** Writes `text` as ASCII, cut or filled with spaces to `length`. */
export function putAscii(
  bytes: Uint8Array,
  offset: number,
  text: { readonly value: string; readonly length: number },
): void {
  for (let index = 0; index < text.length; index++)
    bytes[offset + index] = index < text.value.length ? text.value.charCodeAt(index) & 0x7f : 0x20;
}

/** `count` bytes at `offset` as lower-case hexadecimal digits. */
export function hexAt(bytes: Uint8Array, offset: number, count: number): string {
  let text = '';
  for (let index = offset; index < offset + count; index++) text += (bytes[index] ?? 0).toString(16).padStart(2, '0');
  return text;
}

/** The bytes of hexadecimal digits, with or without spaces. */
export function fromHex(text: string): Uint8Array {
  const digits = text.replaceAll(' ', '');
  const bytes = new Uint8Array(digits.length / 2);
  for (let index = 0; index < bytes.length; index++)
    bytes[index] = Number.parseInt(digits.slice(index * 2, index * 2 + 2), 16);
  return bytes;
}

/** Parts one after the other. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
