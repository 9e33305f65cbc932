import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { endOurs, leaksBetween, type MachineState, machineState, RUN_VARIABLE } from './leaks.ts';

const NOTHING: MachineState = { processes: [], namespaces: [], interfaces: [], mounts: [] };
const PROCESS = { pid: 10, parentPid: 1, startTicks: 5, name: 'etcd', isOurs: false };

test('what was there before is no leak', () => {
  const state = { processes: [PROCESS], namespaces: ['n'], interfaces: ['lo'], mounts: ['/'] };
  assert.deepEqual(leaksBetween(state, state), []);
});

test('new namespaces, interfaces, mounts and orphans are leaks', () => {
  const after = { processes: [PROCESS], namespaces: ['n'], interfaces: ['br0'], mounts: ['/mnt'] };
  const expected = ['process 10 etcd', 'network namespace n', 'network interface br0', 'mount /mnt'];
  assert.deepEqual(leaksBetween(NOTHING, after), expected);
});

test('a process with the pid of an earlier one is a new process', () => {
  const before = { ...NOTHING, processes: [{ ...PROCESS, startTicks: 4 }] };
  assert.equal(leaksBetween(before, { ...NOTHING, processes: [PROCESS] }).length, 1);
});

test("somebody else's process is no leak", () => {
  const others = [
    { ...PROCESS, parentPid: 77 },
    { ...PROCESS, name: 'bash' },
  ];
  assert.deepEqual(leaksBetween(NOTHING, { ...NOTHING, processes: others }), []);
});

test('finds and ends what carries the mark of the run, whatever its name', async () => {
  const runId = `leaks-test-${process.pid}`;
  const before = machineState(runId);
  const child = spawn('sleep', ['60'], { env: { ...process.env, [RUN_VARIABLE]: runId }, stdio: 'ignore' });
  await once(child, 'spawn');
  assert.deepEqual(leaksBetween(before, machineState(runId)), [`process ${child.pid} sleep`]);
  const ended = once(child, 'exit');
  endOurs(machineState(runId));
  assert.deepEqual(await ended, [null, 'SIGKILL']);
});
