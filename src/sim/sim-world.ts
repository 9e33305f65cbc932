/**
 * A whole small cluster in memory: the real Controller (core/loop/controller.ts) over simulated hosts, storage, QEMUs, networks and etcd.
 *
 * Guarantees: deterministic: the same seed and the same calls give the same trace. It knows nothing of how decisions are made;
 * what is right is judged by core/check and by `disorder`.
 */
import { CodedError } from '../base/errors.ts';
import type { DiskId, HostName, StorageName, VmId } from '../base/ids.ts';
import { traceJudge } from '../core/check/check-trace.ts';
import type { TraceEntry, Violation } from '../core/check/trace.ts';
import { Controller, type ControllerPorts } from '../core/loop/controller.ts';
import type { HostRecord, StorageRecord, TaskRecord } from '../core/model/cluster.ts';
import type { VmRecord } from '../core/model/vm.ts';
import { pause } from '../core/ports/clock.ts';
import type { Entry } from '../core/ports/store.ts';
import { SimClock } from './sim-clock.ts';
import { SimHost } from './sim-hosts.ts';
import { simHostLink, simPaths, simStorageLink } from './sim-links.ts';
import { migrationIs, type SimQemu } from './sim-qemu.ts';
import { SimQmpLink } from './sim-qmp.ts';
import { SimRandom } from './sim-random.ts';
import { SimStorage } from './sim-storage.ts';
import { SimStore, type StoreView } from './sim-store.ts';
import type { Placed, SimSurroundings } from './sim-surroundings.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly hosts: number;
  readonly nodes: number;
  readonly hostMemoryBytes: number;
  readonly plant?: (ports: ControllerPorts) => ControllerPorts;
}

/** Between two writes of a guest. */
const TICK_MS = 100;
/** From a leader's death to the next one's first look. */
const ELECTION_MS = 1_500;
/** How long a deposed leader goes on before it notices, when it writes nothing. */
const FROZEN_MS = 4_000;

interface Leader {
  readonly controller: Controller;
  readonly view: StoreView;
  readonly qmp: SimQmpLink;
  alive: boolean;
}

/** See the module. */
export class SimWorld implements SimSurroundings {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly store: SimStore;
  readonly hosts = new Map<HostName, SimHost>();
  readonly storage = new Map<StorageName, SimStorage>();
  readonly trace: TraceEntry[] = [];
  readonly log: string[] = [];
  readonly violations: Violation[] = [];
  readonly options: WorldOptions;
  readonly #judge = traceJudge();
  readonly #storageRecords = new Map<StorageName, Entry<StorageRecord>>();
  #leader: Leader | null = null;
  /** The leader dies before its so-many-th step or commit from now; 0: it does not. */
  #crashIn = 0;

