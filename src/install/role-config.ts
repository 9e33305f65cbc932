/**
 * The configuration of each role of an installed machine, made from the machine's configuration, its interfaces and its
 * file about the cluster. Pure.
 */
import { join } from 'node:path';
import type { ControlConfig } from '../control/config.ts';
import type { ClusterFile } from './cluster-file.ts';
import { agentConfig, controlConfig, etcdProgram, type InstalledMachine, storageConfig } from './configuration.ts';
import { type Interfaces, type MachineConfig, networksOf, sizeBytesOf } from './machine-config.ts';
import type { Role } from './programs.ts';

/** The facts from which the configurations are made. */
export interface RoleFacts {
  readonly machine: MachineConfig;
  readonly cluster: ClusterFile;
  readonly interfaces: Interfaces;
  readonly stateDir: string;
  readonly runDir: string;
  /** The memory of the whole machine. */
  readonly memoryBytes: number;
}

const GIB = 1024 ** 3;
/** Memory that a machine keeps for its system; half as much again for each other role. */
const SYSTEM_BYTES_MIN = 2 * GIB;
const SYSTEM_PART = 0.1;

/** Returns the memory that a host gives to VMs where its configuration does not say, in bytes. */
export function hostMemoryBytes({ machine, memoryBytes }: Pick<RoleFacts, 'machine' | 'memoryBytes'>): number {
  if (machine.host?.memory !== undefined) return sizeBytesOf(machine.host.memory);
  const others = [machine.control, machine.storage].filter((role) => role !== undefined).length;
  const systemBytes = Math.max(SYSTEM_BYTES_MIN, memoryBytes * SYSTEM_PART) * (1 + others / 2);
  const mib = 1024 ** 2;
  return Math.max(0, Math.floor((memoryBytes - systemBytes) / mib) * mib);
}

/** Returns the directory of a role's own state. */
export function roleStateDir(stateDir: string, role: Role): string {
  return join(stateDir, role);
}

/** Returns the file name and the content of a role's configuration. */
export function roleConfigFile(role: Role, facts: RoleFacts): { readonly name: string; readonly content: string } {
  const { cluster } = facts;
  const machine = installed(role, facts);
  const json = (config: object) => ({ name: `${role}.json`, content: `${JSON.stringify(config, null, 2)}\n` });
  switch (role) {
    case 'control': {
      const quota = facts.machine.control?.etcdQuota;
      const config = controlConfig(machine, cluster.controls, { adminTokenSha256: cluster.adminTokenSha256 ?? '' });
      const quotaBytes = quota === undefined ? undefined : sizeBytesOf(quota);
      const backup = backupConfig(facts.machine.control?.backup);
      return json({ ...config, etcd: { ...config.etcd, quotaBytes }, backup });
    }
    case 'storage': {
      const { join: _join, ...config } = storageConfig(machine, cluster.controls);
      const reserve = facts.machine.storage?.reserve;
      return json({ ...config, poolReserveBytes: reserve === undefined ? undefined : sizeBytesOf(reserve) });
    }
    case 'agent': {
      const memoryBytes = hostMemoryBytes(facts);
      const { join: _join, ...config } = agentConfig(machine, cluster.controls, { memoryBytes, qemuUsers: 'per-slot' });
      return json({ ...config, vcpus: facts.machine.host?.vcpus, accelerator: facts.machine.host?.accelerator });
    }
    case 'etcd':
      return { name: 'etcd.env', content: etcdEnvironment(machine, facts) };
  }
}

/** Where S3 has no regions, this one is signed for. */
const S3_REGION = 'us-east-1';

function backupConfig(backup: NonNullable<MachineConfig['control']>['backup']): ControlConfig['backup'] {
  if (backup === undefined) return undefined;
  const { keep, space, directory, s3 } = backup;
  return {
    ...{ everyMs: undefined, keep, directory },
    bytesMax: space === undefined ? undefined : sizeBytesOf(space),
    s3:
      s3 === undefined
        ? undefined
        : {
            ...{ endpoint: s3.endpoint, bucket: s3.bucket, region: s3.region ?? S3_REGION, prefix: s3.prefix ?? '' },
            ...{ credentialsFile: s3.credentials, caFile: s3.ca ?? null },
          },
  };
}

/** Every flag of etcd is a variable too. */
function etcdEnvironment(machine: InstalledMachine, { cluster, machine: { control } }: RoleFacts): string {
  const { argv, env } = etcdProgram(machine, cluster.etcd?.members ?? cluster.controls, {
    state: cluster.etcd?.state,
    quotaBytes: control?.etcdQuota === undefined ? undefined : sizeBytesOf(control.etcdQuota),
  });
  const flags = argv.slice(1).map((argument) => {
    const [, flag = '', value = ''] = /^--([a-z0-9-]+)=(.*)$/.exec(argument) ?? [];
    return [`ETCD_${flag.toUpperCase().replaceAll('-', '_')}`, value] as const;
  });
  return [...flags, ...Object.entries(env)].map(([name, value]) => `${name}=${value}\n`).join('');
}

function installed(role: Role, { machine, interfaces, stateDir, runDir }: RoleFacts): InstalledMachine {
  const { overlayDevice, ...addresses } = networksOf(machine, interfaces);
  return {
    name: machine.name,
    addresses,
    overlayDevice,
    paths: {
      stateDir: roleStateDir(stateDir, role),
      runDir,
      poolDir: machine.storage?.pool ?? join(stateDir, 'pool'),
      credentialsDir: join(stateDir, 'control/credentials'),
      authorityDir: join(stateDir, 'control/authority'),
      etcdDir: join(stateDir, 'etcd'),
      joinTokenFile: join(stateDir, 'join-token'),
    },
  };
}
