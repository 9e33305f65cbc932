/**
 * Tokens: API tokens, join tokens, and joining by one. Pure; only hashes of tokens are known here. Guarantees: a join
 * token lets one machine join, once, under the name and role that it was made for, until it expires.
 */
import { CodedError } from '../../base/errors.ts';
import type { IssuedCertificate } from '../../base/machine-identity.ts';
import type { TokenRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import type { Change } from '../ports/store.ts';
import type { Admitted, Basis } from './basis.ts';
import { type Joining, joinChange, type NodeRole } from './joining.ts';
import { joinedCertificate } from './member-certificates.ts';
import { derivedFrom } from './sessions.ts';

const JOIN_VALID_MS = 3_600_000;
/** Expired tokens that go with each new join token. */
const EXPIRED_AT_ONCE = 50;

/** A token that somebody asks for. */
export interface NewToken {
  readonly name: string;
  /** SHA-256 of the token in hexadecimal. */
  readonly sha256: string;
  /** It may be handed backups of the records. */
  readonly mayBackUp?: boolean;
}

/** A new API token. CodedError 'exists'. */
export function createToken(
  { records, now, randomHex }: Basis,
  { name, sha256, mayBackUp }: NewToken,
): Admitted<TokenRecord> {
  if (apiTokens(records.tokens).some((token) => token.name === name))
    throw new CodedError('exists', `A token named ${name} exists.`, {
      advice: 'Nothing was created. Choose another name, or revoke that one.',
    });
  const value: TokenRecord = {
    id: `token-${randomHex(6)}`,
    kind: 'api',
    name,
    sha256,
    role: null,
    createdAt: now,
    expiresAt: null,
    ...(mayBackUp === true ? { mayBackUp } : {}),
  };
  return { changes: [tokenChange(value)], result: value };
}

/** Revokes an API token by its name or id; its links and sessions go with it. CodedError 'not-found'. */
export function deleteToken({ records }: Basis, nameOrId: string): Admitted<null> {
  const found = apiTokens(records.tokens).find(({ id, name }) => id === nameOrId || name === nameOrId);
  if (found === undefined)
    throw new CodedError('not-found', `There is no token ${nameOrId}.`, { advice: 'List them with "gp token list".' });
  const sessions = derivedFrom(records, found.sha256);
  return { changes: [{ kind: 'token', id: found.id, value: null }, ...sessions], result: null };
}

/** A new join token; expired tokens go. CodedError 'bad-input' for a role that is named twice. */
export function createJoinToken(
  { records, now, randomHex }: Basis,
  request: NewToken & {
    readonly role: NodeRole;
    /** Further roles of the machine. */
    readonly also?: readonly NodeRole[] | undefined;
    readonly validMs?: number | undefined;
  },
): Admitted<TokenRecord & { readonly expiresAt: number }> {
  const { name, sha256, role, validMs = JOIN_VALID_MS } = request;
  const also = request.also ?? [];
  if (new Set([role, ...also]).size !== also.length + 1)
    throw new CodedError('bad-input', 'A role is named twice.', { advice: 'Nothing was created.' });
  const expiresAt = now + validMs;
  const made = { id: `token-${randomHex(6)}`, kind: 'join', name, sha256, role, createdAt: now, expiresAt } as const;
  const value = also.length === 0 ? made : { ...made, also };
  const expired = [...recordsOf(records.tokens)].filter((old) => old.expiresAt !== null && old.expiresAt < now);
  const changes: Change[] = [
    tokenChange(value),
    ...expired.slice(0, EXPIRED_AT_ONCE).map(({ id }): Change => ({ kind: 'token', id, value: null })),
  ];
  return { changes, result: value };
}

/**
 * CodedError 'unauthorized' unless `token` is a join token for this role and name that has not expired; undefined: no
 * token has the presented hash.
 */
function demandJoinToken(
  { now }: Pick<Basis, 'now'>,
  token: TokenRecord | undefined,
  { role, name }: Pick<Joining, 'role' | 'name'>,
): TokenRecord {
  const isValid =
    token?.kind === 'join' && rolesOf(token).includes(role) && token.name === name && (token.expiresAt ?? 0) > now;
  if (token === undefined || !isValid)
    throw new CodedError('unauthorized', `This is not a valid join token for ${role} ${name}.`, {
      advice: 'Nothing was changed. A token is for one name, once, and expires: make a new one (gp join-token create).',
    });
  return token;
}

/** The roles that a join token still lets a machine join in. */
function rolesOf({ role, also = [] }: TokenRecord): readonly NodeRole[] {
  return role === null ? [] : [role, ...also];
}

/**
 * A machine joins in one of the roles of its token, which is used up with its last role. `issued` is its certificate,
 * null before there is one. CodedError as `demandJoinToken`, `joinChange` and `joinedCertificate`.
 */
export function joinByToken(
  basis: Basis,
  token: TokenRecord | undefined,
  { issued, ...joining }: Joining & { readonly issued: IssuedCertificate | null },
): Admitted<null> {
  const found = demandJoinToken(basis, token, joining);
  const [role, ...also] = rolesOf(found).filter((each) => each !== joining.role);
  const left = role === undefined ? null : { ...found, role, also };
  const machine = { kind: joining.role, name: joining.name };
  return {
    changes: [
      { kind: 'token', id: found.id, value: left },
      joinChange(basis, joining),
      ...(issued === null ? [] : [joinedCertificate(basis, machine, issued)]),
    ],
    result: null,
  };
}

/**
 * The changes after which no join token lets a machine of this name join in this role: a token from before its removal
 * would bring the machine back. A token of several roles keeps the others.
 */
export function withoutJoinTokens(
  { tokens }: Pick<Basis['records'], 'tokens'>,
  { role, name }: Pick<Joining, 'role' | 'name'>,
): Change[] {
  return [...recordsOf(tokens)]
    .filter((token) => token.kind === 'join' && token.name === name && rolesOf(token).includes(role))
    .map((token): Change => {
      const [first, ...also] = rolesOf(token).filter((each) => each !== role);
      const { also: _, ...rest } = token;
      const value = first === undefined ? null : { ...rest, role: first, ...(also.length === 0 ? {} : { also }) };
      return { kind: 'token', id: token.id, value };
    });
}

/** The API tokens among all tokens. */
export function apiTokens(tokens: Basis['records']['tokens']): TokenRecord[] {
  return [...recordsOf(tokens)].filter(({ kind }) => kind === 'api');
}

const tokenChange = (value: TokenRecord): Change => ({ kind: 'token', id: value.id, value });
