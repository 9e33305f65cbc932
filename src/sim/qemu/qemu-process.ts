/**
 * A simulated QEMU process with its guest: run states, block nodes and events as QEMU 7.2 has them, and a guest that
 * writes numbered blocks to each of its disks, one after the other, and remembers in its memory which one is next. Its
 * monitors speak QMP (qmp-server.ts).
 *
 * Guarantees: a guest computes only in run state `running`; a migration's destination has the source's memory as it was
 * when the source's vCPUs stood still and its disk requests were over; a monitor serves one client at a time.
 */
import type { DiskId, Generation } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import { sharedDeviceId } from '../../core/model/shared-disk-devices.ts';
import type { CommandOutcome, GuestAnswer } from '../../core/ports/guest-agent-link.ts';
import type { Note } from '../machines/note.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { QemuOrder } from './machine-queries.ts';
import {
  type ClientDisk,
  type DiskRequest,
  NbdClient,
  type NbdSurroundings,
  ownDisk,
  sharedDisk,
} from './nbd-client.ts';
import { type GuestMemory, OutgoingMigration, type ReceivingMachine } from './outgoing-migration.ts';
import { type QemuEvent, QmpServer, refusal } from './qmp-server.ts';

/** What a QEMU needs of its world. */
export interface QemuSurroundings extends Pick<NbdSurroundings, 'network' | 'storageAt' | 'address'> {
  readonly random: SimRandom;
  /** Between two requests of a guest on one disk, in ms; absent: THINK_MS. */
  readonly thinkMs?: readonly [number, number] | undefined;
  readonly note: Note;
  readonly say: (text: () => string) => void;
  /** The QEMU that has this port at this address of the storage network, if there is one. */
  readonly qemuAt: (address: string, port: number) => QemuProcess | undefined;
}

/** A client that is connected to a monitor. */
export interface MonitorClient {
  /** False once its process is gone: then the monitor serves somebody else. */
  readonly isThere: () => boolean;
  readonly onEvent: (event: QemuEvent) => void;
  readonly onClosed: () => void;
}

/** How long a ready-check takes, and how long after the first one its guest is ready. */
const CHECK_MS = [0, 1_500] as const;
const READY_MS = [-1_500, 6_000] as const;
const THINK_MS = [20, 180] as const;
/** How long QEMU waits at its start for its disks. */
const OPEN_MS = 3_000;
const SHUTDOWN_MS = [200, 1_200] as const;
/** Between the completion of a source's migration and its run state. */
const ENDING_MS = [0, 3] as const;
/** What QEMU reports beside STOP as it leaves `running` for these states. */
const EVENTS: Readonly<Record<string, Omit<QemuEvent, 'timestampMs'>>> = {
  shutdown: { name: 'SHUTDOWN', data: { guest: true, reason: 'guest-shutdown' } },
  'guest-panicked': { name: 'GUEST_PANICKED', data: { action: 'pause' } },
  'io-error': { name: 'BLOCK_IO_ERROR', data: { action: 'stop' } },
};

/** One QEMU, from its start to its process's end. */
export class QemuProcess implements ReceivingMachine {
  readonly order: QemuOrder;
  readonly process: SimProcess;
  readonly qmp: QmpServer;
  readonly outgoing: OutgoingMigration;
  readonly #around: QemuSurroundings;
  /** By the port of the monitor. */
  readonly #monitors = new Map<number, MonitorClient>();
  readonly #watchers = new Set<() => void>();
  /** Every block node by its name, and those that a device of the guest uses. */
  readonly #nodes = new Map<string, NbdClient>();
  #disks: readonly NbdClient[];
  #memory = new Map<DiskId, number>();
  #status: string;
  /**
   * Whether this QEMU uses its disks: the block layer of 7.2 can only release disks that are in use, and aborts
   * otherwise.
   */
  #isActive: boolean;
  /** `cont` while it waits for a stream makes it run as soon as the stream is complete. */
  #autostart = false;
  /** The ready-checks that run in the guest, and when they end. */
  readonly #checks = new Map<number, number>();
  #checksBegun = 0;
  #readyAt: number | null = null;
  readonly #whenIdle: (() => void)[] = [];
  readonly #thinking = new Set<NbdClient>();
  /** Ignores the power button. */
  isDeaf = false;
  /** Writes about as fast as it is copied. */
  isBusy = false;
  /** An agent runs in its guest, and answers while the guest computes. */
  hasAgent = true;
  /** Of how many migrations in a hundred the source does not hear that they are complete. */
  lostEndPercent = 0;

