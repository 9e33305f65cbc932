/** The agent with real QEMUs (testing/agent-scenario.ts). */

import { test } from 'node:test';
import { assertPassesInNamespaces } from './testing/in-namespaces.ts';

const SCENARIO = 'agent-scenario.ts';
const root = process.geteuid?.() === 0;

test('QEMUs as users of their own', { skip: !root && 'needs root' }, () =>
  assertPassesInNamespaces(SCENARIO, { user: false, env: { QEMU_USERS: 'per-slot' } }),
);

test("QEMUs as the agent's user, in a user namespace", () =>
  assertPassesInNamespaces(SCENARIO, { user: true, env: { QEMU_USERS: 'self' } }));
