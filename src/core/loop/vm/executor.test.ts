/** Every step as orders on ports: docs/specs/generations.md, "Steps and their repetition". */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkName } from '../../../base/ids.ts';
import type { NetworkRecord } from '../../model/cluster.ts';
import type { VmRecord } from '../../model/vm.ts';
import { MIGRATING } from '../../plan/testing/decision-table.ts';
import { host, incarnation, node, task, VM } from '../../plan/testing/sample-records.ts';
import { SHARED_DISKS } from '../../ports/host-link.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { DISK, g, RUNNING, SEED, SHARED, STARTING, STEPS, vmOf, World } from './testing/step-world.ts';

/** The notes, as plain values. */
function noted(notes: Acknowledgements): unknown {
  return Object.fromEntries(
    Object.entries(notes).map(([key, value]) => [
      key,
      value instanceof Set || value instanceof Map ? [...value] : key === 'issuing' ? value !== null : value,
    ]),
  );
}

for (const [name, [phase, step]] of Object.entries(STEPS)) {
  test(`${name} may be repeated: by a leader that knows of nothing, and by one that had it acknowledged`, async () => {
    const world = new World();
    await world.perform(phase, step);
    const once = noted(world.notes);
    const ordered = [...world.orders];
    world.orders.length = 0;
    await world.perform(phase, step);
    assert.deepEqual(noted(world.notes), once);
    // The deletion of a disk is known from its record, and is not ordered again.
    assert.deepEqual(world.orders, name === 'delete-disk' ? [] : ordered);
  });

  test(`${name} that is refused is not noted as done`, async () => {
    const world = new World();
    world.failing.add('');
    await assert.rejects(world.perform(phase, step), /failed/);
    assert.deepEqual(
      { ...(noted(world.notes) as object), issuing: null },
      {
        ...(noted(new Acknowledgements()) as object),
        issuing: null,
      },
    );
    assert.equal(world.store.commits.length, 0);
  });
}

test('G5 a fence reaches every storage node of the VM at once, those with shared disks alone included', async () => {
  const world = new World();
  await world.perform(STARTING, STEPS.fence[1]);
  assert.deepEqual(world.orders, [
    'fence s1 below 2: 1 disk, term 7',
    'fence s2 below 2: 1 disk, term 7',
    'fence s3 below 2: 0 disks, term 7',
  ]);
  assert.deepEqual([world.notes.fencedBelow, [...world.notes.sharedFences]], [2, [['s3', 2]]]);
});

test('G5 a fence that one node does not acknowledge is none, though every other node was asked', async () => {
  const world = new World();
  world.failing.add('fence s1');
  await assert.rejects(world.perform(STARTING, STEPS.fence[1]), /s1/);
  assert.equal(world.orders.length, 3);
  assert.deepEqual([world.notes.fencedBelow, [...world.notes.sharedFences]], [0, [['s3', 2]]]);
});

test('a fence never goes back', async () => {
  const world = new World();
  await world.perform(STARTING, { do: 'fence', below: g(5) });
  await world.perform(STARTING, { do: 'fence', below: g(2) });
  assert.deepEqual([world.notes.fencedBelow, [...world.notes.sharedFences]], [5, [['s3', 5]]]);
});

test('a lost node, and a shared disk that is not made yet, are in nobody’s way', async () => {
  const world = new World();
  world.store.put({ kind: 'shared-disk', id: SHARED.id, value: { ...SHARED, phase: 'creating' } });
  const s2 = world.store.storage.get(node(2))?.value;
  assert.ok(s2 !== undefined);
  world.store.put({ kind: 'storage', id: node(2), value: { ...s2, lost: { at: 1, by: 'admin' } } });
  await world.perform(STARTING, STEPS.fence[1]);
  assert.deepEqual(world.orders, ['fence s1 below 2: 1 disk, term 7']);
});

test('nothing is ordered while a shared disk’s record is not known: which node has it nobody can say', async () => {
  const world = new World();
  world.store.put({ kind: 'shared-disk', id: SHARED.id, value: null });
  for (const step of [STEPS.fence[1], STEPS.grant[1]])
    await assert.rejects(world.perform(STARTING, step), /is not known yet/);
  assert.deepEqual([world.orders, world.notes.granted.size], [[], 0]);
});

