/**
 * Follows guests that a disk error has paused: since when, whether their hosts reach the disks, and one event per pause
 * with its cause, however often the guest is continued in vain in the meantime.
 */
import { messageOf } from '../../../base/errors.ts';
import type { HostName, VmId } from '../../../base/ids.ts';
import type { Incarnation } from '../../model/vm.ts';
import { diskErrorCause, diskErrorWords } from '../../plan/disks/disk-error.ts';
import { judgementOf, type VmSituation } from '../../plan/vm/decision.ts';
import type { Log } from '../../ports/log.ts';
import type { LeaderStore } from '../../ports/store.ts';
import type { DiskPaths } from '../observe/disk-paths.ts';
import type { HostObserver } from '../observe/host-observer.ts';
import type { Evidence } from './evidence.ts';

/** The most hosts that are tried besides the paused guest's own. */
const CANDIDATES_PROBED = 8;
/** How long to wait for a cause: the next report of a storage node, or the next check of its paths, may reveal it. */
const CAUSE_MS = 2_500;

export interface DiskErrorsPorts {
  readonly log: Log;
  readonly store: Pick<LeaderStore, 'commit' | 'snapshot'>;
  readonly observer: Pick<HostObserver, 'probeNow'>;
  readonly diskPaths: Pick<DiskPaths, 'tryFor' | 'forget'>;
}

/** One per leader. */
export class DiskErrors {
  readonly #ports: DiskErrorsPorts;
  /** VMs whose present pause has its event. */
  readonly #told = new Set<VmId>();

  constructor(ports: DiskErrorsPorts) {
    this.#ports = ports;
  }

  /**
   * Looks whether a disk error pauses the guest of a VM in phase running. Resolves when the paths between hosts and
   * storage were tried; null if there is nothing to wait for. `situation` is asked for only where there may be a disk
   * error.
   */
  note(evidence: Evidence, incarnation: Incarnation, situation: () => VmSituation): Promise<void> | null {
    const seen = evidence.answerOf(incarnation.generation)?.seen;
    const mayHaveOne = seen?.kind === 'answers' && seen.status === 'io-error';
    // Almost always there is none, before or now.
    if (evidence.acknowledged.diskError === null && !mayHaveOne) return null;
    const present = situation();
    const { id } = present.vm;
    const { verdict } = judgementOf(present, incarnation);
    if (verdict === 'disk-error') {
      const since = evidence.noteDiskError();
      this.#tell(present, incarnation, since);
      return this.#tryPaths(id, incarnation.host);
    }
    if (verdict === 'running' && evidence.noteRunning()) {
      this.over(id);
      this.#ports.diskPaths.forget(id);
    }
    return null;
  }

  /** The VM is gone, or no longer paused by a disk error: the next pause gets an event of its own. */
  over(vm: VmId): void {
    this.#told.delete(vm);
  }

  #tell(situation: VmSituation, incarnation: Incarnation, sinceMs: number): void {
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

  /**
   * Checks which hosts reach the disks of a guest that was paused on `host`, and which hosts the storage nodes reach,
   * `host` first.
   */
  async #tryPaths(vm: VmId, host: HostName): Promise<void> {
    const { observer, diskPaths, store } = this.#ports;
    const candidates = [host];
    for (const other of store.snapshot.hosts.keys()) {
      if (other !== host) candidates.push(other);
      if (candidates.length > CANDIDATES_PROBED) break;
    }
    await Promise.all([diskPaths.tryFor(vm, host), ...candidates.map((candidate) => observer.probeNow(candidate))]);
  }
}
