import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf, PREFIX } from '../../model/keys.ts';
import type { Snapshot } from '../../ports/store.ts';
import {
  diskRecord,
  guestClusterRecord,
  incarnation,
  memberRecord,
  node,
  sharedDiskRecord,
  vmRecord,
} from '../testing/sample-records.ts';
import { unreadableFor, unreadableOfCluster, unreadableUser } from './unreadable.ts';

const shared = sharedDiskRecord();
const member = memberRecord(1, { kind: 'running', incarnation: incarnation(1) });
const nics = [{ network: 'lan' as never, mac: '02:00:00:00:00:01', address: null }];
const vm = { ...member, spec: { ...member.spec, nics, sharedDisks: [{ disk: shared.id, lun: 0 }] } };

const snapshot = (...unreadable: readonly string[]): Snapshot =>
  ({
    unreadable: new Map(unreadable.map((key) => [key, 'is not JSON'])),
    disksOf: () => [diskRecord()],
    sharedDisks: new Map([[shared.id, { value: shared, revision: 1 }]]),
  }) as unknown as Snapshot;

test('nothing is decided about a VM while anything that it depends on cannot be read, and the key is named', () => {
  for (const key of [
    keyOf.disk(diskRecord().id),
    keyOf.storage(node(1)),
    keyOf.sharedDisk(shared.id),
    keyOf.storage(shared.node),
    keyOf.host(incarnation(1).host),
    keyOf.network('lan' as never),
    keyOf.guestCluster('sql' as never),
  ])
    assert.equal(unreadableFor(vm, snapshot(key)), `Nothing is decided: what etcd holds at ${key} is not JSON.`);
});

test('what a VM does not depend on holds it up in no way', () => {
  assert.equal(unreadableFor(vm, snapshot()), null);
  const others = [
    `${PREFIX.reservation}disk-0000000000a1`,
    keyOf.host('h9' as never),
    `${PREFIX.vm}vm-00000000000f`,
    '/gp/future/x',
  ];
  assert.equal(unreadableFor(vm, snapshot(...others)), null);
  assert.equal(unreadableFor(vmRecord({ kind: 'stopped' }), snapshot(keyOf.host(incarnation(1).host))), null);
});

test('a guest cluster stands still while a member or a disk of it cannot be read, and uses are unknown while a VM cannot', () => {
  const cluster = guestClusterRecord([vm], { disks: [shared.id] });
  assert.equal(unreadableOfCluster(cluster, snapshot().unreadable), null);
  for (const key of [keyOf.vm(vm.id), keyOf.sharedDisk(shared.id)])
    assert.match(String(unreadableOfCluster(cluster, snapshot(key).unreadable)), new RegExp(key));
  assert.equal(unreadableUser(PREFIX.vm, snapshot(keyOf.host('h9' as never)).unreadable), null);
  assert.match(String(unreadableUser(PREFIX.vm, snapshot(keyOf.vm(vm.id)).unreadable)), /whether it is in use/);
});
