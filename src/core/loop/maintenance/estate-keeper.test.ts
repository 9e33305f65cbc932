import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DrainId, type GuestClusterName, type HostName, parseVmId, type VmId } from '../../../base/ids.ts';
import { estateOf } from '../../maintenance/estate-records.ts';
import { evacuabilityOf } from '../../maintenance/evacuability.ts';
import { aVm } from '../../maintenance/testing/small-estate.ts';
import { ClusterIndex, footprintBytes } from '../../model/cluster-index.ts';
import type { GuestClusterRecord } from '../../model/guest-cluster.ts';
import type { HostObservation } from '../../model/observation.ts';
import type { VmRecord } from '../../model/vm.ts';
import { host, hostRecord, incarnation, seenHost, vmRecord } from '../../plan/testing/sample-records.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { EstateKeeper } from './estate-keeper.ts';

const VIEW = { drain: null, parallel: 2 };
const vmId = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
const vm = (n: number, at: number, more: Partial<VmRecord> = {}): VmRecord =>
  vmRecord({ kind: 'running', incarnation: incarnation(1, at, n) }, { id: vmId(n), name: `vm${n}`, ...more });
const inGroup = (n: number, at: number, antiAffinity: string | null): VmRecord => {
  const record = vm(n, at);
  return { ...record, spec: { ...record.spec, antiAffinity } };
};

/** Hosts with room for `room` VMs each, and a leader's model of them. */
class World {
  readonly store = new MemoryStore();
  readonly clock = new ManualClock();
  readonly index = new ClusterIndex();
  readonly agents = new Map<HostName, HostObservation['agent']>();
  readonly keeper = new EstateKeeper({
    clock: this.clock,
    snapshot: this.store.snapshot,
    index: this.index,
    seeHost: (name) => this.#see(name),
  });

  constructor(hosts: number, room: number, vms: readonly VmRecord[]) {
    const memoryBytes = room * footprintBytes(vm(1, 1));
    for (let n = 1; n <= hosts; n++)
      this.store.put({
        kind: 'host',
        id: host(n),
        value: hostRecord(n, { capacity: { ...hostRecord(n).capacity, memoryBytes } }),
      });
    for (const each of vms) this.store.put({ kind: 'vm', id: each.id, value: each });
    this.index.load(this.store.snapshot);
    this.store.onChange(({ kind, id }) => {
      this.keeper.recordChanged();
      if (kind === 'vm') {
        const before = this.index.vm(id as VmId);
        this.index.setVm(id as VmId, this.store.vms.get(id as VmId)?.value ?? null);
        this.keeper.vmChanged(id as VmId, before);
      }
      if (kind === 'host') {
        this.index.setHost(id as HostName, this.store.hosts.get(id as HostName)?.value ?? null);
        this.keeper.hostChanged(id as HostName);
      }
      if (kind === 'guest-cluster') {
        const record = this.store.guestClusters.get(id as GuestClusterName)?.value ?? null;
        this.index.setGuestCluster(id as GuestClusterName, record);
        this.keeper.guestClusterChanged(id as GuestClusterName);
      }
      if (kind === 'drain') {
        const record = this.store.drains.get(id as DrainId)?.value ?? null;
        this.index.setDrain(id as DrainId, record);
        this.keeper.drainChanged(id as DrainId, record);
      }
    });
    this.keeper.start();
  }

  #see(name: HostName): HostObservation {
    return seenHost(1, { host: name, agent: this.agents.get(name) ?? 'alive' });
  }

  see(name: HostName, agent: HostObservation['agent']): void {
    this.agents.set(name, agent);
    this.keeper.hostChanged(name);
  }

  async settle(): Promise<void> {
    for (let turns = 0; turns < 1_000 && !this.keeper.isSettled; turns += 1) {
      await this.clock.advance(10);
      await settled();
    }
    assert.ok(this.keeper.isSettled, 'It settles.');
  }

  /** Whether each host can be drained and lost: `yes yes`. Compared with a plan from scratch. */
  async answers(): Promise<readonly string[]> {
    await this.settle();
    const source = {
      ...{ snapshot: this.store.snapshot, index: this.index, dirtyRateOf: () => null },
      seeHost: (name: HostName) => this.#see(name),
    };
    const fresh = evacuabilityOf(estateOf(source, VIEW));
    while (!fresh.isSettled) fresh.settle(10);
    return [...this.store.hosts.keys()].map((name) => {
      const kept = this.keeper.verdict(name);
      const scratch = fresh.verdict(name);
      assert.deepEqual(
        [kept?.drain.kind, kept?.loss.kind],
        [scratch?.drain.kind, scratch?.loss.kind],
        `${name}, planned from scratch`,
      );
      return `${kept?.drain.kind} ${kept?.loss.kind}`;
    });
  }
}

const CAN = 'can can';
const NOT = 'cannot cannot';

