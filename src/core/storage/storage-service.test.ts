/**
 * Which orders a storage service obeys: docs/specs/generations.md, G4, and the list of repeated steps; orders of stale
 * leaders are refused.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sha256, Term } from '../../base/ids.ts';
import { settled } from '../ports/testing/manual-clock.ts';
import type { StorageService } from './storage-service.ts';
import { diskId } from './testing/fake-node.ts';
import { coded, g, OTHER, PORT, ServiceWorld, TERM, VM, viewOf } from './testing/service-world.ts';

/** Every order that a controller gives. */
const ORDERS: Readonly<Record<string, (service: StorageService, term: Term) => Promise<unknown>>> = {
  fence: (service, term) => service.fence({ term, vm: VM, below: g(2), disks: [] }),
  grant: (service, term) => service.grant({ term, vm: VM, generation: g(2), disks: [] }),
  revoke: (service, term) => service.revoke({ term, vm: VM, generation: g(1), disks: [] }),
  createDisk: (service, term) =>
    service.createDisk(diskId(9), { term, vm: VM, sizeBytes: 1, source: { kind: 'blank' } }),
  deleteDisk: (service, term) => service.deleteDisk(diskId(2), { term }),
  resizeDisk: (service, term) => service.resizeDisk(diskId(2), { term, sizeBytes: 200 }),
  createSharedDisk: (service, term) => service.createSharedDisk(diskId(8), { term, sizeBytes: 1_024, blockBytes: 512 }),
  deleteSharedDisk: (service, term) => service.deleteSharedDisk(diskId(8), { term }),
  deleteArtifact: (service, term) => service.deleteArtifact('aa' as Sha256, { term }),
};

for (const [name, order] of Object.entries(ORDERS)) {
  test(`${name} of an earlier term than one that was heard is refused, and nothing is done`, async () => {
    const { service, node } = await new ServiceWorld(viewOf([2])).start();
    await service.fence({ term: TERM, vm: OTHER, below: g(1), disks: [] });
    const before = [node.serving(), node.disks.size, node.units.size, node.done.length];
    await assert.rejects(order(service, (TERM - 1) as Term), coded('stale-order'));
    assert.deepEqual([node.serving(), node.disks.size, node.units.size, node.done.length], before);
    await order(service, TERM);
    await order(service, (TERM + 1) as Term);
  });
}

test('a term that was heard counts although its order was refused', async () => {
  const { service } = await new ServiceWorld(viewOf([2])).start();
  await assert.rejects(service.grant({ term: 9 as Term, vm: VM, generation: g(1), disks: [] }), coded('stale-order'));
  await assert.rejects(service.fence({ term: 8 as Term, vm: VM, below: g(2), disks: [] }), coded('stale-order'));
});

test('a grant serves the disk under the generation’s name, and is answered the same when it is repeated', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  const answer = { exports: [{ disk: diskId(1), port: PORT, name: 'g3' }] };
  assert.deepEqual(await world.grant(3), answer);
  assert.deepEqual(await world.grant(3), answer);
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 3`]);
});

test('G4 below a floor nothing is granted, and a floor never goes down', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.fence(5);
  await world.fence(2);
  await assert.rejects(world.grant(4), coded('stale-order'));
  await world.grant(5);
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 5`]);
});