  constructor(options: WorldOptions) {
    this.options = options;
    this.clock = new SimClock();
    this.random = new SimRandom(options.seed);
    const ports = { clock: this.clock, random: this.random, note: this.note, storage: this.#storageRecords };
    this.store = new SimStore(ports);
    for (let i = 1; i <= options.nodes; i++) this.#addStorage(`s${i}` as StorageName, i);
    for (let i = 1; i <= options.hosts; i++) this.#addHost(`h${i}` as HostName, i);
    this.#tick();
    this.elect();
  }

  readonly note = (entry: Parameters<ConstructorParameters<typeof SimStorage>[2]>[0]): void => {
    const timed = { at: this.clock.monotonicMs(), ...entry } as TraceEntry;
    this.trace.push(timed);
    for (const violation of this.#judge(timed)) {
      this.violations.push(violation);
      this.say(`VIOLATION ${violation.rule}: ${violation.what}`);
    }
  };

  say(text: string): void {
    this.log.push(`${String(this.clock.monotonicMs()).padStart(7)} ${text}`);
  }

  get leader(): Controller | null {
    return this.#leader?.controller ?? null;
  }

  /** A new leader begins at once; the one before is not told. */
  elect(): void {
    const view = this.store.elect();
    this.say(`term ${view.term} begins`);
    this.note({ kind: 'leads', control: 'c1', term: view.term });
    const say = (level: string) => (message: string, fields?: object) =>
      this.say(`[${view.term}] ${level}${message} ${JSON.stringify(fields ?? {})}`);
    const qmp = new SimQmpLink(this, () => view.isOver);
    const ports: ControllerPorts = {
      clock: this.clock,
      log: { info: say(''), warn: say('! ') },
      store: view,
      hosts: simHostLink(this),
      storage: simStorageLink(this),
      qmp,
      paths: simPaths(this),
      credentials: { issue: async () => ({ caPem: '', certPem: '', keyPem: '' }) },
      storageTlsName: (node) => node,
      crashPoint: (workflow, step) => this.#crashPoint(leader, workflow, step),
    };
    const controller = new Controller(this.options.plant?.(ports) ?? ports);
    const leader: Leader = { controller, view, qmp, alive: true };
    this.#leader = leader;
    controller.start();
  }

  /** The leader's process dies; another one leads a little later. */
  crashLeader(): void {
    const leader = this.#leader;
    if (leader === null) return;
    this.say(`leader of term ${leader.view.term} dies`);
    this.#end(leader);
    this.#leader = null;
    this.clock.after(ELECTION_MS, () => {
      if (this.#leader === null) this.elect();
    });
  }

  /** The leader loses its election and does not notice for a while: two act at the same time. */
  deposeLeader(): void {
    const old = this.#leader;
    if (old === null) return;
    this.elect();
    this.clock.after(FROZEN_MS, () => this.#end(old));
  }

  crashLeaderAtStep(count: number): void {
    this.#crashIn = count;
  }

  /** A call from the leader to something that may be out of reach; its request or its reply may be lost. */
  async call<T>(
    target: { readonly reached: () => boolean; readonly deadlineMs: number; readonly what: string },
    serve: () => T,
  ): Promise<T> {
    const { reached, deadlineMs, what } = target;
    const sent = this.clock.monotonicMs();
    const late = async (): Promise<never> => {
      await pause(this.clock, Math.max(1, deadlineMs - (this.clock.monotonicMs() - sent)));
      throw new CodedError('deadline', `${what} did not answer within ${deadlineMs} ms.`);
    };
    await pause(this.clock, 1 + this.random.below(5));
    const lost = this.random.chance(this.store.lossPercent);
    if (!reached() || (lost && this.random.chance(50))) return late();
    const result = serve();
    await pause(this.clock, 1 + this.random.below(5));
    if (!reached() || lost) return late();
    return result;
  }

  qemuOf(vm: VmId, generation: number): SimQemu | undefined {
    for (const host of this.hosts.values()) {
      const qemu = host.processes.get(`${vm}:${generation}`);
      if (qemu !== undefined) return qemu;
    }
    return undefined;
  }

  /** A QEMU reports an event; whoever leads hears it where a path leads there. */
  announce(host: SimHost, qemu: SimQemu): void {
    this.say(`${qemu.key} on ${host.name}: ${qemu.ended ? 'ended' : qemu.status}`);
    this.#leader?.qmp.heard(host, qemu);
  }

  /** Sends a guest's memory from one QEMU to another, for as long as it takes. */
  beginStream(source: Placed, destination: Placed): void {
    source.qemu.migration = migrationIs('active');
    this.say(`${source.qemu.key} sends to ${destination.qemu.key}`);
    const stream = source.qemu.migration;
    this.clock.after(100 + this.random.below(1_500), () => {
      if (source.qemu.migration !== stream) return this.#breakStream(source, destination, null);
      const apart = source.host.storageCut || destination.host.storageCut || !destination.host.up;
      if (source.qemu.ended || destination.qemu.ended || apart) return this.#breakStream(source, destination, 'broken');
      const live = source.qemu.isLive;
      destination.qemu.status = live ? (destination.qemu.autostart ? 'running' : 'paused') : source.qemu.status;
      this.announce(destination.host, destination.qemu);
      // The end of a stream can be lost: the destination has everything, and the source goes on by itself.
      if (this.random.chance(8)) {
        source.qemu.migration = migrationIs('failed', 'the last acknowledgement did not come');
      } else {
        source.qemu.migration = migrationIs('completed');
        source.qemu.status = 'postmigrate';
      }
      this.announce(source.host, source.qemu);
    });
  }

  #breakStream(source: Placed, destination: Placed, error: string | null): void {
    if (error !== null && !source.qemu.ended) source.qemu.migration = migrationIs('failed', error);
    if (!destination.qemu.ended && destination.qemu.status === 'inmigrate') {
      destination.host.end(destination.qemu.start.vm, destination.qemu.start.generation);
      this.announce(destination.host, destination.qemu);
    }
    if (!source.qemu.ended) this.announce(source.host, source.qemu);
  }

  /** What is not as it should be once everything works again; empty when the cluster has converged. */
  disorder(): string[] {
    const wrong: string[] = [];
    const vms = this.store.all<VmRecord>('vm');
    for (const vm of vms) wrong.push(...this.#disorderOf(vm));
    for (const host of this.store.all<HostRecord>('host'))
      if (host.quarantine !== null) wrong.push(`${host.name} is quarantined`);
    for (const host of this.hosts.values()) {
      for (const { start, key } of host.processes.values()) {
        const { phase } = vms.find(({ id }) => id === start.vm) ?? { phase: { kind: 'gone' } };
        const named =
          'incarnation' in phase &&
          phase.incarnation.generation === start.generation &&
          phase.incarnation.host === host.name;
        if (!named) wrong.push(`${key} runs on ${host.name} and nobody knows it`);
      }
    }
    for (const task of this.store.all<TaskRecord>('task'))
      if (task.state === 'running') wrong.push(`task ${task.id} (${task.kind}) does not end: ${task.message}`);
    return wrong;
  }

  #disorderOf(vm: VmRecord): string[] {
    const why = this.leader?.vms.whyOf(vm.id) ?? '';
    if (vm.deleting) return [`${vm.name} is not deleted (${vm.phase.kind}: ${why})`];
    const wanted = vm.intent === 'stopped' ? 'stopped' : 'running';
    if (vm.phase.kind !== wanted) return [`${vm.name} is ${vm.phase.kind}, not ${wanted} (${why})`];
    if (vm.phase.kind !== 'running') return [];
    const status = this.qemuOf(vm.id, vm.phase.incarnation.generation)?.status ?? 'gone';
    const fits = vm.intent === 'running' ? status === 'running' : status !== 'running' && status !== 'gone';
    return fits ? [] : [`${vm.name} is to be ${vm.intent} and its QEMU is ${status} (${why})`];
  }

  #addHost(name: HostName, i: number): void {
    this.hosts.set(name, new SimHost(name, this.options.hostMemoryBytes));
    const value: HostRecord = {
      name,
      addresses: { control: `10.0.0.${i}`, storage: `10.1.0.${i}`, overlay: `10.2.0.${i}` },
      capacity: { memoryBytes: this.options.hostMemoryBytes, vcpus: 64, accelerator: 'tcg', cpuModels: [] },
      cordoned: false,
      quarantine: null,
      joinedAt: 0,
    };
    this.store.byPeople([{ kind: 'host', id: name, value }]);
  }

  #addStorage(name: StorageName, i: number): void {
    this.storage.set(name, new SimStorage(name, this.store, this.note));
    const addresses = { control: `10.0.1.${i}`, storage: `10.1.1.${i}` };
    this.#storageRecords.set(name, { value: { name, addresses, joinedAt: 0 }, revision: 1 });
  }