test('a grant names each disk with its port, seeds read only, and the shared disks with their numbers', async () => {
  const world = new World();
  await world.perform(STARTING, STEPS.grant[1]);
  assert.deepEqual(
    world.grants.map(({ disks, sharedDisks = [], needs = [] }) => [
      disks.map(({ port, readOnly }) => [port, readOnly]),
      sharedDisks.map(({ lun }) => lun),
      needs,
    ]),
    [
      [[[30_000, false]], [], []],
      [[[30_001, true]], [], []],
      [[], [4], [SHARED_DISKS]],
    ],
  );
  assert.ok(world.grants.every(({ term, vm }) => term === 7 && vm === VM));
});

test('G5 a generation that runs is granted again only after everything below it is fenced', async () => {
  const world = new World();
  world.notes.shared = { generation: g(2), disks: '' };
  await world.perform(RUNNING, STEPS.grant[1]);
  assert.deepEqual(
    world.orders.map((order) => order.split(' ').slice(0, 2).join(' ')),
    ['fence s1', 'fence s2', 'fence s3', 'grant s1', 'grant s2', 'grant s3'],
  );
  assert.deepEqual([world.notes.shared, world.notes.issuing], [null, null]);
});

test('a revocation takes the grant back', async () => {
  const world = new World();
  await world.perform(MIGRATING, { do: 'grant', generation: g(2) });
  await world.perform(MIGRATING, STEPS.revoke[1]);
  assert.deepEqual([[...world.notes.granted], [...world.notes.revoked]], [[], [2]]);
});

test('each launch has credentials of its own; those that were begun with the grant go to the first', async () => {
  const world = new World();
  world.executor.beginIssuing(vmOf(STARTING), g(2), world.notes);
  await world.perform(STARTING, STEPS.grant[1]);
  assert.equal(world.issued, 1, 'begun already');
  await world.perform(STARTING, STEPS.launch[1]);
  await world.perform(STARTING, STEPS.launch[1]);
  assert.deepEqual(
    world.launches.map(({ credentials }) => credentials.certPem),
    ['g2 nr 1', 'g2 nr 2'],
  );
});

test('credentials of another generation are not used', async () => {
  const world = new World();
  world.executor.beginIssuing(vmOf(STARTING), g(1), world.notes);
  await world.perform(STARTING, STEPS.launch[1]);
  assert.equal(world.launches[0]?.credentials.certPem, 'g2 nr 2');
});

test('a launch names the machine, its disks by their exports, and where the shared ones are', async () => {
  const world = new World();
  await world.perform(STARTING, STEPS.launch[1]);
  const [order] = world.launches;
  assert.ok(order !== undefined);
  assert.deepEqual([order.vm, order.generation, order.incoming, order.receives], [VM, 2, false, undefined]);
  assert.deepEqual(order.disks[1], {
    disk: SEED.id,
    role: 'seed',
    bus: 'virtio',
    readOnly: true,
    export: { address: '10.1.1.2', port: 30_001, name: 'g2', tlsName: 'storage:s2' },
    patienceMs: 1_000,
  });
  const [shared] = order.sharedDisks ?? [];
  assert.deepEqual(
    [shared?.lun, shared?.address, shared?.account, shared?.secret, order.needs],
    [4, '10.1.1.3', `${VM}:g2`, `secret of ${VM}:g2`, [SHARED_DISKS]],
  );
  assert.deepEqual([order.machine.kernel, order.network.drop], [null, [host(1)]]);
});

test('P1 a launch brings the network plan of its host', async () => {
  const world = new World();
  await world.perform(MIGRATING, { do: 'launch', incarnation: incarnation(2, 2), incoming: true });
  assert.deepEqual(world.launches[0]?.network, { revision: 9, networks: [], drop: [host(2)] });
});

test('a destination is told from its launch on whose stream it waits for; whether it does is what its agent says', async () => {
  for (const listens of [false, true]) {
    const world = new World();
    world.listens = listens;
    await world.perform(MIGRATING, { do: 'launch', incarnation: incarnation(2, 2), incoming: true });
    assert.equal(world.launches[0]?.receives, 1);
    assert.deepEqual([[...world.notes.launched], world.notes.listening.size], [[2], listens ? 1 : 0]);
  }
});

