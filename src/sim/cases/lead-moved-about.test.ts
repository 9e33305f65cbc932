import assert from 'node:assert/strict';
import { test } from 'node:test';
import { present } from '../../base/assert.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { SimCluster } from '../cluster.ts';
import { calmSwarm } from '../faults/swarm.ts';
import { People } from '../people/people.ts';
import { wishOf } from '../people/wishes.ts';
import { begin } from '../run.ts';

/** How long the guest is given, in ms: longer than any term lasts while the lead moves about. */
const PATIENCE_MS = 30_000;
const WATCHED_MS = 300_000;

test('a host that answers everybody but the leader moves the lead about for a while only, and stops of other VMs come to their end', async () => {
  const cluster = new SimCluster({ swarm: calmSwarm(1, 1), log: null, bug: null });
  const people = new People(cluster);
  assert.deepEqual(await begin(cluster, people, () => false), []);
  const vmOf = (): VmRecord | undefined => [...cluster.truth.tables.vm.values()][0];
  await cluster.clock.run(cluster.now + 10_000, () => vmOf()?.phase.kind === 'running');
  const vm = present(vmOf(), 'VM');
  assert(vm.phase.kind === 'running');
  const { host } = vm.phase.incarnation;
  present(cluster.qemuOf(vm.id, vm.generation), 'QEMU').isDeaf = true;
  const attacker = present(
    [...cluster.hosts.keys()].find((each) => each !== host),
    'another host',
  );
  const terms = new Set<number>();
  let aimedAt: string | null = null;
  let heal = (): void => undefined;
  const aim = (): void => {
    const { leader } = cluster.truth;
    if (leader !== null) terms.add(leader.term);
    if (leader !== null && leader.control !== aimedAt) {
      heal();
      aimedAt = leader.control;
      heal = cluster.network.cut('control', present(cluster.controls.get(aimedAt), aimedAt).machine.name, attacker);
    }
    cluster.clock.after(50, aim);
  };
  aim();
  const control = [...cluster.controls.values()].find(({ context }) => context !== null);
  const stop = { deed: 'stop', vm: vm.name, to: host, patienceMs: PATIENCE_MS } as const;
  void wishOf(cluster, present(control, 'a control node'), stop);
  const begunAt = cluster.now;
  await cluster.clock.run(begunAt + WATCHED_MS, () => vmOf()?.phase.kind === 'stopped');
  assert.equal(vmOf()?.phase.kind, 'stopped', `${terms.size} leaders, one after the other`);
  await cluster.clock.run(begunAt + WATCHED_MS);
  assert.ok(terms.size > 3, 'it does move the lead');
  assert.ok(terms.size <= 16, `${terms.size} leaders in five minutes`);
  assert.deepEqual(cluster.violations, []);
});
