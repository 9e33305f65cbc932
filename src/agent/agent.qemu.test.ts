/** The agent with real QEMUs, inside namespaces that end with the test (see testing/agent-scenario.ts). */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tryRun } from '../os/child-process.ts';

const SCENARIO = fileURLToPath(new URL('testing/agent-scenario.ts', import.meta.url));
const ROOT = process.geteuid?.() === 0;

async function inNamespaces(qemuUsers: 'per-slot' | 'self'): Promise<void> {
  const user = qemuUsers === 'self' ? ['--user', '--map-root-user'] : [];
  const namespaces = ['--net', '--mount', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc'];
  const argv = ['unshare', ...user, ...namespaces, '--', process.execPath, '--test-reporter=tap', SCENARIO];
  const env = { ...process.env, QEMU_USERS: qemuUsers, NODE_TEST_CONTEXT: undefined };
  const { exitCode, stdout, stderr } = await tryRun(argv, { deadlineMs: 180_000, env });
  assert.equal(exitCode, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, /^# pass \d\d$/m);
}

test('QEMUs as users of their own', { skip: !ROOT && 'needs root' }, () => inNamespaces('per-slot'));

test("QEMUs as the agent's user, in a user namespace", () => inNamespaces('self'));
