/** Commands about the unit itself (SPC-4 6): INQUIRY, mode parameters, sense, operation codes, logical units. */
import { u16, u32 } from '../../wire/scsi/bytes.ts';
import * as inquiry from '../../wire/scsi/inquiry.ts';
import { decodeModeSelect, encodeModeSense, type PageControl } from '../../wire/scsi/mode.ts';
import { COMMAND_LAYOUTS, encodeAllCommands, encodeOneCommand, hasServiceActions } from '../../wire/scsi/opcodes.ts';
import { CONDITION, STATUS, senseBytes } from '../../wire/scsi/sense.ts';
import { after, dataAnswer, GOOD, RESERVATION_CONFLICT, recovered, statusAnswer } from './answers.ts';
import type { ScsiAnswer } from './target-port.ts';
import { type CommandHandler, limitsOf, modeUnit, type UnitContext } from './unit-context.ts';

/** TEST UNIT READY: a unit that is served is ready. */
export const testUnitReady: CommandHandler = () => GOOD;

/** INQUIRY: standard data or one VPD page. */
export const inquire: CommandHandler = (unit, command) => {
  const isVital = ((command.cdb[1] ?? 0) & 0x01) !== 0;
  const code = command.cdb[2] ?? 0;
  const data = isVital ? vitalPage(unit, code) : code === 0 ? inquiry.encodeInquiry(true) : null;
  return data === null ? unit.refuse(CONDITION.invalidCdb) : dataAnswer(data, command, u16(command.cdb, 3));
};

function vitalPage(unit: UnitContext, code: number): Uint8Array | null {
  switch (code) {
    case 0x00:
      return inquiry.encodeSupportedPages();
    case 0x80:
      return inquiry.encodeSerialNumber(unit.identity);
    case 0x83:
      return inquiry.encodeDeviceIdentification(unit.identity);
    case 0xb0:
      return inquiry.encodeBlockLimits(limitsOf(unit.backing));
    case 0xb1:
      return inquiry.encodeCharacteristics();
    case 0xb2:
      return inquiry.encodeProvisioning();
    default:
      return null;
  }
}

const PAGE_CONTROLS: readonly (PageControl | null)[] = ['current', 'changeable', 'default', null];

/** MODE SENSE(6) and, `isLong`, (10). */
export function modeSensing(isLong: boolean): CommandHandler {
  return (unit, command) => {
    const { cdb } = command;
    const flags = cdb[1] ?? 0;
    const control = PAGE_CONTROLS[(cdb[2] ?? 0) >> 6];
    if (control === undefined || control === null) return unit.refuse(CONDITION.savingNotSupported);
    const request = {
      isLong,
      page: (cdb[2] ?? 0) & 0x3f,
      subpage: cdb[3] ?? 0,
      control,
      hasBlockDescriptor: (flags & 0x08) === 0,
      isLongDescriptor: (flags & 0x10) !== 0,
    };
    const data = encodeModeSense(request, modeUnit(unit));
    if (data === null) return unit.refuse(CONDITION.invalidCdb);
    return dataAnswer(data, command, isLong ? u16(cdb, 7) : (cdb[4] ?? 0));
  };
}

const MODE_SELECT = { savePages: 0x01, pageFormat: 0x10 } as const;

/** MODE SELECT(6) and, `isLong`, (10). */
export function modeSelecting(isLong: boolean): CommandHandler {
  return (unit, { cdb, dataOut, nexus }) => {
    if (((cdb[1] ?? 0) & MODE_SELECT.savePages) !== 0) return unit.refuse(CONDITION.invalidCdb);
    const length = isLong ? u16(cdb, 7) : (cdb[4] ?? 0);
    if (length === 0) return GOOD;
    if (((cdb[1] ?? 0) & MODE_SELECT.pageFormat) === 0) return unit.refuse(CONDITION.invalidCdb);
    if (dataOut === null || dataOut.length < length) return unit.refuse(CONDITION.parameterListLength);
    const settings = decodeModeSelect(dataOut.subarray(0, length), isLong, modeUnit(unit));
    if (settings === 'parameter-list-length') return unit.refuse(CONDITION.parameterListLength);
    if (settings === 'invalid-parameter') return unit.refuse(CONDITION.invalidParameter);
    unit.setMode(nexus, settings);
    return statusAnswer(STATUS.good, length);
  };
}

