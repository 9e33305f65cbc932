import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmId } from '../../../base/ids.ts';
import { msUntilLook, steadyIntervalMs } from './steady-looks.ts';

const ids = (count: number): VmId[] => Array.from({ length: count }, (_, n) => `vm-${n}` as VmId);

test('5 s between two looks at a VM, and longer where all together would be more than 2,000 a second', () => {
  assert.deepEqual([0, 1, 10_000, 20_000, 60_000].map(steadyIntervalMs), [5_000, 5_000, 5_000, 10_000, 30_000]);
});

test('a look comes at an instant of the VM’s own, half an interval after the last one at the earliest', () => {
  const interval = 5_000;
  for (const id of ids(50)) {
    const first = msUntilLook(id, interval, 0, interval) % interval;
    for (const now of [1, 777, 4_999, 123_456.5]) {
      const delay = msUntilLook(id, interval, now, interval);
      assert.ok(delay >= interval / 2 && delay < 1.5 * interval, `${id} at ${now}: ${delay}`);
      const off = (now + delay - first) % interval;
      assert.ok(Math.min(off, interval - off) < 0.001, `${id} at ${now}: at ${off} of its interval`);
    }
  }
});

test('one that has to be looked at sooner is', () => {
  assert.equal(msUntilLook('vm-1' as VmId, 4_999, 12, 5_000), 4_999);
  assert.equal(msUntilLook('vm-1' as VmId, 5_000, 12, 10_000), 5_000);
});

test('looks at VMs that were all looked at in one moment do not come in waves', () => {
  const count = 20_000;
  const interval = steadyIntervalMs(count);
  const perSecond = new Array<number>(15).fill(0);
  for (const id of ids(count)) {
    const second = Math.floor(msUntilLook(id, interval, 0, interval) / 1_000);
    perSecond[second] = (perSecond[second] ?? 0) + 1;
  }
  // Half an interval goes by without a look; then each second has its share.
  assert.deepEqual(perSecond.slice(0, 5), [0, 0, 0, 0, 0]);
  for (const looks of perSecond.slice(5)) assert.ok(looks > 1_800 && looks < 2_200, `${perSecond}`);
});
