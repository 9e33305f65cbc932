/** Errors and answers as lines of JSON over sockets and pipes of one machine. Pure. */
import { CodedError, isErrorCode } from './errors.ts';

/** A CodedError as it goes over a socket or pipe. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly advice?: string | undefined;
}

/** Restores the error. A code that this version does not know becomes 'failed'; cause and stack are not transmitted. */
export function fromWire(error: WireError): CodedError {
  const code = isErrorCode(error.code) ? error.code : 'failed';
  return new CodedError(code, error.message, error.advice === undefined ? {} : { advice: error.advice });
}

/**
 * The part of an error that is sent to the other side; an error that is no CodedError becomes 'failed', with its
 * message alone.
 */
export function toWire(error: unknown): WireError {
  if (error instanceof CodedError) return { code: error.code, message: error.message, advice: error.advice };
  return { code: 'failed', message: error instanceof Error ? error.message : String(error) };
}

/**
 * The content of a lab's line of JSON: its result, or the CodedError that it carries; 'unavailable' for half a line.
 */
export function labAnswer(text: string, where: string): unknown {
  if (!text.endsWith('\n')) throw new CodedError('unavailable', `The cluster in ${where} ended before it answered.`);
  const answer = JSON.parse(text) as { readonly result?: unknown; readonly error?: WireError };
  if (answer.error === undefined) return answer.result;
  throw fromWire(answer.error);
}
