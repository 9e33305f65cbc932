/**
 * Parses the two forms of Proxmox VE's files: sections of `type: name` with indented keys, and a VM's `key: value`
 * lines.
 */

export interface Section {
  readonly type: string;
  readonly name: string;
  readonly values: ReadonlyMap<string, string>;
}

/** Parses `storage.cfg`, `ha/groups.cfg`, `ha/rules.cfg` and the like. */
export function sectionsOf(text: string): readonly Section[] {
  const sections: { type: string; name: string; values: Map<string, string> }[] = [];
  for (const line of text.split(/\r?\n/)) {
    const head = /^([\w-]+):\s*(\S+)\s*$/.exec(line);
    const entry = /^\s+(\S+)(?:\s+(.*?))?\s*$/.exec(line);
    if (head !== null) sections.push({ type: head[1] ?? '', name: head[2] ?? '', values: new Map() });
    else if (entry !== null && !line.trim().startsWith('#'))
      sections.at(-1)?.values.set(entry[1] ?? '', entry[2] ?? '1');
  }
  return sections;
}

/** Returns the settings of a VM, without those of its snapshots. */
export function settingsOf(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    if (/^\[/.test(line)) break;
    const [, key, value] = /^([\w-]+):\s*(.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) values.set(key, value);
  }
  return values;
}

/** Parses `local-lvm:vm-100-disk-0,size=32G,shared=1` to its first word and its options. */
export function optionsOf(value: string): { readonly first: string; readonly options: ReadonlyMap<string, string> } {
  const [first = '', ...rest] = value.split(',');
  const options = new Map(rest.map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]));
  const isOption = /^[\w-]+=/.test(first) && !first.startsWith('file=');
  if (isOption) options.set(first.slice(0, first.indexOf('=')), first.slice(first.indexOf('=') + 1));
  return { first: first.replace(/^(?:file|host|volume)=/, ''), options };
}
