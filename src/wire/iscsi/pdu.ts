/**
 * Decodes headers of iSCSI PDUs (RFC 7143, section 11). pdu-writer.ts encodes the PDUs of a target. Guarantees: reading
 * a header never throws, whatever is in it; the session judges the values.
 */

/** Length of the basic header segment in bytes. */
export const BHS_BYTES = 48;

/** "No tag": for a Data-Out that was not requested, and for a NOP that wants no answer. */
export const NO_TAG = 0xffffffff;

/** Opcodes (11.1.1): below 0x20 the initiator's, from there on the target's. */
export const OPCODE = {
  nopOut: 0x00,
  scsiCommand: 0x01,
  taskManagement: 0x02,
  login: 0x03,
  text: 0x04,
  dataOut: 0x05,
  logout: 0x06,
  snack: 0x10,
  nopIn: 0x20,
  scsiResponse: 0x21,
  taskManagementResponse: 0x22,
  loginResponse: 0x23,
  textResponse: 0x24,
  dataIn: 0x25,
  logoutResponse: 0x26,
  r2t: 0x31,
  async: 0x32,
  reject: 0x3f,
} as const;

/** Reasons of a Reject (11.17.1). */
export const REJECT = {
  dataDigest: 0x02,
  protocol: 0x04,
  unsupported: 0x05,
  tooManyImmediate: 0x06,
  invalidField: 0x09,
} as const;

/** A peer broke the protocol. `rejectReason` is for the Reject that says so before the connection is closed. */
export class IscsiProtocolError extends Error {
  override readonly name = 'IscsiProtocolError';
  readonly rejectReason: number;

  constructor(message: string, rejectReason: number = REJECT.protocol) {
    super(message);
    this.rejectReason = rejectReason;
  }
}

/** A header as it came; valid until the next one is decoded. */
export interface PduHeader {
  /** The 48 bytes of the basic header. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The additional header segments; empty for nearly every PDU. */
  ahs: Uint8Array;
  opcode: number;
  /** Delivery before everything that waits its turn by CmdSN. */
  immediate: boolean;
  /** Length of the data segment in bytes, padding not counted. */
  dataBytes: number;
}

/** Bit 7 of byte 1 of every PDU: final, or transit at log-in. */
function isFinal(header: PduHeader): boolean {
  return ((header.bytes[1] ?? 0) & 0x80) !== 0;
}

/** The initiator task tag. */
export function taskTag(header: PduHeader): number {
  return header.view.getUint32(16);
}

/** CmdSN; where a PDU of the initiator has one. */
export function cmdSn(header: PduHeader): number {
  return header.view.getUint32(24);
}

/** ExpStatSN; where a PDU of the initiator has one. */
export function expStatSn(header: PduHeader): number {
  return header.view.getUint32(28);
}

/** The LUN field, eight bytes copied. */
export function lunOf(header: PduHeader): Uint8Array {
  return header.bytes.slice(8, 16);
}

/** SCSI Command (11.3). */
export interface ScsiCommandPdu {
  readonly tag: number;
  readonly isFinal: boolean;
  readonly isRead: boolean;
  readonly isWrite: boolean;
  /** 0 untagged, 1 simple, 2 ordered, 3 head of queue, 4 ACA. */
  readonly attribute: number;
  /** The bytes that the initiator has room or data for. */
  readonly expectedBytes: number;
  /**
   * The bytes for which the initiator of a bidirectional command has room (11.2.2.4); 0 for other commands, and if the
   * segment is missing.
   */
  readonly expectedReadBytes: number;
  readonly cdb: Uint8Array;
}

const AHS_EXTENDED_CDB = 1;
const AHS_BIDIRECTIONAL_READ = 2;

/** A SCSI Command; its CDB is copied and includes an extended CDB. */
export function readScsiCommand(header: PduHeader): ScsiCommandPdu {
  const flags = header.bytes[1] ?? 0;
  return {
    tag: header.view.getUint32(16),
    isFinal: (flags & 0x80) !== 0,
    isRead: (flags & 0x40) !== 0,
    isWrite: (flags & 0x20) !== 0,
    attribute: flags & 0x07,
    expectedBytes: header.view.getUint32(20),
    expectedReadBytes: (flags & 0x60) === 0x60 ? bidirectionalReadBytes(header) : 0,
    cdb: header.ahs.length === 0 ? header.bytes.slice(32, 48) : extendedCdb(header),
  };
}

