/**
 * Which generations a storage service serves after its start, and while etcd is away: docs/specs/generations.md, G4 and
 * G6.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settled } from '../ports/testing/manual-clock.ts';
import { diskId } from './testing/fake-node.ts';
import { coded, granted, OTHER, PORT, ServiceWorld, VM, viewOf } from './testing/service-world.ts';

test('G4 a service that restarts reads etcd first: until then nothing new is granted, and what runs is served', async () => {
  const world = new ServiceWorld(null);
  world.node.leave(diskId(1), PORT, [granted(3)]);
  await world.start();
  await assert.rejects(world.grant(4), coded('unavailable'));
  await assert.rejects(world.grant(3), coded('unavailable'));
  assert.deepEqual([world.node.serving(), world.service.isRestored], [[`1@${PORT}: 3`], false]);
  world.view = viewOf([3, 4]);
  await world.clock.advance(5_000);
  await world.grant(4);
  assert.deepEqual([world.node.serving(), world.service.isRestored], [[`1@${PORT}: 3,4`], true]);
});

test('G4 a fence is obeyed while etcd is away, and its floor outlasts the reading', async () => {
  const world = new ServiceWorld(null);
  world.node.leave(diskId(1), PORT, [granted(3)]);
  await world.start();
  assert.deepEqual(await world.fence(4), { revoked: [{ disk: diskId(1), generation: 3 }] });
  // The read of etcd may be older than the fence.
  world.view = viewOf([3]);
  await world.clock.advance(5_000);
  assert.deepEqual([world.node.serving(), world.service.isRestored], [[`1@${PORT}: `], true]);
  await assert.rejects(world.grant(3), coded('stale-order'));
});

test('G4 at the first reading, what etcd does not admit goes, and what it admits is served', async () => {
  const world = new ServiceWorld(viewOf([4]));
  world.node.leave(diskId(1), PORT, [granted(3)]);
  world.node.leave(diskId(2), 30_002, [granted(9, OTHER)]);
  await world.start();
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 4`, '2@30002: ']);
});

test('G4 an order for a generation that etcd has given out and does not admit comes too late', async () => {
  const world = await new ServiceWorld(viewOf([3], { highest: 5 })).start();
  for (const late of [4, 5]) await assert.rejects(world.grant(late), coded('stale-order'));
  await world.grant(6);
});

test('G6 a power-off admits nothing: a restarted service serves nothing of it', async () => {
  const world = new ServiceWorld(viewOf([], { highest: 3 }));
  world.node.leave(diskId(1), PORT, [granted(3)]);
  await world.start();
  assert.deepEqual(world.node.serving(), [`1@${PORT}: `]);
});

test('nothing is granted between the first reading and the revocation of what it does not admit', async () => {
  const world = new ServiceWorld(viewOf([4]));
  world.node.leave(diskId(1), PORT, [granted(3)]);
  const gate = Promise.withResolvers<void>();
  world.node.gates.set('remove 3', gate.promise);
  await world.start();
  await assert.rejects(world.grant(4), coded('unavailable'));
  gate.resolve();
  await world.clock.advance(0);
  await world.grant(4);
});

test('etcd is asked again soon while it is away, less and less often, every 5 s at last', async () => {
  const world = await new ServiceWorld(null).start();
  const within: number[] = [];
  for (let second = 0; second < 20; second += 5) {
    const before = world.reads;
    await world.clock.advance(5_000);
    within.push(world.reads - before);
  }
  assert.deepEqual(within, [3, 1, 1, 1]);
});

test('floors of etcd are followed every minute: a fence that reached nobody here takes effect', async () => {
  const world = await new ServiceWorld(viewOf([3])).start();
  assert.equal(world.reads, 1);
  world.view = viewOf([5]);
  await world.clock.advance(59_000);
  assert.deepEqual([world.reads, world.node.serving()], [1, [`1@${PORT}: 3`]]);
  await world.clock.advance(6_000);
  assert.deepEqual([world.reads, world.node.serving()], [2, [`1@${PORT}: `]]);
});

test('a record that cannot be read takes nothing away and grants nothing; etcd is read again at once', async () => {
  const unreadable = { ...viewOf([]), vms: new Map(), unreadableVms: new Set([VM]) };
  const world = new ServiceWorld(unreadable);
  world.node.leave(diskId(1), PORT, [granted(3)]);
  await world.start();
  assert.deepEqual([world.node.serving(), world.service.isRestored], [[`1@${PORT}: 3`], true]);
  world.view = viewOf([3, 4]);
  await assert.rejects(world.grant(4), coded('unavailable'));
  await world.clock.advance(0);
  assert.equal(world.reads, 2);
  await world.grant(4);
});

test('a fence of a VM whose record cannot be read is obeyed', async () => {
  const world = new ServiceWorld({ ...viewOf([]), vms: new Map(), unreadableVms: new Set([VM]) });
  world.node.leave(diskId(1), PORT, [granted(3)]);
  await world.start();
  await world.fence(4);
  assert.deepEqual(world.node.serving(), [`1@${PORT}: `]);
});

test('a daemon that dies is started again on its port with its grants, at once', async () => {
  const world = await new ServiceWorld(viewOf([3, 4])).start();
  world.node.end(diskId(1));
  assert.deepEqual(world.node.serving(), []);
  await settled();
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 3,4`]);
});

test('a daemon of a disk with faulty files is ended: a fence could not find its VM', async () => {
  const world = new ServiceWorld(null);
  world.node.leave(diskId(1), PORT, [granted(3)]);
  world.node.faulty.add(diskId(1));
  await world.start();
  assert.deepEqual(world.node.serving(), []);
});

test('a disk that cannot be served yet is tried again, and keeps no other one from being served', async () => {
  const world = new ServiceWorld(viewOf([3]));
  world.node.disks.delete(diskId(1));
  await world.start();
  assert.equal(world.service.isRestored, false);
  await world.grant(1, { vm: OTHER, port: 30_002 });
  world.node.disks.set(diskId(1), { vm: VM, sizeBytes: 100 });
  await world.clock.advance(5_000);
  assert.deepEqual([world.node.serving(), world.service.isRestored], [[`1@${PORT}: 3`, '2@30002: 1'], true]);
});

test('shared disks are granted with the numbers that etcd says', async () => {
  const view = viewOf([3], { sharedDisks: [{ disk: diskId(8), lun: 4 }] });
  const world = new ServiceWorld(view);
  world.node.units.set(diskId(8), { disk: diskId(8), sizeBytes: 1_024, blockBytes: 512 });
  await world.start();
  assert.deepEqual(
    world.node.target?.vms.map(({ vm, generations, luns }) => [vm, generations, luns.map(({ lun }) => lun)]),
    [[VM, [3], [4]]],
  );
});

test('a service that stops leaves its daemons running, and does nothing more', async () => {
  const world = await new ServiceWorld(viewOf([3])).start();
  await world.service.close();
  await world.clock.advance(120_000);
  assert.deepEqual([world.node.serving(), world.reads, world.clock.waiting], [[`1@${PORT}: 3`], 1, 0]);
});
