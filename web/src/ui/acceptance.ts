/**
 * Signing for a change that would otherwise be refused: the form, and the parts of requests and `gp` commands made from
 * it. Pure.
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

/**
 * The signature in the API's form; null: something is missing. The day counts to its end in UTC, as with `gp --until`.
 */
export function acceptOf(signing: Signing): Accept | null {
  const [owner, reason, until] = [signing.owner.trim(), signing.reason.trim(), signing.until.trim()];
  if (owner === '' || reason === '' || until === '') return null;
  return { owner, reason, until: `${until}T23:59:59Z` };
}

/** The signature as options of `gp`; words in capitals for missing parts. */
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
 * The things to sign for before `request` is made; null: nothing, as far as is known. A refusal of this very request
 * outweighs the result of its check: the check may be older.
 */
export function toSignFor(request: object, refused: Refused | null, checked: ToAccept | null): ToAccept | null {
  return refused?.request === JSON.stringify(request) ? refused.what : checked;
}
