import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import { vmRecord } from '../../plan/testing/sample-records.ts';
import type { Change, Snapshot } from '../../ports/store.ts';
import { Housekeeping } from './housekeeping.ts';

const EVERY_MS = 30_000;
const entries = (count: number, value: (n: number) => object): Map<string, object> =>
  new Map(Array.from({ length: count }, (_, n) => [`x${n}`, { value: value(n), revision: n + 1 }]));

/** Housekeeping over these records; `refuses`: how many commits fail. */
function setUp(records: Partial<Record<keyof Snapshot, unknown>>, refuses = 0) {
  const clock = new SimClock();
  const commits: (readonly Change[])[] = [];
  const said: string[] = [];
  let failures = refuses;
  const none = new Map();
  const house = new Housekeeping({
    clock,
    log: { info: () => undefined, warn: (text) => void said.push(text) },
    store: {
      snapshot: {
        events: none,
        tasks: none,
        drains: none,
        rolls: none,
        tokens: none,
        networks: none,
        vms: none,
        completeRevision: 9,
        ...records,
      } as Snapshot,
      leads: () => true,
      commit: async ({ changes }) => {
        if (failures-- > 0) throw new Error('etcd is away');
        commits.push(changes);
        return 'committed';
      },
    },
  });
  house.start();
  return { house, clock, commits, said };
}

test('what has expired goes, a bounded number at a time; what never expires stays', async () => {
  const tokens = entries(40, (n) => ({ expiresAt: n % 2 === 0 ? null : n < 39 ? 1_000 : 10_000_000_000_000 }));
  const { clock, commits, house } = setUp({ tokens });
  await clock.run(EVERY_MS + 1_000);
  const gone = (commits[0] ?? []).map(({ kind, id }) => `${kind} ${id}`);
  assert.deepEqual(
    gone,
    Array.from({ length: 15 }, (_, n) => `token x${2 * n + 1}`),
  );
  house.stop();
});

test('the newest events and ended tasks are kept, and every task that runs; each round deletes a bounded number', async () => {
  const events = entries(5_120, () => ({}));
  const tasks = entries(1_010, (n) => ({ state: n < 5 ? 'running' : 'succeeded' }));
  const { clock, commits, house } = setUp({ events, tasks });
  await clock.run(EVERY_MS + 1_000);
  const [first = []] = commits;
  assert.deepEqual(
    first.map(({ kind, id, value }) => `${kind} ${id} ${value === null}`),
    [
      ...Array.from({ length: 50 }, (_, n) => `event x${n} true`),
      ...Array.from({ length: 5 }, (_, n) => `task x${n + 5} true`),
    ],
  );
  assert.equal(commits.length, 1);
  house.stop();
});

test('the newest rolls that are over are kept with their drains, and every other one', async () => {
  const rolls = entries(25, (n) => ({ state: n < 3 ? 'paused' : n % 2 === 0 ? 'completed' : 'aborted' }));
  const drains = entries(115, () => ({ state: 'drained', roll: 'x24' }));
  const { clock, commits, house } = setUp({ rolls, drains });
  await clock.run(EVERY_MS + 1_000);
  assert.deepEqual(
    commits.flat().map(({ kind, id }) => `${kind} ${id}`),
    ['roll x3', 'roll-plan x3', 'roll x4', 'roll-plan x4'],
  );
  house.stop();
});

test('the newest drains that are over are kept, and every other one', async () => {
  const drains = entries(115, (n) => ({ state: n < 3 ? 'paused' : n % 2 === 0 ? 'drained' : 'cancelled' }));
  const { clock, commits, house } = setUp({ drains });
  await clock.run(EVERY_MS + 1_000);
  assert.deepEqual(
    commits.flat().map(({ id }) => id),
    Array.from({ length: 10 }, (_, n) => `x${n + 3}`),
  );
  await clock.run(EVERY_MS);
  house.stop();
});

test('a failed round is logged and the next one tries again; none begins after the end', async () => {
  const { clock, commits, said, house } = setUp({ events: entries(5_001, () => ({})) }, 1);
  await clock.run(2 * EVERY_MS + 1_000);
  assert.deepEqual([said, commits.length], [['tidying up failed'], 1]);
  house.stop();
  await clock.run(10 * EVERY_MS);
  assert.equal(commits.length, 1);
});

test('an address that no card has is freed, unless the VM that was given it is not known yet', async () => {
  const vm = vmRecord({ kind: 'stopped' });
  const mac = '52:54:00:00:00:01';
  const value = { name: 'blue', reservations: { [mac]: { address: '10.1.0.2', vm: vm.id, hostname: vm.name } } };
  const freedAt = async (completeRevision: number): Promise<readonly Change[]> => {
    const vms = new Map([[vm.id, { value: vm, revision: 5 }]]);
    const networks = new Map([[value.name, { value, revision: 7 }]]);
    const { clock, commits, house } = setUp({ vms, networks, completeRevision });
    await clock.run(EVERY_MS + 1_000);
    house.stop();
    return commits.flat();
  };
  assert.deepEqual(await freedAt(7), [{ kind: 'network', id: 'blue', value: { ...value, reservations: {} } }]);
  assert.deepEqual(await freedAt(6), [], 'the network was read back: the watch has not brought its VM');
});