test('verdicts follow VMs, hosts, agents, groups, guest clusters and drains', async () => {
  const world = new World(3, 2, [vm(1, 1), vm(2, 2)]);
  assert.deepEqual(await world.answers(), [CAN, CAN, CAN]);

  world.store.put({ kind: 'vm', id: vmId(3), value: vm(3, 2) });
  world.store.put({ kind: 'vm', id: vmId(4), value: vm(4, 3) });
  world.store.put({ kind: 'vm', id: vmId(5), value: vm(5, 3) });
  assert.deepEqual(await world.answers(), [NOT, NOT, NOT].with(0, NOT));
  world.store.put({ kind: 'vm', id: vmId(5), value: null });
  assert.deepEqual(await world.answers(), [CAN, CAN, CAN]);

  world.see(host(3), 'silent');
  assert.deepEqual(await world.answers(), [NOT, NOT, CAN]);
  world.see(host(3), 'alive');
  assert.deepEqual(await world.answers(), [CAN, CAN, CAN]);

  const cordoned = hostRecord(3, { ...world.store.hosts.get(host(3))?.value, cordoned: true });
  world.store.put({ kind: 'host', id: host(3), value: cordoned });
  assert.deepEqual(await world.answers(), [NOT, NOT, CAN]);
  world.store.put({ kind: 'host', id: host(3), value: { ...cordoned, cordoned: false } });
  assert.deepEqual(await world.answers(), [CAN, CAN, CAN]);

  for (const [n, at] of [
    [1, 1],
    [2, 2],
    [4, 3],
  ] as const)
    world.store.put({ kind: 'vm', id: vmId(n), value: inGroup(n, at, 'web') });
  assert.deepEqual(await world.answers(), [NOT, NOT, NOT], 'each host has one of the group, and no host may have two');
  world.store.put({ kind: 'vm', id: vmId(4), value: vm(4, 3) });
  assert.deepEqual((await world.answers())[1], NOT.replace('cannot cannot', 'can can'));
});

test('a guest cluster whose members are stopped by people lets no other member be moved', async () => {
  const member = (n: number, at: number, more: Partial<VmRecord> = {}): VmRecord => {
    const record = vm(n, at, more);
    return { ...record, spec: { ...record.spec, guestCluster: 'sql' as GuestClusterName } };
  };
  const world = new World(3, 4, [member(1, 1), member(2, 2)]);
  const cluster = {
    ...{ name: 'sql' as GuestClusterName, members: [vmId(1), vmId(2)], disks: [], heartbeatNetworks: [] },
    ...{ maxDisturbed: 1, toleratesMs: 60_000, sharesHosts: false, createdAt: 0 },
  } satisfies GuestClusterRecord;
  world.store.put({ kind: 'guest-cluster', id: cluster.name, value: cluster });
  assert.deepEqual(await world.answers(), [CAN, CAN, CAN]);
  world.store.put({ kind: 'vm', id: vmId(2), value: member(2, 2, { phase: { kind: 'stopped' }, intent: 'stopped' }) });
  assert.deepEqual(await world.answers(), ['cannot can', CAN, CAN]);
  world.store.put({ kind: 'guest-cluster', id: cluster.name, value: { ...cluster, maxDisturbed: 2 } });
  assert.deepEqual(await world.answers(), [CAN, CAN, CAN]);
});

test('nothing is known before every host was asked once, and a change is judged only then', async () => {
  const world = new World(2, 2, [vm(1, 1)]);
  world.agents.set(host(2), 'unknown');
  world.keeper.hostChanged(host(2));
  await world.settle();
  assert.equal(world.keeper.verdict(host(1)), null);
  let isJudged = false;
  const footprintMib = Math.ceil(footprintBytes(vm(1, 1)) / 1024 ** 2);
  const change = { kind: 'vm', vm: aVm('new', 'h2', { memoryMib: 2 * footprintMib - 1 }) } as const;
  const judged = world.keeper.judge([change]).then((broken) => {
    isJudged = true;
    return broken;
  });
  await world.clock.advance(1_000);
  assert.equal(isJudged, false);
  world.see(host(2), 'alive');
  await world.clock.advance(1_000);
  assert.deepEqual(
    (await judged).map(({ host: name, question }) => `${question} ${name}`).sort(),
    ['drain h1', 'drain h2', 'loss h1', 'loss h2'],
    'neither has room for what is on the other',
  );
  assert.deepEqual(await world.answers(), [CAN, CAN], 'judging changes nothing');
});

test('a judgement that is not made in time says so, and so does a leader that ends', async () => {
  const world = new World(2, 2, [vm(1, 1)]);
  world.agents.set(host(2), 'unknown');
  world.keeper.hostChanged(host(2));
  const change = { kind: 'vm', vm: aVm('new', 'h2') } as const;
  const late = assert.rejects(world.keeper.judge([change]), { code: 'unavailable' });
  world.keeper.stop();
  await late;
  await assert.rejects(world.keeper.judge([change]), { code: 'unavailable' });
});

