/**
 * Rights in etcd. Only certificates with etcd's DNS name can connect (member.ts): those of control and storage nodes.
 * The common name decides about rights: control nodes have all rights, readers may read some prefixes and write single
 * keys, and no other name has access to any key.
 * Guarantees: every step may be repeated, in any order with those of other control nodes; authorization is enabled only
 * after all users exist, and never so that the caller locks itself out. No user has a password: etcd takes the common
 * name of the certificate of each request (`--client-cert-auth`, see member.ts), so there is nothing to log in with.
 * Limits of etcd (seen with 3.4.23), for storage nodes therefore:
 * - etcd requires no permission to grant, list and renew leases, to compact, to raise alarms, and to ask for status and
 * members. A storage node can disturb by these, but read or write no other key; an alarm is taken back
 * (src/core/loop/lead/etcd-space-keeper.ts).
 * - etcd checks a watch only when it begins: a watch that runs when its user is revoked, or that a stranger began
 * before authorization was enabled, continues until its connection ends.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { CodedError } from '../base/errors.ts';
import type { CallOptions } from './api.ts';
import type { EtcdClient } from './client.ts';
import { forbidden } from './errors.ts';
import { type Permission, Permission_Type, type PermissionSchema } from './generated/auth_pb.js';
import {
  Auth,
  AuthEnableRequestSchema,
  AuthRoleAddRequestSchema,
  AuthRoleGetRequestSchema,
  AuthRoleGrantPermissionRequestSchema,
  AuthRoleRevokePermissionRequestSchema,
  AuthUserAddRequestSchema,
  AuthUserDeleteRequestSchema,
  AuthUserGetRequestSchema,
  AuthUserGrantRoleRequestSchema,
  AuthUserListRequestSchema,
} from './generated/rpc_pb.js';
import { keyBytes, prefixEnd } from './records.ts';

/** Users are common names of certificates. */
export interface Authorization {
  /** May do everything; the caller is one of them. All control nodes, as the others cannot add themselves later. */
  readonly controls: readonly string[];
  /** A client that may read and watch keys under `readPrefixes`. */
  readonly readers: readonly string[];
  /** Key prefixes, each ending in a slash, such as `/gp/vm/`. */
  readonly readPrefixes: readonly string[];
}

/** etcd's name for the user that must exist, and for the role that may do everything. No certificate has this name. */
const ROOT = 'root';
const READER_ROLE = 'groundplane-reader';
/** Name of the role that holds a reader's write permissions; the reader's common name follows. */
const WRITER_ROLE = 'groundplane-writer:';

/**
 * Makes the missing users and roles, then enables authorization. Takes no rights away: see revokeUser. Afterwards
 * running watches, leases and campaigns of `controls` continue. `deadlineMs` is that of each call.
 * Throws bad-input, `forbidden` when authorization is enabled and the caller is not among the controls that it was
 * enabled with, or EtcdUnavailable: call it again.
 */
export async function ensureAuthorization(
  client: EtcdClient,
  wanted: Authorization,
  options: CallOptions = {},
): Promise<void> {
  check(client, wanted);
  const users = new Set(await listUsers(client, options));
  await ensureReaderRole(client, wanted, options);
  for (const name of wanted.readers) await ensureUser(client, { name, role: READER_ROLE, users }, options);
  for (const name of [ROOT, ...wanted.controls]) await ensureUser(client, { name, role: ROOT, users }, options);
  // If authorization is enabled already, etcd answers with success and changes nothing. (3.4 has no way to ask whether
  // it is.)
  await guarded(() => client.manage(Auth.method.authEnable, create(AuthEnableRequestSchema), options));
}

/**
 * Gives a storage service that joined later the right to read. Call ensureAuthorization first, or it throws not-found;
 * throws `forbidden` if this process is not a control node. Idempotent.
 */
export async function allowReader(client: EtcdClient, commonName: string, options: CallOptions = {}): Promise<void> {
  checkName(commonName);
  const users = new Set(await listUsers(client, options));
  await ensureUser(client, { name: commonName, role: READER_ROLE, users }, options);
}

/** Gives a control node that joined later all rights. Errors as `allowReader`. Idempotent. */
export async function allowControl(client: EtcdClient, commonName: string, options: CallOptions = {}): Promise<void> {
  checkName(commonName);
  const users = new Set(await listUsers(client, options));
  await ensureUser(client, { name: commonName, role: ROOT, users }, options);
}

/**
 * Lets a reader also write one key. Needs `allowReader` before it, otherwise throws not-found; throws `forbidden` if
 * this process is not a control node. Idempotent.
 */
export async function allowWriting(
  client: EtcdClient,
  { commonName, key }: { readonly commonName: string; readonly key: string },
  options: CallOptions = {},
): Promise<void> {
  checkName(commonName);
  const name = WRITER_ROLE + commonName;
  const perm = { permType: Permission_Type.READWRITE, key: keyBytes(key), rangeEnd: new Uint8Array() };
  const user = await client.manage(
    Auth.method.userGet,
    create(AuthUserGetRequestSchema, { name: commonName }),
    options,
  );
  if (!user.roles.includes(name)) {
    await ignoring('exists', client.manage(Auth.method.roleAdd, create(AuthRoleAddRequestSchema, { name }), options));
    const member = create(AuthUserGrantRoleRequestSchema, { user: commonName, role: name });
    await client.manage(Auth.method.userGrantRole, member, options);
  }
  if ((await permissions(client, name, options)).some((each) => samePermission(each, perm))) return;
  const grant = create(AuthRoleGrantPermissionRequestSchema, { name, perm });
  await guarded(() => client.manage(Auth.method.roleGrantPermission, grant, options));
}

