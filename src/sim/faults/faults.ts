/**
 * Misfortunes: each is begun at some time drawn from the seed, lasts for a while, and is over by itself. `repair` ends
 * all of them at once: from then on nothing fails any more.
 */
import { present } from '../../base/assert.ts';
import type { DiskId } from '../../base/ids.ts';
import { PREFIX } from '../../core/model/keys.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimHostNode } from '../machines/host-node.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import { CALM, type Channel, type NetworkName } from '../network/network.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';
import type { SimStorageNode } from '../storage/sim-storage-node.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { FaultName } from './swarm.ts';

/** How long misfortunes last, in ms: often short enough to be overlooked, sometimes long enough to be acted upon. */
const LASTS_MS = [
  [50, 600],
  [400, 3_000],
  [2_000, 9_000],
] as const;
const FREEZE_MS = [
  [200, 1_500],
  [1_500, 7_000],
] as const;
const OFF_MS = [500, 9_000] as const;
/** Steps that a leader may still do before it dies or stops still. */
const STEPS_MAX = 12;
const JUMPS_MS = [-3_600_000, -30_000, -1_500, 1_500, 30_000, 3_600_000] as const;
/** Clocks of computers differ by some tenths of a percent at most. */
const DRIFT_MAX = 0.004;
const SLOW_MS = [300, 1_500, 6_000] as const;
/** A write of storage that has too much to do takes as long as a leader takes to give up a host, or longer. */
const OVERLOADED_MS = [2_000, 9_000] as const;
/** Kinds of records that are overwritten; storage nodes may write the first kind. */
const SPOILED = [
  PREFIX.reservation,
  PREFIX.reservation,
  PREFIX.vm,
  PREFIX.disk,
  PREFIX.host,
  PREFIX.network,
  PREFIX.storage,
  PREFIX.sharedDisk,
  PREFIX.guestCluster,
] as const;
const BAD_VALUES = ['', '{', 'null', '[]', '"text"', '{"id":7}', '{"kind":"x","phase":{"kind":"running"}}'] as const;
/** In this a host is given up. */
const GIVEN_UP_MS = [5_000, 12_000] as const;

/** How long a host may be without one of its networks: QMP is found over the other one after about 3 s. */
const ONE_NETWORK_LOST_MS = [9_000, 25_000] as const;

/** How long a leader is blind: it must give the lead away within this time. */
const BLIND_MS = [24_000, 35_000] as const;

/** How long disk ports are cut: a guest that writes is paused, and must be started elsewhere within this time. */
const CUT_DISKS_MS = [20_000, 60_000] as const;

/** One of these is drawn, and then a time in it, in ms. */
type Ranges = readonly (readonly [number, number])[];

/** All misfortunes of one run. */
export class Faults {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  /** How each misfortune that is under way is ended. */
  readonly #ends = new Set<() => void>();
  /** Keys that hold invalid values now. */
  readonly #spoiled = new Set<string>();
  #isOver = false;
  readonly #askAnything: () => void;
  #crashIn = 0;
  #freezeIn = 0;
  #askIn = 0;
  #isLaunchAwaited = false;

