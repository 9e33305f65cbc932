/**
 * A simulated qemu-storage-daemon: the only opener of one disk, its exports, its connections, and the writes that are
 * under way.
 *
 * As src/storage/qsd.ts found the real one: who may connect is asked once, when a connection is made; an export that is
 * removed cuts its connections at once and is gone when its last write has been carried out; a write is acknowledged
 * when it is on stable storage. As Linux does it: a killed process is gone only when the kernel has finished what was
 * handed to it; what was not handed over is lost.
 */
import type { DiskId, Generation, StorageName, VmId } from '../../base/ids.ts';
import type { DaemonProcess, Grant } from '../../core/ports/disk-backend.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { SimClock } from '../time/sim-clock.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { DiskWrite, SimPool } from './sim-pool.ts';

/** The client: an incarnation, by its certificate. */
export interface NbdClient {
  readonly vm: VmId;
  readonly generation: Generation;
  /** Its host's address on the storage network. */
  readonly address: string;
  /** The export it opens: its own generation's, unless said otherwise. */
  readonly exportOf?: Generation;
}

/**
 * `enospc`: the pool is full, nothing was written. `broken`: the connection ended first; it may be on the disk, now or
 * later.
 */
export type WriteOutcome = 'ok' | 'enospc' | 'broken';

/** The daemon's end of a connection. */
export interface NbdConnection {
  readonly isOpen: boolean;
  /** A write arrives: the answer goes back to the guest. */
  write(sequence: number): Promise<WriteOutcome>;
  /** Something arrives that proves that the peer lives (a TCP keepalive). */
  touch(): void;
  /** The peer closed it, or its kernel says that nobody is there. */
  close(): void;
  /** Calls back once, at the instant the daemon or its death ends it; at once when it has ended. Not after `close`. */
  onCut(listener: () => void): void;
}

/** What the daemon's writes go through. */
export interface SimDiskPath {
  readonly node: StorageName;
  readonly pool: SimPool;
  readonly clock: SimClock;
  readonly random: SimRandom;
  /** How long a write takes from the daemon to stable storage, in ms. */
  latencyMs(disk: DiskId): number;
  onWrite(write: DiskWrite): void;
  onAck(write: DiskWrite): void;
  /** An export begins. */
  onServed(vm: VmId, generation: Generation): void;
  /** Mistakes made on purpose. */
  readonly mistakes: SimStorageMistakes;
}

/** What a wrong daemon would do; for showing that checkers notice. */
export interface SimStorageMistakes {
  /** Acknowledges when a write arrives. */
  acknowledgesFirst?: boolean;
  /** Says that an export is gone while its writes are under way. */
  removesWithoutDraining?: boolean;
  /** Keeps files without comparing them with their hashes. */
  keepsAnyFile?: boolean;
}

interface Export {
  readonly grant: Grant;
  isRemoving: boolean;
  inFlight: number;
  readonly onDrained: (() => void)[];
}

interface Flight {
  readonly write: DiskWrite;
  /** When the daemon hands it to the kernel. */
  readonly submittedAtMs: number;
  readonly export: Export;
  isLost: boolean;
}

/** From the socket to the kernel, in ms. */
const SUBMIT_MS = 0.3;

/** One daemon process. `process` is alive until it is killed; `isGone` when the kernel has let go of its last write. */
export class SimDaemon {
  readonly identity: DaemonProcess;
  readonly process: SimProcess;
  readonly #path: SimDiskPath;
  readonly #exports = new Map<Generation, Export>();
  readonly #connections = new Set<Connection>();
  readonly #flights = new Set<Flight>();
  readonly #onGone: (() => void)[] = [];
  readonly #commands: (() => void)[] = [];
  readonly #admitted = new Set<string>();
  #isFencing = false;

