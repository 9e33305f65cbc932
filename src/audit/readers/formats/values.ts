/** Parses values of exports: numbers with thousands separators, the many words for true, fields of untyped objects. */

/** Parses a number, or returns null. `16,384`, `16.384` and `16 384` are equal in a column of whole numbers. */
export function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value !== 'string') return null;
  const text = value.trim().replace(/[\s\u00a0\u202f'’]/g, '');
  if (text === '') return null;
  if (/^-?\d{1,3}(?:[,.]\d{3})+$/.test(text)) return Number(text.replace(/[,.]/g, ''));
  if (/^-?\d{1,3}(?:,\d{3})+\.\d+$/.test(text)) return Number(text.replaceAll(',', ''));
  if (/^-?\d{1,3}(?:\.\d{3})+,\d+$/.test(text)) return Number(text.replaceAll('.', '').replace(',', '.'));
  const plain = /^-?\d+,\d+$/.test(text) ? text.replace(',', '.') : text;
  return /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(plain) ? Number(plain) : null;
}

const TRUE = new Set(['true', '1', 'yes', 'on', 'wahr', 'vrai', 'verdadero', 'vero', '-1']);
const FALSE = new Set(['false', '0', 'no', 'off', 'falsch', 'faux', 'falso', 'none']);

/** Parses a flag; null if the text is neither true nor false. */
export function flagOf(value: unknown): boolean | null {
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'string' && typeof value !== 'number') return null;
  const text = String(value).trim().toLowerCase();
  return TRUE.has(text) ? true : FALSE.has(text) ? false : null;
}

export type Fields = Readonly<Record<string, unknown>>;

/** Returns the object, or an empty one. */
export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/**
 * Returns the array, a single object as an array of one, or an empty array: PowerShell and XML converters write a
 * single item without brackets.
 */
export function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return typeof value === 'object' && value !== null ? [value] : [];
}

/** Returns the value at a path of fields; undefined if a field is missing. */
export function valueAt(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((here, name) => fieldsOf(here)[name], value);
}

/** Returns the text at a path; numbers and booleans as text, empty if there is none. */
export function textAtPath(value: unknown, ...path: readonly string[]): string {
  const found = valueAt(value, ...path);
  if (typeof found === 'string') return found;
  return typeof found === 'number' || typeof found === 'boolean' ? String(found) : '';
}

/** Returns the objects at a path. */
export function objectsAt(value: unknown, ...path: readonly string[]): readonly Fields[] {
  return listOf(path.length === 0 ? value : valueAt(value, ...path)).map(fieldsOf);
}
