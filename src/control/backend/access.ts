/** Access to the cluster: API tokens, join tokens, and joining itself. Only hashes of tokens are kept. */

import type { ApiToken, ApiTokenCreated, Joined, JoinToken } from '../../api/access-views.ts';
import type { CreateJoinToken, Join, PageQuery } from '../../api/requests.ts';
import type { CreateToken } from '../../api/session-requests.ts';
import { CodedError } from '../../base/errors.ts';
import type { PeerIdentity } from '../../base/identity.ts';
import { parseControlName, parseHostName, parseStorageName } from '../../base/ids.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { IssuedCertificate } from '../../base/machine-identity.ts';
import { AUTHORITIES } from '../../core/model/authorities.ts';
import type { TokenRecord } from '../../core/model/cluster.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { Admitted, Basis } from '../../core/request/basis.ts';
import { addressesOf, type Joining, refusal, refuseLost } from '../../core/request/joining.ts';
import { apiTokens, createJoinToken, createToken, deleteToken, joinByToken } from '../../core/request/tokens.ts';
import { createApiToken, createJoinToken as newJoinToken, tokenSha256 } from '../../pki/join-token.ts';
import type { Call, Principal } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { basisOf, change } from './changes.ts';
import { type BackendContext, demandRead } from './context.ts';
import { Freshness } from './freshness.ts';
import { KnownTokens } from './known-tokens.ts';
import type { ControlAddress } from './ports.ts';

/** API tokens, join tokens and joining; refusals are CodedErrors after which nothing was changed. */
export class AccessBackend {
  readonly #context: BackendContext;
  readonly #known: KnownTokens;
  readonly #freshness: Freshness;
  /** Joins run one after the other: of two simultaneous joins with one address, the second sees the first. */
  #lastJoin: Promise<unknown> = Promise.resolve();

  constructor(context: BackendContext, known = new KnownTokens(context)) {
    this.#context = context;
    this.#known = known;
    this.#freshness = new Freshness(context);
  }