  #crashPoint(leader: Leader, workflow: string, step: string): Promise<void> {
    if (leader.alive && this.#crashIn > 0 && --this.#crashIn === 0) {
      this.say(`crash point ${workflow}/${step}`);
      this.crashLeader();
    }
    // What is dead does nothing more: its promise is never kept.
    return leader.alive ? Promise.resolve() : new Promise(() => undefined);
  }

  #end(leader: Leader): void {
    leader.alive = false;
    leader.controller.stop();
    this.store.forget(leader.view);
  }

  #tick(): void {
    for (const host of this.hosts.values()) {
      for (const qemu of host.processes.values()) if (qemu.isLive) this.#write(host, qemu);
    }
    this.clock.after(TICK_MS, () => this.#tick());
  }

  #write(host: SimHost, qemu: SimQemu): void {
    const { vm, generation, disks } = qemu.start;
    const reached = (node: StorageName, disk: DiskId): boolean =>
      !host.storageCut && this.storage.get(node)?.serves(disk, generation) === true;
    let all = true;
    for (const { disk, node, readOnly } of disks) {
      if (!reached(node, disk)) all = false;
      else if (!readOnly) this.note({ kind: 'write', vm, disk, generation, sequence: 1 });
    }
    const others = [...this.hosts.values()]
      .flatMap(({ processes }) => [...processes.values()])
      .filter((other) => other !== qemu && other.isLive && other.start.vm === vm)
      .filter((other) =>
        other.start.disks.some(({ disk, node }) => this.storage.get(node)?.serves(disk, other.start.generation)),
      );
    if (all && others.length > 0) {
      const what = `${qemu.key} and ${others.map(({ key }) => key).join(', ')} can write at the same time`;
      this.violations.push({ rule: 'W2-one-writer', at: this.clock.monotonicMs(), what });
      this.say(`VIOLATION W2-one-writer: ${what}`);
    }
    qemu.touchDisks(all, this.clock.monotonicMs());
    if (qemu.status === 'io-error') this.announce(host, qemu);
  }
}
