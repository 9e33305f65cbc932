/**
 * The permissions of storage nodes to write in etcd: each node may write the reservations of its own shared disks.
 * Guarantees: a node has the permission before the disk is made there, and loses it after the disk is deleted; checking
 * an existing permission costs some reads per process and disk, since a change of permissions makes etcd repeat every
 * request in progress; the node is a user of etcd before it gets the permission: a restored etcd has no users.
 */

import { commonName } from '../../base/identity.ts';
import type { DiskId, StorageName } from '../../base/ids.ts';
import { keyOf } from '../../core/model/keys.ts';
import { allowReader, allowWriting, forbidWriting } from '../../etcd/authorization.ts';
import type { EtcdClient } from '../../etcd/client.ts';
import type { StorageClient } from './storage-link.ts';

/** Wraps a storage client so that its orders about shared disks grant and revoke the permission. */
export function withReservationKeys(storage: StorageClient, etcd: EtcdClient): StorageClient {
  const permitted = new Set<DiskId>();
  const writing = (name: StorageName, disk: DiskId) => ({
    commonName: commonName({ kind: 'storage', name }),
    key: keyOf.reservation(disk),
  });
  return {
    ...storage,
    createSharedDisk: async (node, disk, order, options) => {
      if (!permitted.has(disk)) {
        await allowReader(etcd, commonName({ kind: 'storage', name: node }));
        await allowWriting(etcd, writing(node, disk));
      }
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
