/** Searching in lists, and the part of a page's address that keeps search, filters and order. Pure. */

/** Query part of an address. */
export type Search = Readonly<Record<string, string>>;

/** Reads the query part of an address: every value stays a text. */
export function parseSearch(text: string): Search {
  return Object.fromEntries(new URLSearchParams(text));
}

/** Writes the query part of an address; empty values are left out. */
export function searchText(search: Readonly<Record<string, unknown>>): string {
  const given = Object.entries(search).filter(([, value]) => typeof value === 'string' && value !== '');
  const text = new URLSearchParams(given as [string, string][]).toString();
  return text === '' ? '' : `?${text}`;
}

/** Whether every word of `query` is in the text, in any order and case. */
export function matches(text: string, query: string): boolean {
  const words = query.toLowerCase().split(/\s+/);
  const where = text.toLowerCase();
  return words.every((word) => where.includes(word));
}

/**
 * How well a name fits the typed text, higher is better; null: not at all. A whole name fits best, then its beginning,
 * then the beginning of a part of it, then any other place.
 */
export function fitOf(name: string, typed: string): number | null {
  const [where, what] = [name.toLowerCase(), typed.trim().toLowerCase()];
  if (what === '') return 0;
  if (where === what) return 4;
  if (where.startsWith(what)) return 3;
  if (new RegExp(`[^a-z0-9]${what.replaceAll(/[^a-z0-9]/g, '\\$&')}`).test(where)) return 2;
  return matches(where, what) ? 1 : null;
}
