/** A command handler's view of its logical unit. */
import type { BlockLimits, UnitIdentity } from '../../wire/scsi/inquiry.ts';
import type { ModeSettings, ModeUnit } from '../../wire/scsi/mode.ts';
import type { SenseCondition } from '../../wire/scsi/sense.ts';
import type { RangeGate } from './range-gate.ts';
import type { ReservationCommand, ReservationOutcome, ReservationState } from './reservations.ts';
import { type BackingStore, type ScsiAnswer, type ScsiCommand, TRANSFER_BYTES_MAX } from './target-port.ts';

/** A logical unit, as far as handlers need it. */
export interface UnitContext {
  readonly backing: BackingStore;
  readonly identity: UnitIdentity;
  readonly gate: RangeGate;
  readonly mode: ModeSettings;
  readonly reservations: ReservationState;
  /** CHECK CONDITION in the format that D_SENSE asks for; `information` below 2^32. */
  refuse(condition: SenseCondition, information?: number): ScsiAnswer;
  /** Changes the mode parameters, and tells the other nexuses. */
  setMode(nexus: string, settings: ModeSettings): void;
  /** Removes and returns the next unit attention of a nexus; undefined: none is pending. */
  takeAttention(nexus: string): SenseCondition | undefined;
  /** Whether the nexus has the access of class `write`. */
  mayWrite(nexus: string): boolean;
  /** RESERVE and RELEASE of SPC-2; false: reservation conflict. */
  reserveLegacy(nexus: string): boolean;
  releaseLegacy(nexus: string): boolean;
  /** Carries out, saves and applies a change; rejects when it could not be saved. */
  changeReservations(command: ScsiCommand, change: ReservationCommand): Promise<ReservationOutcome>;
}

/**
 * Executes one command whose access was granted. It throws or rejects only for a bug or a failure of the backing store.
 */
export type CommandHandler = (unit: UnitContext, command: ScsiCommand) => ScsiAnswer | Promise<ScsiAnswer>;

/** Flash and file systems have pages of this size: what is unmapped in whole pages is given back. */
const PAGE_BYTES = 4096;
const OPTIMAL_TRANSFER_BYTES = 1024 * 1024;
const UNMAP_BLOCKS_MAX = 1024 * 1024;
const COMPARE_AND_WRITE_BLOCKS_MAX = 255;
const UNMAP_DESCRIPTORS_MAX = 256;

/** The limits that block limits announce and commands check. */
export function limitsOf(backing: BackingStore): BlockLimits {
  const blocks = (bytes: number): number => bytes / backing.blockBytes;
  return {
    transferGranularity: blocks(PAGE_BYTES),
    transferMax: blocks(TRANSFER_BYTES_MAX),
    transferOptimal: blocks(OPTIMAL_TRANSFER_BYTES),
    compareAndWriteMax: COMPARE_AND_WRITE_BLOCKS_MAX,
    unmapMax: UNMAP_BLOCKS_MAX,
    unmapDescriptorsMax: UNMAP_DESCRIPTORS_MAX,
    unmapGranularity: blocks(PAGE_BYTES),
    writeSameMax: blocks(TRANSFER_BYTES_MAX),
  };
}

/** The unit as mode pages tell it. */
export function modeUnit(unit: UnitContext): ModeUnit {
  return {
    settings: unit.mode,
    blockCount: unit.backing.blockCount,
    blockBytes: unit.backing.blockBytes,
    isReadOnly: unit.backing.isReadOnly,
  };
}
