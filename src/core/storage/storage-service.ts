/**
 * The storage service's decisions: which order is obeyed, what is served after a restart.
 * Guarantees: a fence is obeyed always, also while etcd is away, and its floor holds before anything else is done; nothing new is
 * granted before etcd was read once since the start (an order that was under way before could be of a generation fenced
 * since); what ran before goes on being served until etcd says otherwise.
 */

import { CodedError, messageOf } from '../../base/errors.ts';
import type { DiskId, Sha256, StorageName, VmId } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import { PORTS } from '../model/ports.ts';
import type { Clock } from '../ports/clock.ts';
import { type ConnectionAge, type DiskBackend, exportName } from '../ports/disk-backend.ts';
import type { Order } from '../ports/host-link.ts';
import type { Log } from '../ports/log.ts';
import type {
  DiskOrder,
  FenceOrder,
  FenceResult,
  GrantOrder,
  GrantResult,
  RevokeOrder,
  SharedDiskOrder,
  StorageReport,
} from '../ports/storage-link.ts';
import type { TargetBackend } from '../ports/target-backend.ts';
import type { ClusterView } from './cluster-view.ts';
import { DiskServer } from './disk-server.ts';
import { FencingLedger } from './fencing-ledger.ts';
import { SharedDisks, type SharedGrant } from './shared-disks.ts';

export interface StorageServiceOptions {
  readonly name: StorageName;
  readonly clock: Clock;
  readonly log: Log;
  readonly disks: DiskBackend;
  readonly target: TargetBackend;
  /** What etcd says, read linearizably; rejects when etcd does not answer in time. */
  readonly readCluster: () => Promise<ClusterView>;
  /** Empty when the service starts, and its own. */
  readonly ledger?: FencingLedger;
}

const KEEP_UP_MS = 5_000;
const READ_CLUSTER_MS = 60_000;
/** Daemons started at the same time. */
const AT_ONCE = 8;
const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5_000;

