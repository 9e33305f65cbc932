/**
 * Removal of a storage node that is empty, or permanently gone (core/request/storage-removal.ts), its access to etcd
 * included.
 */
import type { StorageLoss } from '../../api/views.ts';
import { parseStorageName } from '../../base/ids.ts';
import { finishRemoval, removeStorage, type StorageRemoval } from '../../core/request/storage-removal.ts';
import { change } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';

/** For the watch to bring what was recorded before the node's removal began. */
const CATCH_UP_MS = 5_000;

/**
 * Removes a storage node, or declares it lost; repeating the request finishes what was left undone. Errors as
 * `removeStorage`; 'deadline' if etcd is too slow.
 */
export async function removeStorageNode(context: BackendContext, removal: StorageRemoval): Promise<StorageLoss> {
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
