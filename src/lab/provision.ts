/**
 * What the cluster gets at its first start and keeps: directories, the authority, the administrator's token, and the control
 * nodes' credentials. Guarantees: what exists is never replaced; no secret is readable by others, not for a moment.
 */

import { randomBytes, X509Certificate } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { etcdNames } from '../base/identity.ts';
import { parseControlName } from '../base/ids.ts';
import { makePrivateDirectory, readTextBounded, writeFileAtomic } from '../os/files.ts';
import { type CertifiedKey, createAuthority, issue } from '../pki/authority.ts';
import { readCredentials, writeCredentials } from '../pki/credentials.ts';
import { createApiToken, tokenSha256 } from '../pki/join-token.ts';
import type { LabLayout } from './layout.ts';
import { credentialsDir } from './roles.ts';
import { addressIn, type MachineSpec } from './shape.ts';

const AUTHORITY_DAYS = 3650;
const CONTROL_DAYS = 825;
const PEM_BYTES_MAX = 64 * 1024;

export interface Identities {
  readonly caPem: string;
  readonly adminToken: string;
  readonly adminTokenSha256: string;
}

/** Makes every directory of the layout, all of mode 0700. */
export async function makeDirectories(layout: LabLayout, machines: readonly MachineSpec[]): Promise<void> {
  for (const directory of [layout.dir, layout.machinesDir, layout.authorityDir, layout.cacheDir])
    await makePrivateDirectory(directory);
  for (const { name, kind } of machines) {
    const own = layout.machine(name);
    const directories = [own.dir, own.configDir, own.logDir, own.stateDir];
    if (kind === 'control') directories.push(own.etcdDir);
    if (kind === 'storage') directories.push(own.poolDir);
    for (const directory of directories) await makePrivateDirectory(directory);
  }
}

/** The cluster's authority, token and control credentials: what is missing is made. */
export async function provision(layout: LabLayout, machines: readonly MachineSpec[]): Promise<Identities> {
  const authority = await ensureAuthority(layout);
  await writeFileAtomic(layout.caFile, authority.certPem, { mode: 0o644 });
  const controlNodes = machines.filter(({ kind }) => kind === 'control');
  await Promise.all(controlNodes.map((machine) => ensureControlCredentials(machine, authority, layout)));
  const adminToken = await ensureAdminToken(layout);
  return { caPem: authority.certPem, adminToken, adminTokenSha256: tokenSha256(adminToken) };
}

/** Whether a host or storage node must be given a join token: it has no state yet, or never finished joining. */
export async function needsToken(layout: LabLayout, machine: MachineSpec): Promise<boolean> {
  const own = layout.machine(machine.name);
  const state = await readdir(own.stateDir);
  return state.length === 0 || (await readTextBounded(own.joinTokenFile, PEM_BYTES_MAX)) !== undefined;
}

async function ensureAuthority(layout: LabLayout): Promise<CertifiedKey> {
  const certFile = join(layout.authorityDir, 'ca-cert.pem');
  const keyFile = join(layout.authorityDir, 'ca-key.pem');
  const certPem = await readTextBounded(certFile, PEM_BYTES_MAX);
  const keyPem = await readTextBounded(keyFile, PEM_BYTES_MAX);
  if (certPem !== undefined && keyPem !== undefined) return { certPem, keyPem };
  if (certPem !== undefined) {
    throw new CodedError('failed', `The key of the cluster's authority is missing: ${keyFile}.`, {
      advice: 'Nothing was changed. Restore the file, or begin with an empty directory.',
    });
  }
  const authority = await createAuthority({ clusterName: clusterName(layout), daysValid: AUTHORITY_DAYS });
  // The certificate last: its presence says that the pair is whole.
  await writeFileAtomic(keyFile, authority.keyPem);
  await writeFileAtomic(certFile, authority.certPem);
  return authority;
}

async function ensureControlCredentials(
  machine: MachineSpec,
  authority: CertifiedKey,
  layout: LabLayout,
): Promise<void> {
  const directory = credentialsDir(machine, layout);
  const existing = await readCredentials(directory);
  if (existing !== undefined) return demandEtcdNames(machine.name, existing.certPem);
  const address = present(addressIn(machine, 'control'), 'control address');
  const identity = { kind: 'control', name: parseControlName(machine.name) } as const;
  const ipAddresses = [address, '127.0.0.1'];
  const own = await issue(authority, { identity, ipAddresses, daysValid: CONTROL_DAYS });
  await writeCredentials(directory, { caPem: authority.certPem, ...own });
}

/**
 * Checks the certificates: those made before etcd required DNS names of its own cannot connect to it. CodedError
 * 'failed'.
 */
function demandEtcdNames(name: string, certPem: string): void {
  const names = new X509Certificate(certPem).subjectAltName ?? '';
  if (etcdNames({ kind: 'control', name: parseControlName(name) }).every((each) => names.includes(each))) return;
  throw new CodedError(
    'failed',
    `The certificate of ${name} was made by an older version, and etcd would not let it in.`,
    {
      advice:
        'Nothing was changed. Begin with an empty directory: clusters of versions before 0.1.0 are not taken over.',
    },
  );
}

async function ensureAdminToken(layout: LabLayout): Promise<string> {
  const existing = (await readTextBounded(layout.adminTokenFile, PEM_BYTES_MAX))?.trim();
  if (existing !== undefined && existing !== '') return existing;
  const { token } = createApiToken();
  await writeFileAtomic(layout.adminTokenFile, `${token}\n`);
  return token;
}

/** From the directory's name, for people who look at certificates; random characters keep two clusters apart. */
function clusterName(layout: LabLayout): string {
  const readable = basename(layout.dir)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 24)
    .replace(/-+$/, '');
  return `${readable === '' ? 'lab' : readable}-${randomBytes(4).toString('hex')}`;
}
