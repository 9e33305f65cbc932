/** Runs a file of tests inside namespaces of its own, which end with every process in them. */

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { tryRun } from '../../os/child-process.ts';

const DEADLINE_MS = 180_000;

/**
 * Asserts that every test of a file passes, and that there is one. `name`: a file of this folder. `user`: as root of a
 * user namespace; otherwise as who we are, which must be root.
 */
export async function assertPassesInNamespaces(
  name: string,
  { user, env = {} }: { readonly user: boolean; readonly env?: NodeJS.ProcessEnv },
): Promise<void> {
  const argv = [
    'unshare',
    ...(user ? ['--user', '--map-root-user'] : []),
    ...['--net', '--mount', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc', '--'],
    ...[process.execPath, '--test-reporter=tap', fileURLToPath(new URL(name, import.meta.url))],
  ];
  const { exitCode, stdout, stderr } = await tryRun(argv, {
    deadlineMs: DEADLINE_MS,
    env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined },
  });
  assert.equal(exitCode, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, /^# pass [1-9]\d*$/m);
}
