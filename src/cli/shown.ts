/** What others said, as it may reach a terminal: names, messages and addresses come from guests, hosts and whoever has a token. */
import { printable } from '../base/printable.ts';

/** The same object with every text in it made printable. Objects of the API are a few levels deep. */
export function shown<T>(object: T): T {
  if (typeof object === 'string') return printable(object) as T;
  if (Array.isArray(object)) return object.map(shown) as T;
  if (typeof object !== 'object' || object === null) return object;
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [printable(key), shown(value)])) as T;
}

/** What JSON leaves as it is, and a terminal does not: escaped, the value is the same. */
const UNESCAPED = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** JSON in which nothing steers a terminal. */
export function jsonShown(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replaceAll(
    UNESCAPED,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
