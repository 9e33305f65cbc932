/**
 * The real implementation of the storage service's node (core/ports/disk-backend.ts): the pool's directory, a
 * qemu-storage-daemon per disk, the kernel's tables. It decides nothing. Guarantees: if possible, a daemon runs as a
 * user of its own, which then owns the disk's files.
 */
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import type { DiskId, StorageName, VmId } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import type {
  Connection,
  ConnectionAge,
  Daemon,
  DaemonProcess,
  DiskBackend,
  Grant,
} from '../core/ports/disk-backend.ts';
import type { DiskOrder } from '../core/ports/storage-link.ts';
import { systemClock } from '../os/clock.ts';
import { type Credentials, readCredentials } from '../pki/credentials.ts';
import { ConnectionLook, connectionAges, establishedTo } from './connections.ts';
import type { DiskMeta, Pool } from './pool.ts';
import { daemonUid, findDaemons, killDaemon, Qsd, type QsdSpec } from './qsd.ts';

export interface LocalDisksOptions {
  readonly name: StorageName;
  /** The IPv4 address at which disks are served. */
  readonly storageAddress: string;
  readonly pool: Pool;
  /** The directory of the daemons' directories. */
  readonly runDir: string;
  readonly credentials: Credentials;
  /** Whether each daemon runs as a user of its own (needs root in the initial user namespace). */
  readonly confine: boolean;
  /** O_DIRECT, where the pool's file system has it. */
  readonly direct: boolean;
}

/** The time between two daemons that are restarted for their certificates, in ms. */
const RENEWAL_PAUSE_MS = 2_000;

/** One per service: the process holds the pool's lock. */
export class LocalDisks implements DiskBackend {
  readonly #options: LocalDisksOptions;
  readonly #pool: Pool;
  readonly #look = new ConnectionLook();
  /** The processes of this service's daemons, the last one of each port. */
  readonly #pids = new Map<number, number>();

  constructor(options: LocalDisksOptions) {
    this.#options = options;
    this.#pool = options.pool;
  }

  findDaemons(): readonly DaemonProcess[] {
    return findDaemons(this.#options.runDir);
  }

  /**
   * Ends, one after the other, the daemons whose certificate is about to end: QEMU reads a certificate only when it
   * starts. The service restarts each with the present credentials, and guests wait for some tenths of a second.
   */
  async renewCredentials(): Promise<void> {
    for (const daemon of this.findDaemons()) {
      const own = await readCredentials(join(this.#options.runDir, daemon.disk, 'tls'));
      if (own === undefined || own.certPem === this.#options.credentials.certPem) continue;
      await this.killDaemon(daemon);
      await sleep(systemClock, RENEWAL_PAUSE_MS);
    }
  }

  killDaemon(daemon: DaemonProcess): Promise<void> {
    return killDaemon(daemon);
  }

  adoptDaemon(daemon: DaemonProcess): Promise<Daemon> {
    this.#pids.set(daemon.port, daemon.pid);
    return Qsd.adopt(daemon, this.#options.runDir);
  }

  async startDaemon(
    disk: DiskId,
    { port, grants }: { readonly port: number; readonly grants: readonly Grant[] },
  ): Promise<Daemon> {
    const daemon = await Qsd.start(await this.#prepare(disk, port), grants);
    this.#pids.set(port, daemon.process.pid);
    return daemon;
  }

  async connectionsTo(port: number): Promise<readonly Connection[]> {
    const pid = this.#pids.get(port);
    return pid === undefined ? establishedTo(port) : this.#look.to(port, pid);
  }

  connectionAges(): Promise<readonly ConnectionAge[]> {
    return connectionAges();
  }

  async ownerOf(disk: DiskId): Promise<VmId | undefined> {
    return (await this.#pool.readMeta(disk))?.vm;
  }

  listDisks(): ReturnType<Pool['listDisks']> {
    return this.#pool.listDisks();
  }

  listArtifacts(): ReturnType<Pool['listArtifacts']> {
    return this.#pool.listArtifacts();
  }

  faults(): ReturnType<Pool['faults']> {
    return this.#pool.faults();
  }

  space(): ReturnType<Pool['space']> {
    return this.#pool.space();
  }

  createDisk(disk: DiskId, order: DiskOrder): Promise<void> {
    return this.#pool.createDisk(disk, order);
  }

  deleteDisk(disk: DiskId): Promise<void> {
    return this.#pool.deleteDisk(disk);
  }

  async diskSizeBytes(disk: DiskId): Promise<number> {
    return this.#pool.diskSizeBytes(disk, (await this.#metaOf(disk)).format);
  }

  async growDisk(disk: DiskId, sizeBytes: number): Promise<void> {
    await this.#pool.growDisk(disk, { format: (await this.#metaOf(disk)).format, sizeBytes });
  }

  deleteArtifact(sha256: Parameters<Pool['deleteArtifact']>[0]): Promise<void> {
    return this.#pool.deleteArtifact(sha256);
  }

  async #metaOf(disk: DiskId): Promise<DiskMeta> {
    const meta = await this.#pool.readMeta(disk);
    if (meta === undefined) throw new CodedError('not-found', `There is no ${disk} on ${this.#options.name}.`);
    return meta;
  }

  /** The daemon's specification for this port, the image made ready for it. */
  async #prepare(disk: DiskId, port: number): Promise<QsdSpec> {
    const { pool, runDir, credentials, confine, direct, storageAddress } = this.#options;
    const { format, backing } = await this.#metaOf(disk);
    const uid = confine ? daemonUid(port) : undefined;
    if (uid !== undefined) await pool.giveDisk(disk, format, { uid });
    const image = {
      path: pool.diskPath(disk, format),
      format,
      backing: backing === null ? null : { path: pool.artifactPath(backing.artifact), format: backing.format },
    };
    return { disk, image, address: storageAddress, port, runDir, credentials, uid, direct };
  }
}
