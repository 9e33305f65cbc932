/** The memory of a VM, in the two ways in which platforms count it. */
import type { Evidence, Host, Vm } from '../estate/estate.ts';

/**
 * `configured`: the memory that VMs are given. `reserved`: the memory that an overcommitting platform reserves for
 * them.
 */
export type MemoryKind = 'configured' | 'reserved';

/** How many VMs and how many hosts a sum of memory cites: the largest of them. */
const CITED = 3;

/** Returns the places of the largest terms of a sum: VMs that need memory, and hosts that have it. */
export function memoryEvidence(vms: readonly Vm[], hosts: readonly Host[]): readonly Evidence[] {
  const largest = <T extends Host | Vm>(all: readonly T[]): readonly T[] =>
    all.toSorted((a, b) => (b.memoryMib ?? 0) - (a.memoryMib ?? 0)).slice(0, CITED);
  return [...largest(vms), ...largest(hosts)].map(({ evidence }) => evidence);
}

/** Returns a VM's memory in MiB. */
export function memoryOf(vm: Vm, memory: MemoryKind): number {
  return memory === 'configured' ? (vm.memoryMib ?? 0) : (vm.reservedMib ?? vm.memoryMib ?? 0);
}
