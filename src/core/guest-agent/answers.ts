/**
 * Reads qemu-guest-agent's answers (QEMU Guest Agent Protocol Reference) strictly: anything else that a guest sends
 * counts as no answer. Pure.
 */
import { printable } from '../../base/printable.ts';
import type { CommandOutcome, GuestFacts, GuestInterface } from '../ports/guest-agent-link.ts';

const TEXT_CHARS_MAX = 200;
const INTERFACES_MAX = 32;
const ADDRESSES_MAX = 32;
const OUTPUT_CHARS_MAX = 300;
/** Characters of base64 that are looked at: the end of a command's output. */
const BASE64_CHARS_MAX = 2_048;

/** Returns what guest-get-osinfo says of the operating system. */
export function osOf(value: unknown): Pick<GuestFacts, 'os' | 'kernel'> {
  const name = textOf(value, 'pretty-name') ?? textOf(value, 'name');
  const version = textOf(value, 'version');
  const isWhole = textOf(value, 'pretty-name') !== null || version === null || name === null;
  return { os: isWhole ? name : `${name} ${version}`, kernel: textOf(value, 'kernel-release') };
}

/** Returns what guest-get-host-name says. */
export function hostnameOf(value: unknown): string | null {
  return textOf(value, 'host-name');
}

/** Returns what guest-network-get-interfaces says: the loopback interface left out. */
export function interfacesOf(value: unknown): readonly GuestInterface[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, INTERFACES_MAX).flatMap((one: unknown) => {
    const name = textOf(one, 'name');
    if (name === null || name === 'lo') return [];
    const mac = textOf(one, 'hardware-address');
    const given = propertyOf(one, 'ip-addresses');
    const addresses = Array.isArray(given)
      ? given.slice(0, ADDRESSES_MAX).flatMap((each) => addressOf(each) ?? [])
      : [];
    return [{ name, mac: mac !== null && MAC.test(mac) ? mac.toLowerCase() : null, addresses }];
  });
}

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
const ADDRESS = /^[0-9a-f.:]{2,45}$/i;

function addressOf(value: unknown): string | null {
  const address = textOf(value, 'ip-address');
  const prefix = propertyOf(value, 'prefix');
  if (address === null || !ADDRESS.test(address)) return null;
  const isLength = Number.isInteger(prefix) && (prefix as number) >= 0 && (prefix as number) <= 128;
  return isLength ? `${address}/${prefix as number}` : address;
}

/** Returns the process that guest-exec began; null if the answer names none. */
export function pidOf(value: unknown): number | null {
  const pid = propertyOf(value, 'pid');
  return Number.isSafeInteger(pid) && (pid as number) > 0 ? (pid as number) : null;
}

/** Returns the result in an answer to guest-exec-status; null if it has none. */
export function outcomeOf(value: unknown): CommandOutcome | null {
  const exited = propertyOf(value, 'exited');
  if (exited === false) return { exited };
  if (exited !== true) return null;
  const exitCode = propertyOf(value, 'exitcode');
  const said = [propertyOf(value, 'out-data'), propertyOf(value, 'err-data')].flatMap((text) => linesOf(text));
  return {
    exited,
    exitCode: Number.isSafeInteger(exitCode) ? (exitCode as number) : null,
    output: printable((said.at(-1) ?? '').slice(0, OUTPUT_CHARS_MAX)),
  };
}

/** The lines in the end of an output that comes in base64, each byte taken for a character. */
function linesOf(base64: unknown): readonly string[] {
  if (typeof base64 !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return [];
  // Whole groups of four, so that what is cut off is whole bytes.
  const groups = Math.ceil(Math.max(0, base64.length - BASE64_CHARS_MAX) / 4);
  return decoded(base64.slice(4 * groups))
    .split(/[\r\n]+/)
    .filter((line) => line.trim() !== '');
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Base64 (RFC 4648) as latin1; the core has no Buffer. */
function decoded(base64: string): string {
  let bits = 0;
  let count = 0;
  let text = '';
  for (const digit of base64.replaceAll('=', '')) {
    bits = ((bits << 6) | DIGITS.indexOf(digit)) & 0x3fff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    text += String.fromCharCode((bits >> count) & 0xff);
  }
  return text;
}

function textOf(value: unknown, name: string): string | null {
  const text = propertyOf(value, name);
  return typeof text === 'string' && text !== '' ? printable(text.slice(0, TEXT_CHARS_MAX)) : null;
}

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