  constructor(options: {
    readonly identity: DaemonProcess;
    readonly process: SimProcess;
    readonly path: SimDiskPath;
    readonly grants: readonly Grant[];
  }) {
    const { identity, process, path, grants } = options;
    this.identity = identity;
    this.process = process;
    this.#path = path;
    for (const grant of grants) this.addExport(grant);
    this.admit(grants);
    process.onEnd(() => this.#die());
  }

  get isGone(): boolean {
    return !this.process.isAlive && this.#flights.size === 0;
  }

  /** Established connections, as the kernel lists them. */
  get connections(): readonly Connection[] {
    return [...this.#connections];
  }

  get isFencing(): boolean {
    return this.#isFencing;
  }

  get grants(): readonly Grant[] {
    return [...this.#exports.values()].map(({ grant }) => grant);
  }

  /** Calls back when it is gone; at once when it is. */
  whenGone(listener: () => void): void {
    if (this.isGone) listener();
    else this.#onGone.push(listener);
  }

  /** A command at its monitor: carried out after those that came before, unless it dies first. */
  command(delayMs: number, effect: () => void): void {
    this.#commands.push(effect);
    this.process.after(delayMs, () => this.#commands.shift()?.());
  }

  /** See core/ports/disk-backend.ts. */
  admit(grants: readonly Grant[]): void {
    this.admitNobody();
    this.#isFencing = false;
    for (const { vm, generation } of grants) this.#admitted.add(`${vm}:${generation}`);
  }

  /** See core/ports/disk-backend.ts. */
  admitNobody(): void {
    this.#isFencing = true;
    this.#admitted.clear();
  }

  /** False when there is one of that name. */
  addExport(grant: Grant): boolean {
    if (this.#exports.has(grant.generation)) return false;
    this.#exports.set(grant.generation, { grant, isRemoving: false, inFlight: 0, onDrained: [] });
    this.#path.onServed(grant.vm, grant.generation);
    return true;
  }

  /** Cuts the connections of an export; `onGone` is called when its last write has been carried out. */
  removeExport(generation: Generation, onGone: () => void): void {
    const found = this.#exports.get(generation);
    if (found !== undefined) {
      found.isRemoving = true;
      for (const connection of [...this.#connections]) if (connection.export === found) connection.cut();
      const isDrained = found.inFlight === 0 || this.#path.mistakes.removesWithoutDraining === true;
      if (isDrained) this.#exports.delete(generation);
    }
    if (this.#exports.has(generation)) found?.onDrained.push(onGone);
    else onGone();
  }

  hasExport(generation: Generation): boolean {
    return this.#exports.has(generation);
  }

  /** A client's handshake: refused unless it is admitted and there is such an export. */
  accept(client: NbdClient, peerPort: number): NbdConnection | 'refused' {
    const wanted = this.#exports.get(client.exportOf ?? client.generation);
    if (!this.#admitted.has(`${client.vm}:${client.generation}`)) return 'refused';
    if (wanted === undefined || wanted.isRemoving) return 'refused';
    const connection = new Connection(this, client, wanted, `${client.address}:${peerPort}`);
    this.#connections.add(connection);
    return connection;
  }

  get nowMs(): number {
    return this.#path.clock.monotonicMs();
  }

  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  /** Carries a write out. The answer is 'broken' when the connection ends before it is known. */
  write(connection: Connection, sequence: number, answer: (outcome: WriteOutcome) => void): void {
    const { clock, pool, node, mistakes, random } = this.#path;
    const { disk } = this.identity;
    if (pool.isFull) {
      answer('enospc');
      return;
    }
    const { vm, generation } = connection.client;
    const write: DiskWrite = { node, disk, vm, generation, sequence };
    const submittedAtMs = clock.monotonicMs() + random.unit() * SUBMIT_MS;
    const flight: Flight = { write, submittedAtMs, export: connection.export, isLost: false };
    this.#flights.add(flight);
    connection.export.inFlight++;
    const acknowledge = (): void => {
      if (!connection.isOpen) return;
      this.#path.onAck(write);
      answer('ok');
    };
    if (mistakes.acknowledgesFirst === true) acknowledge();
    clock.after(SUBMIT_MS + this.#path.latencyMs(disk), () => {
      if (flight.isLost) return;
      this.#land(flight);
      if (mistakes.acknowledgesFirst !== true) this.process.run(acknowledge);
    });
  }

  /** What the kernel had when the power went may or may not have got to the disk. */
  #losePower(): void {
    for (const flight of [...this.#flights]) {
      if (flight.submittedAtMs <= this.nowMs && this.#path.random.chance(50)) this.#land(flight);
      else this.#drop(flight);
    }
  }

  #land(flight: Flight): void {
    if (this.#path.pool.put(flight.write)) this.#path.onWrite(flight.write);
    this.#drop(flight);
  }

  #drop(flight: Flight): void {
    flight.isLost = true;
    this.#flights.delete(flight);
    const { export: one } = flight;
    if (--one.inFlight === 0 && one.isRemoving) {
      // What the daemon notices, it notices when it runs.
      this.process.run(() => {
        this.#exports.delete(one.grant.generation);
        for (const listener of one.onDrained.splice(0)) listener();
      });
    }
    if (this.isGone) for (const listener of this.#onGone.splice(0)) listener();
  }

  #die(): void {
    this.#commands.length = 0;
    for (const connection of [...this.#connections]) connection.cut();
    if (!this.process.machine.up) this.#losePower();
    for (const flight of [...this.#flights]) if (flight.submittedAtMs > this.nowMs) this.#drop(flight);
    if (this.isGone) for (const listener of this.#onGone.splice(0)) listener();
  }
}

/** See NbdConnection. */
export class Connection implements NbdConnection {
  readonly #daemon: SimDaemon;
  readonly client: NbdClient;
  readonly export: Export;
  /** As the kernel names it. */
  readonly key: string;
  #isOpen = true;
  #lastHeardMs: number;
  readonly #waiting = new Set<(outcome: WriteOutcome) => void>();
  readonly #onCut: (() => void)[] = [];

  constructor(daemon: SimDaemon, client: NbdClient, wanted: Export, key: string) {
    this.#daemon = daemon;
    this.client = client;
    this.export = wanted;
    this.key = key;
    this.#lastHeardMs = daemon.nowMs;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get idleMs(): number {
    return this.#daemon.nowMs - this.#lastHeardMs;
  }

  touch(): void {
    this.#lastHeardMs = this.#daemon.nowMs;
  }

  write(sequence: number): Promise<WriteOutcome> {
    if (!this.#isOpen) return Promise.resolve('broken');
    this.touch();
    return new Promise((resolve) => {
      const answer = (outcome: WriteOutcome): void => {
        this.#waiting.delete(answer);
        resolve(outcome);
      };
      this.#waiting.add(answer);
      // In the socket's buffer until the daemon runs; gone with the connection.
      this.#daemon.process.run(() => {
        if (this.#isOpen) this.#daemon.write(this, sequence, answer);
      });
    });
  }

  close(): void {
    this.#end();
  }

  cut(): void {
    this.#end();
    for (const listener of this.#onCut.splice(0)) listener();
  }

  onCut(listener: () => void): void {
    if (this.#isOpen) this.#onCut.push(listener);
    else listener();
  }

  #end(): void {
    this.#isOpen = false;
    this.#daemon.forget(this);
    for (const answer of [...this.#waiting]) answer('broken');
  }
}