test('G4 a fence is acknowledged only after the last connection of a fenced generation is cut', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.grant(1);
  const gate = Promise.withResolvers<void>();
  world.node.gates.set('remove 1', gate.promise);
  let answer: unknown = null;
  void world.fence(2).then((result) => {
    answer = result;
  });
  await settled();
  assert.equal(answer, null);
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 1`]);
  gate.resolve();
  await settled();
  assert.deepEqual(answer, { revoked: [{ disk: diskId(1), generation: 1 }] });
  assert.deepEqual(world.node.serving(), [`1@${PORT}: `]);
  assert.deepEqual(await world.fence(2), { revoked: [] }, 'the same again does nothing');
});

test('G4 a revocation is acknowledged only after its connections are cut; the other generation goes on', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.grant(1);
  await world.grant(2);
  const gate = Promise.withResolvers<void>();
  world.node.gates.set('remove 2', gate.promise);
  let isAcknowledged = false;
  void world.revoke(2).then(() => {
    isAcknowledged = true;
  });
  await settled();
  assert.equal(isAcknowledged, false);
  gate.resolve();
  await settled();
  assert.deepEqual([isAcknowledged, world.node.serving()], [true, [`1@${PORT}: 1`]]);
});

test('G4 a generation that was revoked is never granted again, the next one is', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.revoke(2);
  await assert.rejects(world.grant(2), coded('stale-order'));
  await world.grant(1);
  await world.grant(3);
});

test('G4 a grant that a fence overtakes is refused, and served to nobody', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  const gate = Promise.withResolvers<void>();
  world.node.gates.set('start', gate.promise);
  const granting = world.grant(1);
  const refused = assert.rejects(granting, coded('stale-order'));
  await settled();
  const fencing = world.fence(2);
  gate.resolve();
  await refused;
  await fencing;
  assert.deepEqual(
    world.node.serving().filter((each) => !each.endsWith(': ')),
    [],
  );
});

test('a fence waits for no other VM’s disk', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.grant(1);
  await world.grant(1, { vm: OTHER, port: 30_002 });
  const gate = Promise.withResolvers<void>();
  world.node.gates.set(`grow ${diskId(2)}`, gate.promise);
  const growing = world.service.resizeDisk(diskId(2), { term: TERM, sizeBytes: 200 });
  await settled();
  assert.deepEqual(await world.fence(2), { revoked: [{ disk: diskId(1), generation: 1 }] });
  gate.resolve();
  await growing;
});

test('a grant names the VM’s own disks, each on a port of its own', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  const disks = (n: number, port = PORT) => [{ disk: diskId(n), port, readOnly: false }];
  const order = { term: TERM, vm: VM, generation: g(1) };
  await assert.rejects(world.service.grant({ ...order, disks: disks(2) }), /belongs to/);
  await assert.rejects(world.service.grant({ ...order, disks: disks(7) }), coded('not-found'));
  await world.grant(1, { vm: OTHER, port: PORT });
  await assert.rejects(world.grant(1, { port: PORT }), /Port 30001 serves/);
});

test('a grant that fails for one disk is answered when nothing of it is under way', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  const gate = Promise.withResolvers<void>();
  world.node.gates.set('start', gate.promise);
  const disks = [1, 7].map((n) => ({ disk: diskId(n), port: PORT + n, readOnly: false }));
  let outcome = 'under way';
  void world.service.grant({ term: TERM, vm: VM, generation: g(1), disks }).catch(() => {
    outcome = 'refused';
  });
  await settled();
  assert.equal(outcome, 'under way');
  gate.resolve();
  await settled();
  assert.equal(outcome, 'refused');
});

test('a disk that is granted is not deleted; one that was deleted is not made again by a late order', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.grant(1);
  const order = { term: TERM, vm: VM, sizeBytes: 100, source: { kind: 'blank' } } as const;
  await assert.rejects(world.service.deleteDisk(diskId(1), { term: TERM }), coded('conflict'));
  assert.equal(world.node.disks.has(diskId(1)), true);
  await world.fence(2);
  await world.service.deleteDisk(diskId(1), { term: TERM });
  assert.deepEqual([world.node.disks.has(diskId(1)), world.node.serving()], [false, []]);
  await assert.rejects(world.service.createDisk(diskId(1), order), coded('stale-order'));
  await world.service.deleteDisk(diskId(1), { term: TERM });
});

test('a disk grows while nobody has it open, and is served again as before; it never gets smaller', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.grant(1);
  await world.service.resizeDisk(diskId(1), { term: TERM, sizeBytes: 150 });
  assert.ok(world.node.done.includes(`grow ${diskId(1)} to 150`), world.node.done.join());
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 1`]);
  await assert.rejects(world.service.resizeDisk(diskId(1), { term: TERM, sizeBytes: 149 }), coded('conflict'));
  const before = world.node.done.length;
  await world.service.resizeDisk(diskId(1), { term: TERM, sizeBytes: 150 });
  assert.equal(world.node.done.length, before, 'the same size again disturbs nobody');
});

test('S14 a shared disk has whole blocks', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  const order = { term: TERM, sizeBytes: 1_000, blockBytes: 512 } as const;
  await assert.rejects(world.service.createSharedDisk(diskId(8), order), coded('bad-input'));
  assert.equal(world.node.units.size, 0);
});

test('a report says what is granted on every disk of the pool', async () => {
  const world = await new ServiceWorld(viewOf([])).start();
  await world.grant(3);
  const { node, disks, wallMs, pool } = await world.service.report();
  assert.deepEqual([node, wallMs, pool.freeBytes], ['s1', world.clock.wallMs(), 50]);
  assert.deepEqual(
    disks.map(({ disk, grants }) => [disk, grants.map(({ vm, generation }) => `${vm} ${generation}`)]),
    [
      [diskId(1), [`${VM} 3`]],
      [diskId(2), []],
    ],
  );
});

/** How often a process is started within two minutes if it ends at once every time. */
async function startsInVain(what: string, fail: (world: ServiceWorld) => void): Promise<number> {
  const world = await new ServiceWorld(viewOf([1])).start();
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 1`]);
  fail(world);
  world.node.done.length = 0;
  for (let second = 0; second < 120; second++) {
    world.node.end(diskId(1));
    await world.clock.advance(1_000);
  }
  return world.node.done.filter((done) => done.startsWith(what)).length;
}

test('a daemon that dies as soon as it runs, or whose disk is gone with its pool, does not take the processors', async () => {
  const starts = await startsInVain('start', () => undefined);
  assert(starts >= 5 && starts <= 12, `${starts} starts of a daemon that dies within a second`);
  const tries = await startsInVain('start', ({ node }) => node.disks.delete(diskId(1)));
  assert(tries >= 5 && tries <= 12, `${tries} starts of a daemon without its disk`);
});

test('a daemon that is lost once is started again at once', async () => {
  const world = await new ServiceWorld(viewOf([1])).start();
  world.node.done.length = 0;
  world.node.end(diskId(1));
  await world.clock.advance(0);
  assert.deepEqual(world.node.serving(), [`1@${PORT}: 1`]);
});
