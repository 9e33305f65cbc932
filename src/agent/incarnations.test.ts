import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { parseGeneration, parseVmId } from '../base/ids.ts';
import { FIRST_QEMU_UID, findIncarnations, isUserOfSlot, markerArgument } from './incarnations.ts';

const SLOT = 3;
const key = (generation: number) => ({
  vm: parseVmId('vm-0000fee1dead'),
  generation: parseGeneration(generation),
  slot: SLOT,
});

test('a QEMU runs as the user of its slot, or as the agent itself', () => {
  assert.ok(isUserOfSlot(FIRST_QEMU_UID + SLOT, SLOT));
  assert.ok(isUserOfSlot(process.geteuid?.() ?? -1, SLOT));
  for (const uid of [FIRST_QEMU_UID, FIRST_QEMU_UID + SLOT + 1, 1_000, 65_534]) assert.ok(!isUserOfSlot(uid, SLOT));
});

test('a process of anybody else is no incarnation, whatever its arguments say', {
  skip: process.geteuid?.() !== 0,
}, async () => {
  const users = [FIRST_QEMU_UID + SLOT, FIRST_QEMU_UID + SLOT + 1, 1_000];
  const processes = users.map((uid, index) => {
    const asUser = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
    return spawn('setpriv', [...asUser, 'sh', '-c', 'echo; read end', markerArgument(key(index + 1))], {
      stdio: 'pipe',
    });
  });
  try {
    // Each prints something once it has become its user.
    await Promise.all(processes.map(({ stdout }) => once(stdout, 'data')));
    const found = findIncarnations().filter(({ vm }) => vm === key(1).vm);
    assert.deepEqual(
      found.map(({ generation }) => generation),
      [1],
    );
  } finally {
    for (const { stdin } of processes) stdin.end('\n');
    await Promise.all(processes.map((child) => (child.exitCode === null ? once(child, 'exit') : Promise.resolve())));
  }
});
