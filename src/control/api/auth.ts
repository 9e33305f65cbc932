/**
 * Bearer tokens and sessions of the API. Guarantees: a valid token is accepted however many failed attempts arrive, from the same
 * address or from others; only failures are counted; a token that failed is never logged or echoed.
 */
import { CodedError } from '../../base/errors.ts';
import type { Backend } from '../backend/backend.ts';
import { demandOwnPage, type FromBrowser, sessionCookie } from './browser.ts';
import type { Principal } from './call.ts';
import type { Sender } from './forward.ts';

/** Failures an address may have at once, and how fast it regains them. */
const FAILURES_MAX = 20;
const REGAIN_MS = 1_000;
/** The most addresses remembered; the oldest are forgotten first. */
const ADDRESSES_MAX = 10_000;
const TOKEN_CHARS_MAX = 256;

/** A request, as far as it says who asks. */
export interface Asking {
  readonly from: FromBrowser;
  readonly sender: Sender;
}

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
   * Returns who asks: by the token of the header Authorization, or else by a browser's session. Throws `unauthorized`,
   * `forbidden`, `too-many`, or `unavailable` (AccessBackend).
   */
  async principal({ from, sender }: Asking): Promise<Principal> {
    const token = bearerOf(from.headers.authorization);
    if (token !== null) {
      // A token has 256 random bits, so its hash cannot be guessed: looking it up needs no rate limit first.
      const principal = await this.#backend.access.authenticate(token);
      if (principal === null) throw this.refusal(sender.address, invalidToken());
      return principal;
    }
    const secret = from.headers.authorization === undefined ? sessionCookie(from) : null;
    if (secret === null)
      throw new CodedError('unauthorized', 'The request has no bearer token, and no session.', {
        advice:
          'Send "Authorization: Bearer TOKEN"; `gp context show` says where the token is. Browsers log in: `gp ui`.',
      });
    // The node that the browser reached has looked already, and it alone knows under which name.
    if (!sender.isForwarded) demandOwnPage(from);
    const principal = await this.#backend.sessions.authenticate(secret);
    if (principal === null) throw this.refusal(sender.address, invalidSession());
    return principal;
  }

  /** Counts a failure of `address` and returns the error for it: `refusal`, or `too-many` after repeated failures. */
  refusal(address: string, refusal: CodedError): CodedError {
    const failures = this.#failing(address);
    this.#failures.delete(address);
    this.#failures.set(address, { count: Math.min(FAILURES_MAX, failures + 1), at: this.#now() });
    const oldest = this.#failures.keys().next();
    if (this.#failures.size > ADDRESSES_MAX && oldest.done === false) this.#failures.delete(oldest.value);
    if (failures < FAILURES_MAX) return refusal;
    return new CodedError('too-many', 'Too many invalid tokens came from this address, and this one is invalid, too.', {
      advice: 'Nothing was changed. A valid token is taken at once.',
    });
  }

  #failing(address: string): number {
    const failures = this.#failures.get(address);
    if (failures === undefined) return 0;
    return Math.max(0, failures.count - Math.floor((this.#now() - failures.at) / REGAIN_MS));
  }
}

/** Returns the error for a session that has ended. */
export function invalidSession(): CodedError {
  return new CodedError('unauthorized', 'The session has ended.', { advice: 'Log in again: `gp ui` makes a link.' });
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
