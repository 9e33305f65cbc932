/**
 * The storage service's decisions about orders. The `ClusterFollower` decides what is served after a restart.
 * Guarantees: a fence is obeyed always, also while etcd is away, and its floor holds before anything else is done;
 * nothing new is granted before etcd was read once since the start (an order that was under way before could be for a
 * generation that was fenced since); earlier grants are served until etcd says otherwise; an order of an earlier term
 * than one that was received is refused.
 */

import { epochOf } from '../../base/epoch.ts';
import { CodedError } from '../../base/errors.ts';
import type { DiskId, Sha256, StorageName, Term } from '../../base/ids.ts';
import type { Clock } from '../ports/clock.ts';
import { type DiskBackend, exportName } from '../ports/disk-backend.ts';
import type { Order } from '../ports/host-link.ts';
import type { Log } from '../ports/log.ts';
import type {
  DiskFacts,
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
import { ClusterFollower, type ClusterFollowerParts } from './cluster-follower.ts';
import { FencingLedger } from './fencing-ledger.ts';
import { ServedDisks } from './served-disks.ts';
import { SharedDisks } from './shared-disks.ts';
import { reportOf } from './storage-report.ts';

export interface StorageServiceOptions {
  readonly name: StorageName;
  readonly clock: Clock;
  readonly log: Log;
  /** Of Groundplane. */
  readonly version: string;
  readonly disks: DiskBackend;
  readonly target: TargetBackend;
  readonly readCluster: ClusterFollowerParts['readCluster'];
  readonly history: ClusterFollowerParts['history'];
  /** Empty when the service starts, and its own. */
  readonly ledger?: FencingLedger;
}

/** Every order of a controller but uploads, and what happens by itself: taking over, restoring, keeping up. */
export class StorageService {
  readonly #options: StorageServiceOptions;
  readonly #ledger: FencingLedger;
  readonly #served: ServedDisks;
  readonly #shared: SharedDisks;
  readonly #follower: ClusterFollower;

  constructor(options: StorageServiceOptions) {
    this.#options = options;
    this.#ledger = options.ledger ?? new FencingLedger();
    const { clock, log, target, readCluster, history } = options;
    this.#served = new ServedDisks(options);
    this.#shared = new SharedDisks({
      clock,
      log,
      target,
      floorOf: (vm) => this.#ledger.floorOf(vm),
      onLost: () => void this.#follower.keepUpShared(),
    });
    const parts = {
      clock,
      log,
      readCluster,
      history,
      ledger: this.#ledger,
      served: this.#served,
      shared: this.#shared,
    };
    this.#follower = new ClusterFollower(parts);
  }

  /** Takes over the running daemons, and begins to read etcd and to keep daemons running. */
  async start(): Promise<void> {
    await this.#served.adopt();
    await this.#shared.adopt();
    this.#options.log.info('running storage daemons were taken over', { count: this.#served.size });
    this.#follower.start();
  }

  /** Stops working; the daemons run on. */
  async close(): Promise<void> {
    const stopped = this.#follower.stop();
    this.#served.release();
    this.#shared.release();
    await stopped;
  }

  /** True once etcd was read and every disk brought in line with it. */
  get isRestored(): boolean {
    return this.#follower.isRestored;
  }

  async fence(order: FenceOrder): Promise<FenceResult> {
    this.#accept(order.term);
    // First of all, and before the first await: from here on no grant that is under way survives.
    this.#ledger.raiseFloor(order.vm, order.below);
    const isFenced: Parameters<SharedDisks['revoke']>[0] = ({ vm, generation }) =>
      generation < this.#ledger.floorOf(vm);
    const [shared, own] = await Promise.all([this.#shared.revoke(isFenced), this.#served.revoke(order.vm, isFenced)]);
    return { revoked: [...shared, ...own] };
  }

  async grant(order: GrantOrder): Promise<GrantResult> {
    const { vm, generation } = order;
    this.#accept(order.term);
    // A revoked generation is never granted again: an order that arrives after its own revocation was on its way for
    // too long.
    this.#ledger.checkGeneration(vm, generation);
    if (epochOf(order.term) !== this.#follower.epoch && this.#follower.hasRead) {
      throw new CodedError('unavailable', `Storage node ${this.#options.name} has not read etcd in this epoch.`, {
        advice: 'Nothing was granted; existing grants stay in force. It is tried again by itself.',
      });
    }
    if (!this.#follower.hasRead) {
      throw new CodedError('unavailable', `Storage node ${this.#options.name} has not read etcd since it started.`, {
        advice: 'Nothing was granted; existing grants stay in force. It is tried again by itself.',
      });
    }
    if (this.#follower.refusal !== null) {
      throw new CodedError(
        'unavailable',
        `Storage node ${this.#options.name} grants nothing: ${this.#follower.refusal}.`,
        {
          advice: 'Nothing was granted; existing grants stay in force. See docs/operating/backup.md.',
        },
      );
    }
    if (this.#follower.isUnreadable(vm)) {
      throw new CodedError('unavailable', `The record of ${vm} could not be read when etcd was read last.`, {
        advice: 'Nothing was granted; existing grants stay in force. It is read and tried again by itself.',
      });
    }
    const check = (): void => this.#ledger.checkGeneration(vm, generation);
    const shared = this.#shared.grant({ vm, generation, luns: order.sharedDisks ?? [] }, check);
    const exports = order.disks.map(async ({ disk, port, readOnly }) => {
      const owner = await this.#served.ownerOf(disk);
      if (owner !== vm) throw new CodedError('conflict', `${disk} belongs to ${owner}, not to ${vm}.`);
      this.#served.checkPort(disk, port);
      await this.#served.server(disk).grant({ vm, generation, readOnly }, { port, check });
      return { disk, port, name: exportName(generation) };
    });
    // No part of the order is under way after the answer, even if it failed.
    await Promise.allSettled([shared, ...exports]);
    await shared;
    return { exports: await Promise.all(exports) };
  }

  async revoke({ term, vm, generation }: RevokeOrder): Promise<void> {
    this.#accept(term);
    this.#ledger.revoke(vm, generation);
    const isRevoked: Parameters<SharedDisks['revoke']>[0] = (grant) =>
      grant.vm === vm && grant.generation === generation;
    await Promise.all([this.#shared.revoke(isRevoked), this.#served.revoke(vm, isRevoked)]);
  }

  /** What is kept about a disk. CodedError 'not-found'. */
  async diskFacts(disk: DiskId): Promise<DiskFacts> {
    const { disks } = this.#options;
    const vm = await disks.ownerOf(disk);
    if (vm === undefined) throw new CodedError('not-found', `There is no ${disk} here.`);
    return { vm, sizeBytes: await disks.diskSizeBytes(disk) };
  }

  async createDisk(disk: DiskId, order: DiskOrder): Promise<void> {
    this.#accept(order.term);
    this.#ledger.checkDisk(disk);
    await this.#served.server(disk).run(() => this.#options.disks.createDisk(disk, order));
  }

  async deleteDisk(disk: DiskId, order: Order): Promise<void> {
    this.#accept(order.term);
    this.#ledger.deleteDisk(disk);
    const server = this.#served.server(disk);
    await server.run(async () => {
      await server.endUnused();
      await this.#options.disks.deleteDisk(disk);
    });
    this.#served.forget(disk);
  }

  /** Grows a disk, running or not; CodedError 'conflict' for a size below the present one. */
  async resizeDisk(disk: DiskId, order: Order & { readonly sizeBytes: number }): Promise<void> {
    this.#accept(order.term);
    const { disks } = this.#options;
    await this.#served.ownerOf(disk);
    const server = this.#served.server(disk);
    await server.run(async () => {
      const presentBytes = await disks.diskSizeBytes(disk);
      if (order.sizeBytes < presentBytes)
        throw new CodedError('conflict', `${disk} has ${presentBytes} bytes; a disk is never made smaller.`);
      if (order.sizeBytes === presentBytes) return;
      await server.whileClosed(() => disks.growDisk(disk, order.sizeBytes));
    });
  }

  async createSharedDisk(disk: DiskId, { term, sizeBytes, blockBytes }: SharedDiskOrder): Promise<void> {
    this.#accept(term);
    this.#ledger.checkDisk(disk);
    if (sizeBytes % blockBytes !== 0)
      throw new CodedError(
        'bad-input',
        `${sizeBytes} bytes are no whole blocks of ${blockBytes}; nothing was changed.`,
      );
    await this.#shared.create({ disk, sizeBytes, blockBytes });
  }

  async deleteSharedDisk(disk: DiskId, order: Order): Promise<void> {
    this.#accept(order.term);
    this.#ledger.deleteDisk(disk);
    await this.#shared.delete(disk);
  }

  async deleteArtifact(sha256: Sha256, order: Order): Promise<void> {
    this.#accept(order.term);
    await this.#options.disks.deleteArtifact(sha256);
  }

  /** CodedError 'stale-order' when a later leader has spoken. */
  #accept(term: Term): void {
    this.#ledger.acceptTerm(term);
    if (epochOf(term) > (this.#follower.epoch ?? 0)) this.#follower.readSoon();
  }

  report(): Promise<StorageReport> {
    const { name, version, clock, disks } = this.#options;
    const { epoch, refusal } = this.#follower;
    return reportOf({ name, version, clock, disks, served: this.#served, shared: this.#shared, epoch, refusal });
  }
}