  constructor(order: QemuOrder, process: SimProcess, around: QemuSurroundings) {
    this.order = order;
    this.process = process;
    this.#around = around;
    this.#status = order.incoming ? 'inmigrate' : 'prelaunch';
    this.#isActive = !order.incoming;
    for (const [i, disk] of order.disks.entries()) this.#nodes.set(`disk${i}`, this.#client(ownDisk(disk)));
    for (const disk of order.sharedDisks ?? [])
      this.#nodes.set(sharedDeviceId(disk.disk), this.#client(sharedDisk(disk)));
    this.#disks = [...this.#nodes.values()];
    this.outgoing = new OutgoingMigration(this.#sending(), around);
    this.qmp = new QmpServer(this, around);
    process.onEnd(() => this.#ended());
    this.#noteStatus(this.#status);
  }

  get status(): string {
    return this.#status;
  }

  get isLive(): boolean {
    return this.#status === 'running' && this.process.isAlive;
  }

  get isActive(): boolean {
    return this.#isActive;
  }

  get key(): string {
    return `${this.order.vm}:${this.order.generation}`;
  }

  /** Block nodes by name, whether the guest has a device of them or not. */
  get nodes(): readonly string[] {
    return [...this.#nodes.keys()];
  }

  /** The shared disks that the guest has. */
  get sharedDisks(): ReadonlySet<DiskId> {
    return new Set(this.#disks.flatMap(({ disk }) => (disk.isShared ? [disk.disk] : [])));
  }

  /** Whether a device of the guest uses the node. */
  isUsed(node: string): boolean {
    const client = this.#nodes.get(node);
    return client !== undefined && this.#disks.includes(client);
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

  /** Connects a client to a monitor; false while that one serves somebody else. */
  connect(port: number, client: MonitorClient): boolean {
    if (this.#monitors.get(port)?.isThere() === true) return false;
    this.#monitors.set(port, client);
    return true;
  }

  /** The client of a monitor has ended its connection. */
  disconnect(port: number, client: MonitorClient): void {
    if (this.#monitors.get(port) === client) this.#monitors.delete(port);
  }

  /** Begins a ready-check in the guest; answers its process there. */
  beginCheck(): number {
    const { random } = this.#around;
    this.#checks.set(++this.#checksBegun, this.process.monotonicMs() + random.between(CHECK_MS[0], CHECK_MS[1]));
    return this.#checksBegun;
  }

  /** How a ready-check has come out: well once the guest has run here for a while. */
  checkOutcome(pid: number): GuestAnswer<CommandOutcome> {
    const endsAt = this.#checks.get(pid);
    if (endsAt === undefined) return { kind: 'refuses', why: 'PID does not exist' };
    if (this.process.monotonicMs() < endsAt) return { kind: 'answers', value: { exited: false } };
    this.#checks.delete(pid);
    this.#readyAt ??= endsAt + this.#around.random.between(READY_MS[0], READY_MS[1]);
    const isReady = endsAt >= this.#readyAt;
    if (isReady) this.#around.note({ kind: 'ready', vm: this.order.vm, generation: this.order.generation });
    return { kind: 'answers', value: { exited: true, exitCode: isReady ? 0 : 1, output: isReady ? '' : 'not yet' } };
  }

  /** Calls back after every event, as long as the process lives. */
  watch(look: () => void): void {
    this.#watchers.add(look);
  }

  // What its monitors order. QmpError where 7.2 refuses it.

  cont(): void {
    switch (this.#status) {
      case 'inmigrate':
        this.#autostart = true;
        return;
      case 'finish-migrate':
        throw refusal('cont', 'Migration is not finalized yet');
      case 'shutdown':
      case 'guest-panicked':
        throw refusal('cont', 'Resetting the Virtual Machine is required');
      case 'running':
        return;
      default:
        this.#become('running');
    }
  }

  halt(): void {
    if (this.#status === 'inmigrate') this.#autostart = false;
    if (this.#status === 'running') this.#become('paused');
  }

  reset(): void {
    for (const disk of this.#disks) disk.drop();
    this.#memory = new Map();
    this.#emit('RESET', { guest: false, reason: 'host-qmp-system-reset' });
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

  /** Opens a block node; rejects, and opens none, if its server cannot be reached. */
  openNode(name: string, disk: ClientDisk): Promise<void> {
    const client = this.#client(disk);
    return new Promise((resolve, reject) => {
      client.open(OPEN_MS, (isOpen) => {
        if (isOpen) this.#nodes.set(name, client);
        else client.end();
        if (isOpen) resolve();
        else reject(refusal('blockdev-add', `iSCSI: Failed to connect to LUN : ${disk.address}`));
      });
    });
  }

  /** Closes a block node that no device uses. */
  closeNode(name: string): void {
    this.#nodes.get(name)?.end();
    this.#nodes.delete(name);
  }

  /** Gives the guest a device of a node: it begins to write to it. */
  plug(node: string): void {
    const client = this.#nodes.get(node);
    if (client === undefined) return;
    this.#disks = [...this.#disks, client];
    this.#next(client);
  }

  /** Takes the device of a node from the guest, which gives a SCSI disk back at once. */
  unplug(node: string): void {
    const client = this.#nodes.get(node);
    this.#disks = this.#disks.filter((disk) => disk !== client);
    this.#emit('DEVICE_DELETED', { device: node, path: `/machine/peripheral/${node}` });
    this.#diskIdle();
  }

  // What becomes of a guest by itself.

  guestDoes(what: 'shutdown' | 'guest-panicked'): void {
    if (this.isLive) this.#become(what);
  }

  // What a stream from another QEMU does.

  waitsFor(source: Generation): boolean {
    return this.process.isAlive && this.#status === 'inmigrate' && this.qmp.listensFor === source;
  }

  load(memory: GuestMemory, status: string, source: Generation, isLive: boolean): boolean {
    if (!this.waitsFor(source)) return false;
    this.#memory = new Map(memory);
    this.#become(isLive && this.#autostart ? 'running' : status);
    this.qmp.arrived();
    return true;
  }

  /** The sending end's hold on this machine. */
  #sending(): ConstructorParameters<typeof OutgoingMigration>[0] {
    const qemu = this;
    return {
      process: this.process,
      generation: this.order.generation,
      get isBusy() {
        return qemu.isBusy;
      },
      get lostEndPercent() {
        return qemu.lostEndPercent;
      },
      allowedPauseMs: () => this.qmp.allowedPauseMs,
      stopForEnd: () => this.#stopForEnd(),
      whenIdle: (then) => {
        this.#whenIdle.push(then);
        this.#diskIdle();
      },
      releaseDisks: () => this.#releaseDisks(),
      memory: () => new Map(this.#memory),
      goOn: (ranBefore) => this.#goOn(ranBefore),
      complete: () => this.#complete(),
      tell: (status) => this.qmp.tellMigration(status),
    };
  }

  #stopForEnd(): string {
    const before = this.#status;
    if (before === 'running') this.#become('finish-migrate');
    else this.#change('finish-migrate');
    return before;
  }

  #releaseDisks(): boolean {
    const wasActive = this.#isActive;
    this.#isActive = false;
    if (wasActive) return true;
    // Models the failed assertion in block.c, bdrv_inactivate_recurse.
    this.#noteStatus('aborted');
    this.process.end();
    return false;
  }

  #goOn(ranBefore: boolean): void {
    this.#isActive = true;
    if (this.#status !== 'finish-migrate') return;
    if (ranBefore) this.#become('running');
    else this.#change('postmigrate');
  }

  #complete(): void {
    this.#noteStatus('completed');
    this.process.after(this.#around.random.between(ENDING_MS[0], ENDING_MS[1]), () => {
      if (this.#status !== 'running') this.#change('postmigrate');
    });
  }

  #become(status: string): void {
    if (!this.process.isAlive) return;
    const stops = this.#status === 'running';
    this.#change(status);
    if (status === 'running') {
      this.#isActive = true;
      this.#emit('RESUME');
      this.#runDisks();
    } else if (stops) {
      const because = own(EVENTS, status);
      if (because !== undefined) this.#emit(because.name, because.data);
      this.#emit('STOP');
    }
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

  #emit(name: string, data: QemuEvent['data'] = {}): void {
    this.emit({ name, data, timestampMs: this.process.machine.wallMs });
  }

  /** Reports an event to every client and watcher. */
  emit(event: QemuEvent): void {
    for (const client of this.#monitors.values()) client.onEvent(event);
    for (const look of this.#watchers) look();
  }

  #ended(): void {
    this.#around.say(() => `${this.key} on ${this.process.machine.name}: ended`);
    this.#noteStatus('ended');
    for (const node of this.#nodes.values()) node.close();
    // A kernel tells the other end that its process is gone, a machine without power tells nobody.
    if (this.process.machine.up) this.outgoing.breakStream();
    for (const client of this.#monitors.values()) client.onClosed();
    this.#monitors.clear();
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
    const [leastMs, mostMs] = this.#around.thinkMs ?? THINK_MS;
    this.process.after(this.#around.random.between(leastMs, mostMs), () => {
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

  #diskIdle(): void {
    if (this.#whenIdle.length === 0 || this.#disks.some((disk) => disk.isBusy)) return;
    for (const then of this.#whenIdle.splice(0)) then();
  }
}
