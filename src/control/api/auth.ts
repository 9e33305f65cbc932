/**
 * Bearer tokens of the API. Guarantees: a valid token is accepted however many failed attempts arrive, from the same
 * address or from others; only failures are counted; a token that failed is never logged or echoed.
 */
import { CodedError } from '../../base/errors.ts';
import type { Backend, Principal } from './backend.ts';

/** Failures an address may have at once, and how fast it regains them. */
const FAILURES_MAX = 20;
const REGAIN_MS = 1_000;
/** The most addresses remembered; the oldest are forgotten first. */
const ADDRESSES_MAX = 10_000;
const TOKEN_CHARS_MAX = 256;

interface Failures {
  count: number;
  at: number;
}

/** Checks bearer tokens for one server. */
export class Authenticator {
  readonly #backend: Backend;
  readonly #now: () => number;
  readonly #failures = new Map<string, Failures>();

  /** `now`: milliseconds of a monotonic clock. */
  constructor(backend: Backend, now: () => number = () => performance.now()) {
    this.#backend = backend;
    this.#now = now;
  }

  /**
   * Returns the principal and the token of an Authorization header. Throws `unauthorized`, `too-many`, or `unavailable`
   * (Backend).
   */
  async principal(
    header: string | undefined,
    address: string,
  ): Promise<{ readonly principal: Principal; readonly token: string }> {
    const token = bearerOf(header);
    if (token === null) {
      throw new CodedError('unauthorized', 'The request has no bearer token.', {
        advice: 'Send "Authorization: Bearer TOKEN"; `gp context show` says where the token is.',
      });
    }
    // A token has 256 random bits, so its hash cannot be guessed: looking it up needs no rate limit first.
    const principal = await this.#backend.authenticate(token);
    if (principal === null) throw this.refusal(address, invalidToken());
    return { principal, token };
  }

  /** Counts a failure of `address` and returns the error for it: `refusal`, or `too-many` after repeated failures. */
  refusal(address: string, refusal: CodedError): CodedError {
    const failures = this.#failing(address);
    this.#failures.delete(address);
    this.#failures.set(address, { count: Math.min(FAILURES_MAX, failures + 1), at: this.#now() });
    const oldest = this.#failures.keys().next();
    if (this.#failures.size > ADDRESSES_MAX && oldest.done === false) this.#failures.delete(oldest.value);
    if (failures < FAILURES_MAX) return refusal;
    return new CodedError('too-many', 'Too many tokens from this address were not valid, and this one is not either.', {
      advice: 'Nothing was changed. A valid token is taken at once.',
    });
  }

  #failing(address: string): number {
    const failures = this.#failures.get(address);
    if (failures === undefined) return 0;
    return Math.max(0, failures.count - Math.floor((this.#now() - failures.at) / REGAIN_MS));
  }
}

/** Returns the error for a token that is invalid or revoked. */
export function invalidToken(): CodedError {
  return new CodedError('unauthorized', 'The token is not valid, or was revoked.', {
    advice: 'Create one with `gp token create NAME`.',
  });
}

function bearerOf(header: string | undefined): string | null {
  const token = /^Bearer +([\x21-\x7e]+)$/i.exec(header ?? '')?.[1];
  return token === undefined || token.length > TOKEN_CHARS_MAX ? null : token;
}
