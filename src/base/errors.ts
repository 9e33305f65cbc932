/**
 * Expected failures, each with a stable code. A bug is an assertion (see assert.ts), never a CodedError.
 * The message says what happened; `advice` says what was kept and what to do next.
 */

/** Registry of expected failures: code -> HTTP status and title. Tested against docs/operating/errors.md. */
export const ERROR_CODES = {
  'bad-input': { status: 400, title: 'The request is not valid' },
  unauthorized: { status: 401, title: 'A valid token is needed' },
  forbidden: { status: 403, title: 'This identity may not do that' },
  'not-found': { status: 404, title: 'There is no such object' },
  exists: { status: 409, title: 'An object of that name exists' },
  conflict: { status: 409, title: 'The object is in a state that does not allow this' },
  'stale-revision': { status: 412, title: 'The object was changed by somebody else' },
  'stale-order': { status: 409, title: 'An order of an older leader or generation was refused' },
  unsupported: { status: 501, title: 'This version cannot carry out the order' },
  'needs-acceptance': { status: 409, title: 'Somebody must sign for this: it would tie VMs to hosts' },
  'no-capacity': { status: 409, title: 'No host or pool has room for this' },
  'bad-image': { status: 422, title: 'The file is not a usable disk image' },
  'too-large': { status: 413, title: 'The request is larger than allowed' },
  'too-many': { status: 429, title: 'Too many failed attempts' },
  unavailable: { status: 503, title: 'A part that is needed does not answer' },
  deadline: { status: 504, title: 'The deadline passed before an answer came' },
  'not-installed': { status: 500, title: 'A program that is needed is missing on this machine' },
  failed: { status: 500, title: 'The operation failed' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Whether a word from outside is one of our error codes: a newer version may have more codes. */
export function isErrorCode(word: unknown): word is ErrorCode {
  return typeof word === 'string' && Object.hasOwn(ERROR_CODES, word);
}

/** An expected failure. `advice`: what was kept and what to do, shown after the message. */
export class CodedError extends Error {
  override readonly name = 'CodedError';
  readonly code: ErrorCode;
  readonly advice: string | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; advice?: string } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.advice = options.advice;
  }
}

/** One line for a log or a person from any thrown value. */
export function messageOf(error: unknown): string {
  if (error instanceof CodedError)
    return error.advice === undefined ? error.message : `${error.message} ${error.advice}`;
  return error instanceof Error ? error.message : String(error);
}
