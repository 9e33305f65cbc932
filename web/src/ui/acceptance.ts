/**
 * Somebody signs for what would otherwise be refused: the form, and what requests and `gp` commands get of it. Pure.
 */
import type { ToAccept } from '../../../src/base/problem.ts';
import type { components } from '../../../src/client/generated/schema.d.ts';
import { gpOptions } from './gp-commands.ts';

export type Accept = components['schemas']['Accept'];

/** Fields as texts, as somebody typed them; `until` is a day, `2026-12-31`. */
export interface Signing {
  readonly owner: string;
  readonly reason: string;
  readonly until: string;
}

export const UNSIGNED: Signing = { owner: '', reason: '', until: '' };

/** What the API takes; null: something is missing. The day counts to its end in UTC, as `gp --until` counts it. */
export function acceptOf(signing: Signing): Accept | null {
  const [owner, reason, until] = [signing.owner.trim(), signing.reason.trim(), signing.until.trim()];
  if (owner === '' || reason === '' || until === '') return null;
  return { owner, reason, until: `${until}T23:59:59Z` };
}

/** The options of `gp` that say who signs; words in capitals for what is missing. */
export function signingOptions({ owner, reason, until }: Signing): Readonly<Record<string, string>> {
  return { owner: owner.trim() || 'WHO', reason: reason.trim() || 'WHY', until: until.trim() || 'DATE' };
}

/** A command that is refused without `--accept`, signed. */
export function signedCommand(command: string, signing: Signing): string {
  return [command, ...gpOptions({ accept: true, ...signingOptions(signing) })].join(' ');
}

/** A request, by its text, that was refused, and what is to be signed for. */
export interface Refused {
  readonly request: string;
  readonly what: ToAccept;
}

/**
 * What is to be signed for before `request` is made; null: nothing, as far as is known. A refusal of this very request
 * counts more than what the check said of it: the check may be older.
 */
export function toSignFor(request: object, refused: Refused | null, checked: ToAccept | null): ToAccept | null {
  return refused?.request === JSON.stringify(request) ? refused.what : checked;
}
