/** The room of simulated etcd's members (core/ports/etcd-room.ts), as one process reaches them. */
import { present } from '../../base/assert.ts';
import { messageOf } from '../../base/errors.ts';
import type { EtcdMember } from '../../core/plan/lead/etcd-space.ts';
import type { EtcdRoomLink } from '../../core/ports/etcd-room.ts';
import { addressOf } from '../network/addresses.ts';
import type { SimEtcd } from './sim-etcd.ts';
import type { EtcdRoute } from './sim-etcd-client.ts';

const DISARM_MS = 2_000;
const PORT = 2379;

const endpointOf = (member: string): string => `${addressOf('control', member)}:${PORT}`;

/** The room as the process at the other end of `route` sees it. */
export function simEtcdRoom(etcd: SimEtcd, route: EtcdRoute): EtcdRoomLink {
  /** Asks one member after the other until one has done it; throws what the last one says. */
  const atAny = async (deadlineMs: number, act: (member: string) => Promise<void>): Promise<void> => {
    let failure: unknown;
    for (const member of etcd.members) {
      try {
        return await route.call(member, deadlineMs / etcd.members.length, () => act(member));
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  };
  return {
    members: (deadlineMs) =>
      Promise.all(
        etcd.members.map(async (member): Promise<EtcdMember> => {
          try {
            const room = await route.call(member, deadlineMs, () => etcd.room(member));
            return { ...room, endpoint: endpointOf(member) };
          } catch (error) {
            return { endpoint: endpointOf(member), unreachable: messageOf(error) };
          }
        }),
      ),
    compact: (revision, deadlineMs) => atAny(deadlineMs, (member) => etcd.compactThrough(member, revision)),
    defragment: (endpoint, deadlineMs) => {
      const member = present(
        etcd.members.find((each) => endpointOf(each) === endpoint),
        endpoint,
      );
      return route.call(member, deadlineMs, () => etcd.defragment(member));
    },
    disarm: () => atAny(DISARM_MS, (member) => etcd.disarm(member)),
  };
}