/** Every order of a controller but uploads, and what happens by itself: taking over, restoring, keeping up. */
export class StorageService {
  readonly #options: StorageServiceOptions;
  readonly #log: Log;
  readonly #ledger: FencingLedger;
  readonly #servers = new Map<DiskId, DiskServer>();
  readonly #shared: SharedDisks;
  /** Disks, and VMs with shared disks, whose state after the start is not brought in line with etcd yet; undefined before etcd was read. */
  #unrestored: Set<DiskId | VmId> | undefined;
  /** VMs whose records were unreadable at the last read: their disks stay served, and nothing new is granted. */
  #unreadableVms: ReadonlySet<VmId> = new Set();
  /** When etcd was last read (monotonic ms). */
  #readAtMs = Number.NEGATIVE_INFINITY;
  #isStopped = false;
  /** Wakes the loop. */
  #wake: () => void = () => undefined;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: StorageServiceOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#ledger = options.ledger ?? new FencingLedger();
    const { clock, log, target } = options;
    this.#shared = new SharedDisks({
      clock,
      log,
      target,
      floorOf: (vm) => this.#ledger.floorOf(vm),
      onLost: () => void this.#keepUpShared(),
    });
  }

  /** Takes over the daemons that run, and begins to read etcd and to keep daemons up. */
  async start(): Promise<void> {
    const { disks } = this.#options;
    for (const daemon of disks.findDaemons()) {
      // A disk with faulty files is not served: a fence could not find the VM of its daemon.
      const vm = await disks.ownerOf(daemon.disk).catch((error: unknown) => {
        this.#log.warn('a disk cannot be served', { disk: daemon.disk, reason: messageOf(error) });
        return undefined;
      });
      if (vm === undefined) await disks.killDaemon(daemon);
      else await this.#server(daemon.disk).adopt(daemon, vm);
    }
    await this.#shared.adopt();
    this.#log.info('running storage daemons were taken over', { count: this.#servers.size });
    this.#loop = this.#run();
  }

  /** Stops working; the daemons run on. */
  async close(): Promise<void> {
    this.#isStopped = true;
    this.#wake();
    for (const server of this.#servers.values()) server.release();
    this.#shared.release();
    await this.#loop;
  }

  /** True once etcd was read and every disk brought in line with it. */
  get isRestored(): boolean {
    return this.#unrestored?.size === 0;
  }

  async fence(order: FenceOrder): Promise<FenceResult> {
    this.#ledger.acceptTerm(order.term);
    // First of all, and before the first await: from here on no grant that is under way survives.
    this.#ledger.raiseFloor(order.vm, order.below);
    return { revoked: await this.#revokeFenced(this.#serversOf(order.vm)) };
  }

  async grant(order: GrantOrder): Promise<GrantResult> {
    const { vm, generation } = order;
    this.#ledger.acceptTerm(order.term);
    // A revoked generation is never granted again: an order that comes after its own revocation was on its way for too long.
    this.#ledger.checkGeneration(vm, generation);
    if (this.#unrestored === undefined) {
      throw new CodedError('unavailable', `Storage node ${this.#options.name} has not read etcd since it started.`, {
        advice: 'Nothing was granted; what was served goes on. It is tried again by itself.',
      });
    }
    if (this.#unreadableVms.has(vm)) {
      this.#readAtMs = Number.NEGATIVE_INFINITY;
      this.#wake();
      throw new CodedError('unavailable', `The record of ${vm} could not be read when etcd was read last.`, {
        advice: 'Nothing was granted; what was served goes on. It is read and tried again by itself.',
      });
    }
    const check = (): void => this.#ledger.checkGeneration(vm, generation);
    const shared = this.#shared.grant({ vm, generation, luns: order.sharedDisks ?? [] }, check);
    const exports = order.disks.map(async ({ disk, port, readOnly }) => {
      const owner = await this.#ownerOf(disk);
      if (owner !== vm) throw new CodedError('conflict', `${disk} belongs to ${owner}, not to ${vm}.`);
      this.#checkPort(disk, port);
      await this.#server(disk).grant({ vm, generation, readOnly }, { port, check });
      return { disk, port, name: exportName(generation) };
    });
    // Whatever the answer is, nothing of the order is under way after it.
    await Promise.allSettled([shared, ...exports]);
    await shared;
    return { exports: await Promise.all(exports) };
  }

  async revoke(order: RevokeOrder): Promise<void> {
    this.#ledger.acceptTerm(order.term);
    this.#ledger.revoke(order.vm, order.generation);
    const { vm, generation } = order;
    await this.#revokeWhere(this.#serversOf(vm), (grant) => grant.vm === vm && grant.generation === generation);
  }

  async createDisk(disk: DiskId, order: DiskOrder): Promise<void> {
    this.#ledger.acceptTerm(order.term);
    this.#ledger.checkDisk(disk);
    await this.#server(disk).run(() => this.#options.disks.createDisk(disk, order));
  }

  async deleteDisk(disk: DiskId, order: Order): Promise<void> {
    this.#ledger.acceptTerm(order.term);
    this.#ledger.deleteDisk(disk);
    const server = this.#server(disk);
    await server.run(async () => {
      await server.endUnused();
      await this.#options.disks.deleteDisk(disk);
    });
    this.#servers.delete(disk);
  }

  /** Grows a disk, running or not; CodedError 'conflict' for a size below the present one. */
  async resizeDisk(disk: DiskId, order: Order & { readonly sizeBytes: number }): Promise<void> {
    this.#ledger.acceptTerm(order.term);
    const { disks } = this.#options;
    await this.#ownerOf(disk);
    const server = this.#server(disk);
    await server.run(async () => {
      const presentBytes = await disks.diskSizeBytes(disk);
      if (order.sizeBytes < presentBytes)
        throw new CodedError('conflict', `${disk} has ${presentBytes} bytes; a disk is never made smaller.`);
      if (order.sizeBytes === presentBytes) return;
      await server.whileClosed(() => disks.growDisk(disk, order.sizeBytes));
    });
  }

  async createSharedDisk(disk: DiskId, { term, sizeBytes, blockBytes }: SharedDiskOrder): Promise<void> {
    this.#ledger.acceptTerm(term);
    this.#ledger.checkDisk(disk);
    if (sizeBytes % blockBytes !== 0)
      throw new CodedError(
        'bad-input',
        `${sizeBytes} bytes are no whole blocks of ${blockBytes}; nothing was changed.`,
      );
    await this.#shared.create({ disk, sizeBytes, blockBytes });
  }

  async deleteSharedDisk(disk: DiskId, order: Order): Promise<void> {
    this.#ledger.acceptTerm(order.term);
    this.#ledger.deleteDisk(disk);
    await this.#shared.delete(disk);
  }

  async deleteArtifact(sha256: Sha256, order: Order): Promise<void> {
    this.#ledger.acceptTerm(order.term);
    await this.#options.disks.deleteArtifact(sha256);
  }

  /** With two generations granted (a migration), both show all connections of the disk: the kernel does not tell them apart. */
  async report(): Promise<StorageReport> {
    const { disks, name } = this.#options;
    const [pool, artifacts, ids, ages] = await Promise.all([
      disks.space(),
      disks.listArtifacts(),
      disks.listDisks(),
      disks.connectionAges(),
    ]);
    const sharedDisks = await this.#shared.report((address) => idleOf(ages, address));
    return {
      node: name,
      sharedDisks,
      faults: disks.faults(),
      wallMs: this.#options.clock.wallMs(),
      pool,
      artifacts,
      disks: ids.map((disk) => {
        const server = this.#servers.get(disk);
        const connections = ages
          .filter(({ localPort }) => localPort === server?.port)
          .map(({ address, idleMs }) => ({ address, idleMs }));
        const grants = (server?.grants ?? []).map(({ vm, generation }) => ({ vm, generation, connections }));
        return { disk, grants };
      }),
    };
  }

  #server(disk: DiskId): DiskServer {
    const existing = this.#servers.get(disk);
    if (existing !== undefined) return existing;
    const { clock, log, disks } = this.#options;
    const server: DiskServer = new DiskServer({ disk, clock, log, disks, onLost: () => void this.#keepUp(server) });
    this.#servers.set(disk, server);
    return server;
  }

  async #ownerOf(disk: DiskId): Promise<VmId> {
    const owner = await this.#options.disks.ownerOf(disk);
    if (owner === undefined) throw new CodedError('not-found', `There is no ${disk} on ${this.#options.name}.`);
    return owner;
  }

  #checkPort(disk: DiskId, port: number): void {
    for (const server of this.#servers.values()) {
      if (server.disk !== disk && server.port === port && server.grants.length > 0)
        throw new CodedError('conflict', `Port ${port} serves ${server.disk}; nothing was granted.`);
    }
  }

  #revokeFenced(servers: readonly DiskServer[]): Promise<FenceResult['revoked']> {
    return this.#revokeWhere(servers, ({ vm, generation }) => generation < this.#ledger.floorOf(vm));
  }

  /** On these disks, and at the target. */
  async #revokeWhere(
    servers: readonly DiskServer[],
    isRevoked: (grant: SharedGrant) => boolean,
  ): Promise<FenceResult['revoked']> {
    const results = await Promise.all([
      this.#shared.revoke(isRevoked),
      ...servers.map((each) => revokeAt(each, isRevoked)),
    ]);
    return results.flat();
  }

  /** All disks of a VM here, whether an order names them or not; other VMs' disks, which may be busy, are not waited for. */
  #serversOf(vm: VmId): readonly DiskServer[] {
    return [...this.#servers.values()].filter((server) => server.vm === vm);
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    let retryMs = RETRY_MS_MIN;
    while (!this.#isStopped) {
      const isDue = !this.isRestored || clock.monotonicMs() - this.#readAtMs >= READ_CLUSTER_MS;
      if (isDue) {
        try {
          const view = await this.#options.readCluster();
          this.#readAtMs = clock.monotonicMs();
          await this.#followCluster(view);
        } catch (error) {
          this.#log.warn('etcd cannot be read; what is served goes on', { reason: messageOf(error) });
        }
      }
      await eachOf([...this.#servers.values()], (server) => this.#keepUp(server));
      await this.#keepUpShared();
      retryMs = this.isRestored ? RETRY_MS_MIN : Math.min(retryMs * 2, RETRY_MS_MAX);
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      if (!this.#isStopped) await sleep(clock, this.isRestored ? KEEP_UP_MS : retryMs, { until: woken });
    }
  }

  async #keepUp(server: DiskServer): Promise<void> {
    if (this.#isStopped) return;
    await server.keepUp().catch((error: unknown) => {
      this.#log.warn('a disk cannot be served', { disk: server.disk, reason: messageOf(error) });
    });
  }

  async #keepUpShared(): Promise<void> {
    if (this.#isStopped) return;
    await this.#shared.keepUp().catch((error: unknown) => {
      this.#log.warn('shared disks cannot be served', { reason: messageOf(error) });
    });
  }

  /** Raises the floors that etcd implies; the first time, also serves exactly what etcd admits. */
  async #followCluster(view: ClusterView): Promise<void> {
    this.#unreadableVms = view.unreadableVms;
    for (const [vm, { floor, highest, admitted }] of view.vms) {
      this.#ledger.raiseFloor(vm, floor);
      this.#ledger.settle(vm, { highest, admitted });
    }
    await this.#revokeFenced([...this.#servers.values()]);
    if (this.isRestored) return;
    // Before the first grant is accepted, everything that etcd does not admit goes.
    if (this.#unrestored === undefined) {
      await this.#revokeWhere(
        [...this.#servers.values()],
        ({ vm, generation }) => !view.unreadableVms.has(vm) && view.vms.get(vm)?.admitted.includes(generation) !== true,
      );
      const sharing = [...view.vms].filter(([, { sharedDisks }]) => sharedDisks.length > 0);
      this.#unrestored = new Set([...view.disks.keys(), ...sharing.map(([vm]) => vm)]);
    }
    const restoring = this.#unrestored;
    await eachOf([...restoring], async (what) => {
      try {
        await (isVm(what) ? this.#restoreShared(what, view) : this.#restore(what, view));
        restoring.delete(what);
      } catch (error) {
        this.#log.warn(isVm(what) ? 'shared disks cannot be served' : 'a disk cannot be served', {
          what,
          reason: messageOf(error),
        });
      }
    });
    if (this.isRestored) this.#log.info('what etcd admits is served', { disks: view.disks.size });
  }

  async #restore(disk: DiskId, view: ClusterView): Promise<void> {
    const record = view.disks.get(disk);
    const vm = record === undefined ? undefined : view.vms.get(record.vm);
    if (record === undefined || vm === undefined) return;
    for (const generation of vm.admitted) {
      const grant = { vm: record.vm, generation, readOnly: vm.readOnlyDisks.has(disk) };
      const check = (): void => this.#ledger.checkGeneration(grant.vm, generation);
      await unlessStale(this.#server(disk).grant(grant, { port: record.port, check }));
    }
  }

  async #restoreShared(vm: VmId, view: ClusterView): Promise<void> {
    const { admitted, sharedDisks: luns } = view.vms.get(vm) ?? { admitted: [], sharedDisks: [] };
    for (const generation of admitted) {
      const check = (): void => this.#ledger.checkGeneration(vm, generation);
      await unlessStale(this.#shared.grant({ vm, generation, luns }, check));
    }
  }
}

const isVm = (what: DiskId | VmId): what is VmId => what.startsWith('vm-');

/** Fenced or revoked since etcd was read: then it is right as it is. */
async function unlessStale(granting: Promise<void>): Promise<void> {
  try {
    await granting;
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'stale-order') throw error;
  }
}

/** The shortest silence of what is connected to the target from an address; null where the kernel does not say. */
function idleOf(ages: readonly ConnectionAge[], from: string): number | null {
  const idle = ages.flatMap(({ localPort, address, idleMs }) =>
    localPort === PORTS.target && address === from && idleMs !== null ? [idleMs] : [],
  );
  return idle.length === 0 ? null : Math.min(...idle);
}

async function revokeAt(
  server: DiskServer,
  isRevoked: Parameters<DiskServer['revoke']>[0],
): Promise<FenceResult['revoked']> {
  const generations = await server.revoke(isRevoked);
  return generations.map((generation) => ({ disk: server.disk, generation }));
}

/** Applies `work` to all items, some at a time. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
