/**
 * The steps by which a machine begins a cluster or becomes a member of one. Guarantees: a role's service is started only
 * after its identity was kept; an identity, an authority and a token that exist are never replaced.
 */
import { existsSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import { createClient } from '../client/client.ts';
import { PORTS } from '../core/model/ports.ts';
import { EtcdClient } from '../etcd/client.ts';
import { systemClock } from '../os/clock.ts';
import { makePrivateDirectory, readTextBounded, writeFileAtomic } from '../os/files.ts';
import { ownInterfaces } from '../os/own-addresses.ts';
import { readCredentials, writeCredentials } from '../pki/credentials.ts';
import { tokenSha256 } from '../pki/join-token.ts';
import { type Joined, joinCluster } from '../rpc/join.ts';
import { type ClusterFile, demandClusterFile, readClusterFile, writeClusterFile } from './cluster-file.ts';
import { ensureAdminToken, ensureAuthority, ensureControlCredentials } from './identities.ts';
import { formatMachineConfig, type MachineConfig, networksOf, parseMachineConfig } from './machine-config.ts';
import type { NodeRole } from './programs.ts';
import { enable, isActive, start, stop } from './services.ts';
import type { Step } from './step.ts';
import { ADMIN_DIR, MACHINE_FILE, STATE_DIR } from './units.ts';

/** The roles as people name them: `host` is the agent's. */
export type MachineRole = 'control' | 'storage' | 'host';

const FILE_BYTES_MAX = 64 * 1024;
const CONTROL_DIR = join(STATE_DIR, 'control');
const CREDENTIALS_DIR = join(CONTROL_DIR, 'credentials');
/** The directory in which a control node keeps the keys of the authorities. */
export const AUTHORITY_DIR = join(CONTROL_DIR, 'authority');
const JOIN_MS = 20_000;
/** How long a machine tries to join while the control nodes cannot take it, in ms. */
const JOINED_MS = 60_000;
const HEALTHY_MS = 60_000;
const PROMOTED_MS = 120_000;
const AGAIN_MS = 250;

/** Returns the machine's configuration; undefined if there is none. */
export async function readMachineConfig(): Promise<MachineConfig | undefined> {
  const text = await readTextBounded(MACHINE_FILE, FILE_BYTES_MAX);
  return text === undefined ? undefined : parseMachineConfig(text, MACHINE_FILE);
}

/** The roles that a configuration gives its machine, in the order in which they begin. */
export function rolesOf(machine: MachineConfig): readonly MachineRole[] {
  return (['control', 'storage', 'host'] as const).filter((role) => machine[role] !== undefined);
}

/** Returns the directory of a role's identity. */
export function identityDir(role: MachineRole): string {
  if (role === 'control') return CREDENTIALS_DIR;
  return join(STATE_DIR, role === 'host' ? 'agent' : 'storage', 'identity');
}

/** Returns the steps that begin a cluster with this machine, which is a control node of it. */
export function initSteps(machine: MachineConfig): readonly Step[] {
  const address = (): string => networksOf(machine, ownInterfaces()).control;
  const node = (): { name: string; address: string } => ({ name: machine.name, address: address() });
  const others = rolesOf(machine).filter((role) => role !== 'control');
  return [
    configurationStep(machine),
    {
      does: `make the cluster's authority in ${AUTHORITY_DIR}`,
      isDone: async () => existsSync(join(AUTHORITY_DIR, 'ca-cert.pem')),
      do: async () => {
        await makePrivateDirectory(CONTROL_DIR);
        await makePrivateDirectory(AUTHORITY_DIR);
        await ensureAuthority(AUTHORITY_DIR, () => machine.name);
      },
    },
    {
      does: `issue the certificate of control node ${machine.name}`,
      isDone: async () => (await readCredentials(CREDENTIALS_DIR)) !== undefined,
      do: async () => {
        const authority = await ensureAuthority(AUTHORITY_DIR, () => machine.name);
        await ensureControlCredentials(CREDENTIALS_DIR, node(), authority);
      },
    },
    {
      does: `make the administrator's token and context in ${ADMIN_DIR}`,
      isDone: async () => existsSync(join(ADMIN_DIR, 'context.json')),
      do: async () => {
        await makePrivateDirectory(ADMIN_DIR);
        const { certPem } = await ensureAuthority(AUTHORITY_DIR, () => machine.name);
        await writeFileAtomic(join(ADMIN_DIR, 'ca.pem'), certPem);
        await ensureAdminToken(join(ADMIN_DIR, 'admin-token'));
        await writeContext(address());
      },
    },
    {
      does: `note the cluster in ${STATE_DIR}`,
      isDone: async () => (await readClusterFile(STATE_DIR)) !== undefined,
      do: async () => {
        const adminToken = await ensureAdminToken(join(ADMIN_DIR, 'admin-token'));
        const etcd = { state: 'new', members: [node()] } as const;
        const adminTokenSha256 = tokenSha256(adminToken);
        await writeClusterFile(STATE_DIR, { controls: [node()], adminTokenSha256, etcd });
      },
    },
    serviceStep('etcd'),
    serviceStep('control'),
    healthyStep(address),
    ...others.flatMap((role) => [
      identityStep(role, machine, async () => {
        const token = await ownJoinToken(role, machine.name, address());
        return joinAs(role, machine, { token, addresses: [address()] });
      }),
      serviceStep(unitRole(role)),
    ]),
  ];
}

/** A join token, and where to present it. */
export interface JoinPlace {
  readonly token: string;
  /** The addresses of control nodes. */
  readonly addresses: readonly string[];
}

/** Returns the steps by which this machine becomes a member of a cluster, in the roles of its configuration. */
export function joinSteps(machine: MachineConfig, place: JoinPlace): readonly Step[] {
  const address = (): string => networksOf(machine, ownInterfaces()).control;
  const roles = rolesOf(machine);
  return [
    configurationStep(machine),
    // All identities are made before the first service starts: the services answer where the machine proves that it has
    // its addresses.
    ...roles.map((role) => identityStep(role, machine, () => joinAs(role, machine, place))),
    ...(roles.includes('control')
      ? [serviceStep('etcd'), promotionStep(address), serviceStep('control'), healthyStep(address)]
      : []),
    ...roles.filter((role) => role !== 'control').map((role) => serviceStep(unitRole(role))),
  ];
}

/** The role's name among units: the host's is the agent. */
export function unitRole(role: MachineRole): NodeRole {
  return role === 'host' ? 'agent' : role;
}

function configurationStep(machine: MachineConfig): Step {
  return {
    does: `write ${MACHINE_FILE}`,
    isDone: async () => {
      const existing = await readMachineConfig();
      if (existing === undefined) return false;
      const missing = rolesOf(machine).filter((role) => existing[role] === undefined);
      if (existing.name !== machine.name)
        throw new CodedError('conflict', `This machine is ${existing.name} already (${MACHINE_FILE}).`, {
          advice: 'Nothing was changed. `gp leave` takes it out of its cluster.',
        });
      return missing.length === 0;
    },
    do: async () => {
      const existing = await readMachineConfig();
      await makePrivateDirectory('/etc/groundplane');
      // Disk daemons, which are users of their own, pass through to the pool.
      await mkdir(STATE_DIR, { recursive: true });
      await chmod(STATE_DIR, 0o711);
      // Roles are added to a machine that is a member; what people have written stays.
      await writeFileAtomic(MACHINE_FILE, formatMachineConfig({ ...machine, ...existing }), { mode: 0o644 });
    },
  };
}

function identityStep(role: MachineRole, { name }: MachineConfig, joined: () => Promise<Joined>): Step {
  return {
    does: `join the cluster as ${role} ${name}`,
    isDone: async () => (await readCredentials(identityDir(role))) !== undefined,
    do: async () => {
      // The agent listens where the machine proves its addresses. Its VMs run on in the meantime.
      const wasServing = await isActive('agent');
      if (wasServing) await stop('agent');
      try {
        await keep(role, await joined());
      } finally {
        if (wasServing) await start('agent');
      }
    },
  };
}

async function joinAs(role: MachineRole, machine: MachineConfig, { token, addresses }: JoinPlace): Promise<Joined> {
  const { control, storage, overlay } = networksOf(machine, ownInterfaces());
  const of = { control: { control }, storage: { control, storage }, host: { control, storage, overlay } }[role];
  const joining = {
    controls: addresses.map((address) => ({ address, port: PORTS.control })),
    ...{ token, role, name: machine.name, addresses: of, proofPort: PORTS.agent, deadlineMs: JOIN_MS },
  };
  // etcd takes a new member only when the others have seen each other for five seconds: not right after the last one.
  return untilDone(
    JOINED_MS,
    () => joinCluster(joining),
    ({ code }) => code === 'unavailable',
  );
}

/** Keeps the results of joining; the identity last, because it marks the rest as complete. */
async function keep(role: MachineRole, { credentials, controls, control }: Joined): Promise<void> {
  const before = await readClusterFile(STATE_DIR);
  let cluster: ClusterFile = before ?? { controls, adminTokenSha256: undefined, etcd: undefined };
  if (control !== undefined) {
    await makePrivateDirectory(CONTROL_DIR);
    await makePrivateDirectory(AUTHORITY_DIR);
    await writeFileAtomic(join(AUTHORITY_DIR, 'ca-key.pem'), control.caKeyPem);
    await writeFileAtomic(join(AUTHORITY_DIR, 'ca-cert.pem'), credentials.caPem);
    const { adminTokenSha256, members } = control;
    cluster = { controls, adminTokenSha256, etcd: { state: 'existing', members } };
  }
  await writeClusterFile(STATE_DIR, cluster);
  await makePrivateDirectory(join(identityDir(role), '..'));
  await writeCredentials(identityDir(role), credentials);
}

function serviceStep(role: NodeRole | 'etcd'): Step {
  return {
    does: `start the ${role} service, now and at each boot`,
    isDone: () => isActive(role),
    do: () => enable(role),
  };
}

/** A member of etcd that joined follows the others until one of them gives it a vote. */
function promotionStep(address: () => string): Step {
  const withEtcd = async <T>(work: (etcd: EtcdClient) => Promise<T>): Promise<T> => {
    const tls = await readCredentials(CREDENTIALS_DIR);
    const { controls } = await demandClusterFile(STATE_DIR);
    if (tls === undefined) throw new CodedError('failed', 'This machine has no certificate of a control node.');
    const others = controls.filter((node) => node.address !== address());
    const etcd = new EtcdClient({ endpoints: others.map((node) => `${node.address}:${PORTS.etcdClient}`), tls });
    try {
      return await work(etcd);
    } finally {
      etcd.close();
    }
  };
  const own = async (etcd: EtcdClient) =>
    (await etcd.members()).find(({ peerUrls }) => peerUrls.includes(`https://${address()}:${PORTS.etcdPeer}`));
  return {
    does: "get a vote for this machine's member of etcd",
    isDone: async () => existsSync(CREDENTIALS_DIR) && (await withEtcd(own))?.isLearner === false,
    do: () =>
      withEtcd(async (etcd) => {
        await untilDone(PROMOTED_MS, async () => {
          const member = await own(etcd);
          if (member === undefined) throw new CodedError('failed', 'etcd does not know this machine.');
          if (member.isLearner) await etcd.promote(member.id);
        });
      }),
  };
}

function healthyStep(address: () => string): Step {
  const isHealthy = async (): Promise<boolean> => {
    if (!existsSync(CREDENTIALS_DIR)) return false;
    const { caPem = '' } = (await readCredentials(CREDENTIALS_DIR)) ?? {};
    const client = createClient({ apiUrl: apiUrl(address()), caPem, token: '' });
    try {
      return (await client.call(client.http.GET('/healthz'))).ok;
    } catch (error) {
      if (error instanceof CodedError) return false;
      throw error;
    } finally {
      await client.close();
    }
  };
  return {
    does: "wait until this machine's server answers and knows who leads",
    isDone: isHealthy,
    do: () =>
      untilDone(HEALTHY_MS, async () => {
        if (!(await isHealthy())) throw new CodedError('unavailable', 'The server does not answer yet.');
      }),
  };
}

/** Tries again what fails for now, until the deadline. */
async function untilDone<T>(
  deadlineMs: number,
  work: () => Promise<T>,
  isForNow: (error: CodedError) => boolean = () => true,
): Promise<T> {
  const endsAtMs = systemClock.monotonicMs() + deadlineMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const isOver = systemClock.monotonicMs() >= endsAtMs;
      if (!(error instanceof CodedError) || !isForNow(error) || isOver) throw error;
    }
    await sleep(systemClock, AGAIN_MS);
  }
}

async function ownJoinToken(role: MachineRole, name: string, address: string): Promise<string> {
  const { caPem = '' } = (await readCredentials(CREDENTIALS_DIR)) ?? {};
  const token = await ensureAdminToken(join(ADMIN_DIR, 'admin-token'));
  const client = createClient({ apiUrl: apiUrl(address), caPem, token });
  try {
    const made = await client.call(client.http.POST('/v1/join-tokens', { body: { role, name } }));
    return made.token;
  } finally {
    await client.close();
  }
}

async function writeContext(address: string): Promise<void> {
  const context = { apiUrl: apiUrl(address), caFile: 'ca.pem', tokenFile: 'admin-token' };
  await writeFileAtomic(join(ADMIN_DIR, 'context.json'), `${JSON.stringify(context, null, 2)}\n`);
}

function apiUrl(address: string): string {
  return `https://${address}:${PORTS.control}`;
}
