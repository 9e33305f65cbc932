/**
 * Records an event when a disk error pauses a guest, with the cause: one event per pause, however often the guest is
 * continued in vain meanwhile.
 */
import { messageOf } from '../../../base/errors.ts';
import type { HostName, VmId } from '../../../base/ids.ts';
import type { Incarnation } from '../../model/vm.ts';
import { diskErrorCause, diskErrorWords } from '../../plan/disks/disk-error.ts';
import type { VmSituation } from '../../plan/vm/decision.ts';
import type { Log } from '../../ports/log.ts';
import type { LeaderStore } from '../../ports/store.ts';
import type { DiskPaths } from '../observe/disk-paths.ts';
import type { HostObserver } from '../observe/host-observer.ts';

/** The most hosts that are tried besides the paused guest's own. */
const CANDIDATES_PROBED = 8;
/** How long to wait for a cause: the next report of a storage node, or the next check of its paths, may reveal it. */
const CAUSE_MS = 2_500;

/** Records the disk-error events of one leader. */
export class DiskErrorEvents {
  readonly #ports: { readonly log: Log; readonly store: Pick<LeaderStore, 'commit'> };
  readonly #told = new Set<VmId>();

  constructor(ports: { readonly log: Log; readonly store: Pick<LeaderStore, 'commit'> }) {
    this.#ports = ports;
  }

  /** Reports that a disk error has paused an incarnation, since `sinceMs` by the leader's monotonic clock. */
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

  /** Reports that the VM is gone, or no longer paused by a disk error. */
  over(vm: VmId): void {
    this.#told.delete(vm);
  }
}

/**
 * Checks which hosts reach the disks of a guest that was paused on `host`, and which hosts the storage nodes reach,
 * `host` first.
 */
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
