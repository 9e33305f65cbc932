import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { type DiskId, parseDiskId, parseGeneration, parseStorageName, parseVmId, type Term } from '../../base/ids.ts';
import { FIRST_EPOCH } from '../../core/model/record-shapes.ts';
import type { ClusterView } from '../../core/storage/cluster-view.ts';
import { SimMachine } from '../machines/sim-machine.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import type { NbdConnection } from './sim-daemon.ts';
import type { DiskWrite } from './sim-pool.ts';
import { SimStorageNode, type SimStorageOrders } from './sim-storage-node.ts';

const VM = parseVmId('vm-0123456789ab');
const DISK = parseDiskId('disk-0123456789ab');
const PORT = 30_000;
const term = 1 as Term;
const g = parseGeneration;

/** One node with one disk; calls let time pass until they have ended. */
class Bench {
  readonly clock = new SimClock();
  readonly machine = new SimMachine('s1', this.clock);
  readonly written: DiskWrite[] = [];
  readonly acked: DiskWrite[] = [];
  readonly node: SimStorageNode;
  admitted: readonly number[] = [1];
  highest = 1;
  /** etcd holds an invalid record for the VM. */
  isUnreadable = false;

  constructor() {
    this.node = new SimStorageNode({
      probe: async () => ({ outcome: 'silent', lateMs: 0 }),
      name: parseStorageName('s1'),
      machine: this.machine,
      clock: this.clock,
      random: new SimRandom(1),
      readCluster: async () => this.#view(),
      onWrite: (write) => void this.written.push(write),
      onAck: (write) => void this.acked.push(write),
      note: () => undefined,
      log: { info: () => undefined, warn: () => undefined },
    });
  }

  static async start(): Promise<Bench> {
    const bench = new Bench();
    bench.node.startService();
    await bench.clock.run(1_000);
    await bench.order((orders) =>
      orders.createDisk(DISK, { term, vm: VM, sizeBytes: 1 << 20, source: { kind: 'blank' } }),
    );
    return bench;
  }

  /** The answer of an order, or its error. */
  order<T>(send: (orders: SimStorageOrders) => Promise<T>): Promise<T> {
    assert.ok(this.node.orders !== null, 'nobody listens');
    return this.answer(send(this.node.orders));
  }

  async answer<T>(asked: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    asked.then(over, over);
    await this.clock.run(this.clock.monotonicMs() + 60_000, () => isOver);
    assert.ok(isOver, 'no answer within a minute');
    return asked;
  }

  grant(generation: number): Promise<unknown> {
    const disks = [{ disk: DISK, port: PORT, readOnly: false }];
    return this.order((orders) => orders.grant({ term, vm: VM, generation: g(generation), disks }));
  }

  fence(below: number): Promise<unknown> {
    return this.order((orders) => orders.fence({ term, vm: VM, below: g(below), disks: [DISK] }));
  }

  revoke(generation: number): Promise<unknown> {
    return this.order((orders) => orders.revoke({ term, vm: VM, generation: g(generation), disks: [DISK] }));
  }

  async connect(generation: number, { exportOf = generation } = {}): Promise<NbdConnection> {
    const client = { vm: VM, generation: g(generation), address: `10.1.0.${generation}`, exportOf: g(exportOf) };
    const connection = await this.answer(this.node.connect(DISK, client));
    assert.ok(connection !== 'refused', `generation ${generation} was refused`);
    return connection;
  }

  async restartService(): Promise<void> {
    this.node.crashService();
    this.node.startService();
    await this.clock.run(this.clock.monotonicMs() + 100);
  }

  #view(): ClusterView {
    const rest = { readOnlyDisks: new Set<DiskId>(), sharedDisks: [] };
    const unreadableVms = new Set(this.isUnreadable ? [VM] : []);
    const floor = this.admitted.length === 0 ? this.highest + 1 : Math.min(...this.admitted);
    return {
      history: { epoch: 0, id: '', revision: 1 },
      epoch: FIRST_EPOCH,
      disks: new Map([[DISK, { vm: VM, port: PORT }]]),
      vms: new Map(
        this.isUnreadable ? [] : [[VM, { floor, highest: this.highest, admitted: this.admitted.map(g), ...rest }]],
      ),
      unreadableVms,
    };
  }
}

const coded = (code: string) => (error: unknown) => error instanceof CodedError && error.code === code;

test('a write is on the disk when it is acknowledged; a fence waits for what is under way and cuts the rest', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  const writer = await bench.connect(1);
  assert.equal(await bench.answer(writer.write(1)), 'ok');
  assert.deepEqual([bench.written.length, bench.acked.length], [1, 1]);
  bench.node.setLatencyMs([400, 400]);
  const underWay = writer.write(2);
  const startedMs = bench.clock.monotonicMs();
  await bench.fence(2);
  assert.ok(bench.clock.monotonicMs() - startedMs >= 400);
  assert.equal(bench.written.length, 2);
  assert.equal(await underWay, 'broken');
  assert.equal(await bench.answer(writer.write(3)), 'broken');
  await bench.clock.run(bench.clock.monotonicMs() + 10_000);
  assert.deepEqual([...bench.node.pool.contentOf(DISK)], [1, 2]);
});

