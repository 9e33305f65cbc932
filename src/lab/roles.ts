/**
 * What runs on which machine: the programs of each role, their configuration, and how one sees that they answer. Pure but
 * for the paths of this very program. Tests put stand-ins in the place of the programs.
 */

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { present } from '../base/assert.ts';
import { ETCD_CLIENT_NAME, ETCD_MEMBER_NAME } from '../base/identity.ts';
import { PORTS } from '../core/model/ports.ts';
import { etcdCommand } from '../etcd/member.ts';
import { type LabLayout, MACHINE_POOL_DIR, MACHINE_RUN_DIR } from './layout.ts';
import { addressIn, type MachineKind, type MachineSpec } from './shape.ts';
import type { ProcessSpec } from './supervisor.ts';

export type Role = 'etcd' | 'control' | 'storage' | 'agent';

/** The programs. To etcd's stand-in the machine's name is added, to each of the others `--config FILE`. */
export interface RoleCommands {
  /** `undefined`: the real etcd member. */
  readonly etcd?: readonly string[] | undefined;
  readonly control: readonly string[];
  readonly storage: readonly string[];
  readonly agent: readonly string[];
  /** They are programs for Node that end at once when they get no configuration (compile-ahead.ts). */
  readonly compile?: boolean | undefined;
  /**
   * How long a process other than etcd may stand still before it is ended and restarted, in ms. WATCHDOG_MS by default.
   */
  readonly watchdogMs?: number | undefined;
}

/** Everything about the cluster that a configuration says. */
export interface RoleContext {
  readonly layout: LabLayout;
  readonly machines: readonly MachineSpec[];
  readonly commands: RoleCommands;
  /** What each host gives to VMs, in bytes. */
  readonly hostMemoryBytes: number;
  readonly qemuUsers: 'per-slot' | 'self';
  readonly adminTokenSha256: string;
}

/**
 * Far above the pauses of a process on a busy machine (a leader's longest turn is some 50 ms), and below the time after
 * which people look themselves.
 */
const WATCHDOG_MS = 30_000;

const ROLES_OF: Readonly<Record<MachineKind, readonly Role[]>> = {
  control: ['etcd', 'control'],
  storage: ['storage'],
  host: ['agent'],
};

/** The port on the machine's control address that answers when the role works. */
const PORT_OF: Readonly<Record<Role, number>> = {
  etcd: PORTS.etcdClient,
  control: PORTS.control,
  storage: PORTS.storage,
  agent: PORTS.agent,
};

/** What runs on a machine of this kind, in the order in which it is started. */
export function rolesOf(machine: MachineSpec): readonly Role[] {
  return ROLES_OF[machine.kind];
}

/** Where a role can be asked whether it answers, from the room. */
export function probeOf(machine: MachineSpec, role: Role): { readonly host: string; readonly port: number } {
  return { host: controlAddress(machine), port: PORT_OF[role] };
}

/** The real programs. Heaps are bounded so that a leak shows as a restart, not as a machine without memory. */
export function realCommands(): RoleCommands {
  const node = (main: string, heapMib: number): readonly string[] => [
    process.execPath,
    `--max-old-space-size=${heapMib}`,
    // About 4 MB less in each; their work is waiting, not computing.
    '--optimize-for-size',
    '--max-semi-space-size=2',
    // While a server takes over, almost everything it makes is kept. V8 learns from it to make such objects where only a full collection
    // finds them, and goes on when they are thrown away at once: a third of the processor time of a leader of 20,000 VMs.
    '--no-allocation-site-pretenuring',
    '--disable-warning=ExperimentalWarning',
    fileURLToPath(new URL(main, import.meta.url)),
  ];
  return {
    control: node('../control/main.ts', 512),
    storage: node('../storage/main.ts', 256),
    agent: node('../agent/main.ts', 256),
    compile: true,
  };
}

/** The process of a role on a machine. */
export function processSpec(machine: MachineSpec, role: Role, context: RoleContext): ProcessSpec {
  if (role === 'etcd') {
    return context.commands.etcd === undefined
      ? etcdSpec(machine, context)
      : { role, argv: [...context.commands.etcd, machine.name] };
  }
  const argv = [...context.commands[role], '--config', configFile(machine, role, context.layout)];
  // One arena of the C library's allocator for all threads: the others would each keep some megabytes.
  const watchdogMs = context.commands.watchdogMs ?? WATCHDOG_MS;
  return { role, argv, env: { NODE_ENV: 'production', MALLOC_ARENA_MAX: '1' }, watchdogMs };
}

