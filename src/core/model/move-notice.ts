/**
 * The notice that a member of a guest cluster is given before it moves (docs/specs/guest-clusters.md): part of its VM's
 * record, so that it is given, and a move is begun, by a compare-and-swap of the same key.
 */
import type { VmId } from '../../base/ids.ts';

/**
 * `scheduled`: the move waits for the guest's acknowledgement, or until the notice's time is over. `started`: the move
 * has begun. `over`: the move has ended, or does not take place.
 */
export type NoticeState = 'scheduled' | 'started' | 'over';

/** The end of the wait. `withdrawn`: the move does not take place. */
export type NoticeEnd = 'acknowledged' | 'time' | 'withdrawn';

export interface MoveNotice {
  /** Counts the notices of this VM, from 1. */
  readonly number: number;
  readonly state: NoticeState;
  /**
   * How long the notice may delay the move, in ms: the time that its guest cluster had declared when the notice was
   * given.
   */
  readonly forMs: number;
  /**
   * When the notice was given: Unix ms by the clock of the leader that gave it. For people and guests; no decision
   * depends on it.
   */
  readonly givenAt: number;
  /** null: it waits. */
  readonly ended: NoticeEnd | null;
}

/** The event's name to the guest, in the form of a UUID (RFC 9562, version 8): the same notice has the same everywhere. */
export function noticeEventId(vm: VmId, { number }: Pick<MoveNotice, 'number'>): string {
  const hex = number.toString(16).padStart(18, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(12, 15)}-8${hex.slice(15, 18)}-${vm.slice('vm-'.length)}`;
}

/** A number that grows whenever what the guest is shown changes: 1 before its first notice. */
export function noticeIncarnation(notice: Pick<MoveNotice, 'number' | 'state'> | undefined): number {
  if (notice === undefined) return 1;
  return 3 * notice.number - 1 + { scheduled: 0, started: 1, over: 2 }[notice.state];
}

/** The notice after its move was given up. */
export function endedNotice(notice: MoveNotice): MoveNotice {
  return notice.state === 'over' ? notice : { ...notice, state: 'over', ended: notice.ended ?? 'withdrawn' };
}
