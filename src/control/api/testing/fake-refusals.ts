/** The errors of the fake backend, in the words of the real one. */
import { CodedError, type ErrorCode } from '../../../base/errors.ts';
import { isName } from '../../../base/ids.ts';
import type { Conditional } from '../backend.ts';

/** An object with a revision. */
export interface Named {
  readonly name: string;
  readonly revision: string;
}

/** Throws `stale-revision` if the object was changed in the meantime. */
export function checkRevision(of: Named, { ifMatch }: Conditional): void {
  if (ifMatch === null || ifMatch === of.revision) return;
  throw new CodedError('stale-revision', `${of.name} is at revision ${of.revision}, not ${ifMatch}.`, {
    advice: 'Nothing was changed. Look at it again, then repeat.',
  });
}

/** Returns an error after which nothing was changed. */
export function coded(code: ErrorCode, message: string): CodedError {
  return new CodedError(code, message, { advice: 'Nothing was changed.' });
}

/** Returns the error `exists`. */
export const exists = (what: string, name: string): CodedError =>
  coded('exists', `There is a ${what} called ${name} already.`);
/** Returns the error `not-found`. */
export const missing = (what: string, name: string): CodedError =>
  coded('not-found', `There is no ${what} called ${isName(name) ? name : JSON.stringify(name.slice(0, 60))}.`);
