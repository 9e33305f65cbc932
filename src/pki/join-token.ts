/**
 * Bearer tokens for people (API) and for hosts that join. Guarantees: 256 random bits each, so that a plain SHA-256 is
 * enough to store; what is stored cannot be used as a token; a prefix by which scanners find a leaked one.
 *
 *   gp_api_<secret>                  for `Authorization: Bearer`
 *   gp_link_<secret>, gp_session_<secret>, gp_ticket_<secret>   what browsers get: one use, a cookie, one use
 *   gp_join_<secret>.<fingerprint>   one use, decided by who stores it; the fingerprint is the authority certificate's,
 *                                    so that the joining host knows whom it gives the secret to
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { CodedError } from '../base/errors.ts';
import { certificateFingerprint } from './tls.ts';

const API_PREFIX = 'gp_api_';
const JOIN_PREFIX = 'gp_join_';
/** Prefixes of the secrets of browsers: of one-time links, sessions' cookies and console tickets. */
const BROWSER_PREFIXES = { link: 'gp_link_', session: 'gp_session_', ticket: 'gp_ticket_' } as const;
const SECRET_BYTES = 32;
/** 32 bytes in base64url, unpadded; the last character holds 4 bits, so only these 16 are canonical. */
const BASE64URL_32 = '[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]';
const JOIN = new RegExp(`^${JOIN_PREFIX}(${BASE64URL_32})\\.(${BASE64URL_32})$`);
const SECRET = new RegExp(`^${BASE64URL_32}$`);
const API = new RegExp(`^${API_PREFIX}${BASE64URL_32}$`);

export interface NewToken {
  /** Shown once, stored nowhere. */
  readonly token: string;
  /** The stored hash: SHA-256, lower-case hexadecimal. */
  readonly tokenSha256: string;
}

export interface JoinToken {
  /** The secret that the joining host presents. */
  readonly secret: string;
  /** SHA-256 of the authority's certificate, base64url. */
  readonly caFingerprint: string;
}

/** A new token for the API. */
export function createApiToken(): NewToken {
  const token = `${API_PREFIX}${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { token, tokenSha256: tokenSha256(token) };
}

/** A new secret for a browser: a one-time link, a session or a console ticket. */
export function createBrowserSecret(kind: keyof typeof BROWSER_PREFIXES): NewToken {
  const token = `${BROWSER_PREFIXES[kind]}${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { token, tokenSha256: tokenSha256(token) };
}

/** Whether the text has the form of a browser's secret; it may still be one that was never given out. */
export function isBrowserSecret(text: string, kind: keyof typeof BROWSER_PREFIXES): boolean {
  const prefix = BROWSER_PREFIXES[kind];
  return text.startsWith(prefix) && SECRET.test(text.slice(prefix.length));
}

/** A new token with which one host can join; the SHA-256 of its secret is stored, and the host presents the secret. */
export function createJoinToken(caPem: string): NewToken {
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  return { token: `${JOIN_PREFIX}${secret}.${certificateFingerprint(caPem)}`, tokenSha256: tokenSha256(secret) };
}

/** Takes a join token apart, at the joining host; CodedError 'bad-input' if it is not valid. */
export function parseJoinToken(text: string): JoinToken {
  const match = JOIN.exec(text.trim());
  const secret = match?.[1];
  const caFingerprint = match?.[2];
  if (secret === undefined || caFingerprint === undefined) {
    throw new CodedError(
      'bad-input',
      `A join token begins with ${JOIN_PREFIX}; this text is no join token, or not a whole one.`,
      {
        advice: 'Nothing was sent. Copy the whole token, or make a new one.',
      },
    );
  }
  return { secret, caFingerprint };
}

/** Whether the text has the form of an API token; it may still be one that was never given out. */
export function isApiToken(text: string): boolean {
  return API.test(text);
}

/** The stored hash of a token or secret, by which it is looked up: SHA-256, lower-case hexadecimal. */
export function tokenSha256(presented: string): string {
  return createHash('sha256').update(presented, 'utf8').digest('hex');
}

/** Whether this is the token of the stored hash; takes the same time wherever they differ. */
export function tokenMatches(presented: string, storedSha256: string): boolean {
  const stored = Buffer.from(storedSha256, 'hex');
  const computed = Buffer.from(tokenSha256(presented), 'hex');
  return stored.length === computed.length && timingSafeEqual(stored, computed);
}
