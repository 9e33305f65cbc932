/**
 * A storage node in memory: a pool, its disk daemons and one target, which record events and stop where a test says.
 */
import { CodedError } from '../../../base/errors.ts';
import { type DiskId, parseDiskId, type VmId } from '../../../base/ids.ts';
import type { Connection, Daemon, DaemonProcess, DiskBackend, Grant } from '../../ports/disk-backend.ts';
import type { TargetBackend, TargetDaemon, TargetState, TargetUnit } from '../../ports/target-backend.ts';

/** A daemon of the node: what it serves outlives the storage service. */
export interface FakeDaemon {
  readonly process: DaemonProcess;
  exports: Grant[];
  isFencing: boolean;
  readonly ended: PromiseWithResolvers<void>;
}

/** The `n`th disk. */
export const diskId = (n: number): DiskId => parseDiskId(`disk-${n.toString(16).padStart(12, '0')}`);

/** One node. Disks are put into `disks`; `serving` lists what runs. */
export class FakeNode {
  readonly disks = new Map<DiskId, { vm: VmId; sizeBytes: number }>();
  readonly daemons = new Map<DiskId, FakeDaemon>();
  readonly units = new Map<DiskId, TargetUnit>();
  /** Completed operations, in the order of their ends. */
  readonly done: string[] = [];
  /** An action whose name begins with one of these waits until the promise is resolved. */
  readonly gates = new Map<string, Promise<void>>();
  /** Disks whose files are faulty. */
  readonly faulty = new Set<DiskId>();
  connections: readonly Connection[] = [];
  target: TargetState | null = null;
  #pids = 100;

  /** The running daemons, as `DISK@PORT: GENERATIONS`; disks by their number. */
  serving(): string[] {
    return Array.from(this.daemons.values(), ({ process, exports }) => {
      const generations = exports.map(({ generation }) => generation).toSorted((a, b) => a - b);
      return `${Number.parseInt(process.disk.slice(5), 16)}@${process.port}: ${generations.join()}`;
    }).toSorted();
  }

  /** A daemon as a service before left it. */
  leave(disk: DiskId, port: number, exports: readonly Grant[]): FakeDaemon {
    const daemon: FakeDaemon = {
      process: { pid: ++this.#pids, startTicks: 1, disk, port },
      exports: [...exports],
      isFencing: false,
      ended: Promise.withResolvers<void>(),
    };
    this.daemons.set(disk, daemon);
    return daemon;
  }

  /** A daemon dies by itself. */
  end(disk: DiskId): void {
    this.daemons.get(disk)?.ended.resolve();
    this.daemons.delete(disk);
  }

  get backend(): DiskBackend {
    return {
      findDaemons: () => Array.from(this.daemons.values(), ({ process }) => process),
      killDaemon: (daemon) => this.#kill(daemon.disk),
      adoptDaemon: async ({ disk }) => this.#session(this.#daemon(disk)),
      startDaemon: async (disk, { port, grants }) => {
        await this.#does(`start ${disk}`);
        if (!this.disks.has(disk)) throw new CodedError('not-found', `There is no ${disk}.`);
        return this.#session(this.leave(disk, port, grants));
      },
      connectionsTo: async () => this.connections,
      connectionAges: async () => [],
      ownerOf: async (disk) => {
        if (this.faulty.has(disk)) throw new CodedError('failed', `${disk} has faulty files.`);
        return this.disks.get(disk)?.vm;
      },
      listDisks: async () => [...this.disks.keys()],
      listArtifacts: async () => [],
      faults: () => [],
      space: async () => ({ totalBytes: 100, freeBytes: 50 }),
      createDisk: async (disk, { vm, sizeBytes }) => {
        await this.#does(`create ${disk}`);
        this.disks.set(disk, { vm, sizeBytes });
      },
      deleteDisk: async (disk) => {
        await this.#does(`delete ${disk}`);
        this.disks.delete(disk);
      },
      diskSizeBytes: async (disk) => this.disks.get(disk)?.sizeBytes ?? 0,
      growDisk: async (disk, sizeBytes) => {
        await this.#does(`grow ${disk} to ${sizeBytes}${this.daemons.has(disk) ? ' while it is open' : ''}`);
        const present = this.disks.get(disk);
        if (present !== undefined) present.sizeBytes = sizeBytes;
      },
      deleteArtifact: () => this.#does('delete artifact'),
    };
  }

  get targetBackend(): TargetBackend {
    return {
      findTargets: () => [],
      killTarget: async () => undefined,
      adoptTarget: () => Promise.reject(new Error('there is none')),
      startTarget: async () => this.#target(),
      listUnits: async () => [...this.units.values()],
      createUnit: async (unit) => void this.units.set(unit.disk, unit),
      growUnit: async (unit) => void this.units.set(unit.disk, unit),
      deleteUnit: async (disk) => void this.units.delete(disk),
    };
  }

  #target(): TargetDaemon {
    return {
      isRunning: true,
      closed: new Promise(() => undefined),
      state: async () => this.target ?? { units: [], vms: [] },
      apply: async (state) => {
        await this.#does('apply');
        this.target = state;
      },
      ready: async () => undefined,
      sessions: async () => [],
      kill: async () => undefined,
      release: () => undefined,
    };
  }

  #session(daemon: FakeDaemon): Daemon {
    const isAlive = (): boolean => this.daemons.get(daemon.process.disk) === daemon;
    const { disk } = daemon.process;
    return {
      get isRunning() {
        return isAlive();
      },
      closed: daemon.ended.promise,
      grants: async () => daemon.exports,
      admit: async () => {
        daemon.isFencing = false;
      },
      admitNobody: async () => {
        daemon.isFencing = true;
      },
      isFencing: async () => daemon.isFencing,
      addExport: async (grant) => {
        await this.#does(`add ${grant.generation}`);
        daemon.exports.push(grant);
      },
      removeExport: async ({ generation }) => {
        await this.#does(`remove ${generation}`);
        daemon.exports = daemon.exports.filter((each) => each.generation !== generation);
      },
      boundLog: async () => undefined,
      kill: () => this.#kill(disk),
      release: () => undefined,
    };
  }

  #daemon(disk: DiskId): FakeDaemon {
    const daemon = this.daemons.get(disk);
    if (daemon === undefined) throw new CodedError('unavailable', 'no such daemon');
    return daemon;
  }

  async #kill(disk: DiskId): Promise<void> {
    await this.#does(`kill ${disk}`);
    this.end(disk);
  }

  async #does(what: string): Promise<void> {
    for (const [prefix, gate] of this.gates) if (what.startsWith(prefix)) await gate;
    this.done.push(what);
  }
}
