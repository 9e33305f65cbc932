/**
 * Which incarnations run on this host: asked of the operating system each time, remembered nowhere. Guarantees: an
 * incarnation is found by its QEMU's own arguments and its user, whichever agent started it and whenever; a zombie is
 * not running; a process of another network namespace is another host's.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type Generation, parseGeneration, parseVmId, type VmId } from '../base/ids.ts';
import type { SlotNeeds } from '../core/plan/hosts/port-filter.ts';
import type { RunningIncarnation } from '../core/ports/host-link.ts';
import { type ProcessIdentity, readProcess } from '../os/process-table.ts';
import { parseTap, type Tap } from './network/taps.ts';
import { parseNeeds } from './qemu/needs.ts';

/** The key of one run of a VM, as an agent uses it. */
export interface IncarnationKey {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly slot: number;
}

/** A running QEMU. */
export interface Found extends IncarnationKey {
  readonly process: ProcessIdentity;
  /** Launched to receive a migration stream. */
  readonly incoming: boolean;
  readonly taps: readonly Tap[];
  /** The ports that this QEMU may connect to. */
  readonly needs: Omit<SlotNeeds, 'uid'>;
}

/** The user of the QEMU in slot 0; the next slots' follow. */
export const FIRST_QEMU_UID = 600_000;
const MARKER = /^null,id=gp\.(vm-[0-9a-f]{12})\.g([1-9]\d{0,15})\.s(\d{1,3})$/;
const MARKER_BYTES = Buffer.from('null,id=gp.vm-');

/** The argument of `-chardev` that identifies our QEMUs: a device without any effect, on the host's side only. */
export function markerArgument({ vm, generation, slot }: IncarnationKey): string {
  return `null,id=gp.${vm}.g${generation}.s${slot}`;
}

/** What the arguments of a process say about it; undefined if it is no QEMU of ours. */
export function parseIncarnation(argv: readonly string[]): Omit<Found, 'process'> | undefined {
  for (const argument of argv) {
    const [, vm, generation, slot] = MARKER.exec(argument) ?? [];
    if (vm === undefined) continue;
    return {
      vm: parseVmId(vm),
      generation: parseGeneration(Number(generation)),
      slot: Number(slot),
      incoming: argv.includes('-incoming'),
      taps: argv.map(parseTap).filter((tap) => tap !== undefined),
      needs: parseNeeds(argv),
    };
  }
  return undefined;
}

/**
 * Returns true for a user as which an agent starts the QEMU of a slot: processes of other users may have such arguments
 * as well. The agent's own user counts because a program has it until it has become the slot's.
 */
export function isUserOfSlot(uid: number, slot: number): boolean {
  return uid === FIRST_QEMU_UID + slot || uid === process.geteuid?.();
}

/** Every QEMU of ours in this network namespace. Takes some tens of microseconds per process of the machine. */
export function findIncarnations(): readonly Found[] {
  const found: Found[] = [];
  for (const { pid } of processesWith(MARKER_BYTES)) {
    const record = readProcess(pid);
    if (record === undefined || record.state === 'Z' || record.state === 'X') continue;
    const incarnation = parseIncarnation(record.argv);
    if (incarnation === undefined || !isUserOfSlot(record.uid, incarnation.slot) || !isOnThisHost(pid)) continue;
    found.push({ ...incarnation, process: { pid, startTicks: record.startTicks } });
  }
  return found;
}

/** The processes whose arguments contain these bytes; a first, cheap selection. */
export function processesWith(bytes: Buffer): readonly { readonly pid: number }[] {
  const pids: { pid: number }[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`).includes(bytes)) pids.push({ pid: Number(name) });
    } catch {
      // Ended since the directory was read.
    }
  }
  return pids;
}

/**
 * Whether the process shares our network namespace: on a machine of its own all do; in a one-machine cluster this is
 * what makes a host. A process we may not look into is not ours.
 */
export function isOnThisHost(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net');
  } catch {
    return false;
  }
}

/** The incarnation in the form of the agent's report. */
export function reported({ vm, generation, slot, incoming, process }: Found): RunningIncarnation {
  return { vm, generation, slot, pid: process.pid, startTicks: String(process.startTicks), incoming };
}
