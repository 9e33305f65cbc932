/** The room of etcd's members through the maintenance calls of etcd's API (core/ports/etcd-room.ts). */
import type { EtcdMember } from '../../core/plan/lead/etcd-space.ts';
import type { EtcdRoomLink } from '../../core/ports/etcd-room.ts';
import type { EndpointStatus, EtcdClient } from '../../etcd/client.ts';
import { EtcdCompacted } from '../../etcd/errors.ts';

/** The room of the cluster that a client is connected to. */
export function etcdRoom(etcd: Pick<EtcdClient, 'status' | 'compact' | 'defragment' | 'disarm'>): EtcdRoomLink {
  return {
    members: async (deadlineMs) => (await etcd.status({ deadlineMs })).map(memberOf),
    compact: async (revision, deadlineMs) => {
      try {
        await etcd.compact(revision, { deadlineMs });
      } catch (error) {
        // Another control node has compacted already.
        if (!(error instanceof EtcdCompacted)) throw error;
      }
    },
    defragment: (endpoint, deadlineMs) => etcd.defragment(endpoint, { deadlineMs }),
    disarm: () => etcd.disarm(),
  };
}

function memberOf(status: EndpointStatus): EtcdMember {
  if ('unreachable' in status) return status;
  const { endpoint, isLeader, dbSizeBytes, dbSizeInUseBytes, version, revision, errors } = status;
  const has = (alarm: string): boolean => errors.some((error) => error.includes(alarm));
  return {
    endpoint,
    isLeader,
    sizeBytes: dbSizeBytes,
    inUseBytes: dbSizeInUseBytes,
    isFull: has('NOSPACE'),
    isCorrupt: has('CORRUPT'),
    version,
    revision,
  };
}
