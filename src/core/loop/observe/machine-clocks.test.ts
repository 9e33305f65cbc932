import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep } from '../../../base/sleep.ts';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import { clockFinding } from '../../model/clock-offset.ts';
import { host, hostRecord, node } from '../../plan/testing/sample-records.ts';
import type { HostLink } from '../../ports/host-link.ts';
import type { StorageLink } from '../../ports/storage-link.ts';
import { HostObserver } from './host-observer.ts';
import { StorageObserver } from './storage-observer.ts';

const BEHIND_MS = -360_000;

test('reports that carry a wall clock tell how far it is off, those of older versions nothing', async () => {
  const clock = new SimClock();
  const wallMs = (offBy: number | undefined) => (offBy === undefined ? {} : { wallMs: clock.wallMs() + offBy });
  const offBy = new Map<string, number | undefined>([
    ['h1', BEHIND_MS],
    ['h2', undefined],
    ['s1', 40_000],
  ]);
  const hosts = {
    report: async (name: string) => {
      await sleep(clock, 100);
      const report = { ...wallMs(offBy.get(name)), host: name, bootId: 'b', agentVersion: '0', networkRevision: 1 };
      await sleep(clock, 100);
      return { ...report, capacity: hostRecord(1).capacity, incarnations: [] };
    },
  } as unknown as HostLink;
  const paths = { list: () => [], probe: async () => ({ outcome: 'void', lateMs: 0 }) } as never;
  const observer = new HostObserver(
    { clock, hosts, paths },
    {
      onReport: () => undefined,
      onState: () => undefined,
      onProcesses: () => undefined,
    },
  );
  const storage = {
    report: async () => ({ ...wallMs(40_000), node: 's1', pool: {}, artifacts: [], disks: [] }),
  } as unknown as StorageLink;
  const nodes = new StorageObserver(
    { clock, storage, isServed: async () => null },
    { onState: () => undefined, onReport: () => undefined, onGone: () => undefined },
  );
  assert.equal(observer.clockOffset(host(1)), null);
  for (const n of [1, 2]) observer.watch(hostRecord(n));
  nodes.watch([node(1)]);
  await clock.run(clock.monotonicMs() + 2_000);
  const seen = observer.clockOffset(host(1));
  assert.ok(seen !== null && Math.abs(seen.offsetMs - BEHIND_MS) <= seen.errorMs && seen.errorMs === 100);
  assert.match(String(clockFinding('h1', seen)), /360 s behind/);
  assert.equal(observer.clockOffset(host(2)), null);
  assert.match(String(clockFinding('s1', nodes.clockOffset(node(1)))), /40 s ahead/);
  offBy.set('h1', 0);
  await clock.run(clock.monotonicMs() + 2_000);
  assert.equal(clockFinding('h1', observer.clockOffset(host(1))), null, 'it is over by itself');
  observer.stop();
  nodes.stop();
});
