/** Removal of a storage node that is permanently gone (core/request/storage-removal.ts), its access to etcd included. */
import type { StorageLoss } from '../../api/views.ts';
import { parseStorageName } from '../../base/ids.ts';
import { removeStorage, type StorageRemoval } from '../../core/request/storage-removal.ts';
import { change } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';

/** Declares a storage node lost; repeating the request finishes what was left undone. Errors as `removeStorage`. */
export async function loseStorage(context: BackendContext, removal: StorageRemoval): Promise<StorageLoss> {
  const loss = await change(context, (basis) => removeStorage(basis, observedBy(context), removal));
  // After the transaction, so that a repeated request finishes it.
  await context.etcdReaders.revoke(parseStorageName(removal.name));
  return loss;
}