/**
 * Returns the additional header segment of a type, from the byte after the type on; undefined if there is no complete
 * one.
 */
function additionalSegment({ ahs }: PduHeader, type: number): Uint8Array | undefined {
  for (let at = 0; at + 4 <= ahs.length; ) {
    const length = ((ahs[at] ?? 0) << 8) | (ahs[at + 1] ?? 0);
    if (ahs[at + 2] === type && length > 1 && at + 3 + length <= ahs.length)
      return ahs.subarray(at + 4, at + 3 + length);
    at += (3 + length + 3) & ~3;
  }
  return undefined;
}

/** Returns the CDB: the 16 bytes of the header and their continuation in an additional header segment (11.2.2.3). */
function extendedCdb(header: PduHeader): Uint8Array {
  const more = additionalSegment(header, AHS_EXTENDED_CDB);
  if (more === undefined) return header.bytes.slice(32, 48);
  const cdb = new Uint8Array(16 + more.length);
  cdb.set(header.bytes.subarray(32, 48));
  cdb.set(more, 16);
  return cdb;
}

function bidirectionalReadBytes(header: PduHeader): number {
  const bytes = additionalSegment(header, AHS_BIDIRECTIONAL_READ);
  if (bytes === undefined || bytes.length < 4) return 0;
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

/** SCSI Data-Out (11.7). */
export interface DataOutPdu {
  readonly tag: number;
  readonly isFinal: boolean;
  readonly transferTag: number;
  readonly dataSn: number;
  readonly offset: number;
}

/** A Data-Out. */
export function readDataOut(header: PduHeader): DataOutPdu {
  const { view } = header;
  return {
    tag: view.getUint32(16),
    isFinal: isFinal(header),
    transferTag: view.getUint32(20),
    dataSn: view.getUint32(36),
    offset: view.getUint32(40),
  };
}

/** Task Management Function Request (11.5). */
export interface TaskManagementPdu {
  readonly tag: number;
  readonly function: number;
  readonly referencedTag: number;
  readonly refCmdSn: number;
}

/** A task management request. */
export function readTaskManagement(header: PduHeader): TaskManagementPdu {
  return {
    tag: header.view.getUint32(16),
    function: (header.bytes[1] ?? 0) & 0x7f,
    referencedTag: header.view.getUint32(20),
    refCmdSn: header.view.getUint32(32),
  };
}

/** Login Request (11.12). */
export interface LoginPdu {
  readonly tag: number;
  /** T: the initiator is ready for the next stage. */
  readonly transit: boolean;
  /** C: the text continues in the next PDU. */
  readonly continues: boolean;
  readonly currentStage: number;
  readonly nextStage: number;
  readonly versionMin: number;
  /** Six bytes, hexadecimal: with the initiator's name, who the session belongs to. */
  readonly isid: string;
  readonly tsih: number;
  readonly cid: number;
  readonly cmdSn: number;
}

/** A login request. */
export function readLogin(header: PduHeader): LoginPdu {
  const { bytes, view } = header;
  const flags = bytes[1] ?? 0;
  return {
    tag: view.getUint32(16),
    transit: (flags & 0x80) !== 0,
    continues: (flags & 0x40) !== 0,
    currentStage: (flags >> 2) & 3,
    nextStage: flags & 3,
    versionMin: bytes[3] ?? 0,
    isid: Array.from(bytes.subarray(8, 14), (byte) => byte.toString(16).padStart(2, '0')).join(''),
    tsih: view.getUint16(14),
    cid: view.getUint16(20),
    cmdSn: view.getUint32(24),
  };
}

/** Text Request (11.10). */
export interface TextPdu {
  readonly tag: number;
  readonly isFinal: boolean;
  readonly continues: boolean;
  readonly transferTag: number;
}

/** A text request. */
export function readText(header: PduHeader): TextPdu {
  return {
    tag: header.view.getUint32(16),
    isFinal: isFinal(header),
    continues: ((header.bytes[1] ?? 0) & 0x40) !== 0,
    transferTag: header.view.getUint32(20),
  };
}

/** Logout Request (11.14). */
export interface LogoutPdu {
  readonly tag: number;
  /** 0 close the session, 1 close the connection, 2 remove it for recovery. */
  readonly reason: number;
  readonly cid: number;
}

/** A logout request. */
export function readLogout(header: PduHeader): LogoutPdu {
  return {
    tag: header.view.getUint32(16),
    reason: (header.bytes[1] ?? 0) & 0x7f,
    cid: header.view.getUint16(20),
  };
}
