import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { PREFIX } from '../core/model/keys.ts';
import type { Members } from '../core/plan/hosts/port-filter.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { Etcd } from '../etcd/api.ts';
import { followMembers } from './members.ts';

/** Every wait is over at the next turn. */
const CLOCK: Clock = {
  wallMs: () => 0,
  monotonicMs: () => 0,
  after: (_delayMs, callback) => {
    const timer = setImmediate(callback);
    return () => clearImmediate(timer);
  },
};
const RECORDS: Readonly<Record<string, object>> = {
  [`${PREFIX.control}c1`]: { address: '10.77.0.11' },
  [`${PREFIX.storage}s1`]: { addresses: { control: '10.77.1.1', storage: '10.78.1.1' } },
  [`${PREFIX.storage}s2`]: { addresses: { control: '10.77.1.2', storage: '10.78.1.2' }, lost: { at: 1, by: 'anna' } },
  [`${PREFIX.host}h1`]: { addresses: { control: '10.77.2.1' } },
};

test('an etcd that refuses for a while is asked again, and no membership is followed twice', async () => {
  const refused: string[] = [];
  const told = Promise.withResolvers<Members>();
  let [isClosed, isRefusing, watches] = [false, true, 0];
  let asked = 0;
  const etcd = {
    clock: CLOCK,
    get isClosed() {
      return isClosed;
    },
    list: async (prefix: string) => {
      asked += 1;
      isRefusing &&= asked < 20;
      if (isRefusing && prefix === PREFIX.host) throw new CodedError('forbidden', 'permission denied');
      const entries = Object.entries(RECORDS).filter(([key]) => key.startsWith(prefix));
      return { revision: 1, entries: entries.map(([key, value]) => ({ key, value: JSON.stringify(value) })) };
    },
    watch: async (_prefix: string, { signal }: { readonly signal?: AbortSignal }) => {
      watches += 1;
      await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
      watches -= 1;
    },
  };
  const onRefused = (reason: string): number => refused.push(reason);
  void followMembers(etcd as unknown as Etcd, { onMembers: told.resolve, onRefused });
  assert.deepEqual(await told.promise, {
    controls: ['10.77.0.11'],
    storage: ['10.77.1.1', '10.78.1.1'],
    hosts: ['10.77.2.1'],
  });
  while (watches < 3) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(refused, ['permission denied'], 'it is said once');
  assert.equal(watches, 3);
  isClosed = true;
});
