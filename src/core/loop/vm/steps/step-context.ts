/**
 * The context in which every step is carried out: the ports, the VM's record that it was decided from, and the place
 * where answers are noted.
 */
import { CodedError } from '../../../../base/errors.ts';
import type { DiskId, Generation, HostName, StorageName } from '../../../../base/ids.ts';
import type { DiskRecord } from '../../../model/cluster.ts';
import type { SharedDiskRecord } from '../../../model/guest-cluster.ts';
import {
  heldSharedDisks,
  type Incarnation,
  sharedDisksOf,
  type VmRecord,
  type VmSharedDisk,
} from '../../../model/vm.ts';
import type { Step, StepName } from '../../../plan/vm/steps.ts';
import type { HostLink, NetworkPlan } from '../../../ports/host-link.ts';
import type { QmpLink, QmpTarget } from '../../../ports/qmp-link.ts';
import type { StorageLink } from '../../../ports/storage-link.ts';
import type { LeaderStore } from '../../../ports/store.ts';
import type { Acknowledgements, Credentials } from '../acknowledgements.ts';

/** Issues what one incarnation proves itself by. */
export interface CredentialIssuer {
  /** Its certificate: client of its disks, server of its QMP. */
  issue(vm: VmRecord['id'], generation: Generation): Promise<Credentials>;
  /**
   * The secret with which an account logs in at the targets. CodedError 'unavailable' while the cluster's key for it
   * cannot be read.
   */
  targetSecret(account: string): Promise<string>;
}

export interface ExecutorPorts {
  readonly store: LeaderStore;
  readonly hosts: HostLink;
  readonly storage: StorageLink;
  readonly qmp: QmpLink;
  readonly credentials: CredentialIssuer;
  /** The name a storage node's certificate carries. */
  readonly storageTlsName: (node: StorageName) => string;
  /** The network state a host should have now. */
  readonly networkPlan: (host: HostName) => NetworkPlan;
}

export interface StepContext {
  readonly ports: ExecutorPorts;
  readonly vm: VmRecord;
  readonly notes: Acknowledgements;
}

/**
 * Carries out one kind of step, and notes what was acknowledged. Rejects with CodedError; then the step is to be
 * repeated.
 */
export type StepHandler<K extends StepName> = (context: StepContext, step: Extract<Step, { do: K }>) => Promise<void>;

/** Deadlines of single orders, in ms. */
export const DEADLINE = { fence: 3_000, grant: 5_000, launch: 15_000, kill: 5_000, disk: 30_000 } as const;

/** Returns where the QEMU of an incarnation is reached; CodedError 'not-found' if its host has no record. */
export function qmpTarget(store: LeaderStore, vm: VmRecord, incarnation: Incarnation): QmpTarget {
  const host = store.snapshot.hosts.get(incarnation.host);
  if (host === undefined) throw new CodedError('not-found', `Host ${incarnation.host} is not in the cluster.`);
  return {
    vm: vm.id,
    generation: incarnation.generation,
    slot: incarnation.slot,
    host: incarnation.host,
    addresses: host.value.addresses,
  };
}

/** Returns true if the node was declared lost: its disks are gone and will never be served again. */
export function isLostNode(store: LeaderStore, node: StorageName): boolean {
  return store.snapshot.storage.get(node)?.value.lost !== undefined;
}

/** Returns a shared disk's record; CodedError 'unavailable' while the watch has not shown it yet. */
export function sharedDiskOf(store: LeaderStore, id: DiskId): SharedDiskRecord {
  const entry = store.snapshot.sharedDisks.get(id);
  if (entry === undefined) throw new CodedError('unavailable', `The record of shared disk ${id} is not known yet.`);
  return entry.value;
}

/** Returns those of `uses` that are on nodes that were not declared lost. */
export function standing(store: LeaderStore, uses: readonly VmSharedDisk[]): VmSharedDisk[] {
  return uses.filter(({ disk }) => !isLostNode(store, sharedDiskOf(store, disk).node));
}

/** Returns the shared disks that the VM is to have and that exist already. */
export function madeSharedDisks(store: LeaderStore, vm: VmRecord): VmSharedDisk[] {
  return standing(store, heldSharedDisks(vm)).filter(({ disk }) => sharedDiskOf(store, disk).phase !== 'creating');
}

/** The disks of one VM on a storage node. */
export interface OnNode {
  readonly own: readonly DiskRecord[];
  /** Whether the VM has a shared disk there, or is just losing one. */
  readonly hasShared: boolean;
}

/**
 * Groups the VM's disks by storage node; a shared disk that does not exist yet is on no node. CodedError 'unavailable'
 * if the record of a shared disk is not known yet.
 */
function byNode(store: LeaderStore, vm: VmRecord): Map<StorageName, OnNode> {
  const nodes = new Map<StorageName, { own: DiskRecord[]; hasShared: boolean }>();
  const at = (node: StorageName) => {
    const there = nodes.get(node) ?? { own: [], hasShared: false };
    nodes.set(node, there);
    return there;
  };
  for (const disk of store.snapshot.disksOf(vm.id)) at(disk.node).own.push(disk);
  for (const { disk } of sharedDisksOf(vm)) {
    const { node, phase } = sharedDiskOf(store, disk);
    if (phase !== 'creating') at(node).hasShared = true;
  }
  return nodes;
}

/**
 * Gives an order to every storage node of the VM at once, except lost ones. Rejects with the first failure after every
 * node has answered: a node that does not acknowledge may still serve the VM's disk.
 */
export async function onEveryNode(
  { ports: { store }, vm }: StepContext,
  order: (node: StorageName, has: OnNode) => Promise<unknown>,
): Promise<void> {
  const failures: unknown[] = [];
  const one = async (node: StorageName, has: OnNode): Promise<void> => {
    try {
      await order(node, has);
    } catch (error) {
      failures.push(error);
    }
  };
  const nodes = [...byNode(store, vm)].filter(([node]) => !isLostNode(store, node));
  await Promise.all(nodes.map(([node, has]) => one(node, has)));
  if (failures.length > 0) throw failures[0];
}
