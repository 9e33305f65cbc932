/** What the fake backend refuses, as the real one would say it. */
import { CodedError, type ErrorCode } from '../../../base/errors.ts';
import { isName } from '../../../base/ids.ts';
import type { Conditional } from '../backend.ts';

/** An object with a revision. */
export interface Named {
  readonly name: string;
  readonly revision: string;
}

/** Throws `stale-revision` where somebody else changed the object. */
export function checkRevision(of: Named, { ifMatch }: Conditional): void {
  if (ifMatch === null || ifMatch === of.revision) return;
  throw new CodedError('stale-revision', `${of.name} is at revision ${of.revision}, not ${ifMatch}.`, {
    advice: 'Nothing was changed. Look at it again, then repeat.',
  });
}

/** A refusal after which nothing was changed. */
export function coded(code: ErrorCode, message: string): CodedError {
  return new CodedError(code, message, { advice: 'Nothing was changed.' });
}

/** `exists`. */
export const exists = (what: string, name: string): CodedError =>
  coded('exists', `There is a ${what} called ${name} already.`);
/** `not-found`. */
export const missing = (what: string, name: string): CodedError =>
  coded('not-found', `There is no ${what} called ${isName(name) ? name : JSON.stringify(name.slice(0, 60))}.`);