/** Revokes the permission of `allowWriting`; no error if there is none. */
export async function forbidWriting(
  client: EtcdClient,
  { commonName, key }: { readonly commonName: string; readonly key: string },
  options: CallOptions = {},
): Promise<void> {
  checkName(commonName);
  const role = WRITER_ROLE + commonName;
  const perm = { permType: Permission_Type.READWRITE, key: keyBytes(key), rangeEnd: new Uint8Array() };
  if (!(await permissions(client, role, options)).some((each) => samePermission(each, perm))) return;
  const request = create(AuthRoleRevokePermissionRequestSchema, { role, key: perm.key, rangeEnd: perm.rangeEnd });
  await guarded(() => client.manage(Auth.method.roleRevokePermission, request, options));
}

/**
 * Refuses every later request of that common name; it is no error when it is no user. What it watches already continues
 * until its connection ends. Throws `forbidden` when we are not a control node.
 */
export async function revokeUser(client: EtcdClient, commonName: string, options: CallOptions = {}): Promise<void> {
  checkName(commonName);
  // etcd says "user not found" both of the user to be deleted and of a caller that is no user: the list tells which.
  const users = await listUsers(client, options);
  if (!users.includes(commonName)) return;
  const request = create(AuthUserDeleteRequestSchema, { name: commonName });
  await ignoring('not-found', client.manage(Auth.method.userDelete, request, options));
}

function check(client: EtcdClient, { controls, readers, readPrefixes }: Authorization): void {
  for (const name of [...controls, ...readers]) checkName(name);
  const isBoth = controls.find((name) => readers.includes(name));
  if (isBoth !== undefined) throw new CodedError('bad-input', `${isBoth} is both a control node and a reader of etcd.`);
  for (const prefix of readPrefixes) {
    if (!prefix.endsWith('/'))
      throw new CodedError('bad-input', `A prefix of etcd ends with a slash, unlike ${JSON.stringify(prefix)}.`);
  }
  const self = client.commonName;
  if (self === undefined || !controls.includes(self)) {
    throw new CodedError('bad-input', `${self ?? 'A client without a common name'} is not among the control nodes.`, {
      advice: 'Nothing was changed: enabling the authorization of etcd would have locked this client out.',
    });
  }
}

function checkName(commonName: string): void {
  if (commonName === '' || commonName === ROOT) {
    throw new CodedError('bad-input', `${JSON.stringify(commonName)} is not the common name of a certificate.`);
  }
}

async function listUsers(client: EtcdClient, options: CallOptions): Promise<readonly string[]> {
  const request = create(AuthUserListRequestSchema);
  return (await guarded(() => client.manage(Auth.method.userList, request, options))).users;
}

async function ensureReaderRole(
  client: EtcdClient,
  { readPrefixes }: Pick<Authorization, 'readPrefixes'>,
  options: CallOptions,
): Promise<void> {
  const wanted = readPrefixes.map((prefix) => permission(Permission_Type.READ, prefix));
  const present = await permissions(client, READER_ROLE, options);
  const missing = wanted.filter((each) => !present.some((perm) => samePermission(perm, each)));
  if (missing.length === 0) return;
  const role = create(AuthRoleAddRequestSchema, { name: READER_ROLE });
  await ignoring('exists', client.manage(Auth.method.roleAdd, role, options));
  for (const perm of missing) {
    const grant = create(AuthRoleGrantPermissionRequestSchema, { name: READER_ROLE, perm });
    await guarded(() => client.manage(Auth.method.roleGrantPermission, grant, options));
  }
}

function permission(permType: Permission_Type, prefix: string): MessageInitShape<typeof PermissionSchema> {
  const key = keyBytes(prefix);
  return { permType, key, rangeEnd: prefixEnd(key) };
}

/** Returns the permissions of a role; none if the role does not exist. */
async function permissions(client: EtcdClient, name: string, options: CallOptions): Promise<readonly Permission[]> {
  const request = create(AuthRoleGetRequestSchema, { role: name });
  const role = await ignoring('not-found', client.manage(Auth.method.roleGet, request, options));
  return role?.perm ?? [];
}

function samePermission(perm: Permission, wanted: MessageInitShape<typeof PermissionSchema>): boolean {
  const same = (a: Uint8Array, b: Uint8Array | undefined): boolean => b !== undefined && Buffer.compare(a, b) === 0;
  return perm.permType === wanted.permType && same(perm.key, wanted.key) && same(perm.rangeEnd, wanted.rangeEnd);
}

/** Leaves users alone that are right already: each change makes etcd turn back requests that are under way. */
async function ensureUser(
  client: EtcdClient,
  { name, role, users }: { name: string; role: string; users: ReadonlySet<string> },
  options: CallOptions,
): Promise<void> {
  if (users.has(name)) {
    const request = create(AuthUserGetRequestSchema, { name });
    const user = await ignoring('not-found', client.manage(Auth.method.userGet, request, options));
    if (user?.roles.includes(role)) return;
  }
  const added = create(AuthUserAddRequestSchema, { name, options: { noPassword: true } });
  const adding = guarded(() => client.manage(Auth.method.userAdd, added, options));
  await ignoring('exists', adding);
  const grant = create(AuthUserGrantRoleRequestSchema, { user: name, role });
  await client.manage(Auth.method.userGrantRole, grant, options);
}

/** For calls that name no user: "user not found" then means that the caller itself is no user. */
async function guarded<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof CodedError && error.code === 'not-found') throw forbidden(error.message, error);
    throw error;
  }
}

/** The answer, or undefined when etcd refuses with this code. */
async function ignoring<T>(code: 'exists' | 'not-found', call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof CodedError && error.code === code) return undefined;
    throw error;
  }
}
