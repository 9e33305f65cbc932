/**
 * Tells of guests that a disk error has paused, and why: one event for each time that a guest is paused by one, however often it is continued in
 * vain meanwhile.
 */
import { messageOf } from '../../base/errors.ts';
import type { HostName, VmId } from '../../base/ids.ts';
import type { Incarnation } from '../model/vm.ts';
import type { VmSituation } from '../plan/decision.ts';
import { diskErrorCause, diskErrorWords } from '../plan/disk-error.ts';
import type { Log } from '../ports/log.ts';
import type { LeaderStore } from '../ports/store.ts';
import type { DiskPaths } from './disk-paths.ts';
import type { HostObserver } from './observer.ts';

/** Hosts that are tried besides the one whose guest was paused. */
const CANDIDATES_PROBED = 8;
/** A cause that is not seen yet may be seen by the next report of a storage node, or the next look at its paths. */
const CAUSE_MS = 2_500;

/** One per leader. */
export class DiskErrorEvents {
  readonly #ports: { readonly log: Log; readonly store: Pick<LeaderStore, 'commit'> };
  readonly #told = new Set<VmId>();

  constructor(ports: { readonly log: Log; readonly store: Pick<LeaderStore, 'commit'> }) {
    this.#ports = ports;
  }

  /** An incarnation is paused by a disk error, since `sinceMs` by the leader's monotonic clock. */
  paused(situation: VmSituation, incarnation: Incarnation, sinceMs: number): void {
    const { vm, now, monotonicMs } = situation;
    if (this.#told.has(vm.id)) return;
    const cause = diskErrorCause(situation, incarnation);
    if (cause.kind === 'unknown' && monotonicMs - sinceMs < CAUSE_MS) return;
    this.#told.add(vm.id);
    const { log, store } = this.#ports;
    const message = diskErrorWords(situation, incarnation, cause);
    const { host, generation } = incarnation;
    const event = { at: now, kind: 'disk-error', vm: vm.id, vmName: vm.name, host, generation, message };
    log.warn(message, { vm: vm.id });
    store.commit({ changes: [], events: [event] }).catch((error: unknown) => {
      log.warn('an event was not written', { message, error: messageOf(error) });
    });
  }

  /** The VM is not paused by a disk error any more, or is gone. */
  over(vm: VmId): void {
    this.#told.delete(vm);
  }
}

/** A guest on `host` was paused by a disk error: finds out which hosts reach its disks, and which the storage nodes reach, its own first. */
export async function tryStoragePaths(
  vm: VmId,
  host: HostName,
  ports: {
    readonly observer: HostObserver;
    readonly diskPaths: DiskPaths;
    readonly store: Pick<LeaderStore, 'snapshot'>;
  },
): Promise<void> {
  const { observer, diskPaths, store } = ports;
  const candidates = [host];
  for (const other of store.snapshot.hosts.keys()) {
    if (other !== host) candidates.push(other);
    if (candidates.length > CANDIDATES_PROBED) break;
  }
  await Promise.all([diskPaths.tryFor(vm, host), ...candidates.map((candidate) => observer.probeNow(candidate))]);
}
