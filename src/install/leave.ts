/**
 * The steps by which a machine leaves its cluster. Guarantees: nothing of this machine is taken away before the cluster
 * agreed that it goes; a host with VMs, a storage node with disks and the last control node are not taken out.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { listed } from '../base/listed.ts';
import type { ApiClient } from '../client/client.ts';
import { run, tryRun } from '../os/child-process.ts';
import { writeFileAtomic } from '../os/files.ts';
import { ownInterfaces } from '../os/own-addresses.ts';
import { SLICES } from '../os/scope.ts';
import { demandClusterFile, writeClusterFile } from './cluster-file.ts';
import { formatMachineConfig, type MachineConfig } from './machine-config.ts';
import type { NodeRole } from './programs.ts';
import { disable, isActive, stopSlice } from './services.ts';
import { type MachineRole, rolesOf } from './setup.ts';
import type { Step } from './step.ts';
import { ADMIN_DIR, MACHINE_FILE, RUN_DIR, STATE_DIR } from './units.ts';

const CALL_MS = 30_000;
/** The order in which a machine's roles leave the cluster. */
const LEAVING: readonly MachineRole[] = ['host', 'storage', 'control'];
/** Names of the devices and tables that an agent makes (agent/network). */
const DEVICES = /^gp[a-z]+\d/;
const CONTROL_TABLE = 'inet groundplane_control_ports';
const TABLES = /^table (\S+ groundplane\S*)/gm;

/** How to ask the cluster. */
export interface LeaveOptions {
  /** Null: the cluster is not asked; its records of this machine are then removed at a control node. */
  readonly client: ApiClient | null;
  /** The only machine of its cluster: the cluster ends with it. */
  readonly endsCluster: boolean;
  /** The machine stays what it is besides: a host or a storage node goes on with what it runs. */
  readonly onlyControl?: boolean | undefined;
}

/** Returns the steps that take this machine out of its cluster. */
export function leaveSteps(machine: MachineConfig, options: LeaveOptions): readonly Step[] {
  const { client, endsCluster, onlyControl = false } = options;
  const roles = rolesOf(machine);
  if (onlyControl) return controlSteps(machine, client);
  // A role that is refused leaves the machine as it was: the control node goes last.
  const leaving = LEAVING.filter((role) => roles.includes(role));
  const asked =
    client === null
      ? []
      : endsCluster
        ? [aloneStep(machine.name, client)]
        : leaving.map((role) => removeStep(role, machine.name, client));
  const services: readonly (NodeRole | 'etcd')[] = ['agent', 'storage', 'control', 'etcd'];
  return [
    ...asked,
    ...services.map((role) => serviceStep(role)),
    {
      does: `end what runs in ${SLICES.vms} and ${SLICES.disks}`,
      isDone: async () => false,
      do: async () => {
        await stopSlice(SLICES.vms);
        await stopSlice(SLICES.disks);
      },
    },
    {
      does: 'remove the networks and packet filters of the cluster',
      isDone: async () => devices().length === 0 && (await tables()).length === 0,
      do: removeNetworks,
    },
    {
      does: `remove ${MACHINE_FILE}, ${ADMIN_DIR}, ${STATE_DIR} but for a pool, and ${RUN_DIR}`,
      isDone: async () => !existsSync(MACHINE_FILE),
      do: removeFiles,
    },
  ];
}

/** Only the role of a control node ends. CodedError 'conflict' where the machine has no other one. */
function controlSteps(machine: MachineConfig, client: ApiClient | null): readonly Step[] {
  const { control, ...rest } = machine;
  if (control === undefined)
    throw new CodedError('not-found', 'This machine is no control node.', { advice: 'Nothing was changed.' });
  if (rolesOf(rest).length === 0)
    throw new CodedError('conflict', 'This machine is nothing but a control node.', {
      advice: 'Nothing was changed. Leave without --control.',
    });
  return [
    ...(client === null ? [] : [removeStep('control', machine.name, client)]),
    ...(['control', 'etcd'] as const).map(serviceStep),
    {
      does: 'remove the packet filter of a control node',
      isDone: async () => !(await tables()).includes(CONTROL_TABLE),
      do: async () => {
        await run(['nft', 'delete', 'table', ...CONTROL_TABLE.split(' ')], { deadlineMs: CALL_MS });
      },
    },
    {
      does: `remove its files in ${STATE_DIR}, and take the role out of ${MACHINE_FILE}`,
      isDone: async () => false,
      do: async () => {
        const { controls } = await demandClusterFile(STATE_DIR);
        await writeClusterFile(STATE_DIR, { controls, adminTokenSha256: undefined, etcd: undefined });
        for (const role of ['control', 'etcd']) await rm(join(STATE_DIR, role), { recursive: true, force: true });
        // Last: while the role stands there, a command that was interrupted can be repeated.
        await writeFileAtomic(MACHINE_FILE, formatMachineConfig(rest), { mode: 0o644 });
      },
    },
  ];
}

