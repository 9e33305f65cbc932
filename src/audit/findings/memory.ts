/** The memory of a VM, in the two ways in which platforms count it. */
import type { Vm } from '../estate/estate.ts';

/**
 * `configured`: the memory that VMs are given. `reserved`: the memory that an overcommitting platform reserves for
 * them.
 */
export type MemoryKind = 'configured' | 'reserved';

/** Returns a VM's memory in MiB. */
export function memoryOf(vm: Vm, memory: MemoryKind): number {
  return memory === 'configured' ? (vm.memoryMib ?? 0) : (vm.reservedMib ?? vm.memoryMib ?? 0);
}
