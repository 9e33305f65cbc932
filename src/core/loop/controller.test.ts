import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodedError } from '../../base/errors.ts';
import type { Generation, HostName, NetworkName, Term, VmId } from '../../base/ids.ts';
import { parseGeneration, parseVmId } from '../../base/ids.ts';
import { SimClock } from '../../sim/time/sim-clock.ts';
import type { HostRecord, NetworkRecord } from '../model/cluster.ts';
import { keyOf } from '../model/keys.ts';
import type { MigrationTold } from '../model/observation.ts';
import { FIRST_EPOCH } from '../model/record-shapes.ts';
import { expectedIncarnations, type Incarnation, type VmRecord } from '../model/vm.ts';
import { answers, host, hostRecord, incarnation, NOW, vmRecord } from '../plan/testing/sample-records.ts';
import type { NetworkPlan } from '../ports/host-link.ts';
import type { QmpLink, QmpTarget } from '../ports/qmp-link.ts';
import type { Change, Entry, LeaderStore, Snapshot } from '../ports/store.ts';
import { SILENT_GUESTS } from '../ports/testing/silent-guests.ts';
import { Controller } from './controller.ts';
import { NO_IDENTITIES } from './testing/no-identities.ts';

const NETWORKS = ['blue', 'red'] as NetworkName[];
const vmId = (n: number): VmId => parseVmId(`vm-00000000000${n}`);

/** A host without an agent: its quarantine stays. */
const SILENT = host(4);

const unused = (): Promise<never> => Promise.reject(new Error('not expected'));

/** A store that applies each commit, and a cluster in which exactly those incarnations run that the records name. */
class SmallWorld {
  readonly clock = new SimClock();
  readonly vms = new Map<VmId, Entry<VmRecord>>();
  readonly hosts = new Map<HostName, Entry<HostRecord>>();
  readonly networks = new Map<NetworkName, Entry<NetworkRecord>>();
  /** The plan each host was given last, and how many. */
  readonly plans = new Map<HostName, NetworkPlan>();
  readonly ordered: string[] = [];
  /** The generations that QMP was asked about, and what it answers. */
  readonly asked: number[] = [];
  answer: QmpLink['observe'] = async () => answers('running');
  /** Reports an event of QEMU. */
  tell: (target: QmpTarget, told: MigrationTold | null) => void = () => undefined;
  /** The hosts' answer to a launch order; null: they launch. */
  refusal: Error | null = null;
  /** Whether etcd confirms the lease. */
  leads = true;
  /** Whether the machine of a host without an agent answers. */
  isReached = false;
  readonly unreadable = new Map<string, string>();
  /** A process that runs on h1 besides those in the records. */
  stranger: { readonly vm: VmId; readonly generation: Generation; readonly slot: number } | null = null;
  #revision = 1;
  #listener: Parameters<LeaderStore['onChange']>[0] = () => undefined;

