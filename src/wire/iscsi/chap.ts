/**
 * Values of CHAP in text keys (RFC 7143, 12.1.3): binary values as hexadecimal or base64, the list of digests.
 * The digests themselves are computed outside: this is only bytes <-> text.
 */

/** Digests of CHAP_A: MD5 for QEMU's libiscsi, SHA-256 for those who can. */
export type ChapAlgorithm = 5 | 7;

/** The longest binary value taken (12.1.3). */
const VALUE_BYTES_MAX = 1024;

/** The digest to use of a CHAP_A list; SHA-256 goes first. Undefined: none that is known. */
export function chooseAlgorithm(list: string): ChapAlgorithm | undefined {
  const offered = list.split(',');
  if (offered.includes('7')) return 7;
  return offered.includes('5') ? 5 : undefined;
}

/** `0x…` or `0b…` into bytes; undefined for anything else. */
export function readBinary(value: string): Uint8Array | undefined {
  if (/^0[xX](?:[0-9a-fA-F]{2}){1,1024}$/.test(value)) {
    const bytes = new Uint8Array((value.length - 2) / 2);
    for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(value.slice(2 + at * 2, 4 + at * 2), 16);
    return bytes;
  }
  if (/^0[bB][A-Za-z0-9+/]{2,1368}={0,2}$/.test(value)) return base64(value.slice(2).replace(/=+$/, ''));
  return undefined;
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

function base64(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  if (bytes.length > VALUE_BYTES_MAX) return undefined;
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const digit of text) {
    held = ((held << 6) | DIGITS.indexOf(digit)) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (held >> bits) & 0xff;
    }
  }
  return bytes;
}

/** Bytes as `0x…`. */
export function writeBinary(bytes: Uint8Array): string {
  return `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** Whether two values are equal, in a time that depends on their length only. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let at = 0; at < a.length; at++) difference |= (a[at] ?? 0) ^ (b[at] ?? 0);
  return difference === 0;
}
