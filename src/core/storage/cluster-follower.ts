/**
 * Keeps the grants of a storage node in line with etcd: after a start exactly the generations that etcd admits, later
 * with the floors that etcd implies.
 * Guarantees: before etcd was read once, `hasRead` is false and nothing may be granted; at that first read every grant
 * that etcd does not admit is revoked, except grants of a VM whose record cannot be read or was restored, or of a VM
 * that no record names and that is older than the epoch; while etcd is away, or has an older history than this node has
 * followed, existing grants stay in force and nothing new is granted.
 */
import { CodedError, messageOf } from '../../base/errors.ts';
import type { DiskId, VmId } from '../../base/ids.ts';
import { isForgotten } from '../model/record-shapes.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { ClusterView, History } from './cluster-view.ts';
import type { FencingLedger } from './fencing-ledger.ts';
import { type HistoryMemory, whyNotFollowed } from './history-guard.ts';
import { eachOf, type ServedDisks } from './served-disks.ts';
import type { SharedDisks, SharedGrant } from './shared-disks.ts';

export interface ClusterFollowerParts {
  readonly clock: Clock;
  readonly log: Log;
  /** The content of etcd, read linearizably; rejects if etcd does not answer in time. */
  readonly readCluster: () => Promise<ClusterView>;
  readonly history: HistoryMemory;
  readonly ledger: FencingLedger;
  readonly served: ServedDisks;
  readonly shared: SharedDisks;
}

const KEEP_UP_MS = 5_000;
const READ_CLUSTER_MS = 60_000;
const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5_000;

/** One per storage service, from `start` to `stop`. */
export class ClusterFollower {
  readonly #parts: ClusterFollowerParts;
  /**
   * Disks, and VMs with shared disks, that are not brought in line with etcd since the start; undefined before etcd was
   * read.
   */
  #unrestored: Set<DiskId | VmId> | undefined;
  /** VMs whose records were unreadable at the last read: their disks stay served, and nothing new is granted. */
  #unreadableVms: ReadonlySet<VmId> = new Set();
  /** The history that is followed; null before etcd was read. */
  #history: History | null = null;
  /** The reason why this etcd is not followed, as a sentence; null: it is followed. */
  #refusal: string | null = null;
  /** When etcd was last read (monotonic ms). */
  #readAtMs = Number.NEGATIVE_INFINITY;
  #isStopped = false;
  /** Ends the wait for the next round. */
  #wake: () => void = () => undefined;
  #loop: Promise<void> = Promise.resolve();

  constructor(parts: ClusterFollowerParts) {
    this.#parts = parts;
  }

  /** True once etcd was read since the start, and everything it does not admit was revoked. */
  get hasRead(): boolean {
    return this.#unrestored !== undefined;
  }

  /** True once every disk was brought in line with etcd. */
  get isRestored(): boolean {
    return this.#unrestored?.size === 0;
  }

  /** The epoch that is followed; null before etcd was read. */
  get epoch(): number | null {
    return this.#history?.epoch ?? null;
  }

  /** The reason why this etcd is not followed, as a sentence; null: it is followed. */
  get refusal(): string | null {
    return this.#refusal;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Resolves when the present round has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#wake();
    await this.#loop;
  }

  /** Whether the record of a VM could not be read at the last read of etcd; then etcd is read again soon. */
  isUnreadable(vm: VmId): boolean {
    if (!this.#unreadableVms.has(vm)) return false;
    this.readSoon();
    return true;
  }

  /** Reads etcd again at once. */
  readSoon(): void {
    this.#readAtMs = Number.NEGATIVE_INFINITY;
    this.#wake();
  }

  /** Serves shared disks again after their target ended. */
  async keepUpShared(): Promise<void> {
    if (this.#isStopped) return;
    await this.#parts.shared.keepUp().catch((error: unknown) => {
      this.#parts.log.warn('shared disks cannot be served', { reason: messageOf(error) });
    });
  }

