/** Sessions of browsers, one-time links and console tickets: made by core/request/sessions.ts, of which etcd keeps hashes. */

import type { ConsoleTicket, Session, SessionLink } from '../../api/access-views.ts';
import type { PageQuery } from '../../api/requests.ts';
import type { BeginSession, ConsoleTicketRequest } from '../../api/session-requests.ts';
import { CodedError } from '../../base/errors.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { TokenRecord } from '../../core/model/cluster.ts';
import { recordsOf } from '../../core/model/cluster-index.ts';
import { findVm } from '../../core/request/basis.ts';
import {
  beginSession,
  beginSessionByLink,
  createLink,
  createTicket,
  endSession,
  endSessions,
  type From,
  type Opens,
  type Parent,
  useTicket,
} from '../../core/request/sessions.ts';
import { createBrowserSecret, isBrowserSecret, tokenSha256 } from '../../pki/join-token.ts';
import type { BegunSession, Call, Principal } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import type { AccessBackend } from './access.ts';
import { change } from './changes.ts';
import type { ConsoleWish } from './consoles.ts';
import { type BackendContext, demandRead } from './context.ts';
import type { KnownTokens } from './known-tokens.ts';

/**
 * How long this node waits for a secret that it does not know yet, in ms: another node may have made it a moment ago.
 */
const APPEARS_MS = 300;

/** See the module's comment. */
export class SessionsBackend {
  readonly #context: BackendContext;
  readonly #known: KnownTokens;
  readonly #access: Pick<AccessBackend, 'authenticate' | 'authenticateSession' | 'recheck'>;

  constructor(
    context: BackendContext,
    known: KnownTokens,
    access: Pick<AccessBackend, 'authenticate' | 'authenticateSession' | 'recheck'>,
  ) {
    this.#context = context;
    this.#known = known;
    this.#access = access;
  }