test('a drain does not count its own claims, and everybody else does', async () => {
  const world = new World(2, 4, [vm(1, 1)]);
  await world.settle();
  const memoryMib = Math.ceil(footprintBytes(vm(1, 1)) / 1024 ** 2);
  const move = {
    ...{ id: 0, vm: vmId(1), name: 'vm1', from: host(1), to: host(2), after: [], why: 'evacuate', memoryMib },
    ...{ durationMs: 1, pauseMs: 1, state: 'waiting', taskId: null, startedAt: null, endedAt: null, failures: 0 },
    ...{ measuredPauseMs: null, note: null },
  } as const;
  const id = 'drain-000000000001' as DrainId;
  const drain = {
    ...{ id, hosts: [host(1)], state: 'running', who: 'ann', reason: null, change: null, parallel: 1, moves: [move] },
    ...{ taskId: 'task-000000000001', stuck: null, deviations: [], createdAt: 0, endedAt: null },
  };
  world.store.put({ kind: 'drain', id, value: drain as never });
  const free = (view: { readonly drain: DrainId | null }): number | undefined => {
    const model = world.keeper.model({ ...view, parallel: 1, dirtyRateOf: () => null });
    return model?.freeMib[model.host(host(2))];
  };
  assert.equal((free({ drain: id }) ?? 0) - (free({ drain: null }) ?? 0), memoryMib);
});

test('a VM that was admitted counts where it is expected until its record says more, and is in no plan', async () => {
  const world = new World(2, 2, [vm(1, 1)]);
  const waiting = vm(2, 2, { phase: { kind: 'stopped' }, intent: 'running' });
  world.store.put({ kind: 'vm', id: vmId(2), value: waiting });
  await world.settle();
  const verdicts = async (): Promise<readonly string[]> => {
    await world.settle();
    return [host(1), host(2)].map((name) => String(world.keeper.verdict(name)?.loss.kind));
  };
  const third = vm(3, 2);
  world.store.put({ kind: 'vm', id: vmId(3), value: third });
  assert.deepEqual(await verdicts(), ['can', 'can']);

  world.keeper.expect({ id: vmId(2), host: host(2) });
  assert.deepEqual(await verdicts(), ['cannot', 'cannot'], 'at once, without a record that says so');
  assert.deepEqual(
    world.keeper.expected().map(({ id, phase }) => [id, phase.kind]),
    [[vmId(2), 'running']],
  );
  const model = world.keeper.model({ ...VIEW, dirtyRateOf: () => null });
  assert.deepEqual(
    model?.vms.map((each) => each?.id ?? null),
    [vmId(1), vmId(3), null],
    'nobody can move it',
  );
  assert.equal(model?.freeMib[model.host(host(2))], 0, 'its room is kept');

  world.store.put({ kind: 'vm', id: vmId(2), value: vm(2, 2, { phase: { kind: 'stopped' }, intent: 'stopped' }) });
  assert.deepEqual(await verdicts(), ['can', 'can'], 'it does not start any more');
  assert.deepEqual(world.keeper.expected(), []);

  world.store.put({ kind: 'vm', id: vmId(2), value: waiting });
  world.keeper.expect({ id: vmId(2), host: host(2) });
  assert.deepEqual(await verdicts(), ['cannot', 'cannot']);
  await world.clock.advance(30_000);
  assert.deepEqual(await verdicts(), ['can', 'can'], 'nobody placed it');
});

test('checks take no place of changes that are to be made, come after them, and end with whoever asks', async () => {
  const world = new World(2, 2, [vm(1, 1)]);
  world.agents.set(host(2), 'unknown');
  world.keeper.hostChanged(host(2));
  await world.settle();
  const change = { kind: 'vm', vm: aVm('new', 'h2') } as const;
  const answered: string[] = [];
  const client = new AbortController();
  const check = (signal: AbortSignal, name: string): Promise<unknown> =>
    world.keeper.judge([change], { signal }).then(() => answered.push(name));
  const { signal } = new AbortController();
  const checks = Array.from({ length: 7 }, () => check(signal, 'check'));
  const left = assert.rejects(check(client.signal, 'left'), { code: 'unavailable', message: /no longer waits/ });
  await assert.rejects(check(signal, 'ninth'), { code: 'unavailable', message: /many others/ });
  const made = Array.from({ length: 64 }, () => world.keeper.judge([change]).then(() => answered.push('change')));
  client.abort();
  await left;
  checks.push(check(signal, 'check'));
  await assert.rejects(check(client.signal, 'gone'), { code: 'unavailable' });
  world.see(host(2), 'alive');
  await world.clock.advance(5_000);
  await Promise.all([...made, ...checks]);
  assert.deepEqual(answered, [...made.map(() => 'change'), ...checks.map(() => 'check')]);
});
