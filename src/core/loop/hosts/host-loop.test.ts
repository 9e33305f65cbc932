/** The leader's care for hosts: what it orders, how often, and what makes it wait. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostName, NetworkName, VmId } from '../../../base/ids.ts';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import type { NetworkRecord } from '../../model/cluster.ts';
import { ClusterIndex } from '../../model/cluster-index.ts';
import { keyOf } from '../../model/keys.ts';
import type { VmRecord } from '../../model/vm.ts';
import { host, hostRecord, incarnation, VM, vmRecord } from '../../plan/testing/sample-records.ts';
import type { HostLink, HostReport, KillOrder, NetworkPlan, RunningIncarnation } from '../../ports/host-link.ts';
import { HostObserver } from '../observe/host-observer.ts';
import { MemoryStore } from '../testing/memory-store.ts';
import { HostLoop } from './host-loop.ts';

const LAN = 'lan' as NetworkName;
const [H1, H2] = [host(1), host(2)];

const process = (generation: number): RunningIncarnation => ({
  ...incarnation(generation),
  vm: VM,
  pid: 100 + generation,
  startTicks: '1',
  incoming: false,
});

/** Hosts h1 to hN whose agents answer and obey, and the loop of a leader that watches them. */
class World {
  readonly clock = new SimClock();
  readonly store = new MemoryStore();
  readonly index = new ClusterIndex();
  readonly reports = new Map<HostName, HostReport>();
  readonly plans: { readonly host: HostName; readonly at: number; readonly plan: NetworkPlan }[] = [];
  readonly kills: (KillOrder & { readonly host: HostName })[] = [];
  /** How long a report is on its way, in ms. */
  reportTakesMs = 0;
  /** The outcome of a network plan: an error, or no outcome before the promise settles. */
  applying: () => Promise<void> = async () => undefined;
  readonly observer: HostObserver;
  readonly loop: HostLoop;

