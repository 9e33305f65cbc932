import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { parseStorageName, type StorageName } from '../base/ids.ts';
import { SimClock } from '../sim/time/sim-clock.ts';
import { letReadersIn } from './reader-keeper.ts';

/** Storage nodes by name; etcd refuses as often as a test says. */
function worldOf(names: Readonly<Record<string, { readonly isLost?: boolean }>>) {
  const record = (isLost: boolean) => ({ value: { ...(isLost ? { lost: { at: 1, by: 'ann' } } : {}) } });
  const storage = new Map(
    Object.entries(names).map(([name, { isLost = false }]) => [parseStorageName(name), record(isLost)]),
  );
  const allowed: StorageName[] = [];
  const revoked: StorageName[] = [];
  const world = { storage, allowed, revoked, failures: 0, clock: new SimClock(), onAllow: (): void => undefined };
  const readers = {
    allow: async (name: StorageName) => {
      if (world.failures-- > 0) throw new CodedError('unavailable', 'etcd has no leader.');
      allowed.push(name);
      world.onAllow();
    },
    revoke: async (name: StorageName) => void revoked.push(name),
  };
  const store = { storage, caughtUp: async () => undefined } as never;
  return { world, ports: { readers, store, clock: world.clock, log: { warn: () => undefined } } };
}

test('every storage node that is not lost is let in once, although etcd refuses at first', async () => {
  const { world, ports } = worldOf({ s1: {}, s2: {}, s3: { isLost: true } });
  world.failures = 3;
  const done = letReadersIn(ports, new AbortController().signal);
  await world.clock.run(10_000);
  await done;
  assert.deepEqual(world.allowed.slice().sort(), ['s1', 's2']);
  assert.deepEqual(world.revoked, []);
});

test('a node that is removed while it is let in does not keep the permission', async () => {
  const { world, ports } = worldOf({ s1: {} });
  world.onAllow = () => world.storage.clear();
  await letReadersIn(ports, new AbortController().signal);
  assert.deepEqual(world.revoked, ['s1']);
});

test('it ends with the term, whatever is left', async () => {
  const { world, ports } = worldOf({ s1: {} });
  world.failures = Number.POSITIVE_INFINITY;
  const term = new AbortController();
  const done = letReadersIn(ports, term.signal);
  await world.clock.run(100_000);
  term.abort(new Error('over'));
  await done;
  assert.deepEqual(world.allowed, []);
});