  apply(change: Change): void {
    this.#revision++;
    const table = { vm: this.vms, host: this.hosts, network: this.networks }[change.kind as 'vm'];
    if (change.value === null) table.delete(change.id as VmId);
    else table.set(change.id as VmId, { value: change.value as VmRecord, revision: this.#revision });
    if (change.kind !== 'token') this.#listener(change);
  }

  #snapshot(): Snapshot {
    const { vms, hosts, networks } = this;
    const revision = (): number => this.#revision;
    return {
      epoch: FIRST_EPOCH,
      get revision() {
        return revision();
      },
      get completeRevision() {
        return revision();
      },
      ...{ vms, hosts, networks, disks: new Map(), storage: new Map(), tasks: new Map() },
      ...{
        sharedDisks: new Map(),
        guestClusters: new Map(),
        drains: new Map(),
        rolls: new Map(),
        rollPlans: new Map(),
        certificates: new Map(),
        authorities: new Map(),
        tokens: new Map(),
        reservations: new Map(),
        images: new Map(),
        events: new Map(),
        unreadable: this.unreadable,
      },
      lastReadable: new Map(),
      controls: new Map(),
      disksOf: () => [],
    };
  }

  start(): Controller {
    const { clock } = this;
    const snapshot = this.#snapshot();
    const controller = new Controller({
      clock,
      randomHex: (bytes) => 'ab'.repeat(bytes),
      log: { info: () => undefined, warn: () => undefined },
      store: {
        term: 1 as Term,
        snapshot,
        leads: () => this.leads,
        commit: async ({ changes }) => {
          for (const change of changes) this.apply(change);
          return 'committed';
        },
        onChange: (listener) => {
          this.#listener = listener;
        },
        onCommit: () => undefined,
      },
      ...NO_IDENTITIES,
      guestAgents: SILENT_GUESTS,
      hosts: {
        report: async (name) => (name === SILENT ? unused() : this.#report(name)),
        // The incarnations that the records name run, as far as anybody can see: one that is decided upon runs at once.
        launch: async (name) => {
          this.ordered.push(`launch ${name}`);
          if (this.refusal !== null) throw this.refusal;
          return { pid: 1, startTicks: '1', already: false, listens: false };
        },
        kill: async () => (this.refusal === null ? unused() : { killed: [] }),
        probe: unused,
        applyNetwork: async (name, { revision: at, networks: on, drop }) => {
          assert.ok(at >= (this.plans.get(name)?.revision ?? 0), 'plans go forward');
          this.plans.set(name, { revision: at, networks: on, drop });
          this.ordered.push(`network ${name}`);
        },
      },
      files: { copy: () => ({ done: unused(), cancel: () => undefined }), remove: unused },
      storage: {
        report: unused,
        fence: unused,
        grant: unused,
        revoke: unused,
        createDisk: unused,
        deleteDisk: unused,
        createSharedDisk: unused,
        deleteSharedDisk: unused,
        diskFacts: unused,
      },
      qmp: this.#qmp(),
      paths: {
        list: () => (this.isReached ? [{ name: 'direct', control: null, storage: null, network: 'control' }] : []),
        probe: async () => ({ outcome: 'refused', lateMs: 0 }),
      },
      ...NO_IDENTITIES,
      reach: { self: 'c1', peers: () => [], tryFrom: async () => null },
      lead: { giveAway: () => undefined, keptMs: 0 },
      credentials: { issue: async () => ({ caPem: '', certPem: '', keyPem: '' }), targetSecret: async () => '' },
      storageTlsName: (name) => name,
      crashPoint: async () => undefined,
    });
    controller.start();
    return controller;
  }

  #qmp(): QmpLink {
    return {
      observe: (target) => {
        this.asked.push(target.generation);
        return this.answer(target);
      },
      cont: async ({ generation }) => {
        this.ordered.push(`cont ${generation}`);
      },
      ...{ halt: unused, reset: unused, powerDown: unused, quit: unused },
      listen: async () => undefined,
      send: async () => undefined,
      onEvent: (listener) => {
        this.tell = listener;
      },
      ...{
        allowPause: unused,
        dirtyRate: unused,
        blockFigures: unused,
        machineFacts: unused,
        activate: unused,
        cancelSend: unused,
        plug: unused,
        unplug: unused,
        sharedDisks: unused,
        certificateEndsAt: () => null,
        forget: () => undefined,
      },
    };
  }

  #report(name: HostName) {
    const here = [...this.vms.values()].flatMap(({ value }) =>
      expectedIncarnations(value.phase).flatMap((each) => (each.host === name ? [{ vm: value.id, ...each }] : [])),
    );
    if (this.stranger !== null && name === host(1)) here.push({ ...this.stranger, host: name });
    return {
      host: name,
      bootId: 'a',
      agentVersion: '0',
      capacity: hostRecord(1).capacity,
      incarnations: here.map((each, i) => ({ ...each, pid: 100 + i, startTicks: '1', incoming: false })),
      networkRevision: this.plans.get(name)?.revision ?? 0,
    };
  }

  /** The networks of a host according to the records, found by reading all of them. */
  expected(name: HostName): unknown {
    const hosts = [...this.hosts.values()].map(({ value }) => value).sort((a, b) => (a.name < b.name ? -1 : 1));
    const has = (each: HostName, network: NetworkName): boolean =>
      [...this.vms.values()].some(
        ({ value }) =>
          expectedIncarnations(value.phase).some((on) => on.host === each) &&
          value.spec.nics.some((nic) => nic.network === network),
      );
    const networks = [...this.networks.values()]
      .map(({ value }) => value)
      .filter((network) => has(name, network.name))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((network) => ({
        vni: network.vni,
        peers: hosts
          .filter((peer) => peer.name !== name && peer.quarantine === null && has(peer.name, network.name))
          .map((peer) => peer.addresses.overlay),
      }));
    const drop = hosts.filter((peer) => peer.name !== name && peer.quarantine !== null);
    return { networks, drop: drop.map((peer) => peer.addresses.overlay).sort() };
  }
}

