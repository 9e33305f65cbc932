/**
 * The configuration of every role on a machine, made from what the machine and its cluster are. Pure but for the name
 * of the processor's architecture. Guarantees: a configuration holds no secret, and has the type that its role's reader
 * returns; a field that is undefined is not written, so that its default holds.
 */
import { join } from 'node:path';
import type { AgentConfig } from '../agent/config.ts';
import { present } from '../base/assert.ts';
import { ETCD_CLIENT_NAME, ETCD_MEMBER_NAME } from '../base/identity.ts';
import { parseControlName, parseHostName, parseStorageName } from '../base/ids.ts';
import type { ControlConfig } from '../control/config.ts';
import { PORTS } from '../core/model/ports.ts';
import { etcdCommand } from '../etcd/member.ts';
import type { StorageConfig } from '../storage/config.ts';

/** A machine as the configurations of its roles describe it. */
export interface InstalledMachine {
  readonly name: string;
  /**
   * One address for each network that the machine is in. `control` for every machine, `storage` for storage nodes and
   * hosts.
   */
  readonly addresses: { readonly control: string; readonly storage?: string; readonly overlay?: string };
  /** The interface of the overlay network. For a host only. */
  readonly overlayDevice?: string;
  readonly paths: MachinePaths;
}

/** The places where the roles of a machine keep their files. Absolute paths. */
export interface MachinePaths {
  /** The identity of the machine's role. */
  readonly stateDir: string;
  /** Sockets; on a file system that is empty after a reboot. */
  readonly runDir: string;
  /** A storage node's disks. */
  readonly poolDir: string;
  /** A control node's credentials: those of its server and of its etcd member. */
  readonly credentialsDir: string;
  /** The cluster's authority. On control nodes only. */
  readonly authorityDir: string;
  /** The data of a control node's etcd member. */
  readonly etcdDir: string;
  /** The one-time token of a machine that joins. */
  readonly joinTokenFile: string;
}

/** A control node as other machines know it. */
export interface ControlNode {
  readonly name: string;
  readonly address: string;
}

/** How an etcd member is started. */
export interface EtcdProgram {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** The settings of a control node beside those of its machine. */
export interface ControlSettings {
  /** SHA-256 of the administrator's token, hexadecimal. */
  readonly adminTokenSha256: string;
  /** A Unix socket that serves the API too. */
  readonly apiSocket?: string;
  /** The socket of the lab, for faults. For a one-machine cluster only. */
  readonly labSocket?: string;
  /** The file that names crash points. For a one-machine cluster only. */
  readonly failpointFile?: string;
}

/** Returns control.json. */
export function controlConfig(
  machine: InstalledMachine,
  controlNodes: readonly ControlNode[],
  { adminTokenSha256, apiSocket, labSocket, failpointFile }: ControlSettings,
): ControlConfig {
  const { stateDir, runDir, credentialsDir, authorityDir } = machine.paths;
  return {
    name: parseControlName(machine.name),
    address: machine.addresses.control,
    stateDir,
    runDir,
    credentialsDir,
    authorityDir,
    etcd: { endpoints: etcdEndpoints(controlNodes), quotaBytes: undefined },
    peers: controlNodes.map(({ name, address }) => ({ name: parseControlName(name), address })),
    adminTokenSha256,
    filterPorts: true,
    apiSocket,
    web: undefined,
    backup: undefined,
    labSocket,
    lab: failpointFile !== undefined,
    failpointFile,
  };
}

/** Returns storage.json. */
export function storageConfig(machine: InstalledMachine, controlNodes: readonly ControlNode[]): StorageConfig {
  const { stateDir, runDir, poolDir } = machine.paths;
  return {
    name: parseStorageName(machine.name),
    controlAddress: machine.addresses.control,
    storageAddress: present(machine.addresses.storage, `storage address of ${machine.name}`),
    stateDir,
    poolDir,
    runDir,
    etcdEndpoints: etcdEndpoints(controlNodes),
    filterPorts: true,
    join: joinConfig(machine, controlNodes),
    etcdServerName: undefined,
    poolReserveBytes: undefined,
    nvramTemplate: undefined,
  };
}

/** Returns agent.json. `memoryBytes`: what the host gives to VMs. */
export function agentConfig(
  machine: InstalledMachine,
  controlNodes: readonly ControlNode[],
  { memoryBytes, qemuUsers }: Pick<AgentConfig, 'memoryBytes' | 'qemuUsers'>,
): AgentConfig {
  const { stateDir, runDir } = machine.paths;
  return {
    name: parseHostName(machine.name),
    controlAddress: machine.addresses.control,
    storageAddress: present(machine.addresses.storage, `storage address of ${machine.name}`),
    overlayAddress: present(machine.addresses.overlay, `overlay address of ${machine.name}`),
    overlayDevice: present(machine.overlayDevice, `overlay device of ${machine.name}`),
    stateDir,
    runDir,
    memoryBytes,
    qemuUsers,
    join: joinConfig(machine, controlNodes),
  };
}

/** The settings of an etcd member beside those of its machine. */
export interface EtcdSettings {
  /** `existing`: it joins a cluster that runs. */
  readonly state?: 'new' | 'existing' | undefined;
  readonly quotaBytes?: number | undefined;
}

/** Returns the command of a control node's etcd member. `controlNodes`: all members when it begins, itself included. */
export function etcdProgram(
  machine: InstalledMachine,
  controlNodes: readonly ControlNode[],
  { state, quotaBytes }: EtcdSettings = {},
): EtcdProgram {
  const file = (name: string): string => join(machine.paths.credentialsDir, name);
  const peerAddress = (address: string): string => `${address}:${PORTS.etcdPeer}`;
  const [caFile, certFile, keyFile] = [file('ca-cert.pem'), file('server-cert.pem'), file('server-key.pem')];
  const { program, argv, env } = etcdCommand({
    name: machine.name,
    dataDir: machine.paths.etcdDir,
    clientAddresses: [`${machine.addresses.control}:${PORTS.etcdClient}`],
    peerAddress: peerAddress(machine.addresses.control),
    initialCluster: controlNodes.map(({ name, address }) => ({ name, peerAddress: peerAddress(address) })),
    clusterToken: 'groundplane',
    ...(state === undefined ? {} : { initialClusterState: state }),
    ...(quotaBytes === undefined ? {} : { quotaBytes }),
    tls: {
      ...{ caFile, certFile, keyFile, peerCaFile: caFile, peerCertFile: certFile, peerKeyFile: keyFile },
      ...{ clientName: ETCD_CLIENT_NAME, peerName: ETCD_MEMBER_NAME },
    },
    arch: process.arch,
  });
  return { argv: [program, ...argv], env };
}

function joinConfig(machine: InstalledMachine, controlNodes: readonly ControlNode[]) {
  return { controlAddresses: controlNodes.map(({ address }) => address), tokenFile: machine.paths.joinTokenFile };
}

function etcdEndpoints(controlNodes: readonly ControlNode[]): string[] {
  return controlNodes.map(({ address }) => `https://${address}:${PORTS.etcdClient}`);
}