test('a fence that could not end the daemon is acknowledged by no repetition until the last write is on the disk', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  const writer = await bench.connect(1);
  bench.node.setLatencyMs([30_000, 30_000]);
  void writer.write(1);
  const landsAtMs = bench.clock.monotonicMs() + 30_000;
  await bench.clock.run(bench.clock.monotonicMs() + 10);
  let refused = 0;
  for (;;) {
    try {
      await bench.fence(2);
      break;
    } catch (error) {
      assert.ok(coded('deadline')(error), String(error));
      refused++;
    }
  }
  assert.ok(refused >= 3, `refused ${refused} times`);
  assert.ok(bench.clock.monotonicMs() >= landsAtMs);
  assert.equal(bench.written.length, 1);
});

test('an order to grant what was revoked before the service died is refused by the next one', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  [bench.admitted, bench.highest] = [[1, 2], 2];
  await bench.grant(2);
  bench.admitted = [1];
  await bench.revoke(2);
  await assert.rejects(bench.grant(2), coded('stale-order'));
  await bench.restartService();
  assert.ok(bench.node.isRestored);
  await assert.rejects(bench.grant(2), coded('stale-order'));
  await bench.grant(1);
  [bench.admitted, bench.highest] = [[1, 3], 3];
  await bench.grant(3);
});

test('an order to grant that is refused is answered when nothing of it is under way any more (found by the simulator, seed 108931)', async () => {
  const bench = await Bench.start();
  const absent = parseDiskId('disk-0000000000ff');
  const disks = [absent, DISK].map((disk, index) => ({ disk, port: PORT + index, readOnly: false }));
  const order = { term, vm: VM, generation: g(1), disks };
  await assert.rejects(
    bench.order((orders) => orders.grant(order)),
    coded('not-found'),
  );
  const served = bench.node.daemons().flatMap(({ grants }) => grants.map(({ generation }) => generation));
  assert.deepEqual(served, [g(1)]);
});

test('a service that dies in the middle of a fence: the next one cuts what it left, before it knows of the fence', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  const source = await bench.connect(1);
  [bench.admitted, bench.highest] = [[1, 2], 2];
  await bench.grant(2);
  const intruder = await bench.connect(1, { exportOf: 2 });
  const pid = bench.node.daemons()[0]?.identity.pid;
  void bench.node.orders?.fence({ term, vm: VM, below: g(2), disks: [DISK] });
  // Source's export is gone, and nobody has looked who else is connected.
  await bench.clock.run(bench.clock.monotonicMs() + 100, () => !source.isOpen);
  assert.ok(intruder.isOpen);
  bench.admitted = [1, 2];
  await bench.restartService();
  assert.ok(!intruder.isOpen);
  assert.notEqual(bench.node.daemons()[0]?.identity.pid, pid);
});

const FAULTS: Readonly<Record<string, (bench: Bench) => void>> = {
  'the service dies': ({ node }) => node.crashService(),
  'the daemon dies': ({ node }) => void node.crashDaemon(DISK),
  'the daemon stands still': ({ node }) => node.daemonProcess(DISK)?.freezeFor(3_000),
  'the power goes': ({ clock, machine }) => {
    machine.powerOff();
    clock.after(500, () => machine.boot());
  },
};

/**
 * A fence in the middle of a migration, with a fault after so many events; then it is ordered until it is acknowledged.
 */
async function fenceWithFault(fault: (bench: Bench) => void, afterEvents: number): Promise<{ isReached: boolean }> {
  const bench = await Bench.start();
  await bench.grant(1);
  const source = await bench.connect(1);
  [bench.admitted, bench.highest] = [[1, 2], 2];
  await bench.grant(2);
  const intruder = await bench.connect(1, { exportOf: 2 });
  bench.node.setLatencyMs([3, 3]);
  const underWay = [source.write(1), intruder.write(2)];
  bench.admitted = [2];
  const first = bench.node.orders?.fence({ term, vm: VM, below: g(2), disks: [DISK] });
  let isAcknowledged = false;
  first?.then(
    () => {
      isAcknowledged = true;
    },
    () => undefined,
  );
  const faultAt = bench.clock.events + afterEvents;
  await bench.clock.run(bench.clock.monotonicMs() + 5_000, () => isAcknowledged || bench.clock.events >= faultAt);
  const isReached = !isAcknowledged;
  fault(bench);
  for (let tries = 0; !isAcknowledged; tries++) {
    assert.ok(tries < 100, 'no acknowledgement');
    await bench.clock.run(bench.clock.monotonicMs() + 200);
    bench.node.startService();
    if (bench.node.orders === null) continue;
    isAcknowledged = await Promise.race([bench.fence(2).then(() => true), after(bench, 10_000)]).catch(() => false);
  }
  const before = bench.written.length;
  const client = { vm: VM, generation: g(1), address: '10.1.0.1' };
  for (const exportOf of [g(1), g(2)]) {
    const again = await bench.answer(bench.node.connect(DISK, { ...client, exportOf }));
    assert.equal(again, 'refused');
  }
  for (const old of [source, intruder]) assert.equal(await bench.answer(old.write(3)), 'broken');
  await bench.clock.run(bench.clock.monotonicMs() + 1_000);
  bench.node.startService();
  await bench.clock.run(bench.clock.monotonicMs() + 20_000);
  assert.equal(bench.written.length, before, 'a fenced generation wrote');
  for (const outcome of await Promise.all(underWay)) assert.ok(outcome === 'broken' || outcome === 'ok');
  for (const { sequence } of bench.acked) assert.ok(bench.node.pool.contentOf(DISK).has(sequence));
  const destination = await bench.connect(2);
  assert.equal(await bench.answer(destination.write(4)), 'ok');
  return { isReached };
}

