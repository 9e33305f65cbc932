/**
 * Compiles the roles' programs into the cache of compiled code before the first of them starts. Otherwise each of them
 * would load the type stripper (about 19 MB that a process never gives back) and hold the parsed sources (about 10 MB)
 * for as long as it lives. Guarantees: a failure costs memory, nothing else; done once for each version of the programs
 * and of Node.
 */

import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tryRun } from '../os/child-process.ts';
import { readTextBounded, writeFileAtomic } from '../os/files.ts';
import type { RoleCommands } from './roles.ts';

const COMPILE_MS = 20_000;
const MARK_BYTES_MAX = 100;
const SOURCES = fileURLToPath(new URL('../', import.meta.url));
const LOCK_FILE = fileURLToPath(new URL('../../package-lock.json', import.meta.url));

/** Resolves when the cache `directory` is filled, or cannot be filled. Does nothing for stand-ins. */
export async function compileAhead(
  { control, storage, agent, compile }: RoleCommands,
  directory: string,
): Promise<void> {
  if (compile !== true) return;
  const mark = join(directory, 'compiled');
  const version = await versionOfPrograms();
  if ((await readTextBounded(mark, MARK_BYTES_MAX)) === version) return;
  const env = { PATH: process.env['PATH'], NODE_COMPILE_CACHE: directory };
  // Without a configuration each program loads all its modules, prints its usage, and saves its compiled code as it
  // exits.
  const ended = [control, storage, agent].map((argv) => tryRun(argv, { deadlineMs: COMPILE_MS, env, cwd: '/' }));
  const outcomes = await Promise.allSettled(ended);
  if (outcomes.every(({ status }) => status === 'fulfilled')) await writeFileAtomic(mark, version);
}

/** Changes with every source, the packages and the version of Node. */
async function versionOfPrograms(): Promise<string> {
  const names = (await readdir(SOURCES, { recursive: true })).filter((name) => name.endsWith('.ts')).sort();
  const files = [LOCK_FILE, ...names.map((name) => join(SOURCES, name))];
  const told = await Promise.all(
    files.map(async (file) => {
      const { size, mtimeMs } = await stat(file);
      return `${file} ${size} ${mtimeMs}`;
    }),
  );
  const hash = createHash('sha256').update([process.version, ...told].join('\n'));
  return hash.digest('hex').slice(0, 32);
}