  /**
   * Null if no token matches. CodedError 'unavailable' if this node cannot know whether the token is still valid, and
   * before it has read etcd: until then, valid and invalid tokens cannot be told apart.
   */
  async authenticate(token: string): Promise<Principal | null> {
    demandRead(this.#context);
    const found = this.#known.ofToken(token);
    if (found === null) return null;
    // A token in the control nodes' configuration cannot be revoked: it is valid whatever etcd contains.
    if (found.isConfigured) return found.principal;
    await this.#freshness.demand();
    return this.#known.ofToken(token)?.principal ?? null;
  }

  /** As `authenticate`, for the secret of a browser's session. */
  async authenticateSession(secret: string): Promise<Principal | null> {
    if (this.#known.ofSession(secret) === null) return null;
    await this.#freshness.demand();
    return this.#known.ofSession(secret);
  }

  /** Checks the API token or session of a request in progress by its hash, without waiting for etcd. */
  recheck(sha256: string): Principal | null {
    const principal = this.#known.principalOf(sha256);
    if (principal !== null && sha256 !== this.#context.adminTokenSha256) this.#freshness.check();
    return principal;
  }

  /** Lists API tokens by name. */
  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<ApiToken>> {
    const byName = new Map(apiTokens(this.#context.store.tokens.entries).map((record) => [record.name, record]));
    const view = (name: string): ApiToken | null => {
      const record = byName.get(name);
      return record === undefined ? null : tokenView(record);
    };
    return pageOf({ order: new KeyOrder(byName.keys()), view }, query, signal);
  }

  /** CodedError 'exists', or 'forbidden' for a right that `principal` does not have itself. */
  async create(
    { name, backup = false }: CreateToken,
    { principal }: Pick<Call, 'principal'>,
  ): Promise<ApiTokenCreated> {
    this.#context.etcdSpace.demandRoom();
    if (backup && principal.mayBackUp !== true)
      throw new CodedError(
        'forbidden',
        `The token ${principal.name} may not read backups, and gives nobody that right.`,
        {
          advice: 'Nothing was created. Use the administrator’s token.',
        },
      );
    const { token, tokenSha256: sha256 } = createApiToken();
    const record = await change(this.#context, (basis) => createToken(basis, { name, sha256, mayBackUp: backup }));
    return { ...tokenView(record), token };
  }

  async delete(nameOrId: string): Promise<void> {
    await change(this.#context, (basis) => deleteToken(basis, nameOrId));
  }

  async createJoinToken(request: CreateJoinToken): Promise<JoinToken> {
    this.#context.etcdSpace.demandRoom();
    const { token, tokenSha256: sha256 } = newJoinToken(this.#context.authority.pinPem);
    const record = await change(this.#context, (basis) => createJoinToken(basis, { ...request, sha256 }));
    const { role, also, name } = request;
    const expiresAt = new Date(record.expiresAt).toISOString();
    return { token, role, ...(also === undefined ? {} : { also }), name, expiresAt };
  }

  /**
   * Certifies the joiner's key for the identity of its token, and uses the token up in the same transaction. The token
   * is the permission: `unauthorized` if it is not valid.
   */
  async join(request: Join): Promise<Joined> {
    demandRead(this.#context);
    const { authority, etcdEndpoints, etcdMembers, adminTokenSha256, store } = this.#context;
    const identity = identityOf(request);
    const joining: Joining = { ...request, role: identity.kind };
    const join = (basis: Basis, issued: IssuedCertificate | null): Admitted<null> =>
      joinByToken(basis, this.#known.find(tokenSha256(request.token)), { ...joining, issued });
    // A request that cannot be certified must not cost the token.
    join(basisOf(this.#context), null);
    await this.#demandAnswers(joining, request.csrPem);
    const { control: address } = addressesOf(joining);
    const { certPem, issued } = await authority.certify(identity, request.csrPem, address);
    // Before the certificate is handed out: a storage service reads from etcd which disks it may serve. Harmless if the
    // rest fails: nobody holds the name.
    if (identity.kind === 'control' && this.#isRotating)
      throw new CodedError('conflict', 'The authority of the cluster is being changed.', {
        advice: 'Nothing was changed; the token is still good. Try again when `gp authority show` says steady.',
      });
    if (identity.kind === 'storage') refuseLost(this.#context.store.storage.get(identity.name)?.value);
    if (identity.kind === 'storage') await this.#context.etcdReaders.allow(identity.name);
    const work = async (): Promise<readonly ControlAddress[] | null> => {
      // Harmless if the rest fails: a member that never runs has no vote.
      const members = identity.kind === 'control' ? await etcdMembers.add({ name: identity.name, address }) : null;
      await change(this.#context, (basis) => join(basis, issued));
      return members;
    };
    const joined = this.#lastJoin.then(work);
    this.#lastJoin = joined.catch(() => undefined);
    const members = await joined;
    return {
      ...{ certPem, caPem: authority.caPem },
      etcdEndpoints: identity.kind === 'storage' ? [...etcdEndpoints] : [],
      controls: [...store.controls.values()].map(({ value }) => ({ name: value.name, address: value.address })),
      ...(members === null ? {} : { control: { caKeyPem: authority.keyPem, adminTokenSha256, members: [...members] } }),
    };
  }

  get #isRotating(): boolean {
    const record = this.#context.store.authorities.get(AUTHORITIES)?.value;
    return record !== undefined && record.phase !== 'steady';
  }

  /**
   * Refuses a machine that does not answer at its addresses, or that does not prove there that it has the key that is
   * to be certified: another one would be fenced and filtered by its name.
   */
  async #demandAnswers(joining: Joining, requestPem: string): Promise<void> {
    const { control, storage } = addressesOf(joining);
    for (const [network, address] of [
      ['control', control],
      ['storage', storage === control ? undefined : storage],
    ] as const) {
      if (address === undefined) continue;
      const found = await this.#context.addressAnswers(network, address, requestPem);
      const at = `the ${network} address ${address}`;
      if (found === 'silent') throw refusal('bad-input', `Nothing answers at ${at} (TCP port ${PORTS.reachability}).`);
      if (found === 'other')
        throw refusal(
          'conflict',
          `The machine that answers at ${at} does not prove that it is the machine that joins (TCP port ${PORTS.agent}).`,
        );
    }
  }
}

function identityOf({ role, name }: Join): Exclude<PeerIdentity, { kind: 'incarnation' }> {
  if (role === 'host') return { kind: 'host', name: parseHostName(name) };
  if (role === 'storage') return { kind: 'storage', name: parseStorageName(name) };
  return { kind: 'control', name: parseControlName(name) };
}

function tokenView({ id, name, createdAt, mayBackUp }: TokenRecord): ApiToken {
  return { id, name, backup: mayBackUp === true, createdAt: new Date(createdAt).toISOString() };
}
