/**
 * Bearer tokens of the API. Guarantees: a token that failed is never logged or echoed; an address that fails often is refused
 * without its tokens being looked at, except tokens that were valid before in this process (so that nobody can lock others out).
 */
import { createHash } from 'node:crypto';
import { CodedError } from '../../base/errors.ts';
import type { Backend, Principal } from './backend.ts';

/** Failures an address may have at once, and how fast it regains them. */
const FAILURES_MAX = 20;
const REGAIN_MS = 1_000;
/** Addresses and known tokens remembered; the oldest are forgotten first. */
const ADDRESSES_MAX = 10_000;
const KNOWN_MAX = 1_000;
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
  readonly #known = new Set<string>();

  /** `now`: milliseconds of a monotonic clock. */
  constructor(backend: Backend, now: () => number = () => performance.now()) {
    this.#backend = backend;
    this.#now = now;
  }

  /** The principal of an Authorization header's value. Throws `unauthorized` or `too-many`. */
  async principal(header: string | undefined, address: string): Promise<Principal> {
    const token = bearerOf(header);
    if (token === null) {
      throw new CodedError('unauthorized', 'The request has no bearer token.', {
        advice: 'Send "Authorization: Bearer TOKEN"; `gp context show` says where the token is.',
      });
    }
    const digest = createHash('sha256').update(token).digest('base64');
    if (!this.#known.has(digest) && this.#failing(address) >= FAILURES_MAX) {
      throw new CodedError('too-many', 'Too many tokens from this address were not valid.', {
        advice: 'Wait some seconds, then try again with a valid token.',
      });
    }
    const principal = await this.#backend.authenticate(token);
    if (principal === null) {
      this.#known.delete(digest);
      this.failed(address);
      throw new CodedError('unauthorized', 'The token is not valid, or was revoked.', {
        advice: 'Create one with `gp token create NAME`.',
      });
    }
    remember(this.#known, digest);
    return principal;
  }

  /** Counts a failure of `address` (a wrong one-time token counts too). */
  failed(address: string): void {
    const count = Math.min(FAILURES_MAX, this.#failing(address) + 1);
    this.#failures.delete(address);
    this.#failures.set(address, { count, at: this.#now() });
    const oldest = this.#failures.keys().next();
    if (this.#failures.size > ADDRESSES_MAX && oldest.done === false) this.#failures.delete(oldest.value);
  }

  /** Throws `too-many` where `address` has used up its failures. */
  demandPatience(address: string): void {
    if (this.#failing(address) >= FAILURES_MAX) {
      throw new CodedError('too-many', 'Too many tokens from this address were not valid.', {
        advice: 'Wait some seconds, then try again with a valid token.',
      });
    }
  }

  #failing(address: string): number {
    const failures = this.#failures.get(address);
    if (failures === undefined) return 0;
    return Math.max(0, failures.count - Math.floor((this.#now() - failures.at) / REGAIN_MS));
  }
}

function bearerOf(header: string | undefined): string | null {
  const token = /^Bearer +([\x21-\x7e]+)$/i.exec(header ?? '')?.[1];
  return token === undefined || token.length > TOKEN_CHARS_MAX ? null : token;
}

function remember(known: Set<string>, digest: string): void {
  known.delete(digest);
  known.add(digest);
  const oldest = known.keys().next();
  if (known.size > KNOWN_MAX && oldest.done === false) known.delete(oldest.value);
}
