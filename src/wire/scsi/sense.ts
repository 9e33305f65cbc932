/** Status codes (SAM-5 5.3.1) and sense data (SPC-4 4.5): conditions by name, bytes in fixed or descriptor format. */
import { putU16, putU32 } from './bytes.ts';

export const STATUS = {
  good: 0x00,
  checkCondition: 0x02,
  conditionMet: 0x04,
  busy: 0x08,
  reservationConflict: 0x18,
  taskSetFull: 0x28,
  taskAborted: 0x40,
} as const;

const KEY = {
  noSense: 0x0,
  mediumError: 0x3,
  hardwareError: 0x4,
  illegalRequest: 0x5,
  unitAttention: 0x6,
  dataProtect: 0x7,
  abortedCommand: 0xb,
  miscompare: 0xe,
} as const;

/** A condition to be reported: sense key, additional sense code and qualifier (SPC-4 annex E). */
export interface SenseCondition {
  readonly key: number;
  /** ASC in the high byte, ASCQ in the low one. */
  readonly code: number;
}

/** The conditions with which commands are refused or fail. */
export const CONDITION = {
  noSense: { key: KEY.noSense, code: 0x0000 },
  writeError: { key: KEY.mediumError, code: 0x0c00 },
  /**
   * RECORDED ENTITY NOT FOUND, for a flush that failed or came too late. Not `writeError`: Linux repeats a command with
   * that condition by itself (scsi_check_sense), and the second flush would succeed; it reports this one.
   */
  writesLost: { key: KEY.mediumError, code: 0x1400 },
  readError: { key: KEY.mediumError, code: 0x1100 },
  internalFailure: { key: KEY.hardwareError, code: 0x4400 },
  /** INVALID FIELD IN COMMAND INFORMATION UNIT: the transport's expected length does not fit the CDB. */
  lengthMismatch: { key: KEY.illegalRequest, code: 0x0e03 },
  parameterListLength: { key: KEY.illegalRequest, code: 0x1a00 },
  invalidOpcode: { key: KEY.illegalRequest, code: 0x2000 },
  lbaOutOfRange: { key: KEY.illegalRequest, code: 0x2100 },
  invalidCdb: { key: KEY.illegalRequest, code: 0x2400 },
  lunNotSupported: { key: KEY.illegalRequest, code: 0x2500 },
  invalidParameter: { key: KEY.illegalRequest, code: 0x2600 },
  invalidRelease: { key: KEY.illegalRequest, code: 0x2604 },
  savingNotSupported: { key: KEY.illegalRequest, code: 0x3900 },
  noRegistrationResources: { key: KEY.illegalRequest, code: 0x5504 },
  /** INTERNAL TARGET FAILURE as an aborted command: what an initiator tries again. */
  notSaved: { key: KEY.abortedCommand, code: 0x4400 },
  writeProtected: { key: KEY.dataProtect, code: 0x2700 },
  softwareWriteProtected: { key: KEY.dataProtect, code: 0x2702 },
  spaceAllocationFailed: { key: KEY.dataProtect, code: 0x2707 },
  miscompare: { key: KEY.miscompare, code: 0x1d00 },
} as const satisfies Record<string, SenseCondition>;

/** Unit attention conditions that a logical unit raises. */
export const ATTENTION = {
  powerOn: { key: KEY.unitAttention, code: 0x2900 },
  busReset: { key: KEY.unitAttention, code: 0x2902 },
  deviceReset: { key: KEY.unitAttention, code: 0x2903 },
  nexusLoss: { key: KEY.unitAttention, code: 0x2907 },
  modeParametersChanged: { key: KEY.unitAttention, code: 0x2a01 },
  reservationsPreempted: { key: KEY.unitAttention, code: 0x2a03 },
  reservationsReleased: { key: KEY.unitAttention, code: 0x2a04 },
  registrationsPreempted: { key: KEY.unitAttention, code: 0x2a05 },
  capacityChanged: { key: KEY.unitAttention, code: 0x2a09 },
  lunsChanged: { key: KEY.unitAttention, code: 0x3f0e },
} as const satisfies Record<string, SenseCondition>;

const FIXED_BYTES = 18;
const INFORMATION_DESCRIPTOR_BYTES = 12;

/**
 * The form in which sense data is written. `information`: the INFORMATION field, e.g. the byte offset of a miscompare;
 * below 2^32.
 */
export interface SenseFormat {
  readonly isDescriptor: boolean;
  readonly information?: number | undefined;
}

/** Sense data of a current error. */
export function senseBytes(condition: SenseCondition, format: SenseFormat): Uint8Array {
  if (format.isDescriptor) return descriptorSense(condition, format.information);
  const bytes = new Uint8Array(FIXED_BYTES);
  bytes[0] = format.information === undefined ? 0x70 : 0xf0;
  bytes[2] = condition.key;
  if (format.information !== undefined) putU32(bytes, 3, format.information);
  bytes[7] = FIXED_BYTES - 8;
  putU16(bytes, 12, condition.code);
  return bytes;
}

function descriptorSense(condition: SenseCondition, information: number | undefined): Uint8Array {
  const bytes = new Uint8Array(8 + (information === undefined ? 0 : INFORMATION_DESCRIPTOR_BYTES));
  bytes[0] = 0x72;
  bytes[1] = condition.key;
  putU16(bytes, 2, condition.code);
  bytes[7] = bytes.length - 8;
  if (information !== undefined) {
    bytes[9] = INFORMATION_DESCRIPTOR_BYTES - 2;
    bytes[10] = 0x80;
    putU32(bytes, 16, information);
  }
  return bytes;
}
