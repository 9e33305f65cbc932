/** Exit codes of the command (documented in docs/operating/cli.md) and how an error is shown to a person. */
import { CodedError, type ErrorCode, messageOf } from '../base/errors.ts';
import { printable, printableLines } from '../base/printable.ts';

export const EXIT = {
  ok: 0,
  failed: 1,
  badInput: 2,
  prerequisites: 3,
  notFound: 4,
  conflict: 5,
  unreachable: 6,
  timedOut: 7,
  interrupted: 130,
} as const;

const BY_CODE: Readonly<Record<ErrorCode, number>> = {
  'bad-input': EXIT.badInput,
  'too-large': EXIT.badInput,
  'bad-image': EXIT.badInput,
  unauthorized: EXIT.failed,
  forbidden: EXIT.failed,
  'too-many': EXIT.failed,
  failed: EXIT.failed,
  unsupported: EXIT.failed,
  'not-installed': EXIT.prerequisites,
  'not-found': EXIT.notFound,
  exists: EXIT.conflict,
  conflict: EXIT.conflict,
  'stale-revision': EXIT.conflict,
  'stale-order': EXIT.conflict,
  'no-capacity': EXIT.conflict,
  'needs-acceptance': EXIT.conflict,
  unavailable: EXIT.unreachable,
  deadline: EXIT.timedOut,
};

/** Thrown when the person pressed Ctrl-C; the message says which work continues nevertheless. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** The exit code for any thrown value. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return EXIT.interrupted;
  return error instanceof CodedError ? BY_CODE[error.code] : EXIT.failed;
}

/** One message: what happened, what was kept, what to do. `debug` adds stacks and causes. */
export function explain(error: unknown, debug: boolean): string {
  const advice =
    error instanceof CodedError || error instanceof Interrupted ? '' : ' This is a bug; GP_DEBUG=1 shows where.';
  const text = `gp: ${printable(messageOf(error))}${advice}\n`;
  return debug ? `${text}${printableLines(traces(error))}` : text;
}

const CAUSES_MAX = 5;

function traces(error: unknown): string {
  let text = '';
  let at: unknown = error;
  for (let depth = 0; depth < CAUSES_MAX && at instanceof Error; depth += 1) {
    text += `${depth === 0 ? '' : 'caused by '}${at.stack ?? at.message}\n`;
    at = at.cause;
  }
  return text;
}
