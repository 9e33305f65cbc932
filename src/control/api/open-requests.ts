/**
 * Requests under way, streams and long polls among them, as long as their tokens are valid. Guarantees: a request whose token was revoked,
 * or of whose token this node cannot know any more whether it is valid (Backend.recheck), is aborted within CHECK_MS of that.
 */
import { CodedError } from '../../base/errors.ts';
import { invalidToken } from './auth.ts';
import type { Backend } from './backend.ts';

const CHECK_MS = 500;

/** The open requests of one server; looks at them only while there are any. */
export class OpenRequests {
  readonly #backend: Backend;
  readonly #open = new Map<AbortController, string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Aborts `abort` when `token` is valid no more. The answer ends that. */
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
