/** Makes API answers safe for a terminal: names, messages and addresses come from guests, hosts and API clients. */
import { printable } from '../base/printable.ts';

/** Returns the same object with every text in it made printable. API objects are a few levels deep. */
export function shown<T>(object: T): T {
  if (typeof object === 'string') return printable(object) as T;
  if (Array.isArray(object)) return object.map(shown) as T;
  if (typeof object !== 'object' || object === null) return object;
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [printable(key), shown(value)])) as T;
}

/** Characters that JSON does not escape but that steer a terminal; escaping them does not change the value. */
const UNESCAPED = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Formats JSON without characters that steer a terminal. */
export function jsonShown(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replaceAll(
    UNESCAPED,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
