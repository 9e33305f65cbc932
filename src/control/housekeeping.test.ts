import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeepingHouse } from './housekeeping.ts';
import type { ClusterStore, Write } from './store/cluster-store.ts';
import { networkRecord, vmRecord } from './testing/records.ts';

const MAC = '52:54:00:00:00:01';

/** One round over a network, as of revision 7, with an address of a card that its VM has not, as far as is known. */
async function tidied(completeRevision: number): Promise<readonly Write[]> {
  const vm = vmRecord(1);
  const reservations = { [MAC]: { address: '10.1.0.2', vm: vm.id, hostname: vm.name } };
  const network = networkRecord('blue', { cidr: '10.1.0.0/24', reservations });
  const written: Write[] = [];
  const round = Promise.withResolvers<void>();
  const store = {
    completeRevision,
    vms: new Map([[vm.id, { value: vm, revision: 5 }]]),
    networks: new Map([['blue', { value: network, revision: 7 }]]),
    tasks: new Map(),
    pruneEvents: async () => undefined,
    transact: async (writes: readonly Write[]) => void written.push(...writes),
  } as unknown as ClusterStore;
  let rounds = 0;
  const clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after: (_ms: number, act: () => void) => {
      if (++rounds === 1) setImmediate(act);
      else round.resolve();
      return () => undefined;
    },
  };
  const log = { info: () => undefined, warn: (message: string) => round.reject(new Error(message)) };
  new KeepingHouse({ store, compare: { key: 'lead', createRevision: 1 } as never, clock, log }).start();
  await round.promise;
  return written;
}

test('an address that no card has is freed, unless the VM that was given it is not known yet', async () => {
  const [freed, ...others] = await tidied(7);
  assert.deepEqual([freed?.key, freed?.expect, others.length], ['/gp/network/blue', 7, 0]);
  assert.match(JSON.stringify(freed?.value), /"reservations":\{\}/);
  assert.deepEqual(await tidied(6), [], 'the network was read back: the watch has not brought its VM');
});
