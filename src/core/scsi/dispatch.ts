/** Finds the handler of each command by operation code and service action, in two array accesses. */
import { COMMAND_LAYOUTS, type CommandName } from '../../wire/scsi/opcodes.ts';
import { ACCESS, type AccessClass, FREE_UNDER_LEGACY } from './access.ts';
import { CDB_6, CDB_10, CDB_12, CDB_16 } from './block-cdb.ts';
import * as block from './block-commands.ts';
import { type Direction, directionOf } from './direction.ts';
import * as reservation from './reservation-commands.ts';
import * as space from './space-commands.ts';
import * as own from './unit-commands.ts';
import type { CommandHandler } from './unit-context.ts';

/** REPORT LUNS is the target's: a unit does not know which others there are. */
type UnitCommandName = Exclude<CommandName, 'report-luns'>;

const HANDLERS: Readonly<Record<UnitCommandName, CommandHandler>> = {
  'test-unit-ready': own.testUnitReady,
  'request-sense': own.requestSense,
  'read-6': block.reading(CDB_6),
  'write-6': block.writing(CDB_6),
  inquiry: own.inquire,
  'mode-select-6': own.modeSelecting(false),
  'reserve-6': own.reserveUnit,
  'release-6': own.releaseUnit,
  'mode-sense-6': own.modeSensing(false),
  'start-stop-unit': own.startStopUnit,
  'read-capacity-10': space.readCapacity10,
  'read-10': block.reading(CDB_10),
  'write-10': block.writing(CDB_10),
  'write-and-verify-10': block.writingAndVerifying(CDB_10),
  'verify-10': block.verifying(CDB_10),
  'pre-fetch-10': space.prefetching(CDB_10),
  'synchronize-cache-10': space.synchronizing(CDB_10),
  'read-defect-data-10': own.readDefectData10,
  'write-same-10': space.writingSame(CDB_10),
  unmap: space.unmap,
  'mode-select-10': own.modeSelecting(true),
  'reserve-10': own.reserveUnit,
  'release-10': own.releaseUnit,
  'mode-sense-10': own.modeSensing(true),
  'read-keys': reservation.readKeys,
  'read-reservation': reservation.readReservation,
  'report-capabilities': reservation.reportCapabilities,
  'read-full-status': reservation.readFullStatus,
  register: reservation.register,
  reserve: reservation.reserve,
  release: reservation.release,
  clear: reservation.clear,
  preempt: reservation.preempt,
  'preempt-and-abort': reservation.preemptAndAbort,
  'register-and-ignore-existing-key': reservation.registerAndIgnore,
  'register-and-move': reservation.registerAndMove,
  'read-16': block.reading(CDB_16),
  'compare-and-write': block.compareAndWrite,
  'write-16': block.writing(CDB_16),
  'or-write-16': block.orWrite,
  'write-and-verify-16': block.writingAndVerifying(CDB_16),
  'verify-16': block.verifying(CDB_16),
  'pre-fetch-16': space.prefetching(CDB_16),
  'synchronize-cache-16': space.synchronizing(CDB_16),
  'write-same-16': space.writingSame(CDB_16),
  'read-capacity-16': space.readCapacity16,
  'get-lba-status': space.getLbaStatus,
  'report-supported-operation-codes': own.reportOperationCodes,
  'report-supported-task-management-functions': own.reportTaskFunctions,
  'read-12': block.reading(CDB_12),
  'write-12': block.writing(CDB_12),
  'write-and-verify-12': block.writingAndVerifying(CDB_12),
  'verify-12': block.verifying(CDB_12),
  'read-defect-data-12': own.readDefectData12,
};

