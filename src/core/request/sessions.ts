/**
 * Sessions of browsers: a one-time link or an API token begins one, and a ticket opens one console of it. Pure; only
 * hashes of secrets are known here. Guarantees: a link and a ticket can be used once, because the transaction that uses
 * them deletes them; everything derived from a token or session becomes invalid with it; the number of sessions is
 * bounded for each token.
 */
import { CodedError } from '../../base/errors.ts';
import type { TokenRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { LIMITS } from '../model/limits.ts';
import type { Change } from '../ports/store.ts';
import { type Admitted, type Basis, findVm } from './basis.ts';

/** How long a session lasts, in ms: a little longer than a working day. */
const SESSION_MS = 12 * 3_600_000;
/** How long a one-time link can be used, in ms: time to start a browser. */
const LINK_MS = 15 * 60_000;
/** How long a ticket can be used, in ms: time to open a WebSocket. */
const TICKET_MS = 30_000;
/** Expired records that go with each new one. */
const EXPIRED_AT_ONCE = 50;

const KINDS: ReadonlySet<TokenRecord['kind']> = new Set(['link', 'session', 'ticket']);

/** Whether the record is a browser's: a link, a session or a ticket. */
const isOfBrowser = ({ kind }: TokenRecord): boolean => KINDS.has(kind);

/** The API token (or session) with this hash and name, from which a link, session or ticket is derived. */
export interface Parent {
  readonly name: string;
  /** SHA-256 of the token or session. */
  readonly sha256: string;
}

/** Where a session is begun from, as its owner sees it in the list of sessions. */
export type From = NonNullable<TokenRecord['from']>;

/** A new one-time link for the owner of a token. CodedError 'no-capacity'. */
export function createLink(basis: Basis, parent: Parent, sha256: string): Admitted<TokenRecord> {
  const value = recordOf(basis, { kind: 'link', parent, sha256, validMs: LINK_MS });
  return { changes: [...roomFor(basis, value), tokenChange(value)], result: value };
}

/** A new session for the owner of a token. CodedError 'no-capacity'. */
export function beginSession(basis: Basis, parent: Parent, { sha256, from }: NewSession): Admitted<TokenRecord> {
  const value = { ...recordOf(basis, { kind: 'session', parent, sha256, validMs: SESSION_MS }), from };
  return { changes: [...roomFor(basis, value), tokenChange(value)], result: value };
}

export interface NewSession {
  /** SHA-256 of what the cookie will hold. */
  readonly sha256: string;
  readonly from: From;
}

/**
 * Begins a session with a one-time link, which is used up; undefined: there is no link with that hash. CodedError
 * 'unauthorized', 'no-capacity'.
 */
export function beginSessionByLink(
  basis: Basis,
  link: TokenRecord | undefined,
  session: NewSession,
): Admitted<TokenRecord> {
  const { id, name, parent } = usable(basis, link, 'link');
  const begun = beginSession(basis, { name, sha256: parent }, session);
  return { ...begun, changes: [...begun.changes.filter((change) => change.id !== id), deletion(id)] };
}

/** A new ticket for a console of a session or token. CodedError 'no-capacity'. */
export function createTicket(
  basis: Basis,
  parent: Parent,
  { sha256, opens }: { readonly sha256: string; readonly opens: Opens },
): Admitted<TokenRecord> {
  const value = { ...recordOf(basis, { kind: 'ticket', parent, sha256, validMs: TICKET_MS }), opens };
  return { changes: [...roomFor(basis, value), tokenChange(value)], result: value };
}

/** The console that a ticket opens. */
export type Opens = NonNullable<TokenRecord['opens']>;

/** Uses a ticket up; CodedError 'unauthorized' unless it opens this console of this VM (a name or id). */
export function useTicket(
  basis: Basis,
  ticket: TokenRecord | undefined,
  wanted: { readonly vm: string; readonly console: Opens['console'] },
): Admitted<{ readonly parent: Parent; readonly wish: Pick<Opens, 'takeOver' | 'readOnly'> }> {
  const { id, name, parent, opens } = usable(basis, ticket, 'ticket');
  // The ticket first: without one, a caller must not learn whether a VM exists.
  if (opens?.console !== wanted.console || findVm(basis.records, wanted.vm).value.id !== opens.vm)
    throw refused('ticket');
  const { vm: _vm, console: _console, ...wish } = opens;
  return { changes: [deletion(id)], result: { parent: { name, sha256: parent }, wish } };
}

/**
 * Ends sessions; sessions that are gone already count as ended. The consoles and streams that they opened end with
 * them.
 */
export function endSessions({ records }: Basis, isMeant: (session: TokenRecord) => boolean): Admitted<number> {
  const sessions = [...recordsOf(records.tokens)].filter((record) => record.kind === 'session' && isMeant(record));
  return { changes: sessions.map(({ id }) => deletion(id)), result: sessions.length };
}

/** Ends one session by its id. CodedError 'not-found'. */
export function endSession(basis: Basis, id: string): Admitted<null> {
  const { changes } = endSessions(basis, (session) => session.id === id);
  if (changes.length === 0)
    throw new CodedError('not-found', `There is no session ${id}.`, { advice: 'It may have ended already.' });
  return { changes, result: null };
}

/** Everything that becomes invalid with a token or session: its links, sessions and tickets. */
export function derivedFrom(records: Basis['records'], sha256: string): readonly Change[] {
  return [...recordsOf(records.tokens)].filter(({ parent }) => parent === sha256).map(({ id }) => deletion(id));
}

function recordOf(
  { now, randomHex }: Basis,
  made: {
    readonly kind: 'link' | 'session' | 'ticket';
    readonly parent: Parent;
    readonly sha256: string;
    readonly validMs: number;
  },
): TokenRecord {
  const { kind, parent, sha256, validMs } = made;
  return {
    id: `${kind}-${randomHex(6)}`,
    kind,
    name: parent.name,
    sha256,
    role: null,
    createdAt: now,
    expiresAt: now + validMs,
    parent: parent.sha256,
  };
}

/**
 * Deletes sessions that have expired, and the oldest of the same token if it has too many. CodedError 'no-capacity'.
 */
function roomFor({ records, now }: Basis, { parent }: TokenRecord): readonly Change[] {
  const all = [...recordsOf(records.tokens)].filter(isOfBrowser);
  const isOver = ({ expiresAt }: TokenRecord): boolean => expiresAt !== null && expiresAt <= now;
  const over = all.filter(isOver);
  const own = all.filter((record) => record.parent === parent && !isOver(record));
  const tooMany = own.length + 1 - LIMITS.sessionsOfToken.max;
  const oldest = tooMany <= 0 ? [] : own.sort((a, b) => a.createdAt - b.createdAt).slice(0, tooMany);
  const gone = [...oldest, ...over.slice(0, EXPIRED_AT_ONCE)];
  if (all.length - gone.length >= LIMITS.sessions.max)
    throw new CodedError('no-capacity', `${LIMITS.sessions.max} sessions and links exist already.`, {
      advice: 'Nothing was created. End sessions that nobody needs, or wait until some expire.',
    });
  return gone.map(({ id }) => deletion(id));
}

/** The record, with its parent, if it can be used now. CodedError 'unauthorized'. */
function usable(
  { now }: Pick<Basis, 'now'>,
  record: TokenRecord | undefined,
  kind: 'link' | 'ticket',
): TokenRecord & { readonly parent: string } {
  const { parent } = record ?? {};
  if (record?.kind !== kind || parent === undefined || (record.expiresAt ?? 0) <= now) throw refused(kind);
  return { ...record, parent };
}

function refused(kind: 'link' | 'ticket'): CodedError {
  return kind === 'link'
    ? new CodedError('unauthorized', 'This log-in link is not valid: it was used, or it has expired.', {
        advice: 'Make a new one with "gp ui".',
      })
    : new CodedError('unauthorized', 'This console ticket is not valid: it was used, or it has expired.', {
        advice: 'Open the console anew.',
      });
}

const tokenChange = (value: TokenRecord): Change => ({ kind: 'token', id: value.id, value });
const deletion = (id: string): Change => ({ kind: 'token', id, value: null });
