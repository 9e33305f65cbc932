/**
 * Calling off something that is under way, for code without AbortController. Guarantees: it happens once, and its
 * reason stays.
 */
import type { CodedError } from '../../base/errors.ts';

/** A request that may be withdrawn. The code that started the work holds it; the code that does the work listens. */
export class Cancellation {
  #reason: CodedError | null = null;
  readonly #listeners = new Set<(reason: CodedError) => void>();

  /** Why it was called off; null while it is wanted. */
  get reason(): CodedError | null {
    return this.#reason;
  }

  /** Calls it off; a second reason counts for nothing. */
  cancel(reason: CodedError): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener(reason);
  }

  /** Throws the reason once it was called off. */
  throwIfCancelled(): void {
    if (this.#reason !== null) throw this.#reason;
  }

  /** Calls back once, at once where it was called off already. The answer ends the listening. */
  onCancel(listener: (reason: CodedError) => void): () => void {
    if (this.#reason !== null) {
      listener(this.#reason);
      return () => undefined;
    }
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