/** Where the role's program finds its configuration. The file holds no secret. */
export function configFile(machine: MachineSpec, role: Role, layout: LabLayout): string {
  return join(layout.machine(machine.name).configDir, `${role}.json`);
}

/** The configuration of a role, or undefined for etcd, which is configured by its arguments. */
export function roleConfig(machine: MachineSpec, role: Role, context: RoleContext): object | undefined {
  switch (role) {
    case 'control':
      return controlConfig(machine, context);
    case 'storage':
      return storageConfig(machine, context);
    case 'agent':
      return agentConfig(machine, context);
    default:
      return undefined;
  }
}

/** A control node's credentials: its server's, and its etcd member's. */
export function credentialsDir(machine: MachineSpec, layout: LabLayout): string {
  return join(layout.machine(machine.name).dir, 'credentials');
}

function controlConfig(machine: MachineSpec, context: RoleContext): object {
  const own = context.layout.machine(machine.name);
  return {
    name: machine.name,
    address: controlAddress(machine),
    stateDir: own.stateDir,
    runDir: MACHINE_RUN_DIR,
    credentialsDir: credentialsDir(machine, context.layout),
    authorityDir: context.layout.authorityDir,
    etcd: { endpoints: etcdEndpoints(context) },
    apiSocket: own.apiSocket,
    peers: controlNodes(context).map((node) => ({ name: node.name, address: controlAddress(node) })),
    adminTokenSha256: context.adminTokenSha256,
    filterPorts: true,
    lab: true,
    failpointFile: own.failpointFile,
  };
}

function storageConfig(machine: MachineSpec, context: RoleContext): object {
  const own = context.layout.machine(machine.name);
  return {
    name: machine.name,
    controlAddress: controlAddress(machine),
    storageAddress: addressIn(machine, 'storage'),
    stateDir: own.stateDir,
    poolDir: MACHINE_POOL_DIR,
    runDir: MACHINE_RUN_DIR,
    etcdEndpoints: etcdEndpoints(context),
    filterPorts: true,
    join: joinConfig(machine, context),
  };
}

function agentConfig(machine: MachineSpec, context: RoleContext): object {
  const own = context.layout.machine(machine.name);
  return {
    name: machine.name,
    controlAddress: controlAddress(machine),
    storageAddress: addressIn(machine, 'storage'),
    overlayAddress: addressIn(machine, 'overlay'),
    overlayDevice: machine.nics.find(({ network }) => network === 'overlay')?.device,
    stateDir: own.stateDir,
    runDir: MACHINE_RUN_DIR,
    memoryBytes: context.hostMemoryBytes,
    qemuUsers: context.qemuUsers,
    join: joinConfig(machine, context),
  };
}

function joinConfig(machine: MachineSpec, context: RoleContext): object {
  return {
    controlAddresses: controlNodes(context).map(controlAddress),
    tokenFile: context.layout.machine(machine.name).joinTokenFile,
  };
}

function etcdEndpoints(context: RoleContext): readonly string[] {
  return controlNodes(context).map((node) => `https://${controlAddress(node)}:${PORTS.etcdClient}`);
}

function controlNodes(context: RoleContext): readonly MachineSpec[] {
  return context.machines.filter(({ kind }) => kind === 'control');
}

function controlAddress(machine: MachineSpec): string {
  return present(addressIn(machine, 'control'), `control address of ${machine.name}`);
}

function etcdSpec(machine: MachineSpec, context: RoleContext): ProcessSpec {
  const address = controlAddress(machine);
  const file = (name: string): string => join(credentialsDir(machine, context.layout), name);
  const peerAddress = (node: MachineSpec): string => `${controlAddress(node)}:${PORTS.etcdPeer}`;
  const [caFile, certFile, keyFile] = [file('ca-cert.pem'), file('server-cert.pem'), file('server-key.pem')];
  const { program, argv, env } = etcdCommand({
    name: machine.name,
    dataDir: context.layout.machine(machine.name).etcdDir,
    clientAddresses: [`${address}:${PORTS.etcdClient}`],
    peerAddress: peerAddress(machine),
    initialCluster: controlNodes(context).map((node) => ({ name: node.name, peerAddress: peerAddress(node) })),
    clusterToken: 'groundplane',
    tls: {
      ...{ caFile, certFile, keyFile, peerCaFile: caFile, peerCertFile: certFile, peerKeyFile: keyFile },
      ...{ clientName: ETCD_CLIENT_NAME, peerName: ETCD_MEMBER_NAME },
    },
    arch: process.arch,
  });
  return { role: 'etcd', argv: [program, ...argv], env };
}
