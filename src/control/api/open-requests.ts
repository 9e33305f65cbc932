/**
 * Keeps track of requests in progress (streams and long polls among them) and their callers. Guarantees: a request is
 * aborted within CHECK_MS after its token was revoked or its session has ended, or after this node can no longer know
 * (AccessBackend.recheck).
 */
import { CodedError } from '../../base/errors.ts';
import type { Backend } from '../backend/backend.ts';
import { invalidSession, invalidToken } from './auth.ts';
import type { Principal } from './call.ts';

const CHECK_MS = 500;

/** The open requests of one server; they are checked only while there are any. */
export class OpenRequests {
  readonly #backend: Backend;
  readonly #open = new Map<AbortController, Principal>();
  #timer: NodeJS.Timeout | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Registers a request: `abort` is aborted when its principal no longer counts. The result unregisters it. */
  add(principal: Principal, abort: AbortController): () => void {
    this.#open.set(abort, principal);
    this.#timer ??= setInterval(() => this.#look(), CHECK_MS);
    return () => {
      this.#open.delete(abort);
      if (this.#open.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  #look(): void {
    const refusals = new Map<string | undefined, CodedError | null>();
    for (const [abort, principal] of this.#open) {
      const known = refusals.get(principal.sha256);
      const refusal = known === undefined ? this.#refusalOf(principal) : known;
      refusals.set(principal.sha256, refusal);
      if (refusal !== null) abort.abort(refusal);
    }
  }

  #refusalOf({ sha256 = '', session = null }: Principal): CodedError | null {
    try {
      if (this.#backend.access.recheck(sha256) !== null) return null;
      return session === null ? invalidToken() : invalidSession();
    } catch (error) {
      return error instanceof CodedError
        ? error
        : new CodedError('failed', 'The token could not be checked.', { cause: error });
    }
  }
}
