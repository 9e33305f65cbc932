/** Lists of names in a sentence. No I/O. */

/** The most names in a sentence: a cluster may have thousands. */
const NAMES_MAX = 10;

/** Joins names for people: `a, b and 3 more`. */
export function listed(names: readonly string[], namesMax = NAMES_MAX): string {
  const more = names.length - namesMax;
  return `${names.slice(0, namesMax).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