  /** `askAnything`: people ask for something. */
  constructor(cluster: SimCluster, askAnything: () => void) {
    this.#cluster = cluster;
    this.#askAnything = askAnything;
    this.#random = cluster.random.fork('faults');
    cluster.onCrashPoint = (process, _workflow, step) => this.#atStep(process, step);
    for (const machine of cluster.machines.values())
      machine.setDrift(cluster.swarm.faults.has('clock-drift') ? this.#drift() : 0);
  }

  /** Begins one. */
  begin(name: FaultName): void {
    if (this.#isOver) return;
    this.#cluster.say(() => `-- ${name}`);
    this.#table[name]();
  }

  /** Everything that broke works again, and nothing fails from now on. */
  repair(): void {
    const { network, machines, etcd, storage, say } = this.#cluster;
    say(() => '-- repair');
    this.#isOver = true;
    this.#crashIn = 0;
    this.#freezeIn = 0;
    this.#askIn = 0;
    this.#isLaunchAwaited = false;
    for (const end of [...this.#ends]) end();
    network.weather = { control: CALM, storage: CALM, overlay: CALM };
    this.#cluster.etcdRepliesLostPercent = 0;
    for (const node of storage.values()) {
      node.pool.isFull = false;
      node.setLatencyMs();
    }
    for (const machine of machines.values()) {
      machine.correctWall();
      if (machine.up) this.#cluster.startAll(machine);
      else this.#cluster.powerOn(machine);
    }
    etcd.topologyChanged();
  }

  readonly #table: Readonly<Record<FaultName, () => void>> = {
    'crash-server': () => this.#crash(this.#control().process),
    'crash-leader': () => this.#crash(this.#cluster.leader?.process),
    'crash-leader-at-step': () => {
      this.#crashIn = 1 + this.#random.below(STEPS_MAX);
    },
    'freeze-leader': () => this.#freeze(this.#cluster.leader?.process),
    'freeze-leader-at-step': () => {
      this.#freezeIn = 1 + this.#random.below(STEPS_MAX);
    },
    // At the moment of a launch on that host, and for longer than any start should wait.
    'stop-agent-at-launch': () => {
      this.#isLaunchAwaited = true;
    },
    'ask-at-step': () => {
      this.#askIn = 1 + this.#random.below(STEPS_MAX);
    },
    'crash-agent': () => this.#crash(this.#host().agentProcess),
    'crash-storage-service': () => this.#crash(this.#storage().serviceProcess),
    'crash-daemon': () => this.#daemon()?.end(),
    'crash-etcd': () => this.#crash(this.#member()),
    'crash-qemu': () => this.#qemu()?.process.end(),
    'guest-ends': () => this.#qemu()?.guestDoes('shutdown'),
    'guest-panics': () => this.#qemu()?.guestDoes('guest-panicked'),
    'control-node-dies': () => this.#powerOff([this.#control().machine]),
    'storage-node-dies': () => this.#powerOff([this.#storage().machine]),
    'host-dies': () => this.#powerOff([this.#host().machine]),
    'rack-dies': () => {
      const { rack } = this.#host();
      this.#powerOff(
        [...this.#cluster.hosts.values()].filter((host) => host.rack === rack).map(({ machine }) => machine),
      );
    },
    // The agent's disk is replaced: its QEMUs run on, and a new agent has to join first.
    'wipe-agent': () => this.#wipe(this.#host()),
    'reinstall-host': () => {
      const host = this.#host();
      this.#powerOff([host.machine]);
      host.wipe();
    },
    'everything-dies': () => this.#powerOff([...this.#cluster.machines.values()]),
    'cut-host': () => this.#isolate(this.#host().machine, ['control', 'storage', 'overlay'], 'both'),
    'cut-host-one-way': () => this.#isolate(this.#host().machine, ['control', 'storage'], this.#direction()),
    'cut-host-network': () =>
      this.#isolate(this.#host().machine, [this.#network()], 'both', [...LASTS_MS, ONE_NETWORK_LOST_MS]),
    'cut-host-overlay': () =>
      this.#isolate(this.#host().machine, ['overlay'], this.#random.chance(50) ? 'both' : this.#direction()),
    'cut-pair': () => this.#cutPair(true),
    'cut-pair-one-way': () => this.#cutPair(false),
    'cut-control-node': () =>
      this.#isolate(this.#control().machine, ['control'], this.#random.chance(50) ? 'both' : this.#direction()),
    'cut-storage-node': () =>
      this.#isolate(this.#storage().machine, [this.#network()], this.#random.chance(70) ? 'both' : this.#direction()),
    'cut-racks': () => this.#cutRacks(),
    storm: () => this.#storm(),
    'freeze-server': () => this.#freeze(this.#control().process),
    'freeze-agent': () => this.#freeze(this.#host().agentProcess),
    'freeze-storage-service': () => this.#freeze(this.#storage().serviceProcess),
    'freeze-daemon': () => this.#freeze(this.#daemon()),
    'freeze-etcd': () => this.#freeze(this.#member()),
    'freeze-qemu': () => this.#freeze(this.#qemu()?.process),
    'clock-jump': () => this.#jump(),
    'clock-drift': () => this.#machine().setDrift(this.#drift()),
    'slow-disk': () => {
      const node = this.#storage();
      const disks = disksOf(node);
      if (disks.length > 0) this.#slowDisk(node, this.#random.pick(disks), this.#random.pick(SLOW_MS));
    },
    'slow-pool': () => {
      const node = this.#storage();
      node.setLatencyMs([0.2, this.#random.pick(SLOW_MS)]);
      this.#lasting(() => node.setLatencyMs());
    },
    'full-pool': () => {
      const { pool } = this.#storage();
      pool.isFull = true;
      this.#lasting(() => {
        pool.isFull = false;
      });
    },
    'compact-etcd': () => {
      const { etcd } = this.#cluster;
      if (etcd.state.revision > 2) etcd.compact(etcd.state.revision);
    },
    'crash-target': () => this.#target()?.end(),
    'freeze-target': () => this.#freeze(this.#target()),
    // An overloaded part is slow first, and breaks then: writes are under way when their host is given up.
    'cut-host-while-slow': () => {
      for (const node of this.#cluster.storage.values())
        for (const disk of disksOf(node))
          if (this.#random.chance(50)) this.#slowDisk(node, disk, this.#random.between(...OVERLOADED_MS));
      const sharing = [...this.#cluster.qemus].filter(({ sharedDisks }) => sharedDisks.size > 0);
      const victim = sharing.length > 0 ? this.#random.pick(sharing) : this.#qemu();
      const machine = victim?.process.machine ?? this.#host().machine;
      this.#cluster.clock.after(this.#random.between(...LASTS_MS[0]), () => {
        if (!this.#isOver) this.#isolate(machine, ['control', 'storage', 'overlay'], 'both', [GIVEN_UP_MS]);
      });
    },
    // The leader keeps etcd and the other control nodes, and loses every host and storage node.
    'blind-leader': () => {
      const leader = this.#cluster.leader?.name;
      if (leader === undefined) return;
      const led = [...this.#cluster.hosts.keys(), ...this.#cluster.storage.keys()];
      this.#cut(
        led.flatMap((name) => [['control', leader, name] as const, ['control', name, leader] as const]),
        [BLIND_MS],
      );
    },
    'bad-value': () => this.#spoil(),
    // A packet filter that drops only the disk ports.
    'cut-disks': () => {
      const [host, node] = [this.#host().name, this.#storage().name];
      this.#cut([['disks', host, node] as const, ['disks', node, host] as const], [CUT_DISKS_MS]);
    },
    // Control nodes make room by themselves.
    'full-etcd': () => this.#cluster.etcd.fill(),
    'lose-etcd-replies': () => {
      this.#cluster.etcdRepliesLostPercent = this.#random.pick([10, 40, 100]);
      this.#lasting(() => {
        this.#cluster.etcdRepliesLostPercent = 0;
      });
    },
  };

  /**
   * A storage node writes an invalid value where it may write, or a record is overwritten; after a while the value is
   * restored.
   */
  #spoil(): void {
    const { etcd } = this.#cluster;
    const prefix = this.#random.pick(SPOILED);
    const there = prefix === PREFIX.reservation ? [] : etcd.state.list(prefix);
    const record = there.length === 0 ? undefined : this.#random.pick(there);
    const key = record?.key ?? `${PREFIX.reservation}disk-${this.#random.hex(6)}`;
    const value = this.#random.pick(BAD_VALUES);
    if (this.#spoiled.has(key)) return;
    this.#spoiled.add(key);
    this.#cluster.say(() => `${key} becomes ${value}`);
    this.#cluster.overwriteEtcd(key, value);
    this.#lasting(() => {
      this.#spoiled.delete(key);
      if (etcd.state.get(key)?.value !== value) return;
      this.#cluster.say(() => `${key} is right again`);
      this.#cluster.overwriteEtcd(key, record?.value ?? null);
    });
  }

  #drift(): number {
    return this.#random.between(-DRIFT_MAX, DRIFT_MAX);
  }

  #control() {
    return this.#random.pick([...this.#cluster.controls.values()]);
  }

