import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { deviceBytes, processorMs, readFigures } from './figures.ts';

test('processor time is read behind the name, whatever the name contains', () => {
  const after = 'S 1 7 7 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 4 0 12345 1 2';
  assert.equal(processorMs(`7 (qemu) S 1) ${after}`), 3_000);
});

test('of this very process the kernel counts what it counts; one that has ended has no figures', () => {
  const figures = readFigures(process.pid, [{ device: 'lo', vni: 1, mac: '52:54:00:00:00:01' }]);
  assert.ok(figures !== null);
  const usedMs = process.cpuUsage();
  assert.ok(Math.abs(figures.cpuMs - (usedMs.user + usedMs.system) / 1_000) < 200, String(figures.cpuMs));
  const kib = Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
  assert.ok(Math.abs(figures.residentBytes / 1_024 - kib) < kib / 4);
  assert.deepEqual([figures.nics[0]?.mac, Number.isFinite(figures.nics[0]?.sentBytes)], ['52:54:00:00:00:01', true]);
  assert.equal(readFigures(2 ** 22 + 1, []), null);
});

test('what devices received and sent is told by their names; one that is not there has no counts', () => {
  const text = [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo: 1000      10    0    0    0     0          0         0     2000      10    0    0    0     0       0          0',
    'gp0a1b2:184467440      10    0    0    0     0          0         0       44       1    0    0    0     0       0          0',
  ].join('\n');
  assert.deepEqual(Object.fromEntries(deviceBytes(text)), {
    lo: { received: 1_000, sent: 2_000 },
    gp0a1b2: { received: 184_467_440, sent: 44 },
  });
  const taps = ['lo', 'none'].map((device) => ({ device, vni: 1, mac: device }));
  assert.deepEqual(
    readFigures(process.pid, taps)?.nics.map(({ mac }) => mac),
    ['lo'],
  );
});
