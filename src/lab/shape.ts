/**
 * The machines of a one-machine cluster, and their addresses. Pure. Guarantees: a machine of a name has the same
 * addresses in every shape, so that a cluster that grows keeps them.
 *   control network   10.77.0.0/16   room .0.1, control nodes .0.11 …, storage nodes .1.1 …, hosts .2.1 …
 *   storage network   10.78.0.0/16   storage nodes and hosts, same last two numbers
 *   overlay network   10.79.0.0/16   hosts, same last two numbers
 */

import { CodedError } from '../base/errors.ts';

export interface ClusterShape {
  /** 1 to 200. */
  readonly hosts: number;
  /** 1 or 3. */
  readonly controlNodes: number;
  /** 1 to 20. */
  readonly storageNodes: number;
}

export type MachineKind = 'control' | 'storage' | 'host';
export type NetworkRole = 'control' | 'storage' | 'overlay';

export interface MachineSpec {
  /** h1, c1, s1 … */
  readonly name: string;
  readonly kind: MachineKind;
  /** From 1. */
  readonly index: number;
  readonly nics: readonly NicSpec[];
}

export interface NicSpec {
  readonly network: NetworkRole;
  /** The name of the device in the machine. */
  readonly device: string;
  /** The name of its other end, a port of the network's bridge in the room. */
  readonly port: string;
  readonly address: string;
  readonly mac: string;
}

export const DEFAULT_SHAPE: ClusterShape = { hosts: 3, controlNodes: 1, storageNodes: 1 };
/** The room: the outside, as seen from the machines. */
export const GATEWAY_ADDRESS = '10.77.0.1';
/** An address beyond the gateway (RFC 5737), for trying NAT. */
export const OUTSIDE_ADDRESS = '203.0.113.1';
export const PREFIX_LENGTH = 16;

/** VXLAN adds 50 bytes: the overlay's underlay carries guests' 1500 without fragments. */
export const NETWORKS: Readonly<
  Record<
    NetworkRole,
    { readonly bridge: string; readonly device: string; readonly prefix: string; readonly mtu: number }
  >
> = {
  control: { bridge: 'ctl', device: 'ctl0', prefix: '10.77', mtu: 1500 },
  storage: { bridge: 'sto', device: 'sto0', prefix: '10.78', mtu: 1500 },
  overlay: { bridge: 'ovl', device: 'ovl0', prefix: '10.79', mtu: 9000 },
};

const KINDS: Readonly<
  Record<MachineKind, { letter: string; third: number; fourthBase: number; networks: readonly NetworkRole[] }>
> = {
  control: { letter: 'c', third: 0, fourthBase: 10, networks: ['control'] },
  storage: { letter: 's', third: 1, fourthBase: 0, networks: ['control', 'storage'] },
  host: { letter: 'h', third: 2, fourthBase: 0, networks: ['control', 'storage', 'overlay'] },
};

/** CodedError 'bad-input' unless a cluster can have this shape. */
export function checkShape({ hosts, controlNodes, storageNodes }: ClusterShape): void {
  const refuse = (what: string): never => {
    throw new CodedError('bad-input', what, { advice: 'Nothing was changed.' });
  };
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > 200) refuse(`A cluster has 1 to 200 hosts, not ${hosts}.`);
  if (controlNodes !== 1 && controlNodes !== 3) refuse(`A cluster has 1 or 3 control nodes, not ${controlNodes}.`);
  if (!Number.isInteger(storageNodes) || storageNodes < 1 || storageNodes > 20)
    refuse(`A cluster has 1 to 20 storage nodes, not ${storageNodes}.`);
}

/** All machines of a shape: control nodes, storage nodes, hosts. */
export function machinesOf(shape: ClusterShape): readonly MachineSpec[] {
  return [
    ...numbered('control', shape.controlNodes),
    ...numbered('storage', shape.storageNodes),
    ...numbered('host', shape.hosts),
  ];
}

/** The machine's address in a network, or undefined if it has none there. */
export function addressIn(machine: MachineSpec, network: NetworkRole): string | undefined {
  return machine.nics.find((nic) => nic.network === network)?.address;
}

function numbered(kind: MachineKind, count: number): readonly MachineSpec[] {
  return Array.from({ length: count }, (_, offset) => machineSpec(kind, offset + 1));
}

function machineSpec(kind: MachineKind, index: number): MachineSpec {
  const { letter, third, fourthBase, networks } = KINDS[kind];
  const name = `${letter}${index}`;
  const nics = networks.map((network, position): NicSpec => {
    const { bridge, device, prefix } = NETWORKS[network];
    const fourth = fourthBase + index;
    // Locally administered, and the same at every boot: a neighbour's ARP entry stays true.
    const mac = ['02', '47', hex(position), hex(third), hex(0), hex(fourth)].join(':');
    return { network, device, port: `${name}-${bridge}`, address: `${prefix}.${third}.${fourth}`, mac };
  });
  return { name, kind, index, nics };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