  #storage(): SimStorageNode {
    return this.#random.pick([...this.#cluster.storage.values()]);
  }

  #host(): SimHostNode {
    return this.#random.pick([...this.#cluster.hosts.values()]);
  }

  #machine(): SimMachine {
    return this.#random.pick([...this.#cluster.machines.values()]);
  }

  #network(): NetworkName {
    return this.#random.pick(['control', 'storage']);
  }

  #direction(): 'in' | 'out' {
    return this.#random.pick(['in', 'out']);
  }

  #qemu(): QemuProcess | undefined {
    const running = [...this.#cluster.qemus];
    return running.length === 0 ? undefined : this.#random.pick(running);
  }

  #member(): SimProcess | undefined {
    return this.#cluster.members.get(this.#random.pick(this.#cluster.etcd.members));
  }

  #daemon(): SimProcess | undefined {
    const daemons = this.#storage().daemons();
    return daemons.length === 0 ? undefined : this.#random.pick(daemons).process;
  }

  #target(): SimProcess | undefined {
    return this.#random.pick([...this.#cluster.storage.values()]).targetProcess();
  }

  /** A fault that was begun lasts for a while and is then ended, once. */
  #lasting(end: () => void, ranges: Ranges = LASTS_MS): void {
    const [least, most] = this.#random.pick(ranges);
    const once = (): void => {
      if (this.#ends.delete(once)) end();
    };
    this.#ends.add(once);
    this.#cluster.clock.after(this.#random.between(least, most), once);
  }

  #crash(process: SimProcess | null | undefined): void {
    if (process === null || process === undefined) return;
    const { machine, name } = process;
    this.#cluster.say(() => `${name} dies`);
    this.#cluster.touched(machine.name);
    process.end();
    this.#cluster.supervise(machine);
  }

  #wipe(host: SimHostNode): void {
    this.#cluster.say(() => `${host.name} forgets who it is`);
    this.#cluster.touched(host.name);
    host.wipe();
    this.#cluster.supervise(host.machine);
  }

  #freeze(process: SimProcess | null | undefined, lastsMs: Ranges = FREEZE_MS): void {
    if (process === null || process === undefined || !process.isAlive) return;
    const { machine, name } = process;
    this.#cluster.say(() => `${name} stands still`);
    this.#cluster.touched(machine.name);
    const thaw = process.freeze();
    this.#cluster.etcd.topologyChanged();
    this.#lasting(() => {
      this.#cluster.say(() => `${name} goes on`);
      this.#cluster.touched(machine.name);
      thaw();
      this.#cluster.etcd.topologyChanged();
    }, lastsMs);
  }

  #atStep(process: SimProcess, step: string): void {
    if (this.#isLaunchAwaited && step === 'launch') this.#stopAgents();
    if (this.#askIn > 0 && --this.#askIn === 0) this.#askAnything();
    if (this.#crashIn > 0 && --this.#crashIn === 0) this.#crash(process);
    else if (this.#freezeIn > 0 && --this.#freezeIn === 0) this.#freeze(process);
  }

  /** Freezes every agent that a launch is expected of, or kills it without a restart for as long. */
  #stopAgents(): void {
    this.#isLaunchAwaited = false;
    for (const { phase } of this.#cluster.truth.tables.vm.values()) {
      const to =
        phase.kind === 'starting' ? phase.incarnation.host : phase.kind === 'migrating' ? phase.destination.host : null;
      const agent = to === null ? undefined : this.#cluster.hosts.get(to)?.agentProcess;
      if (this.#random.chance(50)) this.#freeze(agent, [GIVEN_UP_MS]);
      else agent?.end();
      if (agent?.isAlive === false) this.#cluster.supervise(agent.machine, this.#random.between(...GIVEN_UP_MS));
    }
  }

  #powerOff(machines: readonly SimMachine[]): void {
    for (const machine of machines) {
      if (!machine.up) continue;
      this.#cluster.powerOff(machine);
      this.#lasting(() => this.#cluster.powerOn(machine), [OFF_MS]);
    }
  }

  #cut(cuts: readonly (readonly [Channel, string, string])[], lastsMs: Ranges = LASTS_MS): void {
    const { network, etcd } = this.#cluster;
    const touch = (): void => {
      for (const [, from, to] of cuts) for (const name of [from, to]) if (name !== '*') this.#cluster.touched(name);
    };
    const heals = cuts.map(([on, from, to]) => network.cut(on, from, to));
    this.#cluster.say(() => `cut ${cuts.map(([on, from, to]) => `${on} ${from}>${to}`).join(', ')}`);
    touch();
    etcd.topologyChanged();
    this.#lasting(() => {
      for (const heal of heals) heal();
      this.#cluster.say(() => `healed ${cuts.map(([on, from, to]) => `${on} ${from}>${to}`).join(', ')}`);
      touch();
      etcd.topologyChanged();
    }, lastsMs);
  }

  #isolate({ name }: SimMachine, networks: readonly NetworkName[], direction: 'in' | 'out' | 'both', lastsMs?: Ranges) {
    this.#cut(
      networks.flatMap((network) => [
        ...(direction === 'out' ? [] : [[network, '*', name] as const]),
        ...(direction === 'in' ? [] : [[network, name, '*'] as const]),
      ]),
      lastsMs,
    );
  }

  #cutPair(isBothWays: boolean): void {
    const [one, other] = [this.#machine().name, this.#machine().name];
    if (one === other) return;
    const network = this.#network();
    this.#cut([[network, one, other], ...(isBothWays ? [[network, other, one] as const] : [])]);
  }

  /** The hosts of one rack and everybody else do not hear each other on one network. */
  #cutRacks(): void {
    const { rack } = this.#host();
    const network = this.#network();
    const inside = [...this.#cluster.hosts.values()]
      .filter((host) => host.rack === rack)
      .map(({ machine }) => machine.name);
    const outside = [...this.#cluster.machines.keys()].filter((name) => !inside.includes(name));
    this.#cut(inside.flatMap((a) => outside.flatMap((b) => [[network, a, b] as const, [network, b, a] as const])));
  }

  #storm(): void {
    const { network } = this.#cluster;
    const on = this.#network();
    const before = present(this.#cluster.swarm.weather[on], on);
    const lossPercent = this.#random.between(5, 40);
    network.weather = { ...network.weather, [on]: { ...before, lossPercent, latePercent: 20, lateMs: 1_000 } };
    this.#lasting(() => {
      network.weather = { ...network.weather, [on]: before };
    });
  }

  #jump(): void {
    const machine = this.#machine();
    const by = this.#random.pick(JUMPS_MS);
    this.#cluster.say(() => `the wall clock of ${machine.name} jumps by ${by} ms`);
    machine.wallErrorMs += by;
  }

  #slowDisk(node: SimStorageNode, disk: DiskId, delayMs: number): void {
    node.slowDisk(disk, delayMs);
    this.#lasting(() => node.slowDisk(disk, 0));
  }
}

/** A node's disks, those that are shared included. */
function disksOf({ pool }: SimStorageNode): DiskId[] {
  return [...pool.list(), ...pool.listShared().map(({ disk }) => disk)];
}
