/**
 * The text of login and text PDUs (RFC 7143, 6.1): `key=value` pairs, each ended by a zero byte. Guarantees: bounded
 * input, no key twice, nothing outside printable ASCII taken for a key; an error is an IscsiProtocolError.
 */
import { IscsiProtocolError } from './pdu.ts';

/** The longest text taken in one negotiation step, over all PDUs that continue it. */
export const TEXT_BYTES_MAX = 64 * 1024;
const KEY_LENGTH_MAX = 63;
const PAIRS_MAX = 128;
const KEY = /^[A-Za-z0-9.+@_-]+$/;

/** Pairs of a text in the order they came. */
export type TextPairs = ReadonlyMap<string, string>;

/** Reads the pairs of a complete text. */
export function readText(bytes: Uint8Array): Map<string, string> {
  const pairs = new Map<string, string>();
  for (let from = 0; from < bytes.length; ) {
    const zero = bytes.indexOf(0, from);
    const to = zero === -1 ? bytes.length : zero;
    if (to > from) addPair(pairs, latin1(bytes.subarray(from, to)));
    from = to + 1;
  }
  return pairs;
}

function addPair(pairs: Map<string, string>, pair: string): void {
  const at = pair.indexOf('=');
  const key = pair.slice(0, at);
  if (at < 1 || at > KEY_LENGTH_MAX || !KEY.test(key)) throw new IscsiProtocolError('a text without key=value in it');
  if (pairs.has(key)) throw new IscsiProtocolError(`the key ${key} twice`);
  if (pairs.size >= PAIRS_MAX) throw new IscsiProtocolError('too many keys in one text');
  pairs.set(key, pair.slice(at + 1));
}

/**
 * The bytes of pairs, in order; the same key may come several times, as TargetName does in an answer to SendTargets.
 */
export function writeText(pairs: Iterable<readonly [string, string]>): Uint8Array {
  let text = '';
  for (const [key, value] of pairs) text += `${key}=${value}\0`;
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/**
 * An iSCSI name in the form in which names are compared (RFC 7143, 4.2.7): lower case. Undefined: no valid iqn., eui.
 * or naa. name.
 */
export function normalName(name: string | undefined): string | undefined {
  if (name === undefined || name.length > 223) return undefined;
  const lower = name.toLowerCase();
  return /^(iqn\.[a-z0-9.:_-]+|eui\.[0-9a-f]{16}|naa\.([0-9a-f]{16}|[0-9a-f]{32}))$/.test(lower) ? lower : undefined;
}
