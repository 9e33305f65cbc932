/**
 * A simulated storage node: the real storage service (core/storage) over simulated daemons and a pool, on one machine.
 *
 * What may happen to it: the service dies and is started again while the daemons run on; a daemon dies or stands still;
 * the machine loses its power (`machine.powerOff`, then `boot`); disks are slow or full. Guarantees: at most one
 * service and one daemon per disk at a time; every write that gets to a disk is told to `onWrite` at that instant,
 * every acknowledgement to `onAck` when it leaves the daemon.
 */

import { CodedError, messageOf } from '../../base/errors.ts';
import type { DiskId, Sha256, StorageName } from '../../base/ids.ts';
import { VERSION } from '../../base/version.ts';
import type { TraceEntry } from '../../core/check/trace.ts';
import type { DiskBackend, Grant } from '../../core/ports/disk-backend.ts';
import type { Order } from '../../core/ports/host-link.ts';
import type { Log } from '../../core/ports/log.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
import type { GrantOrder, GrantResult } from '../../core/ports/storage-link.ts';
import type { ClusterView, History } from '../../core/storage/cluster-view.ts';
import { StorageService, type StorageServiceOptions } from '../../core/storage/storage-service.ts';
import { orderRoutes, type Probe, type StorageOrders } from '../../storage/routes.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import { serveRoutes, type WireRequest } from '../network/wire.ts';
import type { SimClock } from '../time/sim-clock.ts';
import type { SimRandom } from '../time/sim-random.ts';
import { GrantCauses } from './grant-causes.ts';
import { type NbdClient, type NbdConnection, SimDaemon, type SimStorageMistakes } from './sim-daemon.ts';
import { SimDiskBackend } from './sim-disk-backend.ts';
import { type DiskWrite, SimPool } from './sim-pool.ts';
import { type SharedClient, type SharedSession, SimTarget, type SimTargetMistakes } from './sim-target.ts';
import { SimTargetBackend } from './sim-target-backend.ts';

/** What the service's own process answers. */
export interface SimStorageOrders extends StorageOrders {
  deleteArtifact(sha256: Sha256, order: Order): Promise<void>;
  /** `knownAt`: of when its sender's knowledge is, in true ms; now where nothing is said. */
  grant(order: GrantOrder, knownAt?: number): Promise<GrantResult>;
}

/** A trace entry before its time is known. */
export type StorageNote =
  | Omit<Extract<TraceEntry, { kind: 'fenced' }>, 'at'>
  | Omit<Extract<TraceEntry, { kind: 'granted' }>, 'at'>
  | Omit<Extract<TraceEntry, { kind: 'revoked' }>, 'at'>
  | Omit<Extract<TraceEntry, { kind: 'let-go' }>, 'at'>
  | Omit<Extract<TraceEntry, { kind: 'restarted' }>, 'at'>;

export interface SimStorageNodeOptions {
  readonly name: StorageName;
  readonly machine: SimMachine;
  readonly clock: SimClock;
  /** Its own stream. */
  readonly random: SimRandom;
  /** What etcd says to this run of the service, read linearizably; rejects after some seconds at most. */
  readonly readCluster: (service: SimProcess) => Promise<ClusterView>;
  readonly onWrite: (write: DiskWrite) => void;
  readonly onAck: (write: DiskWrite) => void;
  /**
   * `granted` when a daemon begins to serve a generation, `fenced` and `revoked` when the service acknowledges,
   * `restarted` when the power was lost, and with it all grants.
   */
  readonly note: (entry: StorageNote) => void;
  /** One TCP connection attempt from a process on this node to an address of the storage network. */
  readonly probe: (from: SimProcess, ...attempt: Parameters<Probe>) => Promise<ProbeResult>;
  /** A life of the service begins, before it does anything. */
  readonly onStart?: () => void;
  /** The service ended by itself: it could not take over what runs. */
  readonly onGaveUp?: () => void;
  readonly log: Log;
  /** Mistakes made on purpose, to show that checkers notice. */
  readonly mistakes?: SimStorageMistakes;
  readonly targetMistakes?: SimTargetMistakes;
  readonly plant?: (parts: StorageServiceOptions) => StorageServiceOptions;
  readonly plantOrders?: (orders: SimStorageOrders) => SimStorageOrders;
}

