/**
 * Determines why a disk error pauses a guest, as far as the cluster can see: for decisions, events and people. Pure.
 */
import type { HostName, StorageName } from '../../../base/ids.ts';
import { listed } from '../../../base/listed.ts';
import { poolWords } from '../../model/pool-room.ts';
import type { Incarnation } from '../../model/vm.ts';
import { diskNodes, sharedNodes, type VmSituation } from '../vm/decision.ts';

export type DiskErrorCause =
  /** Storage nodes of the VM that do not answer. */
  | { readonly kind: 'down'; readonly nodes: readonly StorageName[] }
  /** Storage nodes whose disk ports the VM's host cannot connect to, and the hosts that can. */
  | { readonly kind: 'closed'; readonly nodes: readonly StorageName[]; readonly reaching: readonly HostName[] }
  /** Storage nodes that only the VM's host cannot reach. */
  | { readonly kind: 'cut'; readonly nodes: readonly StorageName[] }
  /** Storage nodes whose pools are full. */
  | { readonly kind: 'full'; readonly nodes: readonly StorageName[] }
  | { readonly kind: 'unknown' };

/** Returns the first cause that is found. */
export function diskErrorCause(situation: VmSituation, { host }: Incarnation): DiskErrorCause {
  const { cluster, disks } = situation;
  const own = diskNodes(disks);
  const down = own.filter((node) => !cluster.storageAnswers(node));
  if (down.length > 0) return { kind: 'down', nodes: down };
  const path = situation.diskPath(host);
  const ranked = cluster.index.byFreeMemory().map((each) => each.host);
  const reaching = path === 'closed' ? ranked.filter((other) => situation.diskPath(other) === 'open') : [];
  if (reaching.length > 0) return { kind: 'closed', nodes: own, reaching };
  // The disks' own ports count for more than whether the storage node's kernel reaches the host at another port.
  const cut = path === 'open' ? [] : cluster.storageCutFrom(host).filter((node) => own.includes(node));
  if (cut.length > 0) return { kind: 'cut', nodes: cut };
  const full = [...new Set([...own, ...sharedNodes(situation)])].filter((node) => cluster.pool(node)?.level === 'full');
  return full.length > 0 ? { kind: 'full', nodes: full } : { kind: 'unknown' };
}

/** Describes the cause as a sentence about the VM. */
export function diskErrorWords(situation: VmSituation, { host }: Incarnation, cause: DiskErrorCause): string {
  const { vm, cluster } = situation;
  const paused = `${vm.name} is paused by a disk error`;
  switch (cause.kind) {
    case 'down':
      return `${paused}; storage node ${cause.nodes.join(', ')} does not answer.`;
    case 'closed':
      return `${paused}: ${host} gets no connection to its disks on ${cause.nodes.join(', ')}, and ${listed(cause.reaching)} would.`;
    case 'cut':
      return `${paused}: ${host} cannot reach ${cause.nodes.join(', ')}.`;
    case 'full': {
      const pools = cause.nodes.flatMap((node) => {
        const pool = cluster.pool(node);
        return pool === null ? [] : [`the pool of storage node ${node} ${poolWords(pool.report, 'full')}`];
      });
      return `${paused}: ${pools.join('; ')}. It continues by itself once there is room.`;
    }
    case 'unknown':
      return `${paused}.`;
  }
}