  constructor(hosts: number) {
    const hostLink: HostLink = {
      report: async (name) => {
        const report = this.#reportOf(name);
        await new Promise<void>((resolve) => void this.clock.after(this.reportTakesMs, resolve));
        return report;
      },
      launch: () => Promise.reject(new Error('this loop launches nothing')),
      probe: () => Promise.reject(new Error('this loop probes nothing')),
      kill: async (name, order) => {
        this.kills.push({ ...order, host: name });
        const before = this.#reportOf(name);
        const isLeft = (one: RunningIncarnation): boolean =>
          one.vm !== order.vm || !order.generations.includes(one.generation);
        this.reports.set(name, { ...before, incarnations: before.incarnations.filter(isLeft) });
        return { killed: order.generations };
      },
      applyNetwork: async (name, plan) => {
        this.plans.push({ host: name, at: this.clock.monotonicMs(), plan });
        await this.applying();
        this.reports.set(name, { ...this.#reportOf(name), networkRevision: plan.revision });
      },
    };
    const paths = { list: () => [], probe: () => Promise.reject(new Error('no path')) };
    this.observer = new HostObserver(
      { clock: this.clock, hosts: hostLink, paths },
      { onReport: (name) => this.loop.reported(name), onState: () => undefined, onProcesses: () => undefined },
    );
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
    const { clock, store, observer, index } = this;
    this.loop = new HostLoop({ clock, log, store, hosts: hostLink, observer, index, mayPlan: () => true });
    store.onChange(({ kind, id }) => {
      if (kind === 'host') this.index.setHost(id as HostName, store.hosts.get(id as HostName)?.value ?? null);
      if (kind === 'vm') this.#vmChanged(id as VmId);
      this.loop.lookAtLost();
    });
    for (let n = 1; n <= hosts; n++) {
      const record = hostRecord(n);
      store.put({ kind: 'host', id: record.name, value: record });
      this.reports.set(record.name, {
        host: record.name,
        bootId: 'a',
        agentVersion: '1.0.0',
        qemuVersion: '7.2.0',
        capacity: record.capacity,
        incarnations: [],
        networkRevision: 0,
      });
      observer.watch(record);
    }
  }

  /** Writes the VM's record; null: the VM is deleted. */
  putVm(record: VmRecord | null): void {
    this.store.put({ kind: 'vm', id: VM, value: record });
  }

  putNetwork(): void {
    const record: NetworkRecord = {
      ...{ name: LAN, vni: 7, cidr: null, gateway: null, dhcp: false, nat: false },
      ...{ reservations: {}, createdAt: 0 },
    };
    this.store.put({ kind: 'network', id: LAN, value: record });
    this.loop.networkChanged(LAN);
  }

  setReport(name: HostName, more: Partial<HostReport>): void {
    this.reports.set(name, { ...this.#reportOf(name), ...more });
  }

  plansOf(name: HostName): number {
    return this.plans.filter((order) => order.host === name).length;
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    await this.clock.run(this.clock.monotonicMs() + ms);
  }

  end(): void {
    this.loop.stop();
    this.observer.stop();
  }

  /** The controller's notice of a VM's change (controller.ts). */
  #vmChanged(id: VmId): void {
    const { hosts, networks } = this.index.setVm(id, this.store.vms.get(id)?.value ?? null);
    this.loop.placementChanged(hosts);
    for (const network of networks) this.loop.networkChanged(network);
    if (networks.length > 0) for (const name of hosts) this.loop.hostPlanChanged(name);
  }

  #reportOf(name: HostName): HostReport {
    const report = this.reports.get(name);
    if (report === undefined) throw new Error(`the test has no host ${name}`);
    return report;
  }
}

async function inWorld(hosts: number, run: (world: World) => Promise<void>): Promise<void> {
  const world = new World(hosts);
  try {
    await run(world);
  } finally {
    world.end();
  }
}

const running = (generation: number): VmRecord => {
  const record = vmRecord({ kind: 'running', incarnation: incarnation(generation) });
  const nic = { network: LAN, mac: '52:54:00:00:00:01', address: null };
  return { ...record, spec: { ...record.spec, nics: [nic] } };
};

test('each host gets a network plan once, and another only after a change that concerns it', () =>
  inWorld(3, async (world) => {
    await world.pass(5_000);
    assert.deepEqual(
      [1, 2, 3].map((n) => world.plansOf(host(n))),
      [1, 1, 1],
    );
    world.putNetwork();
    await world.pass(5_000);
    assert.equal(world.plans.length, 3, 'no host has a member of the network');
    world.putVm(running(1));
    world.setReport(H1, { incarnations: [process(1)] });
    await world.pass(5_000);
    assert.equal(world.plansOf(H1), 2);
    assert.equal(world.plans.length, 4, 'the network concerns h1 alone');
    assert.deepEqual(
      world.plans.at(-1)?.plan.networks.map(({ name }) => name),
      [LAN],
    );
  }));

test('changes in a row are handed out together, at most twice a second to one host, and the last is never forgotten', () =>
  inWorld(2, async (world) => {
    world.putVm(running(1));
    world.setReport(H1, { incarnations: [process(1)] });
    await world.pass(5_000);
    const before = world.plansOf(H1);
    const began = world.clock.monotonicMs();
    for (let change = 0; change < 100; change++) {
      world.putNetwork();
      await world.pass(20);
    }
    const { revision } = world.store.snapshot;
    await world.pass(3_000);
    const during = world.plans.slice(before).filter((order) => order.host === H1 && order.at <= began + 2_000).length;
    assert.ok(during >= 2 && during <= 5, `${during} plans in 2 s`);
    assert.equal(world.plans.filter((order) => order.host === H1).at(-1)?.plan.revision, revision);
  }));

test('an agent that started anew and knows no plan gets one; an order that failed is given again', () =>
  inWorld(1, async (world) => {
    await world.pass(3_000);
    world.setReport(H1, { networkRevision: 0 });
    await world.pass(3_000);
    assert.equal(world.plansOf(H1), 2);
    world.applying = () => Promise.reject(new Error('no answer'));
    world.setReport(H1, { networkRevision: 0 });
    await world.pass(3_000);
    const failed = world.plansOf(H1) - 2;
    assert.ok(failed >= 2, `${failed} attempts`);
    world.applying = async () => undefined;
    await world.pass(3_000);
    assert.ok(world.observer.report(H1)?.report.networkRevision !== 0);
  }));

test('a host is given one order at a time', () =>
  inWorld(1, async (world) => {
    await world.pass(3_000);
    let release: () => void = () => undefined;
    world.applying = () => new Promise((resolve) => (release = resolve));
    world.loop.everyPlanChanged();
    await world.pass(3_000);
    const waiting = world.plansOf(H1);
    world.loop.everyPlanChanged();
    world.setReport(H1, { incarnations: [process(1)] });
    await world.pass(4_000);
    assert.equal(world.plansOf(H1), waiting);
    assert.equal(world.kills.length, 0);
    world.applying = async () => undefined;
    release();
    await world.pass(3_000);
    assert.equal(world.plansOf(H1), waiting + 1);
    assert.deepEqual(
      world.kills.map(({ generations }) => generations),
      [[1]],
    );
  }));

test('a process that no record expects is ended; one whose record cannot be read is not', () =>
  inWorld(1, async (world) => {
    world.putVm(running(2));
    world.setReport(H1, { incarnations: [process(1), process(2)] });
    world.store.unreadable.set(keyOf.vm(VM), 'no record');
    await world.pass(3_000);
    assert.deepEqual(world.kills, []);
    world.store.unreadable.clear();
    world.putVm(running(2));
    await world.pass(3_000);
    assert.deepEqual(
      world.kills.map(({ host: name, vm, generations }) => [name, vm, generations]),
      [[H1, VM, [1]]],
    );
    assert.deepEqual(
      world.observer.report(H1)?.report.incarnations.map(({ generation }) => generation),
      [2],
    );
  }));

test('a report that was asked for before a record ceased to name the host proves nothing about it', () =>
  inWorld(2, async (world) => {
    await world.pass(3_000);
    world.reportTakesMs = 400;
    await world.pass(2_000);
    // Reports are on their way, and none of them shows the process of the VM that is lost on h2 in the meantime.
    const quarantine = { since: 0, reason: 'lost with web' };
    world.store.put({ kind: 'host', id: H2, value: hostRecord(2, { quarantine }) });
    world.putVm(vmRecord({ kind: 'running', incarnation: incarnation(1, 2) }));
    world.putVm(running(2));
    const isLifted = (): boolean => world.store.hosts.get(H2)?.value.quarantine === null;
    world.setReport(H2, { incarnations: [process(1)] });
    await world.pass(400);
    assert.equal(isLifted(), false);
    world.reportTakesMs = 0;
    await world.pass(3_000);
    assert.deepEqual(
      world.kills.map(({ host: name, generations }) => [name, generations]),
      [[H2, [1]]],
    );
    assert.equal(isLifted(), true);
  }));

test('a quarantine ends when nothing stale is left, and says so', () =>
  inWorld(2, async (world) => {
    await world.pass(3_000);
    const quarantine = { since: 0, reason: 'lost with web' };
    world.putVm(running(2));
    world.setReport(H2, { incarnations: [process(1)] });
    world.store.put({ kind: 'host', id: H2, value: hostRecord(2, { quarantine }) });
    world.setReport(H1, { incarnations: [process(2)] });
    await world.pass(5_000);
    assert.deepEqual(
      world.kills.map(({ host: name, generations }) => [name, generations]),
      [[H2, [1]]],
    );
    assert.equal(world.store.hosts.get(H2)?.value.quarantine, null);
    assert.deepEqual(
      world.store.events.map(({ kind, host: name }) => [kind, name]),
      [['host-clean', H2]],
    );
  }));

test('what a host can give, and its release, are in its record as its agent says', () =>
  inWorld(1, async (world) => {
    const capacity = { ...hostRecord(1).capacity, vcpus: 64 };
    world.setReport(H1, { capacity });
    await world.pass(3_000);
    const record = world.store.hosts.get(H1)?.value;
    assert.deepEqual(record?.capacity, capacity);
    assert.deepEqual(record?.release, { agent: '1.0.0', qemu: '7.2.0' });
    const commits = world.store.commits.length;
    await world.pass(5_000);
    assert.equal(world.store.commits.length, commits, 'a report that says nothing new writes nothing');
    // An agent that does not know its QEMU yet does not make it unknown.
    world.setReport(H1, { agentVersion: '1.1.0', qemuVersion: undefined });
    await world.pass(3_000);
    assert.deepEqual(world.store.hosts.get(H1)?.value.release, { agent: '1.1.0', qemu: '7.2.0' });
  }));

test('a leader whose lease may be over orders nothing', () =>
  inWorld(1, async (world) => {
    world.store.isLeading = false;
    world.setReport(H1, { incarnations: [process(1)] });
    await world.pass(5_000);
    assert.deepEqual([world.plans, world.kills, world.store.commits], [[], [], []]);
  }));

test('a host that was declared lost is removed once its VMs are fenced and no record that may name it is unreadable', () =>
  inWorld(2, async (world) => {
    const events = (): readonly string[] => world.store.events.map(({ kind }) => kind);
    world.putVm(running(1));
    const quarantine = { since: 1, reason: 'declared lost by ann' };
    const value = { ...hostRecord(1), quarantine, lost: { at: 1, by: 'ann' } };
    world.store.put({ kind: 'host', id: H1, value });
    await world.pass(5_000);
    assert.ok(world.store.hosts.has(H1), 'a VM is there');
    const phase = { kind: 'starting', incarnation: incarnation(2, 2), reason: 'lost', avoid: [] } as const;
    world.putVm({ ...running(1), generation: incarnation(2).generation, phase, unfenced: [H1] });
    await world.pass(5_000);
    assert.ok(world.store.hosts.has(H1), 'what was there may not be fenced');
    world.store.unreadable.set(keyOf.vm('vm-00000000000f' as VmId), 'is not JSON');
    world.putVm({ ...running(2), phase: { kind: 'running', incarnation: incarnation(2, 2) } });
    await world.pass(5_000);
    assert.ok(world.store.hosts.has(H1), 'a record may name it');
    world.store.unreadable.clear();
    world.store.results.push('conflict');
    await world.pass(5_000);
    assert.ok(!world.store.hosts.has(H1), 'the next look is the retry');
    assert.deepEqual(events(), ['host-removed']);
    const { length } = world.store.commits;
    await world.pass(10_000);
    assert.equal(world.store.commits.length, length, 'nothing is looked at any more');
  }));

test('records that change all the time do not put off the removal of a host that was declared lost', () =>
  inWorld(2, async (world) => {
    const quarantine = { since: 1, reason: 'declared lost by ann' };
    const value = { ...hostRecord(1), quarantine, lost: { at: 1, by: 'ann' } };
    world.putVm(running(1));
    world.store.put({ kind: 'host', id: H1, value });
    world.putVm({ ...running(2), phase: { kind: 'running', incarnation: incarnation(2, 2) } });
    for (let n = 0; n < 100; n++) {
      world.putVm({ ...running(2), phase: { kind: 'running', incarnation: incarnation(2, 2) }, phaseSince: n });
      await world.pass(20);
    }
    assert.ok(!world.store.hosts.has(H1));
  }));
