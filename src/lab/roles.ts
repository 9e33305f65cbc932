/**
 * The roles of each machine of a one-machine cluster, and how to find out whether they answer: src/install with the
 * cluster's own directory layout. Tests put stand-ins in the place of the programs.
 */

import { join } from 'node:path';
import { present } from '../base/assert.ts';
import { PORTS } from '../core/model/ports.ts';
import {
  agentConfig,
  type ControlNode,
  controlConfig,
  etcdProgram,
  type InstalledMachine,
  storageConfig,
} from '../install/configuration.ts';
import { ROLE_ENVIRONMENT, type Role, roleProgram } from '../install/programs.ts';
import { type LabLayout, MACHINE_POOL_DIR, MACHINE_RUN_DIR } from './layout.ts';
import { addressIn, type MachineKind, type MachineSpec } from './shape.ts';
import type { ProcessSpec } from './supervisor.ts';

/** The programs. The machine's name is added for etcd's stand-in, `--config FILE` for each of the others. */
export interface RoleCommands {
  /** `undefined`: the real etcd member. */
  readonly etcd?: readonly string[] | undefined;
  readonly control: readonly string[];
  readonly storage: readonly string[];
  readonly agent: readonly string[];
  /** These programs run on Node and end at once if they get no configuration (compile-ahead.ts). */
  readonly compile?: boolean | undefined;
  /** How long a process other than etcd may hang before it is ended and restarted, in ms. WATCHDOG_MS by default. */
  readonly watchdogMs?: number | undefined;
  /** How long such a process may take to its first beat, in ms (supervisor.ts). */
  readonly firstBeatMs?: number | undefined;
}

/** Everything about the cluster that a configuration says. */
export interface RoleContext {
  readonly layout: LabLayout;
  readonly machines: readonly MachineSpec[];
  readonly commands: RoleCommands;
  /** The memory that each host offers to VMs, in bytes. */
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

/** The roles on a machine of this kind, in the order in which they are started. */
export function rolesOf(machine: MachineSpec): readonly Role[] {
  return ROLES_OF[machine.kind];
}

/** The address at which a role can be asked, from the room, whether it answers. */
export function probeOf(machine: MachineSpec, role: Role): { readonly host: string; readonly port: number } {
  return { host: controlAddress(machine), port: PORT_OF[role] };
}

/** The real programs. */
export function realCommands(): RoleCommands {
  return {
    control: roleProgram('control'),
    storage: roleProgram('storage'),
    agent: roleProgram('agent'),
    compile: true,
  };
}

/** The process of a role on a machine. */
export function processSpec(machine: MachineSpec, role: Role, context: RoleContext): ProcessSpec {
  if (role === 'etcd') {
    return context.commands.etcd === undefined
      ? { role, ...etcdProgram(installed(machine, context.layout), controlNodes(context)) }
      : { role, argv: [...context.commands.etcd, machine.name] };
  }
  const argv = [...context.commands[role], '--config', configFile(machine, role, context.layout)];
  const { watchdogMs = WATCHDOG_MS, firstBeatMs } = context.commands;
  return { role, argv, env: ROLE_ENVIRONMENT, watchdogMs, firstBeatMs };
}

/** The path of the role's configuration. The file holds no secret. */
export function configFile(machine: MachineSpec, role: Role, layout: LabLayout): string {
  return join(layout.machine(machine.name).configDir, `${role}.json`);
}

/** The configuration of a role, or undefined for etcd, which is configured by its arguments. */
export function roleConfig(machine: MachineSpec, role: Role, context: RoleContext): object | undefined {
  const own = installed(machine, context.layout);
  const nodes = controlNodes(context);
  switch (role) {
    case 'control': {
      const { apiSocket, failpointFile } = context.layout.machine(machine.name);
      const { labSocket } = context.layout;
      const { adminTokenSha256 } = context;
      return controlConfig(own, nodes, { adminTokenSha256, apiSocket, labSocket, failpointFile });
    }
    case 'storage':
      return storageConfig(own, nodes);
    case 'agent':
      return agentConfig(own, nodes, { memoryBytes: context.hostMemoryBytes, qemuUsers: context.qemuUsers });
    default:
      return undefined;
  }
}

/** A control node's credentials: its server's, and its etcd member's. */
export function credentialsDir(machine: MachineSpec, layout: LabLayout): string {
  return join(layout.machine(machine.name).dir, 'credentials');
}

/** A control node's name and address. */
export function controlNode(machine: MachineSpec): ControlNode {
  return { name: machine.name, address: controlAddress(machine) };
}

function controlNodes(context: RoleContext): readonly ControlNode[] {
  return context.machines.filter(({ kind }) => kind === 'control').map(controlNode);
}

/** The machine as its configurations describe it, with the paths that it sees itself. */
function installed(machine: MachineSpec, layout: LabLayout): InstalledMachine {
  const { stateDir, etcdDir, joinTokenFile } = layout.machine(machine.name);
  const [storage, overlay] = [addressIn(machine, 'storage'), addressIn(machine, 'overlay')];
  const overlayDevice = machine.nics.find(({ network }) => network === 'overlay')?.device;
  return {
    name: machine.name,
    addresses: {
      control: controlAddress(machine),
      ...(storage === undefined ? {} : { storage }),
      ...(overlay === undefined ? {} : { overlay }),
    },
    ...(overlayDevice === undefined ? {} : { overlayDevice }),
    paths: {
      stateDir,
      etcdDir,
      joinTokenFile,
      runDir: MACHINE_RUN_DIR,
      poolDir: MACHINE_POOL_DIR,
      credentialsDir: credentialsDir(machine, layout),
      authorityDir: layout.authorityDir,
    },
  };
}

function controlAddress(machine: MachineSpec): string {
  return present(addressIn(machine, 'control'), `control address of ${machine.name}`);
}
