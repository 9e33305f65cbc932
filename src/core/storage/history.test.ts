import assert from 'node:assert/strict';
import { test } from 'node:test';
import { termOf } from '../../base/epoch.ts';
import type { ClusterView } from './cluster-view.ts';
import { whyNotFollowed } from './history-guard.ts';
import { diskId } from './testing/fake-node.ts';
import { coded, granted, OTHER, PORT, ServiceWorld, viewOf } from './testing/service-world.ts';

const history = (epoch: number, revision: number, id = epoch === 0 ? '' : 'a') => ({ epoch, id, revision });
const inEpoch = (number: number, view: ClusterView, vms: readonly string[] = []): ClusterView => ({
  ...view,
  history: history(number, 1),
  epoch: { number, id: 'a', vms: new Set(vms as never[]), ports: new Set() },
});

test('G9 only what goes on from the known history, or begins a later epoch, is followed', () => {
  assert.equal(whyNotFollowed(null, history(0, 1)), null);
  assert.equal(whyNotFollowed(history(0, 9), history(0, 9)), null);
  assert.equal(whyNotFollowed(history(0, 9), history(1, 2)), null);
  assert.equal(whyNotFollowed(history(0, 9), history(0, 0)), null, 'control nodes of an older version tell none');
  assert.match(whyNotFollowed(history(1, 9), history(0, 0)) ?? '', /older than what is served/);
  assert.match(whyNotFollowed(history(0, 9), history(0, 8)) ?? '', /restored without a new epoch/);
  assert.match(whyNotFollowed(history(2, 9), history(1, 90)) ?? '', /older than what is served/);
  assert.match(whyNotFollowed(history(2, 9), history(2, 10, 'b')) ?? '', /another epoch 2/);
});

test('G9 beside an etcd that went back nothing new is granted, what is served goes on, and the report says why', async () => {
  const world = await new ServiceWorld({ ...viewOf([1]), history: history(0, 50) }).start();
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 1`]);
  world.view = { ...viewOf([2]), history: history(0, 40) };
  await world.clock.advance(61_000);
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 1`]);
  await assert.rejects(world.grant(2), coded('unavailable'));
  assert.match((await world.service.report()).faults?.[0]?.message ?? '', /restored without a new epoch/);
});

test('G9 once a leader of a later epoch is heard, leaders from before are refused, and nothing is granted unread', async () => {
  const world = await new ServiceWorld(viewOf([1])).start();
  const term = termOf(1, 3);
  await world.fence(1, term);
  await assert.rejects(world.fence(1), coded('stale-order'));
  world.view = null;
  await assert.rejects(world.grant(1_000_000_000_001, { term }), coded('unavailable'));
});

test('G8 a service that starts leaves what it finds of restored VMs, and of those that the snapshot did not know', async () => {
  const view = viewOf([]);
  const world = new ServiceWorld(inEpoch(1, { ...view, vms: new Map(), unreadableVms: new Set([...view.vms.keys()]) }));
  world.node.leave(diskId(1), PORT, [granted(4)]);
  world.node.leave(diskId(2), PORT + 1, [granted(6, OTHER)]);
  await world.start();
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 4`, `2@${PORT + 1}: 6`]);
});

test('G8 what a VM left behind that the snapshot knew and no record names any more is revoked', async () => {
  const world = new ServiceWorld(inEpoch(1, { ...viewOf([]), vms: new Map() }, [OTHER]));
  world.node.leave(diskId(2), PORT + 1, [granted(6, OTHER)]);
  await world.start();
  assert.deepEqual(world.node.serving(), [`2@${PORT + 1}: `]);
});