/** First port of clients' ends of connections. */
const PEER_PORT_BASE = 32_768;
const LATENCY_MS = [0.2, 2] as const;

/** See the module's comment. The service has to be started (`startService`), and started again after each end. */
export class SimStorageNode {
  readonly name: StorageName;
  readonly machine: SimMachine;
  readonly pool = new SimPool();
  /** What it remembers of histories: on its disk. */
  #history: History | null = null;
  readonly random: SimRandom;
  readonly #options: SimStorageNodeOptions;
  readonly #daemons = new Set<SimDaemon>();
  readonly #targets = new Set<SimTarget>();
  readonly #slow = new Map<DiskId, number>();
  #latencyMs: readonly [number, number] = LATENCY_MS;
  #service:
    | { readonly process: SimProcess; readonly core: StorageService; readonly orders: SimStorageOrders }
    | undefined;
  #isListening = false;
  #pids = 0;
  #peerPorts = PEER_PORT_BASE;
  readonly #causes = new GrantCauses();
  #boots: number;

  constructor(options: SimStorageNodeOptions) {
    this.#options = options;
    this.name = options.name;
    this.machine = options.machine;
    this.random = options.random;
    this.#boots = options.machine.boots;
    this.pool.files.keepsAnything = options.mistakes?.keepsAnyFile === true;
  }

  /** The service's process, while it listens; null where the kernel refuses. */
  get listener(): SimProcess | null {
    return this.#isListening ? (this.#service?.process ?? null) : null;
  }

  /** The epoch that it remembers to have followed; 0 before it has read etcd. */
  get epoch(): number {
    return this.#history?.epoch ?? 0;
  }

  /** What answers orders in that process; null where nobody listens. */
  get orders(): SimStorageOrders | null {
    return this.#isListening ? (this.#service?.orders ?? null) : null;
  }

