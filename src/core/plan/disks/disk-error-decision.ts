/** Decides the next action for a VM whose guest is paused by a disk error (disk-error.ts finds the reason). */
import type { HostName } from '../../../base/ids.ts';
import type { Incarnation } from '../../model/vm.ts';
import { type Decision, perform, startNext, type VmSituation, wait } from '../vm/decision.ts';
import { diskErrorCause, diskErrorWords } from './disk-error.ts';

/** A guest paused by a disk error whose host alone has lost the storage is restarted elsewhere after this. */
const DISK_ERROR_RESTART_MS = 3_000;
/** A guest whose disk error came back is continued again after this. */
const DISK_ERROR_RETRY_MS = 5_000;

/**
 * A current incarnation paused by a disk error: continue it when storage is there again; move it when its host alone is
 * cut off.
 */
export function decideDiskError(situation: VmSituation, incarnation: Incarnation): Decision {
  const { vm, cluster, acknowledged, monotonicMs } = situation;
  const cause = diskErrorCause(situation, incarnation);
  const why = diskErrorWords(situation, incarnation, cause);
  if (cause.kind === 'down') return wait(why);
  if (cause.kind === 'closed') return decideClosed(situation, incarnation, { why, reaching: cause.reaching });
  const { diskError } = acknowledged;
  if (cause.kind !== 'cut') {
    // The fault may last (a full pool): continuing the guest again and again would cost everybody time and mend
    // nothing.
    const again = diskError?.continuedAt == null ? 0 : diskError.continuedAt + DISK_ERROR_RETRY_MS;
    const left = Math.ceil(again - monotonicMs);
    if (left > 0) return wait(why, left);
    // A storage service that restarted while it could not read the record serves none of the VM's disks until it gets
    // an order.
    if (!acknowledged.granted.has(incarnation.generation))
      return perform({ do: 'grant', generation: incarnation.generation });
    return perform({ do: 'cont', incarnation });
  }
  const cutHosts = new Set([incarnation.host, ...cluster.hostsWithStorageCut()]);
  const elsewhere = cluster.index.byFreeMemory().some(({ host }) => !cutHosts.has(host));
  if (
    !elsewhere ||
    monotonicMs - (diskError?.since ?? monotonicMs) < DISK_ERROR_RESTART_MS ||
    vm.spec.restartPolicy === 'never'
  ) {
    return wait(why);
  }
  return startNext(situation, {
    reason: 'lost',
    avoid: [...cutHosts],
    strict: true,
    why: `${incarnation.host} lost its storage (${cause.nodes.join(', ')}) and ${vm.name} was paused by it.`,
  });
}

/**
 * Starts the VM on a host that can connect to its disks, if only the VM's own host cannot although the storage nodes
 * answer.
 */
function decideClosed(
  situation: VmSituation,
  incarnation: Incarnation,
  { why, reaching }: { readonly why: string; readonly reaching: readonly HostName[] },
): Decision {
  const { vm, cluster, acknowledged, monotonicMs } = situation;
  const lasts = monotonicMs - (acknowledged.diskError?.since ?? monotonicMs);
  if (lasts < DISK_ERROR_RESTART_MS || vm.spec.restartPolicy === 'never') return wait(why);
  const others = cluster.index.byFreeMemory().map(({ host }) => host);
  const avoid = [incarnation.host, ...others.filter((host) => !reaching.includes(host))];
  return startNext(situation, { reason: 'lost', avoid: [...new Set(avoid)], strict: true, why });
}