  async #run(): Promise<void> {
    const { clock, log, readCluster, served } = this.#parts;
    let retryMs = RETRY_MS_MIN;
    while (!this.#isStopped) {
      const isDue =
        !this.isRestored || this.#refusal !== null || clock.monotonicMs() - this.#readAtMs >= READ_CLUSTER_MS;
      if (isDue) {
        try {
          const view = await readCluster();
          this.#readAtMs = clock.monotonicMs();
          if (await this.#isFollowed(view.history)) await this.#follow(view);
        } catch (error) {
          log.warn('etcd cannot be read; existing grants stay in force', { reason: messageOf(error) });
        }
      }
      if (!this.#isStopped) await served.keepUp();
      await this.keepUpShared();
      retryMs = this.isRestored ? RETRY_MS_MIN : Math.min(retryMs * 2, RETRY_MS_MAX);
      await this.#untilNext(this.isRestored ? KEEP_UP_MS : retryMs);
    }
  }

  #untilNext(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isStopped) return resolve();
      const cancel = this.#parts.clock.after(delayMs, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  async #isFollowed(found: History): Promise<boolean> {
    const { history, ledger, log } = this.#parts;
    const known = this.#history ?? (await history.read());
    const refusal = whyNotFollowed(known, found);
    if (refusal !== this.#refusal && refusal !== null) log.warn('etcd is not followed', { reason: refusal });
    this.#refusal = refusal;
    if (refusal !== null) return false;
    if (known === null || found.epoch > known.epoch || found.revision > known.revision) await history.write(found);
    ledger.beginEpoch(found.epoch);
    this.#history = found;
    return true;
  }

  /** Raises the floors that etcd implies; the first time, also serves exactly what etcd admits. */
  async #follow(view: ClusterView): Promise<void> {
    const { ledger, log } = this.#parts;
    this.#unreadableVms = view.unreadableVms;
    for (const [vm, { floor, highest, admitted }] of view.vms) {
      ledger.raiseFloor(vm, floor);
      ledger.settle(vm, { highest, admitted });
    }
    await this.#revoke(({ vm, generation }) => generation < ledger.floorOf(vm));
    if (this.isRestored) return;
    if (this.#unrestored === undefined) {
      await this.#revoke((grant) => isOver(grant, view));
      const sharing = [...view.vms].filter(([, { sharedDisks }]) => sharedDisks.length > 0);
      this.#unrestored = new Set([...view.disks.keys(), ...sharing.map(([vm]) => vm)]);
    }
    await this.#restoreAll(this.#unrestored, view);
    if (this.isRestored) log.info('the generations that etcd admits are served', { disks: view.disks.size });
  }

  async #revoke(isRevoked: (grant: SharedGrant) => boolean): Promise<void> {
    const { served, shared } = this.#parts;
    await Promise.all([shared.revoke(isRevoked), served.revoke(null, isRevoked)]);
  }

  async #restoreAll(unrestored: Set<DiskId | VmId>, view: ClusterView): Promise<void> {
    await eachOf([...unrestored], async (what) => {
      try {
        await (isVm(what) ? this.#restoreShared(what, view) : this.#restore(what, view));
        unrestored.delete(what);
      } catch (error) {
        this.#parts.log.warn(isVm(what) ? 'shared disks cannot be served' : 'a disk cannot be served', {
          what,
          reason: messageOf(error),
        });
      }
    });
  }

  async #restore(disk: DiskId, view: ClusterView): Promise<void> {
    const { ledger, served } = this.#parts;
    const record = view.disks.get(disk);
    const vm = record === undefined ? undefined : view.vms.get(record.vm);
    if (record === undefined || vm === undefined) return;
    for (const generation of vm.admitted) {
      const grant = { vm: record.vm, generation, readOnly: vm.readOnlyDisks.has(disk) };
      const check = (): void => ledger.checkGeneration(grant.vm, generation);
      await unlessStale(served.server(disk).grant(grant, { port: record.port, check }));
    }
  }

  async #restoreShared(vm: VmId, view: ClusterView): Promise<void> {
    const { ledger, shared } = this.#parts;
    const { admitted, sharedDisks: luns } = view.vms.get(vm) ?? { admitted: [], sharedDisks: [] };
    for (const generation of admitted) {
      const check = (): void => ledger.checkGeneration(vm, generation);
      await unlessStale(shared.grant({ vm, generation, luns }, check));
    }
  }
}

/** Whether a grant that was found when the service started is to be revoked because etcd does not admit it. */
function isOver({ vm, generation }: SharedGrant, { vms, unreadableVms, epoch }: ClusterView): boolean {
  if (unreadableVms.has(vm)) return false;
  const record = vms.get(vm);
  // The VM was made after the snapshot from which the cluster was restored: a person decides about it.
  if (record === undefined) return !isForgotten(epoch, vm, generation);
  return !record.admitted.includes(generation);
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
