/**
 * Keeps track of requests in progress (streams and long polls among them) and their tokens. Guarantees: a request is
 * aborted within CHECK_MS after its token was revoked, or after this node can no longer know whether the token is valid
 * (Backend.recheck).
 */
import { CodedError } from '../../base/errors.ts';
import { invalidToken } from './auth.ts';
import type { Backend } from './backend.ts';

const CHECK_MS = 500;

/** The open requests of one server; tokens are checked only while requests are open. */
export class OpenRequests {
  readonly #backend: Backend;
  readonly #open = new Map<AbortController, string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Registers a request: `abort` is aborted when `token` is no longer valid. The returned function unregisters it. */
  add(token: string, abort: AbortController): () => void {
    this.#open.set(abort, token);
    this.#timer ??= setInterval(() => this.#look(), CHECK_MS);
    return () => {
      this.#open.delete(abort);
      if (this.#open.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  #look(): void {
    const refusals = new Map<string, CodedError | null>();
    for (const [abort, token] of this.#open) {
      const known = refusals.get(token);
      const refusal = known === undefined ? this.#refusalOf(token) : known;
      refusals.set(token, refusal);
      if (refusal !== null) abort.abort(refusal);
    }
  }

  #refusalOf(token: string): CodedError | null {
    try {
      return this.#backend.recheck(token) === null ? invalidToken() : null;
    } catch (error) {
      return error instanceof CodedError
        ? error
        : new CodedError('failed', 'The token could not be checked.', { cause: error });
    }
  }
}
