/**
 * What storage nodes may write in etcd: for each shared disk its reservations, by its own node. Guarantees: a node may before the disk is made there,
 * and no more once it is deleted; a permission that is there costs one reading per term and disk, since a change of permissions has every request
 * to etcd that is under way sent again.
 */
import type { DiskId, StorageName } from '../../base/ids.ts';
import { keyOf } from '../../core/model/keys.ts';
import { allowWriting, forbidWriting } from '../../etcd/authorization.ts';
import type { EtcdClient } from '../../etcd/client.ts';
import { commonName } from '../../pki/identity.ts';
import type { StorageClient } from './storage-link.ts';

/** The same link, whose orders about shared disks give and take the permission. */
export function withReservationKeys(storage: StorageClient, etcd: EtcdClient): StorageClient {
  const permitted = new Set<DiskId>();
  const writing = (name: StorageName, disk: DiskId) => ({
    commonName: commonName({ kind: 'storage', name }),
    key: keyOf.reservation(disk),
  });
  return {
    ...storage,
    createSharedDisk: async (node, disk, order, options) => {
      if (!permitted.has(disk)) await allowWriting(etcd, writing(node, disk));
      permitted.add(disk);
      await storage.createSharedDisk(node, disk, order, options);
    },
    deleteSharedDisk: async (node, disk, order, options) => {
      await storage.deleteSharedDisk(node, disk, order, options);
      permitted.delete(disk);
      await forbidWriting(etcd, writing(node, disk));
    },
  };
}
