/**
 * Decides what to do about a guest that writes to its memory faster than a move copies it. Pure. Its owner's policy
 * says what may be done: slow it down, hold it still for longer at the end, stop it and start it elsewhere, or nothing
 * of these.
 */
import { migrationPolicyOf, type VmRecord } from '../model/vm.ts';
import type { EstatePolicy, EstateVm } from './estate.ts';
import { copiedMibPerSecond, outrunsCopy } from './move-time.ts';

/** `slow-down`: QEMU takes processor time from it (auto-converge). `stop`: it is stopped, and starts on its target. */
export type Remedy = 'slow-down' | 'longer-pause' | 'stop';

/** From everything sent to the guest running again, in ms. */
const SWITCH_MS = 100;

/** The facts about a VM, and about the cluster around it. */
export interface FastWriter {
  readonly dirtyMibPerSecond: number | null;
  readonly policy: EstatePolicy;
  /** The longest pause that its guest cluster tolerates, in ms; null: it is in none. */
  readonly toleratesMs: number | null;
}

/** Returns what is done about the VM's writing: null if its move converges, or where that was not measured. */
export function remedyOf(vm: VmRecord, writer: FastWriter): Remedy | 'nothing-allowed' | null {
  const { dirtyMibPerSecond, policy } = writer;
  if (dirtyMibPerSecond === null || !outrunsCopy(policy, dirtyMibPerSecond)) return null;
  const { slowDown, stop } = migrationPolicyOf(vm);
  if (neededPauseMs(writer) <= allowedPauseMs(vm, writer)) return 'longer-pause';
  if (slowDown) return 'slow-down';
  return stop ? 'stop' : 'nothing-allowed';
}

/** A VM's rate of writing as the drain's record has it. */
export function writingOf(
  vm: VmRecord,
  writer: FastWriter,
): { readonly dirtyMibPerSecond: number | null; readonly remedy: Remedy | null } {
  const remedy = remedyOf(vm, writer);
  const { dirtyMibPerSecond } = writer;
  return { dirtyMibPerSecond, remedy: remedy === 'nothing-allowed' ? null : remedy };
}

/** The VM as plans see it, with what its writing means for its move. */
export function withWriting(known: EstateVm, vm: VmRecord, writer: FastWriter): EstateVm {
  const { dirtyMibPerSecond } = writer;
  if (dirtyMibPerSecond === null) return known;
  const remedy = remedyOf(vm, writer);
  const pauseMs = remedy === 'longer-pause' ? Math.max(known.pauseMs, neededPauseMs(writer)) : known.pauseMs;
  const unsettled = remedy === 'nothing-allowed' ? whyHeld(vm, writer) : null;
  return { ...known, dirtyMibPerSecond, pauseMs, unsettled: known.unsettled ?? unsettled };
}

/** At least the memory that the guest writes within a second is sent while the guest is paused. */
function neededPauseMs({ dirtyMibPerSecond, policy }: FastWriter): number {
  return Math.ceil(((dirtyMibPerSecond ?? 0) / copiedMibPerSecond(policy)) * 1_000) + SWITCH_MS;
}

function allowedPauseMs(vm: VmRecord, { toleratesMs }: FastWriter): number {
  return Math.min(migrationPolicyOf(vm).pauseMsMax ?? 0, toleratesMs ?? Number.POSITIVE_INFINITY);
}

function whyHeld({ name }: VmRecord, writer: FastWriter): string {
  const written = Math.round(writer.dirtyMibPerSecond ?? 0);
  const copied = Math.round(copiedMibPerSecond(writer.policy));
  const pause = Math.ceil(neededPauseMs(writer) / 1_000);
  return (
    `${name} writes ${written} MiB a second and a move copies ${copied}; its owner allows neither to slow it down, ` +
    `nor a pause of ${pause} s, nor to stop it (gp vm set ${name} --migration-policy slow-down, longer-pause=${pause}s ` +
    'or stop)'
  );
}
