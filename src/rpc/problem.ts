/** Errors on the wire: RFC 9457 problem details with our code, and back into the CodedError they were made from. */

import { CodedError, ERROR_CODES, type ErrorCode, isErrorCode, messageOf } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { isRecord } from './parse.ts';

export const PROBLEM_TYPE = 'application/problem+json';

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly advice?: string;
}

/** What the peer is told. An error that is not expected is named but not shown: its text may hold what is not theirs. */
export function problemOf(error: unknown): Problem {
  const coded =
    error instanceof CodedError
      ? error
      : new CodedError('failed', 'The service met an error it did not expect; its log has the details.');
  const { status, title } = ERROR_CODES[coded.code];
  return {
    type: `urn:groundplane:error:${coded.code}`,
    title,
    status,
    code: coded.code,
    detail: printable(coded.message),
    ...(coded.advice === undefined ? {} : { advice: printable(coded.advice) }),
  };
}

/** The CodedError in an answer that is not a success; 'failed' with the status when the body is no problem of ours. */
export function errorOfAnswer(status: number, body: string, peer: string): CodedError {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    return new CodedError('failed', `${peer} answered ${status} without saying why.`, { cause });
  }
  if (!isRecord(value) || typeof value['code'] !== 'string' || typeof value['detail'] !== 'string')
    return new CodedError('failed', `${peer} answered ${status} without saying why.`);
  const advice = value['advice'];
  // A newer version may have more codes than this one; what it says is worth keeping all the same.
  const code = isErrorCode(value['code']) ? value['code'] : 'failed';
  return new CodedError(code, value['detail'], typeof advice === 'string' ? { advice } : {});
}

/** A failure of the connection itself as a CodedError 'unavailable'; a CodedError stays what it is. */
export function connectionError(error: unknown, peer: string): CodedError {
  if (error instanceof CodedError) return error;
  return new CodedError('unavailable', `${peer} cannot be reached: ${messageOf(error)}.`, { cause: error });
}