/** One command as the unit executes it. */
export interface Dispatch {
  readonly handle: CommandHandler;
  readonly access: AccessClass;
  /** The position of the control byte. */
  readonly controlAt: number;
  /** INQUIRY and REQUEST SENSE are carried out while a unit attention is pending (SAM-5 5.14). */
  readonly isBeforeAttention: boolean;
  /** Whether others may run it while one nexus holds the unit by RESERVE. */
  readonly isFreeUnderLegacy: boolean;
  /** PERSISTENT RESERVE IN and OUT conflict with RESERVE for everybody (SPC-2 5.5.1). */
  readonly isPersistentReserve: boolean;
  /** Its effect on the cache. `fills`: the data that it wrote may be in the cache only when it is answered. */
  readonly cache: 'none' | 'fills' | 'synchronizes';
  /** The bit of byte 1 that keeps its data from staying in the cache; 0: none. */
  readonly fuaBit: number;
  /** The data direction of the command. */
  readonly direction: (cdb: Uint8Array) => Direction;
}

/** START STOP UNIT where it stops: see `isFlush`. */
const SYNCHRONIZING: ReadonlySet<CommandName> = new Set([
  'synchronize-cache-10',
  'synchronize-cache-16',
  'start-stop-unit',
]);
const WITH_FUA: ReadonlySet<CommandName> = new Set([
  'write-10',
  'write-12',
  'write-16',
  'compare-and-write',
  'or-write-16',
]);
const WITHOUT_FUA: ReadonlySet<CommandName> = new Set(['write-6', 'write-same-10', 'write-same-16', 'unmap']);
const FUA = 0x08;

function cacheUse(name: CommandName): Pick<Dispatch, 'cache' | 'fuaBit'> {
  if (SYNCHRONIZING.has(name)) return { cache: 'synchronizes', fuaBit: 0 };
  if (WITH_FUA.has(name)) return { cache: 'fills', fuaBit: FUA };
  return { cache: WITHOUT_FUA.has(name) ? 'fills' : 'none', fuaBit: 0 };
}

const BEFORE_ATTENTION: ReadonlySet<CommandName> = new Set(['inquiry', 'request-sense']);

const SERVICE_ACTIONS = 32;

/** Commands by operation code: undefined, one command, or one command for each service action. */
const TABLE: readonly (Dispatch | undefined | readonly (Dispatch | undefined)[])[] = (() => {
  const table = new Array<Dispatch | undefined | (Dispatch | undefined)[]>(256).fill(undefined);
  for (const { name, opcode, serviceAction, usage } of COMMAND_LAYOUTS) {
    if (name === 'report-luns') continue;
    const dispatch: Dispatch = {
      handle: HANDLERS[name],
      access: ACCESS[name],
      controlAt: usage.length - 1,
      isBeforeAttention: BEFORE_ATTENTION.has(name),
      isFreeUnderLegacy: FREE_UNDER_LEGACY.has(name),
      isPersistentReserve: opcode === 0x5e || opcode === 0x5f,
      ...cacheUse(name),
      direction: directionOf(name),
    };
    if (serviceAction === null) table[opcode] = dispatch;
    else {
      const known = table[opcode];
      const actions = Array.isArray(known) ? known : new Array<Dispatch | undefined>(SERVICE_ACTIONS).fill(undefined);
      actions[serviceAction] = dispatch;
      table[opcode] = actions;
    }
  }
  return table;
})();

const START_STOP_UNIT = 0x1b;
/** POWER CONDITION, NO_FLUSH, START. */
const NO_STOP_WITH_FLUSH = 0xf5;

/** Whether a command of the class `synchronizes` flushes with these parameters. */
export function isFlush(cdb: Uint8Array): boolean {
  return cdb[0] !== START_STOP_UNIT || ((cdb[4] ?? 0) & NO_STOP_WITH_FLUSH) === 0;
}

/** The command in a CDB, or the reason why there is none: no such operation code, or no such service action of it. */
export function dispatchOf(cdb: Uint8Array): Dispatch | 'no-opcode' | 'no-service-action' {
  const entry = TABLE[cdb[0] ?? 0];
  if (entry === undefined) return 'no-opcode';
  if (!isDivided(entry)) return entry;
  return entry[(cdb[1] ?? 0) & 0x1f] ?? 'no-service-action';
}

const isDivided = (entry: Dispatch | readonly (Dispatch | undefined)[]): entry is readonly (Dispatch | undefined)[] =>
  Array.isArray(entry);
