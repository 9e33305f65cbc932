import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStorageName } from '../../../base/ids.ts';
import type { EventRecord } from '../../model/cluster.ts';
import { PoolWatch } from './pool-watch.ts';

const S1 = parseStorageName('s1');
const used = (percent: number) => ({ totalBytes: 2 ** 40, freeBytes: 2 ** 40 * (1 - percent / 100) });

function watch({ leads = true, commit = async () => 'committed' as const } = {}) {
  const events: EventRecord[] = [];
  const warned: string[] = [];
  const pools = new PoolWatch({
    clock: { wallMs: () => 1 },
    log: { info: () => undefined, warn: (message) => warned.push(message) },
    store: {
      leads: () => leads,
      commit: async (transaction) => {
        events.push(...transaction.events);
        return commit();
      },
    },
  });
  const see = (...percents: number[]) => {
    for (const percent of percents) pools.reported(S1, used(percent));
    return events.splice(0).map(({ kind }) => kind);
  };
  return { pools, see, events, warned };
}

test('each level is told of once when it is reached, and once when it is left', () => {
  const { see, pools } = watch();
  assert.deepEqual(see(10, 70, 81, 79, 82, 79.5), ['pool-low']);
  assert.deepEqual(see(91, 89, 91), ['pool-very-low']);
  assert.deepEqual(see(100, 100), ['pool-full']);
  assert.equal(pools.levelOf(S1), 'full');
  assert.deepEqual(see(85, 70, 60), ['pool-low', 'pool-enough']);
});

test('what a new leader finds is no change, nor what it finds of a node that joins again', () => {
  const { see, pools } = watch();
  assert.deepEqual(see(95, 95), []);
  pools.forget(S1);
  assert.equal(pools.levelOf(S1), null);
  assert.deepEqual(see(10, 95), ['pool-very-low']);
});

test('who does not lead says nothing, and an event that etcd does not take ends nothing', async () => {
  assert.deepEqual(watch({ leads: false }).see(10, 95), []);
  const { see, warned } = watch({ commit: () => Promise.reject(new Error('no etcd')) });
  see(10, 95);
  await new Promise((resolve) => void setImmediate(resolve));
  assert.equal(warned.length, 1);
});
