/**
 * What the three versions of Prism's API say, in one form. A version's own file converts its records; a field that the
 * version always writes and that is missing is listed in `lacks`.
 */
import type { Aspect, Evidence, Host, TieKind, Vm } from '../../estate/estate.ts';

export interface PrismCluster {
  readonly id: string;
  readonly name: string;
}

/** A disk set that VMs attach; one with `isShared` may be attached by several. */
export interface PrismVolumeGroup {
  readonly id: string;
  readonly name: string;
  readonly isShared: boolean;
  /** Name and value of the field that says so. */
  readonly said: readonly [column: string, value: unknown];
  /** IDs of the VMs that the group itself names as attached. */
  readonly vms: readonly string[];
}

/** A field that is missing, and what cannot be known without it. */
export type Lack = readonly [aspect: Aspect, column: string];

export interface PrismHost {
  readonly id: string;
  readonly name: string;
  readonly cluster: PrismCluster;
  readonly memoryMib: number | null;
  readonly state: Host['state'];
  readonly cpuModel: string;
  /** Running VMs without the controller VM; null: unknown. */
  readonly running: number | null;
  readonly said: readonly [column: string, value: unknown];
  readonly lacks: readonly Lack[];
}

export interface PrismDisk {
  /** ID of its volume group; empty: a disk of the VM alone. */
  readonly group: string;
  readonly label: string;
  readonly bytes: number | null;
  readonly column: string;
}

export interface PrismTie {
  readonly kind: TieKind;
  readonly effect: 'blocks' | 'limits' | 'warns';
  readonly subject: string;
  readonly column: string;
  readonly value: unknown;
  /** IDs of hosts, with `limits`. */
  readonly hosts?: readonly string[];
}

/** A rule for the VMs that have one of its categories. */
export interface PrismPolicy {
  readonly id: string;
  readonly name: string;
  /** `apart`: the VMs are spread over hosts where that is possible; `hosts`: the VMs run only on the hosts named. */
  readonly kind: 'apart' | 'hosts';
  /** IDs of categories. */
  readonly vmCategories: readonly string[];
  readonly hostCategories: readonly string[];
}

/** A category, and the IDs of the hosts that have it. */
export interface PrismCategory {
  readonly id: string;
  readonly hosts: readonly string[];
}

export interface PrismVm {
  readonly id: string;
  readonly name: string;
  readonly power: Vm['power'];
  readonly host: string;
  readonly hostName: string;
  readonly memoryMib: number | null;
  readonly cpus: number | null;
  readonly disks: readonly PrismDisk[];
  readonly nics: readonly { readonly subnet: string; readonly name: string }[];
  readonly ties: readonly PrismTie[];
  /** IDs of the VM's categories; only version 4 has them. */
  readonly categories?: readonly string[];
  readonly notes: string;
  readonly lacks: readonly Lack[];
}

/** An object of a list, in one form. */
export type PrismObject = { readonly file: string } & (
  | { readonly kind: 'vm'; readonly is: PrismVm }
  | { readonly kind: 'host'; readonly is: PrismHost }
  | { readonly kind: 'cluster'; readonly is: PrismCluster }
  | { readonly kind: 'volume group'; readonly is: PrismVolumeGroup }
  | { readonly kind: 'policy'; readonly is: PrismPolicy }
  | { readonly kind: 'category'; readonly is: PrismCategory }
);

export type At = (column: string, value: unknown) => Evidence;

/** Returns the signals that all versions have, under the version's own column names. */
export function commonTies(signals: {
  readonly agent: readonly [column: string, value: unknown];
  readonly pinned: readonly [column: string, value: unknown];
  readonly passthrough: readonly [column: string, value: unknown];
  readonly capable: readonly [column: string, value: unknown];
  readonly direct: number;
}): readonly PrismTie[] {
  const { agent, pinned, passthrough, capable } = signals;
  const ties: PrismTie[] = [];
  const add = (kind: TieKind, effect: PrismTie['effect'], [column, value]: readonly [string, unknown], subject = '') =>
    ties.push({ kind, effect, subject, column, value });
  if (capable[1] === false) add('platform verdict', 'blocks', capable, capable[0]);
  if (agent[1] === true) add('agent vm', 'blocks', agent);
  if (signals.direct > 0) add('sr-iov', 'blocks', ['nic type', 'DIRECT_NIC'], 'DIRECT_NIC');
  if (pinned[1] === true) add('cpu pin', 'warns', pinned);
  if (passthrough[1] === true) add('cpu passthrough', 'warns', passthrough);
  return ties;
}

/** Returns a tie for each graphics processor. */
export function gpuTies(column: string, gpus: readonly { readonly name: string; readonly mode: string }[]): PrismTie[] {
  return gpus.map(({ name, mode }) => ({ kind: 'gpu', effect: 'blocks', subject: name || mode, column, value: mode }));
}

/** Converts the word for a power state. */
export function powerOf(text: string): Vm['power'] {
  if (/^on$/i.test(text)) return 'running';
  if (/^off$/i.test(text)) return 'stopped';
  return /^(?:suspended|paused)$/i.test(text) ? 'suspended' : 'unknown';
}

/** Returns bytes as MiB. */
export function mibOf(bytes: number | null): number | null {
  return bytes === null ? null : bytes / 2 ** 20;
}
