/** Lookups by a word that somebody else chose. No I/O. */

/** What `object` itself has under `key`: never what every object has, such as `toString`. */
export function own<T>(object: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}
