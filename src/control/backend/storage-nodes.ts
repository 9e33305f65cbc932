/** Storage nodes through the API, and the disks that they hold. */

import type { StorageLoss } from '../../api/loss-views.ts';
import type { NodeDrainPlan } from '../../api/maintenance-views.ts';
import type { DeleteStorageQuery, DiskQuery, DrainNode, PageQuery } from '../../api/requests.ts';
import type { Disk, StorageNode } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { parseStorageName } from '../../base/ids.ts';
import type { DiskRecord } from '../../core/model/cluster.ts';
import type { Entry } from '../../core/ports/store.ts';
import { confirmStorageDrain, drainStorage, planStorageDrain, undrainStorage } from '../../core/request/node-drains.ts';
import { finishRemoval, removeStorage, type StorageRemoval } from '../../core/request/storage-removal.ts';
import type { Call, Conditional } from '../api/call.ts';
import type { Page } from '../api/pages.ts';
import { basisOf, change } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';
import { pageOfTable } from './table-page.ts';
import { diskView, storageView } from './views.ts';

/** How long the watch may take to bring the records that were written before the node was marked. */
const CATCH_UP_MS = 5_000;

/** Storage nodes; they join by a token (access.ts). */
export class StorageNodesBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<StorageNode>> {
    return pageOfTable(this.#context.store.storage, query, {
      signal,
      view: (entry) => storageView(this.#context, entry),
    });
  }

  get(name: string): StorageNode {
    const entry = this.#context.store.storage.get(name);
    if (entry === undefined) throw new CodedError('not-found', `There is no storage node ${name}.`);
    return storageView(this.#context, entry);
  }

  /**
   * Removes a storage node that is empty, or declares one lost (`query.lost`, `query.confirmed`), its access to etcd
   * included; repeating the request finishes what was left undone. Errors as `removeStorage`; 'deadline' if etcd is too
   * slow.
   */
  async delete(
    name: string,
    { lost = false, confirmed = false, ifMatch }: DeleteStorageQuery & Conditional,
    { principal }: Pick<Call, 'principal'>,
  ): Promise<StorageLoss> {
    const context = this.#context;
    const removal: StorageRemoval = { name, ifMatch, isLost: lost, isConfirmed: confirmed, by: principal.name };
    let loss = await change(context, (basis) => removeStorage(basis, observedBy(context), removal));
    if (!removal.isLost) {
      // A disk that was recorded on the node a moment before its removal began is in the tables after this.
      await context.store.caughtUp(CATCH_UP_MS);
      const { refusal, ...removed } = await change(context, (basis) => finishRemoval(basis, removal));
      if (refusal !== null) throw refusal;
      loss = removed.loss;
    }
    // After the transaction, so that a repeated request finishes it.
    await context.etcdReaders.revoke(parseStorageName(removal.name));
    return loss;
  }

  /** The result of a dry run of draining a storage node. The errors of `drainStorage`. */
  planDrain(name: string, asked: DrainNode, { principal }: Pick<Call, 'principal'>): NodeDrainPlan {
    const request = { ...asked, name, who: principal.name };
    return { node: name, consequences: planStorageDrain(basisOf(this.#context), request) };
  }

  /** Takes a storage node out of service. The errors of `drainStorage`; 'deadline' if etcd is too slow. */
  async drain(name: string, asked: DrainNode, { principal }: Pick<Call, 'principal'>): Promise<StorageNode> {
    const context = this.#context;
    const request = { ...asked, name, who: principal.name };
    await change(context, (basis) => drainStorage(basis, request));
    // A disk that was recorded on the node a moment before is in the tables after this.
    await context.store.caughtUp(CATCH_UP_MS);
    const refusal = await change(context, (basis) => confirmStorageDrain(basis, request));
    if (refusal !== null) throw refusal;
    return this.get(name);
  }

  /** Takes a storage node back. The errors of `undrainStorage`. */
  async undrain(name: string, { principal }: Pick<Call, 'principal'>): Promise<StorageNode> {
    await change(this.#context, (basis) => undrainStorage(basis, { name, who: principal.name }));
    return this.get(name);
  }

  /** Lists private disks, those of one VM (name or id) or one storage node where the query says so. */
  listDisks(query: DiskQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Disk>> {
    const { disks, vmNames } = this.#context.store;
    const vm = query.vm === undefined ? null : (vmNames.get(query.vm)?.value ?? query.vm);
    const isWanted = ({ value }: Entry<DiskRecord>): boolean =>
      (vm === null || value.vm === vm) && (query.node === undefined || value.node === query.node);
    const view = (entry: Entry<DiskRecord>): Disk | null => (isWanted(entry) ? diskView(this.#context, entry) : null);
    return pageOfTable(disks, query, { signal, view });
  }

  getDisk(id: string): Disk {
    const entry = this.#context.store.disks.get(id);
    if (entry === undefined) throw new CodedError('not-found', `There is no disk ${id}.`);
    return diskView(this.#context, entry);
  }
}
