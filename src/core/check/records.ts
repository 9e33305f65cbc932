/**
 * How the checkers read a record: written anew from docs/specs/protocol.md, so that a mistake in model/ or plan/ is not
 * repeated here.
 */
import type { Generation, HostName } from '../../base/ids.ts';
import type { Incarnation, VmRecord } from '../model/vm.ts';

/** Every incarnation that a record names, for any reason; none for a record whose running incarnation is unknown. */
export function namedIncarnations({ phase, restored }: VmRecord): readonly Incarnation[] {
  if (restored !== undefined) return [];
  if ('incarnation' in phase) return [phase.incarnation];
  return 'source' in phase ? [phase.source, phase.destination] : [];
}

/** The generation that may run the guest; null if none may. */
export function currentGeneration({ phase, restored }: VmRecord): Generation | null {
  if (restored !== undefined) return null;
  if ('incarnation' in phase) return phase.incarnation.generation;
  if (!('source' in phase)) return null;
  return phase.kind === 'switching' ? phase.destination.generation : phase.source.generation;
}

/** Whether storage may serve `generation` while this record is in force. */
export function mayBeGranted(vm: VmRecord, generation: Generation): boolean {
  if (vm.restored !== undefined) return false;
  // A VM that is powered off is fenced before it is recorded as stopped.
  if (vm.phase.kind === 'stopping' && vm.phase.mode === 'hard') return false;
  if (generation === currentGeneration(vm)) return true;
  return vm.phase.kind === 'migrating' && vm.phase.destination.generation === generation;
}

/** What a QEMU takes beside its guest's memory (docs/operating/limits.md), in bytes. */
const QEMU_BYTES = 96 * 1024 ** 2;

/** Memory that one incarnation takes on its host, in bytes. */
export function footprintOf({ spec }: VmRecord): number {
  return spec.memoryBytes + QEMU_BYTES;
}

/** Memory that the incarnations which a record puts on `host` take there, in bytes. */
export function memoryOn(host: HostName, vm: VmRecord): number {
  return namedIncarnations(vm).filter((incarnation) => incarnation.host === host).length * footprintOf(vm);
}
