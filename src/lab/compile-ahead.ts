/**
 * Compiles the roles' programs into the cluster's cache before the first of them starts. Without it each of them would load the
 * stripper of types (about 19 MB that a process never gives back) and hold the parsed sources (about 10 MB) for as long as it
 * lives. Guarantees: a failure costs memory, nothing else; done once per cluster and version of Node; what changes later is
 * compiled by the roles themselves, which save it when they end in order.
 */

import { join } from 'node:path';
import { tryRun } from '../os/child-process.ts';
import { readTextBounded, writeFileAtomic } from '../os/files.ts';
import type { LabLayout } from './layout.ts';
import type { RoleCommands } from './roles.ts';

const COMPILE_MS = 20_000;
const MARK_BYTES_MAX = 100;

/** Resolves when the cache is filled, or cannot be. Nothing is done for stand-ins. */
export async function compileAhead(
  { control, storage, agent, compile }: RoleCommands,
  layout: LabLayout,
): Promise<void> {
  const mark = join(layout.cacheDir, 'compiled');
  if (compile !== true || (await readTextBounded(mark, MARK_BYTES_MAX)) === process.version) return;
  const env = { PATH: process.env['PATH'], NODE_COMPILE_CACHE: layout.cacheDir };
  // Without a configuration each loads all its modules, says how it is used, and saves what it compiled as it exits.
  const ended = [control, storage, agent].map((argv) => tryRun(argv, { deadlineMs: COMPILE_MS, env, cwd: '/' }));
  const outcomes = await Promise.allSettled(ended);
  if (outcomes.every(({ status }) => status === 'fulfilled')) await writeFileAtomic(mark, process.version);
}
