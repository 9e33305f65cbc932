/**
 * What can go wrong between us and etcd, told apart by the one question that matters: was the request applied?
 * `EtcdUnavailable`: certainly not. `EtcdDeadlineUnknown`: unknown, read before repeating. `EtcdCompacted`: the
 * requested history is gone, list again.
 */
import { CodedError } from '../base/errors.ts';

/** No etcd member answered in time (code `unavailable`). Nothing was changed; the same call may be repeated. */
export class EtcdUnavailable extends CodedError {
  constructor(message: string, cause?: unknown) {
    super('unavailable', message, {
      cause,
      advice: 'Nothing was changed. Check that a majority of the etcd members runs and can be reached.',
    });
  }
}

/**
 * A transaction was sent and no answer came (code `deadline`): it may have been applied, may be applied a moment later,
 * or never. Read the keys (an operation id in the value says whose write it was) before repeating it.
 */
export class EtcdDeadlineUnknown extends CodedError {
  constructor(message: string, cause?: unknown) {
    super('deadline', message, { cause, advice: 'It may or may not have been applied: read before repeating it.' });
  }
}

/** The revisions asked for were compacted away (code `failed`). List again, then watch from the list's revision. */
export class EtcdCompacted extends CodedError {
  /** The oldest revision that can still be read, or 0 where etcd did not say. */
  readonly compactRevision: number;

  constructor(compactRevision: number, cause?: unknown) {
    super('failed', `etcd has compacted its history up to revision ${compactRevision}.`, {
      cause,
      advice: 'Nothing was changed. List again, then watch from the revision of the list.',
    });
    this.compactRevision = compactRevision;
  }
}

/** A stream broke for reasons of the network or of one member (code `unavailable`): another stream may do better. */
export class EtcdStreamLost extends CodedError {
  constructor(message: string, cause?: unknown) {
    super('unavailable', message, { cause, advice: 'It is opened again by itself.' });
  }
}

/** The CodedError for an identity that etcd does not let do this (see authorization.ts). */
export function forbidden(message: string, cause: unknown): CodedError {
  const advice =
    'Nothing was changed. The common name of the certificate is no user of etcd, or none that may do this: check which certificate is used.';
  return new CodedError('forbidden', message, { cause, advice });
}
