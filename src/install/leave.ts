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
import { ownInterfaces } from '../os/own-addresses.ts';
import { SLICES } from '../os/scope.ts';
import type { MachineConfig } from './machine-config.ts';
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
const TABLES = /^table (\S+ groundplane\S*)/gm;

/** How to ask the cluster. */
export interface LeaveOptions {
  /** Null: the cluster is not asked; its records of this machine are then removed at a control node. */
  readonly client: ApiClient | null;
  /** The only machine of its cluster: the cluster ends with it. */
  readonly endsCluster: boolean;
}

/** Returns the steps that take this machine out of its cluster. */
export function leaveSteps(machine: MachineConfig, { client, endsCluster }: LeaveOptions): readonly Step[] {
  const roles = rolesOf(machine);
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
