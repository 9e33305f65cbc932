/**
 * Reads the browser's headers: the cookie of a session, and the origin of a request. Guarantees: a request of another
 * origin is refused, whatever it carries (WebSockets too, whose handshakes no browser holds back); a request that
 * counts by its cookie alone was made by a page of this server.
 * Sources: RFC 6265bis (`__Host-`, SameSite), the Fetch standard (Origin, Sec-Fetch-Site).
 */
import type { IncomingHttpHeaders } from 'node:http';
import { CodedError } from '../../base/errors.ts';

/**
 * Cookies know no port: two clusters behind one address would overwrite each other's. `__Host-` lets browsers take it
 * only from this host, over TLS, for all paths.
 */
const COOKIE = '__Host-groundplane-';
const SECRET = /^[A-Za-z0-9_-]{1,128}$/;
const ATTRIBUTES = 'Path=/; HttpOnly; Secure; SameSite=Strict';
/** Methods that change nothing (RFC 9110, 9.2.1). */
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** The part of a request that these questions are about. */
export interface FromBrowser {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  /** Host and port as the browser knows the control node that it reached. */
  readonly host: string;
  /** Whether the browser came over TLS. */
  readonly isSecure: boolean;
}

/** Returns the secret of a session's cookie; null without one. */
export function sessionCookie({ headers, host }: Pick<FromBrowser, 'headers' | 'host'>): string | null {
  const wanted = nameAt(host);
  for (const pair of (headers.cookie ?? '').split(';')) {
    const at = pair.indexOf('=');
    const value = pair.slice(at + 1).trim();
    if (pair.slice(0, Math.max(0, at)).trim() === wanted && SECRET.test(value)) return value;
  }
  return null;
}

/** A Set-Cookie header that gives the browser a session, for `maxAgeMs`. */
export function cookieOf(host: string, secret: string, maxAgeMs: number): string {
  return `${nameAt(host)}=${secret}; Max-Age=${Math.floor(maxAgeMs / 1_000)}; ${ATTRIBUTES}`;
}

/** A Set-Cookie header that takes the session's cookie back. */
export function noCookie(host: string): string {
  return `${nameAt(host)}=; Max-Age=0; ${ATTRIBUTES}`;
}

/** Host and port as a client knows this server (RFC 9110, 7.2; `:authority` with HTTP/2). */
export function hostOf(headers: IncomingHttpHeaders): string {
  const authority = headers[':authority'];
  return headers.host ?? (typeof authority === 'string' ? authority : '');
}

/** CodedError 'forbidden' for a request that a page of another origin has made. */
export function demandOwnOrigin({ headers, host, isSecure }: FromBrowser): void {
  const { origin } = headers;
  if (origin === undefined || origin === `${isSecure ? 'https' : 'http'}://${host}`) return;
  throw foreign('The request comes from a page of another origin.');
}

/** CodedError 'forbidden' unless a page of this server made a request that has no other permission than its cookie. */
export function demandOwnPage({ method, headers }: FromBrowser): void {
  const site = headers['sec-fetch-site'];
  const isSafe = SAFE.has(method);
  // Browsers send Origin with every unsafe request, and `none` where a person typed the address.
  if (site === 'same-origin' || (site === 'none' && isSafe)) return;
  if (site === undefined && (isSafe || headers.origin !== undefined)) return;
  throw foreign('The request has a session’s cookie and was not made by a page of this server.');
}

const foreign = (message: string): CodedError =>
  new CodedError('forbidden', message, {
    advice: 'Nothing was changed. Programs send an API token in the header Authorization, and no Origin.',
  });

const nameAt = (host: string): string => `${COOKIE}${/:([0-9]{1,5})$/.exec(host)?.[1] ?? '443'}`;
