/**
 * Finds kernel modules in an unpacked kernel package and puts them into an order in which insmod can load them. The
 * package holds no modules.dep (depmod writes it at installation), so dependencies are read from the modules
 * themselves.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CodedError } from '../base/errors.ts';

export interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/** The names a module needs, from the `depends=` string of its .modinfo section. Dashes are written as underscores. */
export function dependenciesOf(content: Buffer): string[] {
  const marker = Buffer.from('\0depends=');
  const at = content.indexOf(marker);
  if (at < 0) return [];
  const end = content.indexOf(0, at + marker.length);
  const list = content.toString('latin1', at + marker.length, end < 0 ? undefined : end);
  return list
    .split(',')
    .filter((name) => name !== '')
    .map(canonical);
}

function canonical(name: string): string {
  return name.replaceAll('-', '_');
}

/**
 * The wanted modules and all they need, dependencies first, otherwise in the order wanted. Modules built into the
 * kernel are left out. Errors: 'failed' when a module is neither a file nor built in.
 */
export async function collectModules(modulesDir: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const paths = new Map<string, string>();
  for (const file of await readdir(modulesDir, { recursive: true })) {
    if (file.endsWith('.ko')) paths.set(canonical(basename(file, '.ko')), join(modulesDir, file));
  }
  const builtinList = await readFile(join(modulesDir, 'modules.builtin'), 'utf8');
  const builtin = new Set(builtinList.split('\n').map((line) => canonical(basename(line.trim(), '.ko'))));
  const done = new Map<string, KernelModule>();
  const visit = async (name: string, needers: readonly string[]): Promise<void> => {
    if (done.has(name) || builtin.has(name) || needers.includes(name)) return;
    const path = paths.get(name);
    if (path === undefined)
      throw new CodedError('failed', `The kernel package has no module ${[...needers, name].join(' > ')}.`);
    const content = await readFile(path);
    for (const dependency of dependenciesOf(content)) await visit(dependency, [...needers, name]);
    done.set(name, { name, content });
  };
  for (const name of wanted) await visit(canonical(name), []);
  return [...done.values()];
}
