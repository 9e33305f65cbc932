/** Lookups by a key that a user or another process chose. No I/O. */

/** Returns the own property `key` of `object`; inherited properties such as `toString` are never returned. */
export function own<T>(object: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}
