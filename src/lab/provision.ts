/**
 * The directories and identities that the cluster gets at its first start and keeps: the authority, the administrator's
 * token, and the control nodes' credentials. Guarantees: existing ones are never replaced; no secret is readable by
 * others, not for a moment.
 */

import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { ensureAdminToken, ensureAuthority, ensureControlCredentials } from '../install/identities.ts';
import { makePrivateDirectory, readTextBounded, writeFileAtomic } from '../os/files.ts';
import { tokenSha256 } from '../pki/join-token.ts';
import type { LabLayout } from './layout.ts';
import { controlNode, credentialsDir } from './roles.ts';
import type { MachineSpec } from './shape.ts';

const TOKEN_BYTES_MAX = 64 * 1024;

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
  const authority = await ensureAuthority(layout.authorityDir, () => clusterName(layout));
  await writeFileAtomic(layout.caFile, authority.certPem, { mode: 0o644 });
  const controlNodes = machines.filter(({ kind }) => kind === 'control');
  await Promise.all(
    controlNodes.map((machine) =>
      ensureControlCredentials(credentialsDir(machine, layout), controlNode(machine), authority),
    ),
  );
  const adminToken = await ensureAdminToken(layout.adminTokenFile);
  return { caPem: authority.certPem, adminToken, adminTokenSha256: tokenSha256(adminToken) };
}

/** Whether a host or storage node must be given a join token: it has no state yet, or never finished joining. */
export async function needsToken(layout: LabLayout, machine: MachineSpec): Promise<boolean> {
  const own = layout.machine(machine.name);
  const state = await readdir(own.stateDir);
  return state.length === 0 || (await readTextBounded(own.joinTokenFile, TOKEN_BYTES_MAX)) !== undefined;
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
