/** Errors from the wire: problem details (base/problem.ts) back into the CodedError they were made from. */

import { CodedError, isErrorCode, messageOf } from '../base/errors.ts';
import { isRecord } from './parse.ts';

/** The CodedError in an answer that is not a success; 'failed' with the status if the body is not in our format. */
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
  // A newer version may have more codes than this one; its message is worth keeping nevertheless.
  const code = isErrorCode(value['code']) ? value['code'] : 'failed';
  return new CodedError(code, value['detail'], typeof advice === 'string' ? { advice } : {});
}

/** A failure of the connection itself as a CodedError 'unavailable'; a CodedError stays what it is. */
export function connectionError(error: unknown, peer: string): CodedError {
  if (error instanceof CodedError) return error;
  return new CodedError('unavailable', `${peer} cannot be reached: ${messageOf(error)}.`, { cause: error });
}
