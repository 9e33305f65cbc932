/**
 * A whole cluster in memory: the code of production (controllers, elections, store, storage services, agents) over
 * simulated time, networks, etcd, machines, QEMUs and disks.
 *
 * Guarantees: deterministic: the same seed and the same calls give the same trace and log. It knows nothing of how
 * decisions are made; what is right is judged by core/check and by `disorder`.
 */
import { CodedError } from '../base/errors.ts';
import type { HostName, StorageName, Term, VmId } from '../base/ids.ts';
import type { Authority } from '../control/backend/ports.ts';
import { traceJudge } from '../core/check/check-trace.ts';
import type { TraceEntry, Violation } from '../core/check/trace.ts';
import type { Controller } from '../core/loop/controller.ts';
import type { CrashPoint } from '../core/loop/vm/workflow-names.ts';
import type { EventRecord } from '../core/model/cluster.ts';
import { PREFIX, ROOT } from '../core/model/keys.ts';
import { portsOfSlot } from '../core/model/ports.ts';
import { readRecord } from '../core/model/record-shapes.ts';
import { epochOfSnapshot } from '../core/plan/restore/begin-epoch.ts';
import type { Log } from '../core/ports/log.ts';
import { readClusterView } from '../core/storage/cluster-view.ts';
import type { Transaction, WatchEvent } from '../etcd/records.ts';
import { joinPatiently } from './agent/joining.ts';
import { NO_AUTHORITY } from './api/surroundings.ts';
import type { EtcdState } from './etcd/etcd-state.ts';
import { SimEtcd } from './etcd/sim-etcd.ts';
import { type EtcdRoute, SimEtcdClient } from './etcd/sim-etcd-client.ts';
import type { PlantedBug } from './faults/planted-bug.ts';
import type { Swarm } from './faults/swarm.ts';
import { FileTruth } from './judge/file-truth.ts';
import { PathTruth } from './judge/path-truth.ts';
import { SIGHT_LOOK_MS, Sight } from './judge/sight.ts';
import { Truth } from './judge/truth.ts';
import { SimControlNode } from './machines/control-node.ts';
import { SimHostNode } from './machines/host-node.ts';
import type { Note } from './machines/note.ts';
import { SimMachine, type SimProcess } from './machines/sim-machine.ts';
import { pathsOf, type Topology } from './machines/topology.ts';
import { addressOf } from './network/addresses.ts';
import { type NetworkName, SimNetwork } from './network/network.ts';
import { probeAddress } from './network/probes.ts';
import type { QemuProcess, QemuSurroundings } from './qemu/qemu-process.ts';
import { GrantsTold } from './storage/grants-told.ts';
import { SimStorageNode } from './storage/sim-storage-node.ts';
import { SimClock } from './time/sim-clock.ts';
import { SimRandom } from './time/sim-random.ts';

export interface ClusterOptions {
  readonly swarm: Swarm;
  /** Certifies joiners; by default nobody. */
  readonly authority?: Authority;
  /** SHA-256 of the administrator's token; by default no token has it. */
  readonly adminTokenSha256?: string;
  /** Every line of the log; null where nobody reads it. */
  readonly log: ((line: string) => void) | null;
  readonly bug: PlantedBug | null;
}

/** A process that died is started again after this, as a service manager does. */
/** One guest of so many has no agent. */
const GUESTS_WITHOUT_AGENT = 4;
const RESTART_MS = [100, 3_000] as const;
/**
 * Rules that a leader cannot keep if it began to lead while the record of a VM was unreadable: it cannot know that VM's
 * host, group and size. The host itself still checks its memory.
 */
const PLACEMENT_RULES: ReadonlySet<string> = new Set([
  'C1-hosts-have-room',
  'C3-groups-stay-apart',
  'GC1-members-stay-apart',
]);

