/**
 * A simulated QEMU process with its guest: run states, migration and QMP as QEMU 7.2 has them, and a guest that writes numbered blocks to
 * each of its disks, one after the other, and remembers in its memory which one is next.
 *
 * Guarantees: a guest computes only in run state `running`; a migration's destination has the source's memory as it was when the source's
 * vCPUs stood still and its disk requests were over.
 */
import { CodedError } from '../../base/errors.ts';
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import type { MigrationState } from '../../core/model/observation.ts';
import { FIRST_PAUSE_MS } from '../../core/model/pause-allowance.ts';
import type { LaunchOrder, LaunchSharedDisk } from '../../core/ports/host-link.ts';
import type { Note } from '../machines/note.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { SimRandom } from '../time/sim-random.ts';
import {
  type ClientDisk,
  type DiskRequest,
  NbdClient,
  type NbdSurroundings,
  ownDisk,
  sharedDisk,
} from './nbd-client.ts';

/** What a QEMU needs of its world. */
export interface QemuSurroundings extends Pick<NbdSurroundings, 'network' | 'storageAt' | 'address'> {
  readonly random: SimRandom;
  readonly note: Note;
  readonly say: (text: () => string) => void;
  /** The QEMU that waits for a stream at the other end, if it is there. */
  readonly qemuOf: (vm: VmId, generation: Generation) => QemuProcess | undefined;
}

/** Of QEMU's events those about a live migration; `ended`: without success. */
export type SimEvent = 'STOP' | 'RESUME' | 'completed' | 'ended' | 'other';

/** One who is connected to a monitor. */
export interface Monitor {
  readonly onEvent: (event: SimEvent) => void;
  readonly onClosed: () => void;
}

/** A guest's memory, as far as it matters: per disk the number of the next block to write; 0 before it has looked. */
type GuestMemory = Map<DiskId, number>;

const THINK_MS = [20, 180] as const;
/** How long QEMU waits at its start for its disks. */
const OPEN_MS = 3_000;
/** From the wish to migrate until the destination is connected, at the latest. */
const STREAM_CONNECT_MS = 3_000;
const COPY_MS = [80, 1_600] as const;
/** Every pass after the first. */
const PASS_MS = 250;
/** The shortest pause in which the rest of a guest's memory can be sent. */
const REST_MS = [5, 280] as const;
/** How long a source waits for the destination to say that it has everything. */
const STREAM_END_MS = 6_000;
/** What a source says of how long its guest stood still. */
const DOWNTIME_MS = 30;
const SHUTDOWN_MS = [200, 1_200] as const;
/** Between the completion of a source's migration and its run state. */
const ENDING_MS = [0, 3] as const;

/** What of its launch a simulated QEMU is made from. */
type QemuOrder = Pick<LaunchOrder, 'vm' | 'vmName' | 'generation' | 'slot' | 'incoming' | 'disks' | 'sharedDisks'>;

/** One QEMU, from its start to its process's end. */
export class QemuProcess {
  readonly order: QemuOrder;
  readonly process: SimProcess;
  readonly monitors = new Set<Monitor>();
  readonly #around: QemuSurroundings;
  #disks: readonly NbdClient[];
  #memory: GuestMemory = new Map();
  #status: string;
  #migration: MigrationState | null = null;
  /** The generation whose stream it waits for. */
  #listeningFor: Generation | null = null;
  /**
   * Whether this QEMU uses its disks: the block layer of 7.2 can only release disks that are in use, and aborts
   * otherwise.
   */
  #isActive: boolean;
  /** Whether the guest ran when the end of the present stream began. */
  #ranBefore = false;
  /** `cont` while it waits for a stream makes it run as soon as the stream is complete. */
  #autostart = false;
  /** Counts streams: what was begun for an older one is nobody's any more. */
  #stream = 0;
  /** At the other end of the present stream. */
  #receiver: QemuProcess | null = null;
  #sentTo: Generation | null = null;
  #allowedPauseMs = 0;
  readonly #whenIdle: (() => void)[] = [];
  readonly #thinking = new Set<NbdClient>();
  /** Ignores the power button. */
  isDeaf = false;
  /** Writes about as fast as it is copied. */
  isBusy = false;
  /** Of how many migrations in a hundred the source does not hear that they are complete. */
  lostEndPercent = 0;

