import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GuestClusterName, parseDrainId } from '../../base/ids.ts';
import { ClusterIndex } from '../../core/model/cluster-index.ts';
import type { DrainMove, DrainRecord } from '../../core/model/drain.ts';
import { keyOf } from '../../core/model/keys.ts';
import { host, hostRecord, incarnation, task, VM, vmRecord } from '../../core/plan/testing/sample-records.ts';
import type { Etcd } from '../../etcd/api.ts';
import type { Op } from '../../etcd/records.ts';
import { EtcdState } from '../../sim/etcd/etcd-state.ts';
import { ClusterStore } from '../store/cluster-store.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { createBackend } from './backend.ts';
import type { BackendContext } from './context.ts';
import { indexOfStore } from './records-index.ts';

const MIB = 1024 ** 2;
const DRAIN = parseDrainId('drain-000000000001');
const SQL = 'sql' as GuestClusterName;
const clock = { wallMs: () => 0, monotonicMs: () => 0, after: () => () => undefined };

/** A store whose etcd takes what a test writes. */
class World {
  readonly #state = new EtcdState();
  readonly store = new ClusterStore(
    {
      clock,
      list: async (prefix: string) => ({ revision: this.#state.revision, entries: this.#state.list(prefix) }),
    } as unknown as Etcd,
    () => '00',
  );

  async write(...success: Op[]): Promise<void> {
    this.#state.txn({ compare: [], success });
    await this.store.catchUp();
  }

  put(key: string, value: object | string): Promise<void> {
    return this.write({ put: key, value: typeof value === 'string' ? value : JSON.stringify(value) });
  }

  /** Compares the kept index with one made from the same records now. */
  say() {
    const fresh = new ClusterIndex();
    fresh.load(snapshotOf(this.store));
    const kept = viewOf(indexOfStore(this.store));
    assert.deepEqual(kept, viewOf(fresh));
    return kept;
  }
}

function viewOf(index: ClusterIndex) {
  const hosts = [host(1), host(2)].map((name) => ({
    host: index.host(name),
    committedBytes: index.committedBytes(name),
    claimedBytes: index.claimedBytes(name),
    vms: [...index.vmsOn(name)],
  }));
  return {
    hosts,
    ranking: index.byFreeMemory().map((ranked) => ({ ...ranked })),
    drains: [...index.drains()].map(({ id }) => id),
    withClaims: [...index.hostsWithClaims()].sort(),
    cluster: index.guestClusterOf({ spec: { guestCluster: SQL } } as never)?.name ?? null,
  };
}

/** A drain of host 1, with a move to host 2, which was promised its memory while it runs. */
function drainRecord(state: DrainRecord['state']): DrainRecord {
  const move: DrainMove = {
    ...{ id: 0, vm: VM, name: 'web', from: host(1), to: host(2), after: [], why: 'evacuate', state: 'waiting' },
    ...{ memoryMib: 512, durationMs: 9_000, pauseMs: 400, taskId: null, startedAt: null, endedAt: null },
    ...{ measuredPauseMs: null, failures: 0, note: null },
  };
  return {
    ...{ id: DRAIN, hosts: [host(1)], state, who: 'ann', reason: null, change: null, parallel: 2, taskId: task(1) },
    ...{ moves: [move], stuck: null, deviations: [], createdAt: 1, endedAt: null },
  };
}

test('after any changes the index of the API answers as one that is made from the records: drains, and what became unreadable', async () => {
  const world = new World();
  const running = vmRecord({ kind: 'running', incarnation: incarnation(1, 1) });
  indexOfStore(world.store);
  await world.put(keyOf.host(host(1)), hostRecord(1));
  await world.put(keyOf.host(host(2)), hostRecord(2));
  await world.put(keyOf.vm(VM), running);
  const before = world.say();
  assert.deepEqual(before.hosts[0]?.vms, [VM]);
  assert.deepEqual(before.withClaims, []);
  await world.put(keyOf.drain(DRAIN), drainRecord('running'));
  assert.equal(world.store.unreadable.get(keyOf.drain(DRAIN)), undefined);
  const promised = world.say();
  assert.deepEqual([promised.drains, promised.withClaims], [[DRAIN], [host(2)]]);
  assert.ok((promised.hosts[1]?.claimedBytes ?? 0) >= 512 * MIB);
  for (const key of [keyOf.vm(VM), keyOf.drain(DRAIN), keyOf.host(host(2))]) {
    await world.put(key, '"no record"');
    assert.deepEqual(world.say(), promised, `${key} counts as it was last read`);
  }
  await world.put(keyOf.host(host(2)), hostRecord(2));
  await world.put(keyOf.drain(DRAIN), drainRecord('cancelled'));
  assert.deepEqual(world.say().withClaims, []);
  await world.write({ delete: keyOf.drain(DRAIN) }, { delete: keyOf.vm(VM) });
  const after = world.say();
  assert.deepEqual([after.drains, after.hosts[0]?.vms], [[], []]);
});

test('no request pays for the index: a backend that is made before etcd is read takes the records in as they come', async (t) => {
  const world = new World();
  createBackend({ store: world.store, clock, name: 'c1', adminTokenSha256: '00' } as unknown as BackendContext);
  const ranked = t.mock.method(ClusterIndex.prototype, 'byFreeMemory');
  await world.put(keyOf.host(host(1)), hostRecord(1));
  assert.ok(ranked.mock.callCount() > 0, 'hosts are ranked as their records come');
  const loaded = t.mock.method(ClusterIndex.prototype, 'load');
  const placed = t.mock.method(ClusterIndex.prototype, 'setHost');
  assert.deepEqual(
    indexOfStore(world.store)
      .byFreeMemory()
      .map((each) => each.host),
    [host(1)],
  );
  assert.deepEqual([loaded.mock.callCount(), placed.mock.callCount()], [0, 0]);
});