  /** As `AccessBackend.authenticate`, for the secret in a browser's cookie. */
  async authenticate(secret: string): Promise<Principal | null> {
    demandRead(this.#context);
    await this.untilKnown(tokenSha256(secret), new AbortController().signal);
    return this.#access.authenticateSession(secret);
  }

  /** Begins a session by an API token or a one-time link (`unauthorized`); `no-capacity` where there are too many. */
  async beginSession(request: BeginSession, from: From): Promise<BegunSession> {
    demandRead(this.#context);
    this.#context.etcdSpace.demandRoom();
    const { token: cookie, tokenSha256: sha256 } = createBrowserSecret('session');
    const session = { sha256, from };
    if ('link' in request) {
      const record = await change(this.#context, (basis) =>
        beginSessionByLink(basis, this.#known.find(tokenSha256(request.link)), session),
      );
      return { cookie, session: sessionView(record, record) };
    }
    const principal = await this.#access.authenticate(request.token);
    if (principal === null)
      throw new CodedError('unauthorized', 'The token is not valid, or was revoked.', {
        advice: 'Use another one, or a link: "gp ui" prints one.',
      });
    const parent = parentOf(principal);
    const record = await change(this.#context, (basis) => beginSession(basis, parent, session));
    return { cookie, session: sessionView(record, record) };
  }

  async createSessionLink({ principal }: Call): Promise<SessionLink> {
    this.#context.etcdSpace.demandRoom();
    const { token: link, tokenSha256: sha256 } = createBrowserSecret('link');
    const parent = this.#rootOf(principal);
    const { expiresAt } = await change(this.#context, (basis) => createLink(basis, parent, sha256));
    // After the '#': browsers send this part to no server, and it appears in no log.
    return { link, path: `/login#${link}`, expiresAt: timeOf(expiresAt) };
  }

  listSessions(query: PageQuery, { principal, signal }: Call): Promise<Page<Session>> {
    const own = this.#known.find(principal.sha256 ?? '');
    const { tokens } = this.#context.store;
    const order = new KeyOrder(
      [...recordsOf(tokens.entries)].filter(({ kind }) => kind === 'session').map(({ id }) => id),
    );
    const view = (id: string): Session | null => {
      const record = tokens.get(id)?.value;
      if (record === undefined || this.#known.principalOf(record.sha256) === null) return null;
      return sessionView(record, own);
    };
    return pageOf({ order, view }, query, signal);
  }

  /** CodedError 'not-found'. */
  async endSession(id: string): Promise<void> {
    await change(this.#context, (basis) => endSession(basis, id));
  }

  /** Ends every session of the caller's name. */
  async endSessions({ principal }: Call): Promise<void> {
    await change(this.#context, (basis) => endSessions(basis, ({ name }) => name === principal.name));
  }

  async createConsoleTicket(vm: string, request: ConsoleTicketRequest, { principal }: Call): Promise<ConsoleTicket> {
    this.#context.etcdSpace.demandRoom();
    const { token: ticket, tokenSha256: sha256 } = createBrowserSecret('ticket');
    const { console = 'serial', takeOver = false, readOnly } = request;
    if (takeOver && readOnly !== undefined)
      throw new CodedError('bad-input', 'Whoever takes a console over does not only read it.', {
        advice: 'Nothing was changed. Leave "takeOver" or "readOnly" out.',
      });
    const parent = parentOf(principal);
    const { expiresAt } = await change(this.#context, (basis) => {
      const { id } = findVm(basis.records, vm).value;
      return createTicket(basis, parent, {
        sha256,
        opens: { vm: id, console, takeOver, ...(readOnly === undefined ? {} : { readOnly }) },
      });
    });
    const name = findVm(snapshotOf(this.#context.store), vm).value.name;
    return { ticket, path: `/v1/vms/${name}/${console}?ticket=${ticket}`, expiresAt: timeOf(expiresAt) };
  }

  /** Uses a ticket up; `unauthorized` unless it opens this console of this VM. */
  async useConsoleTicket(
    secret: string,
    wanted: { readonly vm: string; readonly console: Opens['console'] },
    { signal }: Pick<Call, 'signal'>,
  ): Promise<{ readonly principal: Principal; readonly wish: ConsoleWish }> {
    demandRead(this.#context);
    const sha256 = tokenSha256(secret);
    if (isBrowserSecret(secret, 'ticket')) await this.untilKnown(sha256, signal);
    const { parent, wish } = await change(this.#context, (basis) => useTicket(basis, this.#known.find(sha256), wanted));
    const principal = this.#access.recheck(parent.sha256);
    if (principal === null) throw invalidSession();
    return { principal, wish };
  }

  /** Waits a moment for a secret that another node may just have made. */
  async untilKnown(sha256: string, signal: AbortSignal): Promise<void> {
    const isKnown = (): true | undefined => (this.#known.find(sha256) === undefined ? undefined : true);
    if (isKnown() === true) return;
    await this.#context.store
      .waitFor(isKnown, { deadlineMs: APPEARS_MS, signal, what: 'The secret' })
      .catch(() => undefined);
  }

  /** The API token that somebody uses, directly or by a session: a link from a session outlives that session. */
  #rootOf({ name, sha256 }: Principal): Parent {
    const record = this.#known.find(sha256 ?? '');
    return { name, sha256: record?.kind === 'session' ? (record.parent ?? '') : (sha256 ?? '') };
  }
}

const invalidSession = (): CodedError =>
  new CodedError('unauthorized', 'The session has ended.', { advice: 'Log in again.' });

function parentOf({ name, sha256 = '' }: Principal): Parent {
  return { name, sha256 };
}

const timeOf = (ms: number | null): string => new Date(ms ?? 0).toISOString();

/** A session for people; `own`: that of the request. */
function sessionView(record: TokenRecord, own: TokenRecord | undefined): Session {
  const { id, name, createdAt, expiresAt, from } = record;
  return {
    id,
    name,
    createdAt: timeOf(createdAt),
    expiresAt: timeOf(expiresAt),
    address: from?.address ?? '',
    agent: from?.agent ?? '',
    current: own?.id === id,
  };
}