  constructor(order: QemuOrder, process: SimProcess, around: QemuSurroundings) {
    this.order = order;
    this.process = process;
    this.#around = around;
    this.#status = order.incoming ? 'inmigrate' : 'prelaunch';
    this.#isActive = !order.incoming;
    const disks = [...order.disks.map(ownDisk), ...(order.sharedDisks ?? []).map(sharedDisk)];
    this.#disks = disks.map((disk) => this.#client(disk));
    process.onEnd(() => this.#ended());
    this.#noteStatus(this.#status);
  }

  get status(): string {
    return this.#status;
  }

  get migration(): MigrationState | null {
    return this.#migration === null ? null : { ...this.#migration, pauseLimitMs: this.#allowedPauseMs };
  }

  /** The generation that it was last told to send to. */
  get sentTo(): Generation | null {
    return this.#sentTo;
  }

  get isLive(): boolean {
    return this.#status === 'running' && this.process.isAlive;
  }

  get key(): string {
    return `${this.order.vm}:${this.order.generation}`;
  }

  /** Shared disks that it has open. */
  get sharedDisks(): ReadonlySet<DiskId> {
    return new Set(this.#disks.flatMap(({ disk }) => (disk.isShared ? [disk.disk] : [])));
  }

  /** Opens its disks; false (and it ends) where one is not to be had. */
  open(): Promise<boolean> {
    return new Promise((resolve) => {
      let left = this.#disks.length;
      if (left === 0) resolve(true);
      for (const disk of this.#disks) {
        disk.open(OPEN_MS, (isOpen) => {
          left--;
          if (!isOpen) this.process.end();
          if (!isOpen || left === 0) resolve(isOpen);
        });
      }
    });
  }

  // What QMP can ask of it. Thrown errors are QMP's.

  cont(): void {
    switch (this.#status) {
      case 'inmigrate':
        this.#autostart = true;
        return;
      case 'finish-migrate':
        throw new CodedError('failed', 'Migration is not finalized yet');
      case 'shutdown':
      case 'guest-panicked':
        throw new CodedError('failed', 'Resetting the Virtual Machine is required');
      case 'running':
        return;
      default:
        this.#become('running');
    }
  }

  halt(): void {
    if (this.#status === 'running') this.#become('paused');
  }

  reset(): void {
    for (const disk of this.#disks) disk.drop();
    this.#memory = new Map();
    if (this.#status === 'running') this.#runDisks();
    else if (this.#status !== 'inmigrate' && this.#status !== 'finish-migrate') this.#become('prelaunch');
  }

  /** Makes the QEMU use its disks without continuing its guest. */
  activate(): void {
    if (this.#status !== 'inmigrate') this.#isActive = true;
  }

  powerDown(): void {
    if (this.isDeaf) return;
    const { random } = this.#around;
    this.process.after(random.between(SHUTDOWN_MS[0], SHUTDOWN_MS[1]), () => this.guestDoes('shutdown'));
  }

  listen(source: Generation): void {
    if (this.#status === 'inmigrate') this.#listeningFor = source;
  }

  /** Begins to send to the generation given, unless it sends or has sent: then false. What becomes of it is in `migration`. */
  send(destination: Generation): boolean {
    if (this.#migration?.status === 'active' || this.#status === 'postmigrate') return false;
    this.#migration = migrationIs('active');
    this.#sentTo = destination;
    this.#allowedPauseMs = FIRST_PAUSE_MS;
    const stream = ++this.#stream;
    const isCurrent = (): boolean => this.#stream === stream && this.#migration?.status === 'active';
    const { network, random, qemuOf, say } = this.#around;
    say(() => `${this.key} sends to generation ${destination}`);
    this.process.after(STREAM_CONNECT_MS, () => {
      if (isCurrent() && !isConnected) this.#streamFailed('connection timed out');
    });
    let isConnected = false;
    const there = qemuOf(this.order.vm, destination);
    this.#receiver = there ?? null;
    const { machine } = this.process;
    const to = there?.process.machine;
    if (there === undefined || to === undefined) return true;
    network.stream({ network: 'storage', to }, machine, isCurrent, () => {
      const isListening =
        there.process.isAlive && there.#status === 'inmigrate' && there.#listeningFor === this.order.generation;
      network.stream({ network: 'storage', to: machine }, to, isCurrent, () =>
        this.process.run(() => {
          if (!isCurrent()) return;
          if (!isListening) return this.#streamFailed('connection refused');
          isConnected = true;
          const restMs = this.isBusy ? REST_MS[1] : random.between(REST_MS[0], REST_MS[1]);
          this.process.after(random.between(COPY_MS[0], COPY_MS[1]), () =>
            this.#endPass(1, { restMs, there, isCurrent }),
          );
        }),
      );
    });
    return true;
  }

  allowPause(ms: number): void {
    this.#allowedPauseMs = ms;
  }

  cancelSend(): void {
    if (this.#migration?.status !== 'active') return;
    this.#breakStream();
    this.#migration = migrationIs('cancelled');
    this.#goOn();
    this.#emit('ended');
  }

  /** Hot-plug: QEMU logs in, and the guest begins to write to the disk. CodedError 'failed', and no disk, where the log-in fails. */
  plug(disk: Pick<LaunchSharedDisk, 'disk' | 'address'>): Promise<void> {
    if (this.sharedDisks.has(disk.disk)) return Promise.resolve();
    const client = this.#client(sharedDisk(disk));
    return new Promise((resolve, reject) => {
      client.open(OPEN_MS, (isOpen) => {
        // Another order for the same disk may have been quicker.
        const isThere = this.sharedDisks.has(disk.disk);
        if (!isOpen || isThere) client.end();
        if (!isOpen && !isThere) return reject(new CodedError('failed', `${disk.disk} could not be opened.`));
        if (!isThere) {
          this.#disks = [...this.#disks, client];
          this.#next(client);
        }
        resolve();
      });
    });
  }

  unplug(disk: DiskId): void {
    const gone = this.#disks.filter((client) => client.disk.isShared && client.disk.disk === disk);
    this.#disks = this.#disks.filter((client) => !gone.includes(client));
    for (const client of gone) client.end();
    this.#diskIdle();
  }

  // What becomes of a guest by itself.

  guestDoes(what: 'shutdown' | 'guest-panicked'): void {
    if (this.isLive) this.#become(what);
  }

  /** What is left after a pass can be sent in a pause that is allowed, or is copied once more. */
  #endPass(pass: number, stream: { restMs: number; there: QemuProcess; isCurrent: () => boolean }): void {
    const { restMs, there, isCurrent } = stream;
    if (!isCurrent()) return;
    if (restMs <= this.#allowedPauseMs) {
      this.#switchover(there, isCurrent);
      return;
    }
    this.#migration = { ...migrationIs('active'), passes: pass + 1 };
    this.process.after(PASS_MS, () => this.#endPass(pass + 1, stream));
  }

  /** Copying is done: the vCPUs stop, disk requests end, and the last of the state is sent. */
  #switchover(there: QemuProcess, isCurrent: () => boolean): void {
    if (!isCurrent()) return;
    const before = this.#status;
    this.#ranBefore = before === 'running';
    if (this.#ranBefore) this.#become('finish-migrate');
    else this.#change('finish-migrate');
    this.#idle(() => {
      if (!isCurrent()) return;
      if (!this.#isActive) return this.#abort();
      this.#isActive = false;
      const { network, random } = this.#around;
      const memory = new Map(this.#memory);
      const to = there.process.machine;
      const { machine } = this.process;
      const status = before === 'running' ? 'paused' : before;
      const isLost = random.chance(this.lostEndPercent);
      this.process.after(STREAM_END_MS, () => {
        if (isCurrent()) this.#streamFailed('the last acknowledgement did not come');
      });
      network.stream({ network: 'storage', to }, machine, isCurrent, () =>
        there.process.run(() => {
          if (!there.#load(memory, status, this.order.generation, before === 'running') || isLost) return;
          network.stream({ network: 'storage', to: machine }, to, isCurrent, () =>
            this.process.run(() => {
              if (isCurrent()) this.#complete();
            }),
          );
        }),
      );
    });
  }

  /** Models the failed assertion in block.c, bdrv_inactivate_recurse. */
  #abort(): void {
    this.#noteStatus('aborted');
    this.process.end();
  }

  /**
   * After a failed or cancelled stream, a guest that ran before continues; a halted guest stays halted
   * (migration_iteration_finish).
   */
  #goOn(): void {
    this.#isActive = true;
    if (this.#status !== 'finish-migrate') return;
    if (this.#ranBefore) this.#become('running');
    else this.#change('postmigrate');
  }

  /** The run state follows a moment later, and no event tells of it (migration.c, migration_iteration_finish). */
  #complete(): void {
    this.#migration = migrationIs('completed');
    this.#noteStatus('completed');
    this.#emit('completed');
    this.process.after(this.#around.random.between(ENDING_MS[0], ENDING_MS[1]), () => {
      if (this.#status !== 'running') this.#change('postmigrate');
    });
  }

  #load(memory: GuestMemory, status: string, source: Generation, isLive: boolean): boolean {
    if (this.#status !== 'inmigrate' || this.#listeningFor !== source) return false;
    this.#memory = memory;
    this.#become(isLive && this.#autostart ? 'running' : status);
    this.#emit('completed');
    return true;
  }

  /** A source whose stream broke goes on by itself. */
  #streamFailed(error: string): void {
    this.#breakStream();
    this.#migration = migrationIs('failed', error);
    this.#goOn();
    this.#emit('ended');
  }

  /** A destination that has not got everything ends when it hears that its stream has. */
  #breakStream(): void {
    this.#stream++;
    const receiver = this.#receiver;
    this.#receiver = null;
    if (receiver === null) return;
    const { machine } = receiver.process;
    const { generation } = this.order;
    this.#around.network.stream(
      { network: 'storage', to: machine },
      this.process.machine,
      () => receiver.process.isAlive,
      () =>
        receiver.process.run(() => {
          if (receiver.#status === 'inmigrate' && receiver.#listeningFor === generation) receiver.process.end();
        }),
    );
  }

  #become(status: string): void {
    if (!this.process.isAlive) return;
    const stops = this.#status === 'running';
    this.#change(status);
    if (status === 'running') this.#isActive = true;
    if (status === 'running') this.#emit('RESUME');
    else this.#emit(stops ? 'STOP' : 'other');
    if (status === 'running') this.#runDisks();
  }

  #change(status: string): void {
    this.#status = status;
    this.#noteStatus(status);
    this.#around.say(() => `${this.key} on ${this.process.machine.name}: ${status}`);
  }

  #noteStatus(status: string): void {
    const { vm, generation } = this.order;
    this.#around.note({ kind: 'status', vm, generation, status });
  }

  #emit(event: SimEvent): void {
    for (const monitor of this.monitors) monitor.onEvent(event);
  }

  #ended(): void {
    this.#around.say(() => `${this.key} on ${this.process.machine.name}: ended`);
    this.#noteStatus('ended');
    for (const disk of this.#disks) disk.close();
    // A kernel tells the other end that its process is gone, a machine without power tells nobody.
    if (this.process.machine.up) this.#breakStream();
    for (const monitor of this.monitors) monitor.onClosed();
    this.monitors.clear();
  }

  #client(disk: ClientDisk): NbdClient {
    const client: NbdClient = new NbdClient(disk, this.order, {
      ...this.#around,
      process: this.process,
      onDone: (request, found) => this.#diskDone(client, request, found),
      onFailed: () => this.#diskFailed(),
      onIdle: () => this.#diskIdle(),
    });
    return client;
  }

  #runDisks(): void {
    for (const disk of this.#disks) {
      disk.retry();
      this.#next(disk);
    }
  }

  /** The guest's next request on a disk, when it has thought about it. */
  #next(disk: NbdClient): void {
    if (!this.isLive || disk.hasRequest || this.#thinking.has(disk) || !this.#disks.includes(disk)) return;
    if (disk.disk.readOnly) return;
    if (!this.#memory.has(disk.disk.disk)) {
      disk.submit({ kind: 'read' });
      return;
    }
    this.#thinking.add(disk);
    this.process.after(this.#around.random.between(THINK_MS[0], THINK_MS[1]), () => {
      this.#thinking.delete(disk);
      const sequence = this.#memory.get(disk.disk.disk);
      if (!this.isLive || disk.hasRequest || !this.#disks.includes(disk)) return;
      if (sequence === undefined) this.#next(disk);
      else disk.submit({ kind: 'write', sequence });
    });
  }

  #diskDone(client: NbdClient, request: DiskRequest, found: number): void {
    const { vm, generation } = this.order;
    const { disk } = client.disk;
    if (request.kind === 'read') {
      this.#around.note({ kind: 'booted', vm, disk, generation, found });
      this.#memory.set(disk, found + 1);
    } else {
      this.#around.note({ kind: 'acknowledged', vm, disk, generation, sequence: request.sequence });
      // After a reset the guest does not know of it.
      if (this.#memory.get(disk) === request.sequence) this.#memory.set(disk, request.sequence + 1);
    }
    this.#next(client);
  }

  #diskFailed(): void {
    if (this.#status === 'running') this.#become('io-error');
  }

  /** Calls back once no request is under way. */
  #idle(then: () => void): void {
    this.#whenIdle.push(then);
    this.#diskIdle();
  }

  #diskIdle(): void {
    if (this.#whenIdle.length === 0 || this.#disks.some((disk) => disk.isBusy)) return;
    for (const then of this.#whenIdle.splice(0)) then();
  }
}

/** A migration's state with nothing known but its status. */
function migrationIs(status: MigrationState['status'], error: string | null = null): MigrationState {
  return {
    status,
    passes: 1,
    pauseLimitMs: 0,
    downtimeMs: status === 'completed' ? DOWNTIME_MS : null,
    error,
  };
}
