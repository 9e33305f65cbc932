/**
 * Keeps etcd from filling up, and recovers a full one (plan/lead/etcd-space.ts decides). Every control node
 * checks; the leader acts. While a full etcd refuses even leases and nobody can lead, every control node acts: each
 * step may be repeated by several nodes at once.
 *
 * Guarantees: one step at a time in this process, each with a deadline; a failure is logged, and the next check tries
 * again.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import {
  answering,
  decideEtcdSpace,
  type EtcdMember,
  type EtcdSituation,
  type EtcdStep,
  filledShare,
  RESERVE_SHARE,
} from '../../plan/lead/etcd-space.ts';
import type { Clock } from '../../ports/clock.ts';
import type { EtcdRoomLink } from '../../ports/etcd-room.ts';
import type { Log } from '../../ports/log.ts';

const STATUS_MS = 2_000;
const COMPACT_MS = 60_000;
const DEFRAGMENT_MS = 120_000;
const LOOK_MS = 3_000;
/** Pause between two checks while there is something to do, in ms. */
const LOOK_SOON_MS = 500;
/** The most revisions that are remembered with the time at which they were seen. */
const SEEN_MAX = 60;

export interface EtcdSpaceKeeperOptions {
  readonly clock: Clock;
  readonly room: EtcdRoomLink;
  readonly quotaBytes: number;
  readonly log: Log;
  /** Pause between two checks while there is nothing to do, in ms; 3 s by default. */
  readonly lookMs?: number;
  /** Returns whether this node leads; null if it knows of no leader. */
  readonly leads: () => boolean | null;
}

/** Keeps room in etcd; one per server, from `start` to `stop`. */
export class EtcdSpaceKeeper {
  readonly #options: EtcdSpaceKeeperOptions;
  #members: readonly EtcdMember[] = [];
  #seen: EtcdSituation['seen'] = [];
  #compacted: EtcdSituation['compacted'] = null;
  /** Revision of a compaction whose effect the next check will see. */
  #compactedNow: number | null = null;
  #cancel: (() => void) | null = null;
  #isStopped = false;

  constructor(options: EtcdSpaceKeeperOptions) {
    this.#options = options;
  }

  /** The members' states at the last check; empty before the first. */
  get members(): readonly EtcdMember[] {
    return this.#members;
  }

  get quotaBytes(): number {
    return this.#options.quotaBytes;
  }

  /**
   * Refuses a new object if the rest of the quota is reserved for fences, recoveries and deletions. CodedError
   * 'no-capacity'.
   */
  demandRoom(): void {
    const share = filledShare({ members: this.#members, quotaBytes: this.quotaBytes });
    if (share < RESERVE_SHARE) return;
    throw new CodedError(
      'no-capacity',
      `etcd, which holds the cluster's records, is ${Math.floor(share * 100)} % full; the rest is kept for fences, recoveries and deletions.`,
      { advice: 'Nothing was created. Delete what is not needed, or raise the quota (docs/operating/production.md).' },
    );
  }

  start(): void {
    void this.#round();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  async #round(): Promise<void> {
    const { clock } = this.#options;
    let didSomething = false;
    try {
      await this.#look();
      didSomething = await this.#act();
    } catch (error) {
      this.#options.log.warn('etcd could not be tidied up', { error: messageOf(error) });
    }
    if (this.#isStopped) return;
    this.#cancel = clock.after(
      didSomething ? LOOK_SOON_MS : (this.#options.lookMs ?? LOOK_MS),
      () => void this.#round(),
    );
  }

  async #look(): Promise<void> {
    const { clock, room } = this.#options;
    this.#members = await room.members(STATUS_MS);
    const answers = answering(this.#members);
    const revision = Math.max(0, ...answers.map((member) => member.revision));
    if (revision > (this.#seen.at(-1)?.revision ?? 0))
      this.#seen = [...this.#seen, { revision, at: clock.monotonicMs() }].slice(-SEEN_MAX);
    if (this.#compactedNow === null) return;
    const inUseBytes = Math.max(0, ...answers.map((member) => member.inUseBytes));
    this.#compacted = { revision: this.#compactedNow, inUseBytes };
    this.#compactedNow = null;
  }

  async #act(): Promise<boolean> {
    const { clock, quotaBytes, leads } = this.#options;
    const isLeader = leads();
    const isFull = answering(this.#members).some((member) => member.isFull);
    if (isLeader === false || (isLeader === null && !isFull)) return false;
    const now = clock.monotonicMs();
    const step = decideEtcdSpace({
      members: this.#members,
      quotaBytes,
      seen: this.#seen,
      compacted: this.#compacted,
      now,
    });
    if (step === null) return false;
    await this.#do(step);
    return true;
  }

  async #do(step: EtcdStep): Promise<void> {
    const { room, log } = this.#options;
    switch (step.do) {
      case 'compact':
        await room.compact(step.revision, COMPACT_MS);
        this.#compactedNow = step.revision;
        break;
      case 'defragment':
        await room.defragment(step.endpoint, DEFRAGMENT_MS);
        break;
      case 'disarm':
        await room.disarm();
        break;
    }
    log.info('etcd is tidied up', { ...step });
  }
}
