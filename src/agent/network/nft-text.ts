/** Pieces of nftables scripts. Pure. */

/** Formats a chain; with `hook` (for example `filter hook input priority 0`) it is a base chain with policy accept. */
export function chain(name: string, rules: readonly string[], hook?: string): string[] {
  const head = hook === undefined ? [] : [`  type ${hook}; policy accept;`];
  return [`chain ${name} {`, ...head, ...rules.map((rule) => `  ${rule}`), '}'];
}

/** Formats a named set or map; `type` may also be `typeof …`. */
export function set(name: string, type: string, elements: readonly string[], keyword: 'set' | 'map' = 'set'): string[] {
  const content = elements.length === 0 ? [] : [`  elements = { ${elements.join(', ')} }`];
  return [`${keyword} ${name} {`, `  ${type.startsWith('typeof ') ? type : `type ${type}`}`, ...content, '}'];
}

/** Formats a script that replaces our table, or creates it if it does not exist. */
export function replaceTable(family: string, name: string, lines: readonly string[]): string[] {
  const full = `${family} ${name}`;
  // Declaring the table first makes the deletion succeed whether or not the table exists.
  return [`table ${full}`, `delete table ${full}`, `table ${full} {`, ...lines.map((line) => `  ${line}`), '}', ''];
}