/** REQUEST SENSE: the next unit attention as data, or that there is none. */
export const requestSense: CommandHandler = (unit, command) => {
  const isDescriptor = ((command.cdb[1] ?? 0) & 0x01) !== 0;
  const attention = command.isStandby === true ? undefined : unit.takeAttention(command.nexus);
  const condition = attention ?? CONDITION.noSense;
  return dataAnswer(senseBytes(condition, { isDescriptor }), command, command.cdb[4] ?? 0);
};

/** REPORT SUPPORTED OPERATION CODES: all, by operation code, by service action, or by either (option 3). */
export const reportOperationCodes: CommandHandler = (unit, command) => {
  const { cdb } = command;
  const option = (cdb[2] ?? 0) & 0x07;
  const withTimeouts = ((cdb[2] ?? 0) & 0x80) !== 0;
  const allocationBytes = u32(cdb, 6);
  if (option === 0) return dataAnswer(encodeAllCommands(withTimeouts), command, allocationBytes);
  const opcode = cdb[3] ?? 0;
  const isDivided = hasServiceActions(opcode);
  const isKnown = COMMAND_LAYOUTS.some((each) => each.opcode === opcode);
  if (option > 3 || (option === 1 && isDivided) || (option === 2 && isKnown && !isDivided))
    return unit.refuse(CONDITION.invalidCdb);
  const action = isDivided ? u16(cdb, 4) : null;
  const layout = COMMAND_LAYOUTS.find((each) => each.opcode === opcode && each.serviceAction === action);
  const isMatching = isDivided || u16(cdb, 4) === 0 || option === 1;
  return dataAnswer(encodeOneCommand(isMatching ? (layout ?? null) : null, withTimeouts), command, allocationBytes);
};

/** ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET. */
const TASK_FUNCTIONS = 0xda;

/** REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: the basic or (REPD) the extended form. */
export const reportTaskFunctions: CommandHandler = (_unit, command) => {
  const bytes = new Uint8Array(((command.cdb[2] ?? 0) & 0x80) !== 0 ? 16 : 4);
  bytes[0] = TASK_FUNCTIONS;
  if (bytes.length === 16) bytes[3] = 12;
  return dataAnswer(bytes, command, u32(command.cdb, 6));
};

const START_STOP = { loadEject: 0x02, start: 0x01, noFlush: 0x04 } as const;

/**
 * START STOP UNIT: starting is nothing; stopping writes the cache and leaves a unit running that others share. No
 * medium to eject.
 */
export const startStopUnit: CommandHandler = (unit, { cdb, nexus }) => {
  const flags = cdb[4] ?? 0;
  const isStart = (flags & 0xf0) === 0 && (flags & START_STOP.start) !== 0;
  if (!isStart && !unit.mayWrite(nexus)) return RESERVATION_CONFLICT;
  if ((flags & START_STOP.loadEject) !== 0) return unit.refuse(CONDITION.invalidCdb);
  if (isStart || (flags & START_STOP.noFlush) !== 0) return GOOD;
  return recovered(
    () => after(unit.backing.flush(), (): ScsiAnswer => GOOD),
    () => unit.refuse(CONDITION.writesLost),
  );
};

/** READ DEFECT DATA(10): no list has an entry. */
export const readDefectData10: CommandHandler = (_unit, command) =>
  dataAnswer(Uint8Array.of(0, (command.cdb[2] ?? 0) & 0x1f, 0, 0), command, u16(command.cdb, 7));

/** READ DEFECT DATA(12). */
export const readDefectData12: CommandHandler = (_unit, command) =>
  dataAnswer(Uint8Array.of(0, (command.cdb[1] ?? 0) & 0x1f, 0, 0, 0, 0, 0, 0), command, u32(command.cdb, 6));

/** RESERVE(6), (10). Third parties and extents are of the past. */
export const reserveUnit: CommandHandler = (unit, { cdb, nexus }) => {
  if (((cdb[1] ?? 0) & 0x1f) !== 0) return unit.refuse(CONDITION.invalidCdb);
  return unit.reserveLegacy(nexus) ? GOOD : RESERVATION_CONFLICT;
};

/** RELEASE(6), (10). */
export const releaseUnit: CommandHandler = (unit, { cdb, nexus }) => {
  if (((cdb[1] ?? 0) & 0x1f) !== 0) return unit.refuse(CONDITION.invalidCdb);
  return unit.releaseLegacy(nexus) ? GOOD : RESERVATION_CONFLICT;
};
