/**
 * The secrets that this node knows, by their hashes: the administrator's token, API tokens, sessions of browsers, links
 * and tickets. Guarantees: what comes from another secret counts only while that one does; the cost of a lookup does
 * not depend on how many there are.
 */
import type { TokenRecord } from '../../core/model/cluster.ts';
import { PREFIX } from '../../core/model/keys.ts';
import { tokenMatches, tokenSha256 } from '../../pki/join-token.ts';
import type { Principal } from '../api/call.ts';
import type { BackendContext } from './context.ts';

const ADMIN = 'admin';

type Known = Pick<BackendContext, 'store' | 'clock' | 'adminTokenSha256'>;

/** See the module's comment. */
export class KnownTokens {
  readonly #context: Known;
  /** Records by the hash of the secret; null after a change, until the next lookup. */
  #bySha256: ReadonlyMap<string, TokenRecord> | null = null;

  constructor(context: Known) {
    this.#context = context;
    context.store.onChange((changes) => {
      if (changes.some(({ key }) => key.startsWith(PREFIX.token))) this.#bySha256 = null;
    });
  }

  /** The record with this hash, valid or not. */
  find(sha256: string): TokenRecord | undefined {
    this.#bySha256 ??= new Map([...this.#context.store.tokens.values()].map(({ value }) => [value.sha256, value]));
    return this.#bySha256.get(sha256);
  }

  /**
   * The principal of an API token; null if the text is no known token. `isConfigured`: it is the administrator's token,
   * which etcd does not hold.
   */
  ofToken(token: string): { readonly principal: Principal; readonly isConfigured: boolean } | null {
    const sha256 = tokenSha256(token);
    if (tokenMatches(token, this.#context.adminTokenSha256))
      return { principal: { name: ADMIN, sha256, session: null, mayBackUp: true }, isConfigured: true };
    const principal = this.principalOf(sha256);
    return principal === null || principal.session !== null ? null : { principal, isConfigured: false };
  }

  /**
   * The principal of a session, by its cookie's secret; null if there is no such session, it has ended, or its token was
   * revoked.
   */
  ofSession(secret: string): Principal | null {
    const principal = this.principalOf(tokenSha256(secret));
    return principal === null || principal.session === null ? null : principal;
  }

  /** The owner of the API token or session with this hash; null if there is no valid one. */
  principalOf(sha256: string): Principal | null {
    if (sha256 === this.#context.adminTokenSha256) return { name: ADMIN, sha256, session: null, mayBackUp: true };
    const record = this.find(sha256);
    if (record?.kind === 'api')
      return { name: record.name, sha256, session: null, mayBackUp: record.mayBackUp === true };
    if (record?.kind !== 'session') return null;
    const { id, expiresAt, parent } = record;
    if (expiresAt === null || expiresAt <= this.#context.clock.wallMs()) return null;
    const isRooted = parent === this.#context.adminTokenSha256 || this.find(parent ?? '')?.kind === 'api';
    return isRooted ? { name: record.name, sha256, session: { id, expiresAt } } : null;
  }
}