/** False, so many ms from now. */
function after(bench: Bench, ms: number): Promise<boolean> {
  return new Promise((resolve) => void bench.clock.after(ms, () => resolve(false)));
}

for (const [name, fault] of Object.entries(FAULTS)) {
  test(`a fence holds when ${name} at any point of it`, async () => {
    let points = 0;
    while ((await fenceWithFault(fault, points)).isReached) points++;
    assert.ok(points >= 8, `only ${points} points`);
  });
}

test('a service that dies and comes back disturbs nobody; a daemon that dies is started again; a node that lost power serves what etcd admits', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  const writer = await bench.connect(1);
  await bench.restartService();
  assert.equal(await bench.answer(writer.write(1)), 'ok');
  assert.ok(bench.node.crashDaemon(DISK));
  assert.equal(await bench.answer(writer.write(2)), 'broken');
  await bench.clock.run(bench.clock.monotonicMs() + 1_000);
  const again = await bench.connect(1);
  assert.equal(await bench.answer(again.write(3)), 'ok');
  bench.machine.powerOff();
  assert.deepEqual([again.isOpen, bench.node.orders], [false, null]);
  [bench.admitted, bench.highest] = [[4], 4];
  bench.machine.boot();
  bench.node.startService();
  await bench.clock.run(bench.clock.monotonicMs() + 1_000);
  await bench.connect(4);
  await assert.rejects(bench.grant(3), coded('stale-order'));
  assert.deepEqual([...bench.node.pool.contentOf(DISK)], [1, 3]);
});

test('a full pool takes no write and no disk, and loses none', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  const writer = await bench.connect(1);
  await bench.answer(writer.write(1));
  bench.node.pool.isFull = true;
  assert.equal(await bench.answer(writer.write(2)), 'enospc');
  const order = { term, vm: VM, sizeBytes: 1, source: { kind: 'blank' } } as const;
  const other = parseDiskId('disk-000000000002');
  await assert.rejects(
    bench.order((orders) => orders.createDisk(other, order)),
    coded('no-capacity'),
  );
  bench.node.pool.isFull = false;
  assert.equal(await bench.answer(writer.write(3)), 'ok');
  assert.deepEqual([...bench.node.pool.contentOf(DISK)], [1, 3]);
});

test('the report names disks, grants and the hosts that are connected', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  await bench.connect(1);
  const report = await bench.order((orders) => orders.report());
  const [disk] = report.disks;
  assert.equal(disk?.disk, DISK);
  assert.equal(disk?.grants[0]?.generation, 1);
  assert.equal(disk?.grants[0]?.connections[0]?.address, '10.1.0.1');
});

test('an order to make a disk that comes after the one to delete it makes nothing (found by the simulator, seed 403057)', async () => {
  const bench = await Bench.start();
  const shared = parseDiskId('disk-0000000000ff');
  const makeShared = () =>
    bench.order((orders) => orders.createSharedDisk(shared, { term, sizeBytes: 1 << 20, blockBytes: 512 }));
  const make = () =>
    bench.order((orders) => orders.createDisk(DISK, { term, vm: VM, sizeBytes: 1 << 20, source: { kind: 'blank' } }));
  await makeShared();
  await bench.order((orders) => orders.deleteDisk(DISK, { term }));
  await bench.order((orders) => orders.deleteSharedDisk(shared, { term }));
  const isLate = (error: unknown): boolean => error instanceof CodedError && error.code === 'stale-order';
  await assert.rejects(make, isLate);
  await assert.rejects(makeShared, isLate);
  assert.deepEqual([bench.node.pool.list(), bench.node.pool.listShared()], [[], []]);
});

test('a VM whose record cannot be read is served on over a restart, gets nothing new, and everything again once it can be read', async () => {
  const bench = await Bench.start();
  await bench.grant(1);
  const connection = await bench.connect(1);
  bench.isUnreadable = true;
  await bench.restartService();
  assert.equal(connection.isOpen, true, 'what ran is left alone');
  await assert.rejects(bench.grant(2), (error) => error instanceof CodedError && error.code === 'unavailable');
  bench.isUnreadable = false;
  bench.admitted = [1, 2];
  bench.highest = 2;
  await assert.rejects(bench.grant(2));
  await bench.clock.run(bench.clock.monotonicMs() + 1_000);
  await bench.grant(2);
});
