/**
 * The meaning of gRPC's errors: whether a call was applied, whether a stream may be opened again, and the matching
 * CodedError.
 */
import { type ServiceError, status } from '@grpc/grpc-js';
import { CodedError } from '../base/errors.ts';
import { EtcdCompacted, forbidden } from './errors.ts';

/**
 * The meaning of a failed call for its request: `refused` — etcd answered no, nothing was applied and asking again
 * gives the same answer; `not-applied` — this member could not take it, another may; `unknown` — it may have been
 * applied.
 */
export type CallOutcome = 'refused' | 'not-applied' | 'unknown';

const REFUSED: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.OUT_OF_RANGE,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.RESOURCE_EXHAUSTED,
]);

/**
 * Texts of a decision: etcd's own, gRPC's of a request that the server found too large, and grpc-js's before sending.
 */
const DECIDED = /^(etcdserver: |grpc: received message larger than max|Attempted to send message)/;

/** Whether an error comes from a call to etcd: an error with gRPC's status as `code`, and `details`. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}

/**
 * Answers to a request that another request has overtaken: users or roles were changed, or authorization was enabled,
 * between taking it in and applying it. etcd checks this before it applies anything; the same request may then succeed.
 */
const OVERTAKEN: ReadonlySet<string> = new Set([
  'etcdserver: revision of auth store is old',
  'etcdserver: user name is empty',
  'etcdserver: invalid auth token',
]);

/** Classifies the error of a call (see CallOutcome). Anything not certainly harmless is `unknown`. */
export function outcomeOf(error: unknown): CallOutcome {
  if (!isServiceError(error)) return 'unknown';
  // The server answers this before it proposes anything, because we ask with `hasleader`.
  if (error.code === status.UNAVAILABLE && error.details === 'etcdserver: no leader') return 'not-applied';
  if (error.code === status.RESOURCE_EXHAUSTED && error.details === 'etcdserver: too many requests')
    return 'not-applied';
  if (OVERTAKEN.has(error.details)) return 'not-applied';
  if (error.code === status.UNIMPLEMENTED) return 'refused';
  return REFUSED.has(error.code) && DECIDED.test(error.details) ? 'refused' : 'unknown';
}

/** Whether a stream ended because of the network or of one member, so that another stream may succeed. */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof CodedError) return error.code === 'unavailable';
  if (isServiceError(error)) return true;
  return error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE';
}

/** The CodedError for a call that etcd refused. */
export function refusal(error: unknown, what: string): CodedError {
  const details = isServiceError(error) ? error.details : String(error);
  if (/has been compacted/.test(details)) return new EtcdCompacted(0, error);
  const message = `etcd refused ${what}: ${details}.`;
  if (/permission denied/.test(details)) return forbidden(message, error);
  if (/(user|role) name not found/.test(details)) return new CodedError('not-found', message, { cause: error });
  if (/(user|role) name already exists/.test(details)) return new CodedError('exists', message, { cause: error });
  if (/lease not found/.test(details)) return new CodedError('not-found', message, { cause: error });
  if (/too large|larger than max|too many operations/.test(details)) {
    return new CodedError('too-large', message, { cause: error });
  }
  if (/database space exceeded/.test(details)) {
    const advice = 'Nothing was changed. Compact and defragment etcd, or raise its quota, then disarm the alarm.';
    return new CodedError('unavailable', message, { cause: error, advice });
  }
  return new CodedError('failed', message, { cause: error });
}
