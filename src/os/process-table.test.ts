import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import {
  bootId,
  isOver,
  isRunning,
  listProcesses,
  parseStat,
  processIdentity,
  readProcess,
  signalProcess,
  waitGone,
} from './process-table.ts';

test('this very process is in the table', () => {
  const self = present(
    listProcesses().find(({ pid }) => pid === process.pid),
    'self',
  );
  assert.equal(self.ppid, process.ppid);
  assert.equal(self.uid, process.geteuid?.());
  assert.equal(self.argv[0], process.argv0);
  assert.deepEqual(processIdentity(process.pid), { pid: self.pid, startTicks: self.startTicks });
  assert.match(bootId(), /^[0-9a-f-]{36}$/);
});

test('a process name may hold spaces and parentheses', () => {
  const rest = Array.from({ length: 30 }, (_, index) => String(index + 5)).join(' ');
  assert.deepEqual(parseStat(`9 (evil) R 1 (x) S 4 ${rest}`), { state: 'S', ppid: 4, threads: 20, startTicks: 22 });
  assert.equal(parseStat('9 (short) S 1'), undefined);
});

test('a killed process is not over while the kernel still works for one of its threads', () => {
  // As seen for a process whose main thread had ended and whose other thread had not (Linux 6.18).
  const seen =
    '32030 (python3) Z 32020 32020 9591 0 -1 4227084 2086 0 0 0 2 1 0 0 20 0 2 0 1536003 0 0 18446744073709551615';
  const stat = present(parseStat(seen), 'stat');
  assert.deepEqual(stat, { state: 'Z', ppid: 32_020, threads: 2, startTicks: 1_536_003 });
  assert.equal(isOver(stat), false);
  assert.equal(isOver({ ...stat, threads: 1 }), true);
  assert.equal(isOver({ state: 'D', threads: 1 }), false);
});

test('arguments that are empty or hold newlines are kept', async () => {
  const child = spawn('/bin/sh', ['-c', 'read x', '', 'two\nlines', ''], { stdio: ['pipe', 'ignore', 'ignore'] });
  const exit = once(child, 'exit');
  const record = present(readProcess(present(child.pid, 'pid')), 'record');
  assert.deepEqual(record.argv, ['/bin/sh', '-c', 'read x', '', 'two\nlines', '']);
  child.stdin.end();
  await exit;
});

test('a reused pid is not signalled; a zombie is gone; an ended process is waited for', async () => {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  const exit = once(child, 'exit');
  const identity = present(processIdentity(present(child.pid, 'pid')), 'identity');
  const other = { ...identity, startTicks: identity.startTicks - 1 };
  assert.equal(signalProcess(other, 'SIGKILL'), false);
  assert.equal(isRunning(other), false);
  assert.equal(isRunning(identity), true);
  await assert.rejects(waitGone(identity, 20), (error) => error instanceof CodedError && error.code === 'deadline');
  assert.equal(signalProcess(identity, 'SIGKILL'), true);
  await waitGone(identity, 20_000);
  await exit;
  assert.equal(signalProcess(identity, 'SIGKILL'), false);
  assert.equal(readProcess(identity.pid), undefined);
});
