/** The permission of storage nodes to read from etcd (control/backend/ports.ts): one user of etcd for each node. */

import { commonName } from '../../base/identity.ts';
import type { StorageName } from '../../base/ids.ts';
import { allowReader, revokeUser } from '../../etcd/authorization.ts';
import type { EtcdClient } from '../../etcd/client.ts';
import type { EtcdReaders } from '../backend/ports.ts';

/** Returns the readers of an etcd. */
export function etcdReaders(etcd: EtcdClient): EtcdReaders {
  const userOf = (name: StorageName): string => commonName({ kind: 'storage', name });
  return {
    allow: (node) => allowReader(etcd, userOf(node)),
    revoke: (node) => revokeUser(etcd, userOf(node)),
  };
}
