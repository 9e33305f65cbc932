/** Names in a sentence. No I/O. */

/** How many names a sentence has at most: a cluster may have thousands. */
const NAMES_MAX = 10;

/** `a, b and 3 more`: names for people, however many there are. */
export function listed(names: readonly string[], namesMax = NAMES_MAX): string {
  const more = names.length - namesMax;
  return `${names.slice(0, namesMax).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
