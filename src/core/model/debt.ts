/**
 * A debt: a tie, or a change after which some host cannot be drained or lost any more, that somebody signed for. It is
 * kept in the record of the VM or guest cluster that it is about, and is deleted with that record.
 */
import type { HostName } from '../../base/ids.ts';

/** The person who accepts something, the reason, and the end date. */
export interface Acceptance {
  readonly owner: string;
  readonly reason: string;
  /** Unix ms. */
  readonly until: number;
}

/** The person who signs; `by`: the name of the token. */
export interface Signature extends Acceptance {
  readonly by: string;
}

/**
 * `pin`, `cpu-model`, `guest-cluster`: a tie, as long as it lasts. `room`: a change that turned verdicts from yes to
 * no.
 */
export type DebtKind = 'pin' | 'cpu-model' | 'guest-cluster' | 'room';

export interface Debt extends Acceptance {
  readonly id: string;
  readonly kind: DebtKind;
  /** The accepted thing in words, for people. */
  readonly what: string;
  /** Name of the token that asked for it. */
  readonly by: string;
  /** Unix ms. */
  readonly since: number;
  /** The verdicts that the change turned from yes to no; of a few hosts. */
  readonly broke: readonly { readonly host: HostName; readonly question: 'drain' | 'loss' }[];
  /** Set once an event has reported that it is due. */
  readonly toldDue?: true;
}

/** Debts of one object. */
export const DEBTS_MAX = 8;
/** Hosts that a debt names. */
export const BROKEN_MAX = 20;
/** Characters of an owner, and of a reason. */
export const OWNER_CHARS_MAX = 100;
export const REASON_CHARS_MAX = 500;

/** Returns true if the date of a debt has passed. */
export function isDue({ until }: Pick<Debt, 'until'>, now: number): boolean {
  return now >= until;
}
