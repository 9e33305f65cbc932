/** Pieces of nftables scripts. Pure. */

/** A chain; with `hook` (`filter hook input priority 0`, for example) a base chain whose policy is to accept. */
export function chain(name: string, rules: readonly string[], hook?: string): string[] {
  const head = hook === undefined ? [] : [`  type ${hook}; policy accept;`];
  return [`chain ${name} {`, ...head, ...rules.map((rule) => `  ${rule}`), '}'];
}

/** A named set or map; `type` may also be `typeof …`. */
export function set(name: string, type: string, elements: readonly string[], keyword: 'set' | 'map' = 'set'): string[] {
  const content = elements.length === 0 ? [] : [`  elements = { ${elements.join(', ')} }`];
  return [`${keyword} ${name} {`, `  ${type.startsWith('typeof ') ? type : `type ${type}`}`, ...content, '}'];
}

/** A table of ours in place of the one that is there, or is not. */
export function replaceTable(family: string, name: string, lines: readonly string[]): string[] {
  const full = `${family} ${name}`;
  // Declared, then deleted, then made: works the same whether it exists or not.
  return [`table ${full}`, `delete table ${full}`, `table ${full} {`, ...lines.map((line) => `  ${line}`), '}', ''];
}