/** See the module's comment. */
export class SimCluster implements Topology {
  readonly swarm: Swarm;
  readonly clock = new SimClock();
  readonly random: SimRandom;
  readonly network: SimNetwork;
  readonly etcd: SimEtcd;
  readonly machines = new Map<string, SimMachine>();
  readonly controls = new Map<string, SimControlNode>();
  readonly storage = new Map<StorageName, SimStorageNode>();
  readonly hosts = new Map<HostName, SimHostNode>();
  /** The process of each etcd member. */
  readonly members = new Map<string, SimProcess>();
  readonly truth = new Truth();
  readonly paths = new PathTruth();
  readonly violations: Violation[] = [];
  /** Keys in etcd that a fault overwrote. */
  readonly #spoiled = new Set<string>();
  readonly qemus = new Set<QemuProcess>();
  /** Called before each step and commit of a leader; may end or pause its process. */
  onCrashPoint: (process: SimProcess, ...point: Parameters<CrashPoint>) => void = () => undefined;
  /** Called with all that happens. */
  onNote: (entry: TraceEntry) => void = () => undefined;
  /** Told of everything that happens. */
  onEntry: (entry: TraceEntry) => void = () => undefined;
  /** How many of a hundred calls to etcd lose their answer. */
  etcdRepliesLostPercent = 0;
  readonly #options: ClusterOptions;
  readonly #judge = traceJudge();
  readonly #storageAt = new Map<string, SimStorageNode>();
  readonly #qemuRandom: SimRandom;
  readonly #files = new FileTruth();
  readonly #sight = new Sight(this);
  #applied = 1;

  constructor(options: ClusterOptions) {
    const { swarm } = options;
    this.#options = options;
    options.bug?.reset?.();
    this.swarm = swarm;
    this.random = new SimRandom(swarm.seed).fork('cluster');
    this.network = new SimNetwork(this.clock, this.random.fork('network'));
    this.network.weather = { ...swarm.weather };
    this.network.onTrouble = (from, to) => this.paths.message(from, to, this.now);
    this.#qemuRandom = this.random.fork('qemu');
    const names = numbered('c', swarm.controls);
    this.etcd = new SimEtcd({
      members: names,
      clock: this.clock,
      random: this.random.fork('etcd'),
      connected: (a, b) => this.#membersHear(a, b),
      say: (text) => this.say(() => text),
      onApplied: (transaction) => this.#followEtcd(transaction),
    });
    for (const [index, name] of names.entries()) this.#addControl(name, index);
    for (const [index, name] of numbered('s', swarm.storageNodes).entries())
      this.#addStorage(name as StorageName, index);
    for (const [index, name] of numbered('h', swarm.hosts).entries()) this.#addHost(name as HostName, index);
    this.#lookAtSight();
  }

  /** Ms since the simulation began. */
  get now(): number {
    return this.clock.monotonicMs();
  }

  readonly note: Note = (entry) => {
    const timed = { at: this.now, ...entry } as TraceEntry;
    this.onNote(timed);
    for (const violation of this.#judge(timed)) this.accuse(violation.rule, violation.what);
    this.onEntry(timed);
  };

  /** A rule was broken. */
  accuse(rule: string, what: string): void {
    const isSpoiled = (prefix: string): boolean => [...this.#spoiled].some((key) => key.startsWith(prefix));
    if (PLACEMENT_RULES.has(rule) && isSpoiled(PREFIX.vm)) return;
    // A leader that began to lead while the record of a host could not be read does not know that the host was given
    // up, nor its tunnel.
    if (rule === 'P1-lost-tunnels-dropped' && isSpoiled(PREFIX.host)) return;
    this.violations.push({ rule, at: this.now, what });
    this.say(() => `VIOLATION ${rule}: ${what}`);
  }

  readonly say = (text: () => string): void => {
    this.#options.log?.(`${this.now.toFixed(3).padStart(12)} ${text()}`);
  };

  /** The control node that leads by what etcd holds, where its server runs. */
  get leader(): SimControlNode | null {
    const leader = this.truth.leader;
    const node = leader === null ? undefined : this.controls.get(leader.control);
    return node?.process == null ? null : node;
  }

  get controller(): Controller | null {
    return this.leader?.controller ?? null;
  }

  /** Something befalls a machine, or is over: paths through it have not worked all the time. */
  touched(machine: string): void {
    this.paths.machine(machine, this.now);
    this.#sight.touched(machine);
  }

  isMember(name: string): boolean {
    const { host, storage } = this.truth.tables;
    if (this.storage.has(name as StorageName)) return storage.get(name)?.lost === undefined;
    const record = host.get(name);
    return record !== undefined && record.lost === undefined;
  }

  knownAt(term: Term): number {
    return this.truth.endedAt(term) ?? this.now;
  }

  /** Starts what does not run on every machine that is up, a little later, as a service manager does. */
  supervise(machine: SimMachine, afterMs?: number): void {
    const delayMs = afterMs ?? this.random.between(RESTART_MS[0], RESTART_MS[1]);
    this.clock.after(delayMs, () => this.startAll(machine));
  }

  /** Starts what does not run on a machine. */
  startAll(machine: SimMachine): void {
    if (!machine.up) return;
    this.touched(machine.name);
    const { name } = machine;
    this.startMember(name);
    this.controls.get(name)?.start();
    this.storage.get(name as StorageName)?.startService();
    this.hosts.get(name as HostName)?.startAgent();
  }

  /** Power goes. */
  powerOff(machine: SimMachine): void {
    if (!machine.up) return;
    this.say(() => `${machine.name} loses its power`);
    this.touched(machine.name);
    machine.powerOff();
    this.etcd.topologyChanged();
  }

  /** Power comes back, and everything is started. */
  powerOn(machine: SimMachine): void {
    if (machine.up) return;
    this.say(() => `${machine.name} has power again`);
    machine.boot();
    this.startAll(machine);
    this.etcd.topologyChanged();
  }

  qemuOf(vm: VmId, generation: number): QemuProcess | undefined {
    for (const qemu of this.qemus)
      if (qemu.order.vm === vm && qemu.order.generation === generation && qemu.process.isAlive) return qemu;
    return undefined;
  }

  /** The QEMU that waits for a stream at this port of the storage network. */
  #qemuAt(address: string, port: number): QemuProcess | undefined {
    for (const qemu of this.qemus)
      if (
        addressOf('storage', qemu.process.machine.name) === address &&
        portsOfSlot(qemu.order.slot).migration === port &&
        qemu.process.isAlive
      )
        return qemu;
    return undefined;
  }

  #lookAtSight(): void {
    this.clock.after(SIGHT_LOOK_MS, () => {
      const what = this.#sight.look();
      if (what !== null) this.accuse('L2-leader-sees', what);
      this.#lookAtSight();
    });
  }