/** A cluster ends only with its last machine, and without VMs. */
function aloneStep(name: string, client: ApiClient): Step {
  return {
    does: 'see that the cluster has no other machine, and no VM',
    isDone: async () => false,
    do: async () => {
      const [hosts, storage, control, vms] = await Promise.all([
        client.list('/v1/hosts', {}),
        client.list('/v1/storage-nodes', {}),
        client.list('/v1/control-nodes', {}),
        client.list('/v1/vms', {}),
      ]);
      const others = new Set([...hosts, ...storage, ...control].map((one) => one.name).filter((one) => one !== name));
      if (others.size === 0 && vms.length === 0) return;
      const what = [...others, ...vms.map((vm) => `VM ${vm.name}`)];
      throw new CodedError('conflict', `The cluster still has ${listed(what)}.`, {
        advice:
          'Nothing was changed. Let the other machines leave and delete the VMs first, or leave without --end-cluster.',
      });
    },
  };
}

function removeStep(role: MachineRole, name: string, client: ApiClient): Step {
  const { http } = client;
  const gone = async (work: Promise<unknown>): Promise<boolean> => {
    try {
      await work;
      return false;
    } catch (error) {
      if (error instanceof CodedError && error.code === 'not-found') return true;
      throw error;
    }
  };
  const host = { params: { path: { host: name } } };
  const storage = { params: { path: { node: name } } };
  return {
    does: `take ${role} ${name} out of the cluster`,
    isDone: async () => {
      if (role === 'host') return gone(client.call(http.GET('/v1/hosts/{host}', host)));
      if (role === 'storage') return gone(client.call(http.GET('/v1/storage-nodes/{node}', storage)));
      return !(await client.list('/v1/control-nodes', {})).some((node) => node.name === name);
    },
    do: async () => {
      if (role === 'host') {
        await client.call(http.PATCH('/v1/hosts/{host}', { ...host, body: { cordoned: true } }));
        await client.call(http.DELETE('/v1/hosts/{host}', host));
      } else if (role === 'storage') await client.call(http.DELETE('/v1/storage-nodes/{node}', storage));
      else {
        // Another node leads in the meantime; the member of etcd runs on until it is removed.
        await disable('control');
        await client.call(http.DELETE('/v1/control-nodes/{control}', { params: { path: { control: name } } }));
      }
    },
  };
}

function serviceStep(role: NodeRole | 'etcd'): Step {
  return {
    does: `end the ${role} service`,
    isDone: async () => !(await isActive(role)) && !(await isEnabled(role)),
    do: () => disable(role),
  };
}

async function isEnabled(role: NodeRole | 'etcd'): Promise<boolean> {
  const argv = ['systemctl', 'is-enabled', '--quiet', `groundplane-${role}.service`];
  return (await tryRun(argv, { deadlineMs: CALL_MS })).exitCode === 0;
}

function devices(): readonly string[] {
  return Object.keys(ownInterfaces()).filter((name) => DEVICES.test(name));
}

async function tables(): Promise<readonly string[]> {
  const { stdout } = await tryRun(['nft', 'list', 'tables'], { deadlineMs: CALL_MS });
  return [...stdout.matchAll(TABLES)].map(([, name = '']) => name);
}

async function removeNetworks(): Promise<void> {
  const { stdout } = await run(['ip', '-o', 'link', 'show'], { deadlineMs: CALL_MS });
  const all = [...stdout.matchAll(/^\d+: ([^:@]+)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => DEVICES.test(name));
  for (const device of all) await tryRun(['ip', 'link', 'delete', device], { deadlineMs: CALL_MS });
  for (const table of await tables())
    await run(['nft', 'delete', 'table', ...table.split(' ')], { deadlineMs: CALL_MS });
}

/** The pool stays where it holds anything: its files are people's data. */
async function removeFiles(): Promise<void> {
  for (const entry of ['agent', 'storage', 'control', 'etcd', 'cluster.json'])
    await rm(join(STATE_DIR, entry), { recursive: true, force: true });
  await rm(RUN_DIR, { recursive: true, force: true });
  await rm(ADMIN_DIR, { recursive: true, force: true });
  await rm(MACHINE_FILE, { force: true });
}