test('files that a direct boot needs are named with every storage node that is not lost', async () => {
  const world = new World();
  const s2 = world.store.storage.get(node(2))?.value;
  assert.ok(s2 !== undefined);
  world.store.put({ kind: 'storage', id: node(2), value: { ...s2, lost: { at: 1, by: 'admin' } } });
  const boot = {
    ...{ firmware: 'direct', kernel: 'aa', kernelBytes: 5, initrd: null, initrdBytes: 0, append: 'quiet' },
  } as unknown as VmRecord['spec']['boot'];
  await world.perform(vmOf(STARTING, { boot }), STEPS.launch[1]);
  const { kernel, initrd, append } = world.launches[0]?.machine ?? {};
  assert.deepEqual([kernel?.from.map(({ node: name }) => name), initrd, append], [['s1', 's3'], null, 'quiet']);
});

test('a VM whose network is gone is not launched without it', async () => {
  const world = new World();
  const nics = [{ network: 'lan' as NetworkName, mac: '52:54:00:00:00:01', address: null }];
  const vm = vmOf(STARTING, { nics });
  await assert.rejects(world.perform(vm, STEPS.launch[1]), /Network lan of web is gone/);
  assert.deepEqual(world.orders, []);
  world.store.put({ kind: 'network', id: 'lan' as NetworkName, value: { vni: 12 } as NetworkRecord });
  await world.perform(vm, STEPS.launch[1]);
  assert.deepEqual(world.launches[0]?.nics, [{ network: 'lan', mac: '52:54:00:00:00:01', vni: 12 }]);
});

test('a process is ended by its agent or over QMP, and nobody keeps a connection to it', async () => {
  const byAgent = new World();
  await byAgent.perform(RUNNING, STEPS.end[1]);
  assert.deepEqual([byAgent.orders, [...byAgent.notes.ended]], [['kill h1 2', 'forget 2'], [2]]);
  const byQmp = new World();
  await byQmp.perform(RUNNING, { do: 'end', incarnation: incarnation(2), by: 'qmp' });
  assert.deepEqual(byQmp.orders, ['quit 2 at h1', 'forget 2']);
});

test('orders over QMP go to the incarnation that they name', async () => {
  const world = new World();
  for (const name of [
    'cont',
    'halt',
    'power-down',
    'activate',
    'send',
    'allow-pause',
    'listen',
    'cancel-send',
  ] as const)
    await world.perform(STEPS[name][0], STEPS[name][1]);
  assert.deepEqual(world.orders, [
    'cont 2 at h1',
    'halt 2 at h1',
    'power-down 2 at h1',
    'activate 1 at h1',
    'send 1 to 2',
    'allow 1 300 ms',
    'listen 2 for 1',
    'cancel 1 at h1',
  ]);
});

test('a host that left the cluster is an error of the step, and no order', async () => {
  const world = new World();
  world.store.put({ kind: 'host', id: host(1), value: null });
  await assert.rejects(world.perform(...STEPS.cont), /Host h1 is not in the cluster/);
  assert.deepEqual(world.orders, []);
});

test('T1 a reset is noted for the task that asked for it', async () => {
  const world = new World();
  await world.perform({ ...vmOf(RUNNING), resetRequest: { taskId: task(5) } }, STEPS.reset[1]);
  assert.equal(world.notes.reset, task(5));
});

test('a disk is recorded as ready after its node made it', async () => {
  const world = new World();
  world.store.put({ kind: 'disk', id: DISK.id, value: { ...DISK, phase: 'creating' } });
  world.failing.add('create');
  await assert.rejects(world.perform(...STEPS['create-disk']));
  assert.equal(world.store.disks.get(DISK.id)?.value.phase, 'creating');
  world.failing.clear();
  await world.perform(...STEPS['create-disk']);
  assert.equal(world.store.disks.get(DISK.id)?.value.phase, 'ready');
});

test('T4 a disk’s record goes after its file; with a lost node the file is gone', async () => {
  const world = new World();
  await world.perform(...STEPS['delete-disk']);
  assert.deepEqual([world.orders, world.store.disks.has(DISK.id)], [[`delete s1 ${DISK.id}`], false]);
  const s2 = world.store.storage.get(node(2))?.value;
  assert.ok(s2 !== undefined);
  world.store.put({ kind: 'storage', id: node(2), value: { ...s2, lost: { at: 1, by: 'admin' } } });
  await world.perform({ kind: 'stopped' }, { do: 'delete-disk', disk: SEED.id });
  assert.deepEqual([world.orders.length, world.store.disks.size], [1, 0]);
});