  #machine(name: string): SimMachine {
    const machine = new SimMachine(name, this.clock);
    this.machines.set(name, machine);
    return machine;
  }

  #log(process: string, isAlive: () => boolean = () => true): Log {
    const line = (mark: string) => (message: string, fields?: Readonly<Record<string, unknown>>) => {
      if (isAlive()) this.say(() => `${process}: ${mark}${message} ${JSON.stringify(fields ?? {})}`);
    };
    return { info: line(''), warn: line('! ') };
  }

  #addControl(name: string, index: number): void {
    const machine = this.#machine(name);
    const control = new SimControlNode({
      name,
      index,
      machine,
      random: this.random.fork(name),
      topology: this,
      etcd: this.etcd,
      routeOf: (process) => this.#routeOf(process),
      isLeader: (who) => this.truth.leader?.control === who,
      onGivingUp: (hosts) => this.#givesUp(name, hosts),
      crashPoint: (...point) => this.#crashPoint(...point),
      onFailed: (message) => {
        this.accuse('no-server-ends', `${name}: ${message}`);
        this.supervise(machine);
      },
      log: (process) => this.#log(process.name, () => process.isAlive),
      plant: (ports) => this.#options.bug?.plant?.(ports, this) ?? ports,
      plantStore: (store) => this.#options.bug?.plantStore?.(store),
      plantController: (controller) => this.#options.bug?.plantController?.(controller),
      authority: this.#options.authority ?? NO_AUTHORITY,
      adminTokenSha256: this.#options.adminTokenSha256 ?? '',
    });
    this.controls.set(name, control);
    this.startAll(machine);
  }

  #crashPoint(process: SimProcess, ...[workflow, step]: Parameters<CrashPoint>): Promise<void> {
    this.say(() => `${process.name}: ${workflow} ${step}`);
    this.onCrashPoint(process, workflow, step);
    // What is dead does nothing more: its promise is never kept. What stands still goes on with this very step.
    return process.isRunning ? Promise.resolve() : new Promise((resolve) => process.run(resolve));
  }

  #addStorage(name: StorageName, index: number): void {
    const machine = this.#machine(name);
    const { bug } = this.#options;
    const told = new GrantsTold(this.note);
    const node: SimStorageNode = new SimStorageNode({
      name,
      machine,
      clock: this.clock,
      random: this.random.fork(name),
      probe: (from, { address }, deadlineMs) => probeAddress(this, from, { network: 'storage', address }, deadlineMs),
      readCluster: (process) => {
        // Its user in etcd is gone.
        if (!this.isMember(name))
          return Promise.reject(new CodedError('unauthorized', `${name} may not read etcd any more.`));
        const etcd = new SimEtcdClient({
          etcd: this.etcd,
          route: this.#routeOf(process),
          clock: process,
          first: index,
        });
        process.onEnd(() => etcd.crash());
        return readClusterView(etcd, name, {
          onUnreadable: (key, finding) => {
            if (!this.#spoiled.has(key)) this.accuse('readable-records', `${key} ${finding}`);
          },
          nextTurn: () => new Promise((resolve) => void process.after(0, resolve)),
        });
      },
      onWrite: ({ vm, disk, generation, sequence }) => this.note({ kind: 'write', vm, disk, generation, sequence }),
      onAck: () => undefined,
      note: (entry) => told.note(entry),
      onStart: () => told.begin(node.served),
      onGaveUp: () => this.supervise(machine),
      log: this.#log(`storage ${name}`),
      ...(bug?.storageMistakes === undefined ? {} : { mistakes: bug.storageMistakes }),
      plant: (parts) => bug?.plantStorage?.(parts, this) ?? parts,
    });
    node.pool.files.onKept = (sha256, isRight) => {
      if (!isRight) this.accuse('F2-files-are-what-they-say', `${name} keeps something else as ${sha256}`);
    };
    node.pool.files.onDeleted = (sha256) => {
      const disk = this.#files.neededBy(sha256, this.now);
      if (disk !== null) this.accuse('F1-needed-files-stay', `${name} deleted ${sha256}, which ${disk} needs`);
    };
    this.storage.set(name, node);
    this.#storageAt.set(addressOf('storage', name), node);
    this.startAll(machine);
  }

  /** A machine that was never there begins, and joins as a host. */
  addNewHost(name: HostName): void {
    this.#addHost(name, this.hosts.size, { hasIdentity: false });
  }

  #addHost(name: HostName, index: number, { hasIdentity } = { hasIdentity: true }): void {
    const { swarm } = this;
    const machine = this.#machine(name);
    const qemu: QemuSurroundings = {
      network: this.network,
      random: this.#qemuRandom,
      thinkMs: swarm.thinkMs,
      note: this.note,
      say: this.say,
      address: addressOf('storage', name),
      storageAt: (address) => this.#storageAt.get(address),
      qemuAt: (at, port) => this.#qemuAt(at, port),
    };
    const host = new SimHostNode({
      name,
      rack: `r${(index % swarm.racks) + 1}`,
      machine,
      clock: this.clock,
      random: this.random.fork(name),
      capacity: { memoryBytes: swarm.hostMemoryBytes, vcpus: 64, accelerator: 'tcg', cpuModels: [] },
      troubles: swarm.hostTroubles,
      skewPercent: swarm.skewPercent,
      qemu,
      onQemu: (started) => this.#qemuStarted(started),
      onHarm: (what) => this.accuse('no-harm-by-agents', what),
      note: this.note,
      hasIdentity,
      join: (agent, nextSerial) => joinPatiently(this, agent, { name, nextSerial }),
      log: this.#log(`agent ${name}`),
    });
    this.hosts.set(name, host);
    this.startAll(machine);
  }

  #qemuStarted(qemu: QemuProcess): void {
    const { swarm } = this;
    qemu.isDeaf = this.#qemuRandom.chance(swarm.deafPercent);
    qemu.lostEndPercent = swarm.lostEndPercent;
    // The same guest has, or has not, an agent wherever it runs; where guests have no faults, each has one.
    qemu.hasAgent =
      swarm.deafPercent === 0 || Number.parseInt(qemu.order.vm.slice(-1), 16) % GUESTS_WITHOUT_AGENT !== 0;
    this.qemus.add(qemu);
    qemu.process.onEnd(() => this.qemus.delete(qemu));
  }

  /** Starts the etcd member of a machine, where it has one and it does not run. */
  startMember(name: string): void {
    if (!this.etcd.members.includes(name) || this.members.get(name)?.isAlive === true) return;
    const machine = this.machines.get(name);
    if (machine === undefined) return;
    const process = machine.spawn(`etcd ${name}`);
    this.members.set(name, process);
    this.etcd.restart(name);
    process.onEnd(() => this.etcd.crash(name));
  }

  #membersHear(a: string, b: string): boolean {
    const [one, other] = [this.members.get(a), this.members.get(b)];
    if (one?.isRunning !== true || other?.isRunning !== true) return false;
    return (
      this.network.isOpen('control', one.machine, other.machine) &&
      this.network.isOpen('control', other.machine, one.machine)
    );
  }

  /** How a process reaches etcd: over the control network, whatever else it does. */
  #routeOf(process: SimProcess): EtcdRoute {
    const hopTo = (member: string) => {
      const machine = this.machines.get(member);
      if (machine === undefined) throw new RangeError(`no machine ${member}`);
      return { network: 'control' as NetworkName, to: machine, process: () => this.members.get(member) ?? null };
    };
    return {
      call: (member, deadlineMs, serve) =>
        this.network.call(process, [hopTo(member)], { deadlineMs, what: `etcd ${member}` }, async (listener) => {
          if (listener === null) throw new CodedError('unavailable', `Nobody listens at etcd ${member}.`);
          const answer = await serve();
          if (this.random.chance(this.etcdRepliesLostPercent)) return new Promise<never>(() => undefined);
          return answer;
        }),
      tell: (member, deliver) => {
        const { to } = hopTo(member);
        this.network.send('control', process.machine, to, () => this.members.get(member)?.run(deliver));
      },
      push: (member, deliver) => {
        const { to } = hopTo(member);
        this.network.send('control', to, process.machine, () => process.run(deliver));
      },
    };
  }

  /** Overwrites values in etcd, or restores them: neither changes what the checkers believe. */
  overwriteEtcd(key: string, value: string | null): void {
    this.#spoiled.add(key);
    this.etcd.overwrite(key, value);
    this.#applied = this.etcd.state.revision;
  }

  /**
   * Returns true for an invalid value of an overwritten key. A server may write such a value back unchanged, so that a
   * late transaction of another leader cannot apply.
   */
  #isNonsense(event: WatchEvent): boolean {
    return event.type === 'put' && this.#spoiled.has(event.key) && 'finding' in readRecord(event.key, event.kv.value);
  }

  /** Whose transaction it is: a leader's names its election key. */
  #writerOf({ compare }: Transaction): Term | 'people' {
    for (const condition of compare)
      if (condition.key.startsWith(PREFIX.election) && 'createRevision' in condition)
        return this.truth.termOf(condition.createRevision);
    return 'people';
  }

  /** Every server and every member of etcd ends. */
  loseControl(): void {
    for (const name of this.etcd.members) this.members.get(name)?.end();
    for (const { process } of this.controls.values()) process?.end();
  }

  /**
   * Every control node is lost, and etcd comes back with this. The servers are started anew; hosts, storage nodes and
   * guests have run on.
   */
  restore(state: EtcdState): void {
    this.say(() => `-- etcd is restored at revision ${state.revision}`);
    this.loseControl();
    this.etcd.replace(state);
    this.#applied = state.revision;
    const entries = state.list(ROOT);
    const changes = this.truth.restore(entries, epochOfSnapshot(entries), this.now);
    for (const { pool } of this.storage.values()) for (const disk of pool.list()) this.truth.forget(disk);
    for (const { order } of this.qemus) this.truth.forget(order.vm);
    this.#files.apply(changes, this.now);
    this.note({ kind: 'restored', changes });
    for (const name of this.controls.keys()) {
      const machine = this.machines.get(name);
      if (machine !== undefined) this.startAll(machine);
    }
  }

  /** Tells the trace what etcd has just applied. */
  #followEtcd(transaction: Transaction | null): void {
    const { state } = this.etcd;
    const events = state.eventsFrom(this.#applied + 1, '').filter((event) => !this.#isNonsense(event));
    this.#applied = state.revision;
    for (const event of events) this.#heedReport(event);
    const changes = this.truth.apply(events, this.now);
    if (changes.length === 0) return;
    this.#files.apply(changes, this.now);
    this.note({ kind: 'commit', by: transaction === null ? 'people' : this.#writerOf(transaction), changes });
  }

  /**
   * A leader's own checkers report what they found in an event: what they find is true, and broken, or it is a fault of
   * theirs.
   */
  #heedReport(event: WatchEvent): void {
    if (event.type !== 'put' || !event.key.startsWith(PREFIX.event)) return;
    const { kind, message } = JSON.parse(event.kv.value) as EventRecord;
    const rule = /rule (\S+):/.exec(message)?.[1];
    if (kind === 'rule-broken' && rule !== undefined) this.accuse(rule, `a leader reports: ${message}`);
  }

  /** A leader gives up hosts: its verdict is judged by what it could have reached when it sent that. */
  #givesUp(control: string, hosts: readonly HostName[]): void {
    const from = this.controls.get(control);
    if (from === undefined) return;
    for (const host of hosts) {
      const machine = this.machines.get(host);
      const working = machine === undefined ? new Map<string, number>() : this.paths.working(this, from, machine);
      for (const { name: path } of pathsOf(this, control))
        this.note({ kind: 'path', from: control, host, path, since: working.get(path) ?? null });
      this.note({ kind: 'gives-up', by: control, host });
    }
  }
}

/** Names with a letter, counted from 1. */
function numbered(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${letter}${i + 1}`);
}
