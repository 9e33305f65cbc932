import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventRecord } from '../../core/model/cluster.ts';
import { PREFIX } from '../../core/model/keys.ts';
import { SimCluster } from '../cluster.ts';
import { calmSwarm } from '../faults/swarm.ts';
import { People } from '../people/people.ts';
import { begin } from '../run.ts';

const eventsOf = (cluster: SimCluster): EventRecord[] =>
  cluster.etcd.state.list(PREFIX.event).map(({ value }) => JSON.parse(value) as EventRecord);

test('a pool that gets full under running guests: which one it is, events and reasons say, once; with room again, guests go on', async () => {
  const cluster = new SimCluster({ swarm: calmSwarm(1, 3), log: null, bug: null });
  const people = new People(cluster);
  assert.deepEqual(await begin(cluster, people, () => false), []);
  const { clock } = cluster;
  const forMs = (ms: number): Promise<void> => clock.run(clock.monotonicMs() + ms);
  await forMs(10_000);
  const vms = [...cluster.truth.tables.vm.values()].filter(({ phase }) => phase.kind === 'running');
  assert.equal(vms.length, 3);
  const before = new Set(eventsOf(cluster).map((event) => JSON.stringify(event)));
  const told = () => eventsOf(cluster).filter((event) => !before.has(JSON.stringify(event)));

  for (const { pool } of cluster.storage.values()) pool.isFull = true;
  await forMs(12_000);
  const full = told().filter(({ kind }) => kind === 'pool-full');
  assert.deepEqual(full.map(({ message }) => message.split(' is full')[0] ?? '').sort(), [
    'The pool of storage node s1',
    'The pool of storage node s2',
  ]);
  const paused = told().filter(({ kind }) => kind === 'disk-error');
  assert.ok(paused.length > 0);
  assert.equal(new Set(paused.map(({ vmName }) => vmName)).size, paused.length, 'each guest is told of once');
  const leader = [...cluster.controls.values()].find(({ controller }) => controller !== null)?.controller;
  assert.ok(leader);
  for (const { vm, vmName, message } of paused) {
    assert.match(
      message,
      /is paused by a disk error: the pool of storage node s[12] is full \(0 MiB of \d+ MiB free\)/,
    );
    assert.match(leader.vms.whyOf(vm as never), /the pool of storage node s[12] is full/, `why of ${vmName}`);
  }

  for (const { pool } of cluster.storage.values()) pool.isFull = false;
  await forMs(15_000);
  assert.equal(told().filter(({ kind }) => kind === 'pool-enough').length, 2);
  for (const vm of vms) assert.ok(leader.vms.seesRunning(vm), `${vm.name} goes on`);
  assert.equal(told().filter(({ kind }) => kind === 'disk-error').length, paused.length);
  assert.deepEqual(cluster.violations, []);
});