function networkRecord(name: NetworkName, vni: number): NetworkRecord {
  return { name, vni, cidr: null, gateway: null, dhcp: false, nat: false, reservations: {}, createdAt: 0 };
}

const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .record({
        n: fc.integer({ min: 1, max: 4 }),
        h: fc.integer({ min: 0, max: 4 }),
        nics: fc.array(fc.constantFrom(...NETWORKS), { maxLength: 2 }),
      })
      .map(({ n, h, nics }): Change => {
        const record = vmRecord(
          h === 0 ? { kind: 'stopped' } : { kind: 'running', incarnation: incarnation(1, h, n) },
          { id: vmId(n), name: `vm${n}`, intent: h === 0 ? 'stopped' : 'running' },
        );
        const asNic = (network: NetworkName) => ({ network, mac: '52:54:00:00:00:01', address: null });
        const value = { ...record, spec: { ...record.spec, memoryBytes: 2 ** 20, disks: [], nics: nics.map(asNic) } };
        return { kind: 'vm', id: vmId(n), value };
      }),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({ n: fc.integer({ min: 1, max: 4 }), isLost: fc.boolean(), net: fc.integer({ min: 2, max: 4 }) })
      .map(({ n, isLost, net }): Change => {
        const { addresses } = hostRecord(n);
        const value = hostRecord(n, {
          quarantine: isLost ? { since: 0, reason: '' } : null,
          addresses: { ...addresses, overlay: `10.${net}.0.${n}` },
        });
        return { kind: 'host', id: host(n), value };
      }),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ name: fc.constantFrom(...NETWORKS), vni: fc.integer({ min: 1, max: 9 }) })
      .map(({ name, vni }): Change => ({ kind: 'network', id: name, value: networkRecord(name, vni) })),
  },
);

