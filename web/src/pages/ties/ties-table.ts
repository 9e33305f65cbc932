/** Ties and debts as rows of a table. Pure. */
import type { Tie } from '../../api/types.ts';
import type { Tone } from '../../picture/verdict-style.ts';
import { type Signing, signingOptions } from '../../ui/acceptance.ts';
import { gpCommand } from '../../ui/gp-commands.ts';

/** States by urgency: the most urgent first. */
export const STATES = ['due', 'unsigned', 'signed'] as const;
export type TieState = (typeof STATES)[number];

export const STATE_TONES: Readonly<Record<TieState, Tone>> = { due: 'bad', unsigned: 'warn', signed: 'off' };

/** Whether somebody signed for it, and whether the date has passed, by the cluster's clock. */
export function stateOf({ debt, isDue }: Tie): TieState {
  if (debt === null) return 'unsigned';
  return isDue ? 'due' : 'signed';
}

/** A name that is the tie's own as long as it lasts. */
export function keyOf({ debt, about, kind, what }: Tie): string {
  return debt ?? `${about.kind}/${about.name}/${kind}/${what}`;
}

/** Due debts first, then unsigned ties; each by the date on which it is due. */
export function byUrgency(ties: readonly Tie[]): readonly Tie[] {
  const rank = (tie: Tie): number => STATES.indexOf(stateOf(tie));
  const until = (tie: Tie): number => (tie.until === null ? Number.POSITIVE_INFINITY : Date.parse(tie.until));
  const later = (a: Tie, b: Tie): number => (until(a) === until(b) ? 0 : until(a) - until(b));
  return [...ties].sort((a, b) => rank(a) - rank(b) || later(a, b));
}

/** The number of debts, and how many of them are due. */
export function countDebts(ties: readonly Tie[]): { readonly debts: number; readonly due: number } {
  const states = ties.map(stateOf);
  return {
    debts: states.filter((state) => state !== 'unsigned').length,
    due: states.filter((state) => state === 'due').length,
  };
}

/** The page of what a tie is about. */
export function pageOf({ kind, name }: Tie['about']): string {
  const pages = { vm: '/vms/', 'guest-cluster': '/guest-clusters/', host: '/hosts/' } as const;
  return pages[kind] + name;
}

/** The command that signs a debt anew. */
export function renewCommand(debt: string, signing: Signing): string {
  return gpCommand(['ties', 'renew', debt], signingOptions(signing));
}
