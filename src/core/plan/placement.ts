/** Where a VM goes. Pure: a function of a snapshot. Most free memory first, names break ties, so that the same snapshot gives the same host. */
import type { HostName } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import type { HostObservation } from '../model/observation.ts';
import { SLOTS_PER_HOST } from '../model/ports.ts';
import { affinityGroup, expectedIncarnations, type VmRecord } from '../model/vm.ts';

/** Memory QEMU needs beside the guest's own, in bytes: measured about 60 MB resident with TCG; a little more is kept. */
const QEMU_OVERHEAD_BYTES = 96 * 1024 * 1024;

export interface PlacementInput {
  readonly vm: VmRecord;
  readonly vms: Iterable<VmRecord>;
  readonly hosts: readonly { readonly record: HostRecord; readonly seen: HostObservation }[];
  /** Never here. */
  readonly exclude: readonly HostName[];
  /** Only here, when given. */
  readonly only: HostName | null;
}

export type Placement =
  | { readonly kind: 'placed'; readonly host: HostName; readonly slot: number }
  /** Each host with the reason why it cannot take the VM. */
  | { readonly kind: 'nowhere'; readonly reasons: readonly string[] };

/** Memory the incarnations recorded for `host` take, in bytes. */
export function committedMemory(host: HostName, vms: Iterable<VmRecord>): number {
  let sum = 0;
  for (const vm of vms) {
    for (const incarnation of expectedIncarnations(vm.phase)) {
      if (incarnation.host === host) sum += vm.spec.memoryBytes + QEMU_OVERHEAD_BYTES;
    }
  }
  return sum;
}

/** Chooses a host and a slot for one more incarnation of `vm`. */
export function place(input: PlacementInput): Placement {
  const vms = [...input.vms];
  const reasons: string[] = [];
  const apart = hostsOfGroup(input.vm, vms);
  let best: { host: HostName; free: number; seen: HostObservation } | null = null;
  for (const { record, seen } of input.hosts) {
    const free = record.capacity.memoryBytes - committedMemory(record.name, vms);
    const neighbour = apart.get(record.name);
    const obstacle =
      obstacleOn(record, seen, free, input) ??
      (neighbour === undefined ? null : `it has ${neighbour} of anti-affinity group ${affinityGroup(input.vm)}`);
    if (obstacle !== null) {
      reasons.push(`${record.name}: ${obstacle}`);
    } else if (best === null || free > best.free || (free === best.free && record.name < best.host)) {
      best = { host: record.name, free, seen };
    }
  }
  if (input.only !== null && !input.hosts.some(({ record }) => record.name === input.only))
    reasons.push(`${input.only}: no such host`);
  if (best === null) return { kind: 'nowhere', reasons };
  const slot = freeSlot(best.host, vms, best.seen.occupiedSlots);
  return slot === null
    ? { kind: 'nowhere', reasons: [...reasons, `${best.host}: no free slot`] }
    : { kind: 'placed', host: best.host, slot };
}

/** The hosts that the records of other VMs of its group name, whatever for, each with the name of one of them. */
function hostsOfGroup(vm: VmRecord, vms: Iterable<VmRecord>): ReadonlyMap<HostName, string> {
  const hosts = new Map<HostName, string>();
  const group = affinityGroup(vm);
  if (group === null) return hosts;
  for (const other of vms) {
    if (other.id === vm.id || affinityGroup(other) !== group) continue;
    for (const { host } of expectedIncarnations(other.phase)) hosts.set(host, other.name);
  }
  return hosts;
}

function obstacleOn(
  record: HostRecord,
  seen: HostObservation,
  freeBytes: number,
  { vm, exclude, only }: PlacementInput,
): string | null {
  if (only !== null && record.name !== only) return 'another host was asked for';
  if (exclude.includes(record.name)) return 'excluded';
  if (seen.agent !== 'alive') return 'its agent does not answer';
  if (record.quarantine !== null) return `quarantined: ${record.quarantine.reason}`;
  if (record.cordoned && only === null) return 'cordoned';
  const { cpuModel } = vm.spec;
  if (cpuModel !== 'baseline' && !record.capacity.cpuModels.includes(cpuModel)) return `its CPUs cannot be ${cpuModel}`;
  const needed = vm.spec.memoryBytes + QEMU_OVERHEAD_BYTES;
  if (freeBytes < needed)
    return `too little memory: ${Math.floor(freeBytes / 1048576)} MiB free, ${Math.ceil(needed / 1048576)} MiB needed`;
  if (record.capacity.vcpus > 0 && vm.spec.vcpus > record.capacity.vcpus * 8)
    return `too few CPUs for ${vm.spec.vcpus} vCPUs`;
  return null;
}

function freeSlot(host: HostName, vms: readonly VmRecord[], occupied: readonly number[]): number | null {
  const used = new Set(occupied);
  for (const vm of vms)
    for (const incarnation of expectedIncarnations(vm.phase)) if (incarnation.host === host) used.add(incarnation.slot);
  for (let slot = 0; slot < SLOTS_PER_HOST; slot++) if (!used.has(slot)) return slot;
  return null;
}