  /**
   * Answers a request in that process by the routes of production. `knownAt`: of when its sender's knowledge is, in
   * true ms; now where nothing is said. CodedError 'unavailable' where nobody listens.
   */
  serve(request: WireRequest, knownAt?: number): Promise<unknown> {
    const { orders, listener } = this;
    if (orders === null || listener === null)
      return Promise.reject(new CodedError('unavailable', `Nobody listens on ${this.name}.`));
    const known: StorageOrders = { ...orders, grant: (order) => orders.grant(order, knownAt) };
    return serveRoutes(orderRoutes(known, (target, deadlineMs) => this.#options.probe(listener, target, deadlineMs)))(
      request,
    );
  }

  /** Whether the service runs, read etcd, and brought every disk in line with it. */
  get isRestored(): boolean {
    return this.#isListening && this.#service?.core.isRestored === true;
  }

  /** Starts the service where the machine is up and none runs. It ends by itself when it cannot take over what runs. */
  startService(): void {
    if (!this.machine.up || this.#service !== undefined) return;
    this.#noteBoot();
    const process = this.machine.spawn(`storage ${this.name}`);
    const { name, log, readCluster, plant, plantOrders } = this.#options;
    const disks = new SimDiskBackend(this, process);
    const parts = {
      name,
      version: VERSION,
      clock: process,
      log,
      disks: disks satisfies DiskBackend,
      target: new SimTargetBackend(this, process),
      history: {
        read: async () => this.#history,
        write: async (history: History) => {
          this.#history = history;
        },
      },
      readCluster: () => {
        const at = this.#options.clock.monotonicMs();
        return readCluster(process).finally(() => this.#causes.reads(at));
      },
    };
    const core = new StorageService(plant?.(parts) ?? parts);
    const service = { process, core, orders: this.#noted(plantOrders?.(core) ?? core) };
    this.#service = service;
    process.onEnd(() => {
      if (this.#service !== service) return;
      this.#service = undefined;
      this.#isListening = false;
    });
    this.#options.onStart?.();
    core.start().then(
      () => {
        this.#causes.forget();
        this.#isListening = true;
      },
      (error: unknown) => {
        log.warn('the service cannot run', { reason: messageOf(error) });
        process.end();
        this.#options.onGaveUp?.();
      },
    );
  }

  /** The service dies, as by SIGKILL. The daemons run on. */
  crashService(): void {
    this.#service?.process.end();
  }

  /** Stops the service still for a while; undefined where none runs. */
  get serviceProcess(): SimProcess | undefined {
    return this.#service?.process;
  }

  /** The daemon of a disk dies; false where none runs. */
  crashDaemon(disk: DiskId): boolean {
    const daemon = this.#daemonOf(disk);
    daemon?.process.end();
    return daemon !== undefined;
  }

  /** The process of a disk's daemon, to be paused; undefined where none runs. */
  daemonProcess(disk: DiskId): SimProcess | undefined {
    return this.#daemonOf(disk)?.process;
  }

  /** How long writes take from now on, in ms; by default as fast as an SSD. */
  setLatencyMs(range: readonly [number, number] = LATENCY_MS): void {
    this.#latencyMs = range;
  }

  /** Adds `delayMs` to each write on one disk; 0 makes it as fast as the others. */
  slowDisk(disk: DiskId, delayMs: number): void {
    if (delayMs > 0) this.#slow.set(disk, delayMs);
    else this.#slow.delete(disk);
  }

  /**
   * A client's handshake arrives at the disk's port. 'refused': nobody listens there, or the client is not admitted. A
   * daemon that stands still answers when it goes on; the caller has a deadline of its own.
   */
  connect(disk: DiskId, client: NbdClient): Promise<NbdConnection | 'refused'> {
    const daemon = this.#daemonOf(disk);
    if (daemon === undefined) return Promise.resolve('refused');
    const peerPort = this.#peerPorts++;
    if (daemon.process.isRunning) return Promise.resolve(daemon.accept(client, peerPort));
    return new Promise((resolve) => {
      daemon.process.onEnd(() => resolve('refused'));
      daemon.process.run(() => resolve(daemon.accept(client, peerPort)));
    });
  }

  /** Daemons that are not gone. */
  daemons(): readonly SimDaemon[] {
    for (const daemon of this.#daemons) if (daemon.isGone) this.#daemons.delete(daemon);
    return [...this.#daemons];
  }

  /** Returns true if a daemon accepts connections at a port now. */
  isServed(port: number): boolean {
    return this.daemons().some(({ identity, process }) => identity.port === port && process.isAlive);
  }

  /** What daemons and targets serve now. */
  get served(): readonly Pick<Grant, 'vm' | 'generation'>[] {
    const shared = this.targets().flatMap(({ state }) => state.vms);
    return [
      ...this.daemons().flatMap(({ grants }) => grants),
      ...shared.flatMap(({ vm, generations }) => generations.map((generation) => ({ vm, generation }))),
    ];
  }

  /** Starts a daemon; CodedError 'failed' while another one has the image open or the port. */
  spawn(disk: DiskId, { port, grants }: { readonly port: number; readonly grants: readonly Grant[] }): SimDaemon {
    const rival = this.daemons().find(({ identity }) => identity.disk === disk || identity.port === port);
    if (rival !== undefined)
      throw new CodedError('failed', `The storage daemon of ${disk} did not start: ${rival.identity.disk} is open.`);
    const pid = ++this.#pids;
    const identity = { pid, startTicks: pid, disk, port };
    const process = this.machine.spawn(`daemon of ${disk}`);
    const daemon = new SimDaemon({ identity, process, path: this.#pathOf(), grants });
    this.#daemons.add(daemon);
    return daemon;
  }

  /** The target dies; false where none runs. */
  crashTarget(): boolean {
    const process = this.targetProcess();
    process?.end();
    return process !== undefined;
  }

  /** The target's process, to be paused; undefined where none runs. */
  targetProcess(): SimProcess | undefined {
    return this.targets().find(({ process }) => process.isAlive)?.process;
  }

  /** A log-in arrives at the target's port; as `connect`. */
  logIn(client: SharedClient): Promise<SharedSession | 'refused'> {
    const target = this.targets().find(({ process }) => process.isAlive);
    if (target === undefined) return Promise.resolve('refused');
    if (target.process.isRunning) return Promise.resolve(target.accept(client));
    return new Promise((resolve) => {
      target.process.onEnd(() => resolve('refused'));
      target.process.run(() => resolve(target.accept(client)));
    });
  }

  /** Targets that are not gone. */
  targets(): readonly SimTarget[] {
    for (const target of this.#targets) if (target.isGone) this.#targets.delete(target);
    return [...this.#targets];
  }

  /** Starts a target; CodedError 'failed' while another one has the port. */
  spawnTarget(): SimTarget {
    if (this.targets().length > 0) throw new CodedError('failed', 'The target did not start: its port is in use.');
    const pid = ++this.#pids;
    const process = this.machine.spawn('target');
    const path = { ...this.#pathOf(), targetMistakes: this.#options.targetMistakes ?? {} };
    const target = new SimTarget({ identity: { pid, startTicks: pid }, process, path });
    this.#targets.add(target);
    return target;
  }

  #pathOf(): ConstructorParameters<typeof SimDaemon>[0]['path'] {
    const { clock, onWrite, onAck, note, mistakes = {} } = this.#options;
    const { name, pool, random } = this;
    return {
      node: name,
      pool,
      clock,
      random,
      mistakes,
      onWrite,
      onAck,
      onServed: (vm, generation) => {
        const isRestored = this.#service?.core.isRestored === true;
        const knownAt = this.#causes.knownAt({ vm, generation }, clock.monotonicMs(), isRestored);
        note({ kind: 'granted', node: name, vm, generation, knownAt });
      },
      latencyMs: (disk) => random.between(...this.#latencyMs) + (this.#slow.get(disk) ?? 0),
    };
  }

  #daemonOf(disk: DiskId): SimDaemon | undefined {
    return this.daemons().find(({ identity, process }) => identity.disk === disk && process.isAlive);
  }

  #noteBoot(): void {
    if (this.#boots === this.machine.boots) return;
    this.#boots = this.machine.boots;
    this.#options.note({ kind: 'restarted', node: this.name });
  }

  /** The service's orders, told to the trace when they are acknowledged. */
  #noted(orders: SimStorageOrders): SimStorageOrders {
    const { note, clock } = this.#options;
    const node = this.name;
    return {
      report: () => orders.report(),
      fence: async (order) => {
        const result = await orders.fence(order);
        note({ kind: 'fenced', node, vm: order.vm, below: order.below });
        return result;
      },
      grant: async (order, knownAt = clock.monotonicMs()) => {
        const result = await this.#causes.during(order, knownAt, () => orders.grant(order));
        const isEmpty = order.disks.length === 0 && (order.sharedDisks ?? []).length === 0;
        if (isEmpty) note({ kind: 'let-go', node, vm: order.vm });
        return result;
      },
      revoke: async (order) => {
        await orders.revoke(order);
        note({ kind: 'revoked', node, vm: order.vm, generation: order.generation });
      },
      diskFacts: (disk) => orders.diskFacts(disk),
      createDisk: (disk, order) => orders.createDisk(disk, order),
      deleteDisk: (disk, order) => orders.deleteDisk(disk, order),
      resizeDisk: (disk, order) => orders.resizeDisk(disk, order),
      createSharedDisk: (disk, order) => orders.createSharedDisk(disk, order),
      deleteSharedDisk: (disk, order) => orders.deleteSharedDisk(disk, order),
      deleteArtifact: (sha256, order) => orders.deleteArtifact(sha256, order),
    };
  }
}
