/**
 * The disks of a node that are, or were, served: one `DiskServer` for each, made when it is first needed.
 * Guarantees: a VM's revocation concerns all of its disks here, whether an order names them or not, and waits for no
 * other VM's disk; no two granted disks share a port.
 */
import { CodedError, messageOf } from '../../base/errors.ts';
import type { DiskId, StorageName, VmId } from '../../base/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { DiskBackend, Grant } from '../ports/disk-backend.ts';
import type { Log } from '../ports/log.ts';
import type { FenceResult } from '../ports/storage-link.ts';
import { DiskServer } from './disk-server.ts';

export interface ServedDisksOptions {
  readonly name: StorageName;
  readonly clock: Clock;
  readonly log: Log;
  readonly disks: DiskBackend;
}

/** Daemons started at the same time. */
const AT_ONCE = 8;

/** One per storage service. */
export class ServedDisks {
  readonly #options: ServedDisksOptions;
  readonly #servers = new Map<DiskId, DiskServer>();
  #isReleased = false;

  constructor(options: ServedDisksOptions) {
    this.#options = options;
  }

  /** The number of disks that have a server. */
  get size(): number {
    return this.#servers.size;
  }

  /**
   * Takes over the daemons that run since before this service. The daemon of a disk with faulty files is ended: a fence
   * could not find its VM.
   */
  async adopt(): Promise<void> {
    const { disks, log } = this.#options;
    for (const daemon of disks.findDaemons()) {
      const vm = await disks.ownerOf(daemon.disk).catch((error: unknown) => {
        log.warn('a disk cannot be served', { disk: daemon.disk, reason: messageOf(error) });
        return undefined;
      });
      if (vm === undefined) await disks.killDaemon(daemon);
      else await this.server(daemon.disk).adopt(daemon, vm);
    }
  }

  /** Closes the sessions with all daemons, which run on. */
  release(): void {
    this.#isReleased = true;
    for (const server of this.#servers.values()) server.release();
  }

  /** The server of a disk. */
  server(disk: DiskId): DiskServer {
    const existing = this.#servers.get(disk);
    if (existing !== undefined) return existing;
    const { clock, log, disks } = this.#options;
    const server: DiskServer = new DiskServer({ disk, clock, log, disks, onLost: () => void this.#keepUp(server) });
    this.#servers.set(disk, server);
    return server;
  }

  /** The server of a disk, if it has one. */
  find(disk: DiskId): DiskServer | undefined {
    return this.#servers.get(disk);
  }

  /** Forgets a disk that is deleted. */
  forget(disk: DiskId): void {
    this.#servers.delete(disk);
  }

  /** The VM that owns the disk; CodedError 'not-found' if there is no such disk. */
  async ownerOf(disk: DiskId): Promise<VmId> {
    const owner = await this.#options.disks.ownerOf(disk);
    if (owner === undefined) throw new CodedError('not-found', `There is no ${disk} on ${this.#options.name}.`);
    return owner;
  }

  /** CodedError 'conflict' while another disk is granted on `port`. */
  checkPort(disk: DiskId, port: number): void {
    for (const server of this.#servers.values()) {
      if (server.disk !== disk && server.port === port && server.grants.length > 0)
        throw new CodedError('conflict', `Port ${port} serves ${server.disk}; nothing was granted.`);
    }
  }

  /**
   * Revokes the grants that `isRevoked` selects, on all disks of a VM or (null) on all disks; resolves when none of
   * them can write any more.
   */
  async revoke(vm: VmId | null, isRevoked: (grant: Grant) => boolean): Promise<FenceResult['revoked']> {
    const servers = [...this.#servers.values()].filter((server) => vm === null || server.vm === vm);
    const results = await Promise.all(
      servers.map(async (server) => {
        const generations = await server.revoke(isRevoked);
        return generations.map((generation) => ({ disk: server.disk, generation }));
      }),
    );
    return results.flat();
  }

  /** Serves again what is granted and is not served, some disks at a time. */
  keepUp(): Promise<void> {
    return eachOf([...this.#servers.values()], (server) => this.#keepUp(server));
  }

  async #keepUp(server: DiskServer): Promise<void> {
    if (this.#isReleased) return;
    await server.keepUp().catch((error: unknown) => {
      this.#options.log.warn('a disk cannot be served', { disk: server.disk, reason: messageOf(error) });
    });
  }
}

/** Applies `work` to all items, some at a time. */
export async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