test('P1 whatever changes, in the end every host has the networks that the records say, and no plan is older than one before', async () => {
  const changes = fc.array(fc.record({ afterMs: fc.constantFrom(0, 1, 30, 450, 900), change }), { maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(changes, async (given) => {
      const world = new SmallWorld();
      for (const n of [1, 2, 3, 4]) world.apply({ kind: 'host', id: host(n), value: hostRecord(n) });
      for (const [i, name] of NETWORKS.entries())
        world.apply({ kind: 'network', id: name, value: networkRecord(name, i + 1) });
      const controller = world.start();
      const { clock } = world;
      for (const each of given) {
        await clock.run(clock.monotonicMs() + each.afterMs);
        world.apply(each.change);
      }
      await clock.run(clock.monotonicMs() + 2_500);
      for (const n of [1, 2, 3]) {
        const { networks, drop } = world.plans.get(host(n)) ?? { networks: [], drop: [] };
        const brief = { networks: networks.map(({ vni, peers }) => ({ vni, peers })), drop };
        assert.deepEqual(brief, world.expected(host(n)), `h${n}`);
        // A host that is clean is not kept out.
        assert.equal(world.hosts.get(host(n))?.value.quarantine, null);
      }
      controller.stop();
    }),
    { seed: 20_261_121, numRuns: 120 },
  );
});

test('a host is given one plan for many changes, and none while nothing changes', async () => {
  const world = new SmallWorld();
  world.apply({ kind: 'host', id: host(1), value: hostRecord(1) });
  world.apply({ kind: 'network', id: 'blue' as NetworkName, value: networkRecord('blue' as NetworkName, 1) });
  const record = vmRecord({ kind: 'running', incarnation: incarnation(1, 1) });
  const nics = [{ network: 'blue' as NetworkName, mac: '52:54:00:00:00:01', address: null }];
  world.apply({ kind: 'vm', id: record.id, value: { ...record, spec: { ...record.spec, nics } } });
  const controller = world.start();
  await world.clock.run(2_000);
  assert.equal(world.ordered.length, 1);
  await world.clock.run(10_000);
  assert.equal(world.ordered.length, 1);
  for (let vni = 2; vni < 42; vni++) {
    world.apply({ kind: 'network', id: 'blue' as NetworkName, value: networkRecord('blue' as NetworkName, vni) });
    await world.clock.run(world.clock.monotonicMs() + 10);
  }
  await world.clock.run(12_000);
  // 400 ms of changes: at once, and once when half a second has passed.
  assert.equal(world.ordered.length, 3);
  assert.equal(world.plans.get(host(1))?.networks[0]?.vni, 41);
  controller.stop();
});

test('what changes while a new leader takes records into its index is followed; nothing begins before the index is whole', async () => {
  const world = new SmallWorld();
  world.apply({ kind: 'host', id: host(1), value: hostRecord(1) });
  world.apply({ kind: 'network', id: 'blue' as NetworkName, value: networkRecord('blue' as NetworkName, 7) });
  const record = vmRecord({ kind: 'running', incarnation: incarnation(1, 1) });
  // Each look at the clock takes long: every piece of the index is a turn of its own.
  const monotonicMs = world.clock.monotonicMs.bind(world.clock);
  let lateMs = 0;
  world.clock.monotonicMs = () => {
    lateMs += 5;
    return monotonicMs() + lateMs;
  };
  const controller = world.start();
  assert.equal(controller.index.host(host(1))?.name, host(1), 'the first piece is done at once');
  const nics = [{ network: 'blue' as NetworkName, mac: '52:54:00:00:00:01', address: null }];
  world.apply({ kind: 'vm', id: record.id, value: { ...record, spec: { ...record.spec, nics } } });
  assert.equal(controller.index.vm(record.id), null, 'the index is not whole');
  world.clock.monotonicMs = monotonicMs;
  await world.clock.run(2_000);
  assert.equal(controller.index.vm(record.id)?.id, record.id);
  assert.equal(world.plans.get(host(1))?.networks[0]?.vni, 7);
  controller.stop();

  const stopped = new SmallWorld();
  stopped.apply({ kind: 'host', id: host(1), value: hostRecord(1) });
  const later = stopped.clock.monotonicMs.bind(stopped.clock);
  stopped.clock.monotonicMs = () => {
    lateMs += 5;
    return later() + lateMs;
  };
  stopped.start().stop();
  await stopped.clock.run(2_000);
  assert.deepEqual(stopped.ordered, [], 'a leader that was stopped first begins nothing');
});

test('E3 no order is given while etcd does not confirm who leads, and each is given as soon as it does', async () => {
  const world = new SmallWorld();
  world.apply({ kind: 'host', id: host(1), value: hostRecord(1) });
  const record = vmRecord({ kind: 'stopped' }, { id: vmId(1), generation: 0 });
  world.apply({ kind: 'vm', id: record.id, value: { ...record, spec: { ...record.spec, disks: [] } } });
  world.leads = false;
  const controller = world.start();
  await world.clock.run(5_000);
  // This store does not check what etcd would refuse; it records only what leaves this process.
  assert.equal(world.vms.get(vmId(1))?.value.phase.kind, 'starting');
  assert.deepEqual(world.ordered, []);
  assert.match(controller.vms.whyOf(vmId(1)), /etcd does not confirm/);
  world.leads = true;
  await world.clock.run(9_000);
  assert.equal(world.vms.get(vmId(1))?.value.phase.kind, 'running');
  assert.deepEqual(world.ordered, ['network h1', 'launch h1']);
  controller.stop();
});

test('V3 a guest that the leader before launched, and whose agent has died since, is found by its QMP and not launched again', async () => {
  const world = new SmallWorld();
  world.isReached = true;
  world.apply({ kind: 'host', id: SILENT, value: hostRecord(4) });
  world.apply({ kind: 'host', id: host(1), value: hostRecord(1) });
  const phase = { kind: 'starting', incarnation: incarnation(1, 4), reason: 'requested', avoid: [] } as const;
  const record = vmRecord(phase, { id: vmId(1), intent: 'running' });
  world.apply({ kind: 'vm', id: record.id, value: { ...record, spec: { ...record.spec, disks: [] } } });
  const controller = world.start();
  await world.clock.run(5_000);
  const { generation, phase: now } = world.vms.get(vmId(1))?.value ?? record;
  assert.deepEqual([generation, now.kind], [1, 'running']);
  assert.ok(!world.ordered.some((order) => order.startsWith('launch')), world.ordered.join());
  controller.stop();
});

/** A VM on its way from one host to another, whose leader has given every order and waits. */
async function migratingWorld() {
  const world = new SmallWorld();
  const { clock } = world;
  for (const n of [1, 2]) world.apply({ kind: 'host', id: host(n), value: hostRecord(n) });
  const [source, destination] = [incarnation(1, 1), incarnation(2, 2)];
  const record = vmRecord(
    { kind: 'migrating', source, destination, taskId: null, deadlineAt: NOW + 600_000 },
    { id: vmId(1), intent: 'running' },
  );
  world.apply({ kind: 'vm', id: record.id, value: { ...record, spec: { ...record.spec, disks: [] } } });
  world.answer = async ({ generation }) => answers(generation === 1 ? 'running' : 'inmigrate');
  const controller = world.start();
  await clock.run(5_000);
  // Just after a look, so that the next scheduled one is far away.
  const looks = world.asked.length;
  await clock.run(6_000, () => world.asked.length > looks + 1);
  world.asked.length = 0;
  const startMs = clock.monotonicMs();
  return {
    world,
    stop: () => controller.stop(),
    /** An event of one of the two. */
    tell: ({ generation, host: name, slot }: Incarnation, told: MigrationTold | null = null) =>
      world.tell({ vm: record.id, generation, host: name, slot, addresses: hostRecord(1).addresses }, told),
    source,
    destination,
    /** QMP's answer after this many ms. */
    later: async (ms: number, status: string) => {
      await new Promise<void>((resolve) => clock.after(ms, resolve));
      return answers(status);
    },
    /** Lets time pass until this many ms after the look. */
    until: (ms: number) => clock.run(startMs + ms),
    phase: () => world.vms.get(record.id)?.value.phase.kind,
  };
}

test('an event of QEMU is a reason to ask that QEMU and nobody else; what is answered after the next event counts as well', async () => {
  const { world, stop, tell, source, destination, later, until, phase } = await migratingWorld();
  // The destination's answer is slower than the source's.
  world.answer = ({ generation }) => (generation === 1 ? later(3, 'postmigrate') : later(12, 'paused'));
  tell(destination);
  await until(2);
  tell(source);
  await until(10);
  assert.deepEqual([world.asked, phase()], [[2, 1], 'migrating']);
  await until(14);
  assert.equal(phase(), 'switching');
  stop();
});

test('what a source was asked before the fence is not its word after it', async () => {
  const { world, stop, tell, source, destination, later, until, phase } = await migratingWorld();
  world.answer = ({ generation }) => later(1, generation === 1 ? 'postmigrate' : 'inmigrate');
  tell(source);
  await until(4);
  world.answer = ({ generation }) => (generation === 1 ? later(30, 'postmigrate') : later(1, 'paused'));
  tell(source);
  await until(6);
  // The second question to the source is asked after the fence: somebody had continued it before.
  world.answer = ({ generation }) => (generation === 1 ? later(40, 'running') : later(1, 'paused'));
  tell(destination);
  await until(35);
  assert.deepEqual([world.asked, phase()], [[1, 1, 2, 2, 1], 'switching'], 'the destination also beside the fence');
  tell(destination);
  await until(45);
  assert.deepEqual([world.asked.slice(5), phase()], [[2, 1], 'switching']);
  assert.ok(!world.ordered.includes('cont 2'), world.ordered.join());
  await until(80);
  assert.equal(phase(), 'starting', 'its memory is older than its disk');
  stop();
});

const LEFT = { kind: 'left', sentTo: parseGeneration(2), pausedMs: 40 } as const;

test('what both ends tell of a complete migration is committed upon at once; after the fence the source is asked all the same', async () => {
  for (const isContinued of [false, true]) {
    const { world, stop, tell, source, destination, later, until, phase } = await migratingWorld();
    // Only the destination is asked during the fence, which is over at once here: the destination is asked anew after
    // it.
    world.answer = ({ generation }) => {
      if (generation === 2) return later(1, 'paused');
      return later(3, isContinued ? 'running' : 'postmigrate');
    };
    world.ordered.length = 0;
    tell(source, { kind: 'ending' });
    await until(200);
    tell(destination, { kind: 'arrived' });
    await until(201);
    assert.deepEqual([world.asked, phase()], [[], 'migrating'], 'nobody is asked while the guest stands still');
    tell(source, LEFT);
    await until(202);
    assert.deepEqual([world.asked, phase()], [[2, 2, 1], 'switching']);
    assert.ok(!world.ordered.includes('cont 2'), world.ordered.join());
    await until(204.5);
    if (!isContinued) assert.deepEqual(world.asked.slice(3), [2], 'a step is a reason to ask whom it changed');
    await until(210);
    // The memory of one that was continued is older than its disk: its next generation starts.
    assert.equal(world.ordered.includes('cont 2'), !isContinued, world.ordered.join());
    assert.equal(
      world.ordered.some((order) => order.startsWith('launch')),
      isContinued,
      world.ordered.join(),
    );
    stop();
  }
});

test('what was told is no answer to what is asked later: a destination or a source that says otherwise by then is believed', async () => {
  const { world, stop, tell, source, destination, later, until, phase } = await migratingWorld();
  world.answer = ({ generation }) => later(1, generation === 1 ? 'running' : 'inmigrate');
  tell(destination, { kind: 'arrived' });
  // The VM was launched anew in the meantime.
  tell(destination);
  await until(10);
  tell(source, LEFT);
  await until(1_000);
  assert.equal(phase(), 'migrating');
  tell(source, { ...LEFT, sentTo: parseGeneration(3) });
  tell(destination, { kind: 'arrived' });
  await until(1_100);
  assert.equal(phase(), 'migrating', 'it was sent to another one');
  stop();
});

/**
 * Starts a VM among three hosts that answer every launch with `refusal`; returns its orders in half a minute, and its
 * record then.
 */
async function startRefused(refusal: Error): Promise<{ readonly launches: readonly string[]; readonly vm: VmRecord }> {
  const world = new SmallWorld();
  world.refusal = refusal;
  world.answer = async () => ({ kind: 'unknown' });
  for (const n of [1, 2, 3]) world.apply({ kind: 'host', id: host(n), value: hostRecord(n) });
  const record = vmRecord({ kind: 'stopped' }, { generation: 0 });
  world.apply({ kind: 'vm', id: record.id, value: { ...record, spec: { ...record.spec, disks: [] } } });
  const controller = world.start();
  await world.clock.run(world.clock.monotonicMs() + 30_000);
  controller.stop();
  const vm = world.vms.get(record.id)?.value;
  assert(vm !== undefined);
  return { launches: world.ordered.filter((order) => order.startsWith('launch')), vm };
}

test('a launch that two hosts refuse for a mistake of the order is not tried again; whatever else fails is', async () => {
  const refused = await startRefused(new CodedError('bad-input', 'machine.vcpus must be an integer from 1 to 255.'));
  assert.deepEqual(refused.launches.toSorted(), ['launch h1', 'launch h2']);
  assert.deepEqual([refused.vm.phase.kind, refused.vm.intent, refused.vm.generation], ['stopped', 'stopped', 2]);
  assert.match(refused.vm.failures?.message ?? '', /vcpus must be/);

  const failed = await startRefused(new CodedError('failed', 'QEMU ended with status 1: it said nothing.'));
  assert(failed.launches.length > 4, `${failed.launches.length} launches`);
  assert.deepEqual([failed.vm.intent, new Set(failed.launches).size], ['running', 3]);
});

test('C1 a new leader places nothing beside a VM whose record it has never read, until the record is repaired', async () => {
  const world = new SmallWorld();
  for (const n of [1, 2]) world.apply({ kind: 'host', id: host(n), value: hostRecord(n) });
  const record = (n: number) => {
    const vm = vmRecord({ kind: 'stopped' }, { id: vmId(n), name: `vm${n}`, generation: 0 });
    return { ...vm, spec: { ...vm.spec, disks: [] } };
  };
  world.stranger = { vm: vmId(9), generation: parseGeneration(1), slot: 0 };
  world.unreadable.set(keyOf.vm(vmId(9)), 'is not JSON');
  world.apply({ kind: 'vm', id: vmId(1), value: record(1) });
  const controller = world.start();
  await world.clock.run(3_000);
  assert.deepEqual(hostOf(world, 1), 'h2', 'h1 comes first by its name');
  world.unreadable.clear();
  const phase = { kind: 'running', incarnation: incarnation(1, 1) } as const;
  world.apply({
    kind: 'vm',
    id: vmId(9),
    value: { ...record(9), intent: 'running', generation: parseGeneration(1), phase },
  });
  world.stranger = null;
  await world.clock.run(5_000);
  for (const n of [2, 3]) world.apply({ kind: 'vm', id: vmId(n), value: record(n) });
  await world.clock.run(8_000);
  assert.deepEqual(new Set([hostOf(world, 2), hostOf(world, 3)]), new Set(['h1', 'h2']));
  controller.stop();
});

function hostOf(world: SmallWorld, n: number): string | null {
  const phase = world.vms.get(vmId(n))?.value.phase;
  return phase !== undefined && 'incarnation' in phase ? phase.incarnation.host : null;
}
