/**
 * The storage service's node (core/ports/disk-backend.ts), simulated, as one run of the service sees it.
 *
 * Guarantees: what the service asked of a daemon is carried out although the service dies; what it does itself
 * (starting, making, deleting) is not; no answer reaches a service that is dead.
 */
import { CodedError } from '../../base/errors.ts';
import type { DiskId, Sha256, VmId } from '../../base/ids.ts';
import type {
  Connection,
  ConnectionAge,
  Daemon,
  DaemonProcess,
  DiskBackend,
  Grant,
} from '../../core/ports/disk-backend.ts';
import type { DiskOrder } from '../../core/ports/storage-link.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { SimDaemon } from './sim-daemon.ts';
import type { SimPool } from './sim-pool.ts';
import { killAndWait, SimSession } from './sim-session.ts';

/** What of the node outlives the service. */
export interface SimDiskNode {
  readonly pool: SimPool;
  readonly random: SimRandom;
  /** Daemons that are not gone. */
  daemons(): readonly SimDaemon[];
  /** CodedError 'failed' while another one has the image open or the port. */
  spawn(disk: DiskId, options: { readonly port: number; readonly grants: readonly Grant[] }): SimDaemon;
}

/** How long things take, in ms. */
const FILE_MS = 0.1;
const START_MS = [10, 40] as const;
const CREATE_MS = [5, 30] as const;

/** One per run of the service; `process` is that run. */
export class SimDiskBackend implements DiskBackend {
  readonly #node: SimDiskNode;
  readonly #process: SimProcess;

  constructor(node: SimDiskNode, process: SimProcess) {
    this.#node = node;
    this.#process = process;
  }

  findDaemons(): readonly DaemonProcess[] {
    return this.#node.daemons().map(({ identity }) => identity);
  }

  async killDaemon({ pid }: DaemonProcess): Promise<void> {
    const daemon = this.#node.daemons().find(({ identity }) => identity.pid === pid);
    if (daemon === undefined) return this.#after(FILE_MS, () => undefined);
    await killAndWait(daemon, this.#process);
  }

  async adoptDaemon({ disk, pid }: DaemonProcess): Promise<Daemon> {
    const unavailable = new CodedError('unavailable', `The storage daemon of ${disk} does not answer.`);
    const daemon = this.#node.daemons().find(({ identity }) => identity.pid === pid);
    if (daemon === undefined) return this.#after(FILE_MS, () => Promise.reject(unavailable));
    const session = new Session(daemon, { service: this.#process, what: `The storage daemon of ${disk}` });
    // The greeting: of a daemon that stands still, nothing comes.
    await session.ask(() => undefined).catch(() => Promise.reject(unavailable));
    return session;
  }

  async startDaemon(
    disk: DiskId,
    options: { readonly port: number; readonly grants: readonly Grant[] },
  ): Promise<Daemon> {
    if (this.#node.pool.ownerOf(disk) === undefined)
      return this.#after(FILE_MS, () => Promise.reject(new CodedError('not-found', `There is no ${disk}.`)));
    const daemon = await this.#after(this.#between(START_MS), () => this.#node.spawn(disk, options));
    const session = new Session(daemon, { service: this.#process, what: `The storage daemon of ${disk}` });
    await session.ask(() => undefined);
    return session;
  }

  connectionsTo(port: number): Promise<readonly Connection[]> {
    return this.#after(FILE_MS, () =>
      this.#node
        .daemons()
        .filter(({ identity }) => identity.port === port)
        .flatMap(({ connections }) => connections.map(({ key, client }) => ({ key, address: client.address }))),
    );
  }

  connectionAges(): Promise<readonly ConnectionAge[]> {
    return this.#after(2, () =>
      this.#node.daemons().flatMap(({ identity, connections }) =>
        connections.map(({ client, idleMs }) => ({
          localPort: identity.port,
          address: client.address,
          idleMs: Math.round(idleMs),
        })),
      ),
    );
  }

  ownerOf(disk: DiskId): Promise<VmId | undefined> {
    return this.#after(FILE_MS, () => this.#node.pool.ownerOf(disk));
  }

  listDisks(): Promise<readonly DiskId[]> {
    return this.#after(FILE_MS, () => this.#node.pool.list());
  }

  faults(): readonly [] {
    return [];
  }

  listArtifacts(): Promise<readonly Sha256[]> {
    return Promise.resolve(this.#node.pool.files.list());
  }

  space(): Promise<SimPool['space']> {
    return Promise.resolve(this.#node.pool.space);
  }

  createDisk(disk: DiskId, order: DiskOrder): Promise<void> {
    return this.#after(this.#between(CREATE_MS), () => this.#node.pool.create(disk, order));
  }

  deleteDisk(disk: DiskId): Promise<void> {
    return this.#after(1, () => this.#node.pool.delete(disk));
  }

  diskSizeBytes(disk: DiskId): Promise<number> {
    return this.#after(FILE_MS, () => this.#node.pool.sizeBytes(disk));
  }

  growDisk(disk: DiskId, sizeBytes: number): Promise<void> {
    return this.#after(this.#between(CREATE_MS), () => this.#node.pool.grow(disk, sizeBytes));
  }

  deleteArtifact(sha256: Sha256): Promise<void> {
    return this.#after(FILE_MS, () => this.#node.pool.files.delete(sha256));
  }

  #between([least, most]: readonly [number, number]): number {
    return this.#node.random.between(least, most);
  }

  /** What the service does itself, `delayMs` from now: not at all when it dies before. */
  #after<T>(delayMs: number, act: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#process.after(delayMs, () => {
        try {
          resolve(act());
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}

/** The service's session with a daemon's monitor. */
class Session extends SimSession<SimDaemon> implements Daemon {
  grants(vm: VmId): Promise<readonly Grant[]> {
    return this.ask((daemon) => daemon.grants.filter((grant) => grant.vm === vm));
  }

  admit(grants: readonly Grant[]): Promise<void> {
    return this.ask((daemon) => daemon.admit(grants));
  }

  admitNobody(): Promise<void> {
    return this.ask((daemon) => daemon.admitNobody());
  }

  isFencing(): Promise<boolean> {
    return this.ask((daemon) => daemon.isFencing);
  }

  async addExport(grant: Grant): Promise<void> {
    const added = await this.ask((daemon) => daemon.addExport(grant));
    if (!added) throw new CodedError('failed', `Block export id 'g${grant.generation}' is already in use.`);
  }

  async removeExport({ generation }: Grant): Promise<void> {
    await this.until<void>((daemon, answer) => daemon.removeExport(generation, answer)).catch((error: unknown) => {
      if (this.isClosed) throw error;
    });
    if (await this.ask((daemon) => daemon.hasExport(generation)))
      throw new CodedError('deadline', `Export g${generation} is still there.`);
  }

  boundLog(): Promise<void> {
    return Promise.resolve();
  }
}
