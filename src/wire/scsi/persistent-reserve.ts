/**
 * Parameter data of PERSISTENT RESERVE OUT and IN (SPC-4 6.15, 6.16) and TransportIDs of iSCSI (SPC-4 7.6.4.6). Keys
 * are 16 hexadecimal digits in lower case, so that they can be kept as JSON. An initiator port is its iSCSI name; an
 * ISID after it is accepted and dropped.
 */
import { concatenated, fromHex, hexAt, putU16, putU32, u16, u32 } from './bytes.ts';

/** The key that stands for "no key". */
export const NO_KEY = '0000000000000000';

const BASIC_BYTES = 24;
const TRANSPORT_ID_HEADER_BYTES = 4;
const PROTOCOL_ISCSI = 0x05;
/**
 * RFC 7143: an iSCSI name is at most 223 bytes; its TransportID is ended by a zero and filled to a multiple of four.
 */
const ISCSI_NAME_BYTES_MAX = 223;
/** "name,i,0x" and twelve digits of ISID more. */
const TRANSPORT_TEXT_BYTES_MAX = ISCSI_NAME_BYTES_MAX + 17;

/** Parameter data of every service action but REGISTER AND MOVE. */
export interface ReserveOutParameters {
  readonly key: string;
  readonly serviceActionKey: string;
  readonly isAllTargetPorts: boolean;
  readonly isPersistent: boolean;
  /** SPEC_I_PT: initiator ports to be registered too; null without the bit. */
  readonly initiators: readonly string[] | null;
}

/** Parameter data of REGISTER AND MOVE. */
export interface MoveParameters {
  readonly key: string;
  readonly serviceActionKey: string;
  readonly isUnregistering: boolean;
  readonly isPersistent: boolean;
  readonly relativeTargetPort: number;
  readonly initiator: string;
}

/** Why parameter data could not be read. */
export type ReserveOutError = 'parameter-list-length' | 'invalid-parameter';

/** Reads the parameter data of a service action other than REGISTER AND MOVE; all of `bytes` is the parameter list. */
export function decodeReserveOut(bytes: Uint8Array): ReserveOutParameters | ReserveOutError {
  if (bytes.length < BASIC_BYTES) return 'parameter-list-length';
  const flags = bytes[20] ?? 0;
  let initiators: readonly string[] | null = null;
  if ((flags & 0x08) !== 0) {
    if (bytes.length < BASIC_BYTES + 4 || u32(bytes, BASIC_BYTES) !== bytes.length - BASIC_BYTES - 4)
      return 'parameter-list-length';
    initiators = decodeTransportIds(bytes.subarray(BASIC_BYTES + 4));
    if (initiators === null) return 'invalid-parameter';
  } else if (bytes.length !== BASIC_BYTES) return 'parameter-list-length';
  return {
    key: hexAt(bytes, 0, 8),
    serviceActionKey: hexAt(bytes, 8, 8),
    isAllTargetPorts: (flags & 0x04) !== 0,
    isPersistent: (flags & 0x01) !== 0,
    initiators,
  };
}

/** Reads the parameter data of REGISTER AND MOVE. */
export function decodeMove(bytes: Uint8Array): MoveParameters | ReserveOutError {
  if (bytes.length < BASIC_BYTES || u32(bytes, 20) !== bytes.length - BASIC_BYTES) return 'parameter-list-length';
  const initiators = decodeTransportIds(bytes.subarray(BASIC_BYTES));
  const initiator = initiators?.[0];
  if (initiator === undefined || initiators?.length !== 1) return 'invalid-parameter';
  const flags = bytes[17] ?? 0;
  return {
    key: hexAt(bytes, 0, 8),
    serviceActionKey: hexAt(bytes, 8, 8),
    isUnregistering: (flags & 0x02) !== 0,
    isPersistent: (flags & 0x01) !== 0,
    relativeTargetPort: u16(bytes, 18),
    initiator,
  };
}

/** The names in a list of TransportIDs; null when one is malformed or of another protocol. */
function decodeTransportIds(bytes: Uint8Array): string[] | null {
  const names: string[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const end = offset + TRANSPORT_ID_HEADER_BYTES + u16(bytes, offset + 2);
    if (bytes.length < offset + TRANSPORT_ID_HEADER_BYTES || end > bytes.length) return null;
    const name = decodeTransportId(bytes.subarray(offset, end));
    if (name === null) return null;
    names.push(name);
    offset = end;
  }
  return names;
}

function decodeTransportId(bytes: Uint8Array): string | null {
  const first = bytes[0] ?? 0;
  const format = first >> 6;
  if ((first & 0x0f) !== PROTOCOL_ISCSI || format > 1 || bytes.length % 4 !== 0) return null;
  let text = '';
  for (let index = TRANSPORT_ID_HEADER_BYTES; index < bytes.length; index++) {
    const byte = bytes[index] ?? 0;
    if (byte === 0) break;
    if (byte < 0x21 || byte > 0x7e || text.length > TRANSPORT_TEXT_BYTES_MAX) return null;
    text += String.fromCharCode(byte);
  }
  // The text must end before the TransportID does.
  if (text.length === 0 || text.length > bytes.length - TRANSPORT_ID_HEADER_BYTES - 1) return null;
  const [name = '', ...rest] = text.toLowerCase().split(',i,');
  const isWhole = format === 0 ? rest.length === 0 : rest.length === 1 && /^0x[0-9a-f]{1,12}$/.test(rest[0] ?? '');
  return isWhole && name !== '' && name.length <= ISCSI_NAME_BYTES_MAX ? name : null;
}

/** The TransportID of an initiator port: format 00b, its iSCSI name. */
export function encodeTransportId(name: string): Uint8Array {
  const textBytes = Math.max(20, Math.ceil((name.length + 1) / 4) * 4);
  const bytes = new Uint8Array(TRANSPORT_ID_HEADER_BYTES + textBytes);
  bytes[0] = PROTOCOL_ISCSI;
  putU16(bytes, 2, textBytes);
  for (let index = 0; index < name.length; index++) bytes[TRANSPORT_ID_HEADER_BYTES + index] = name.charCodeAt(index);
  return bytes;
}

/** READ KEYS. */
export function encodeKeys(generation: number, keys: readonly string[]): Uint8Array {
  return withHeader(
    generation,
    keys.map((key) => fromHex(key)),
  );
}

/** READ RESERVATION; `key`: the holder's, NO_KEY when all registrants hold it. */
export function encodeReservation(
  generation: number,
  reservation: { readonly key: string; readonly type: number } | null,
): Uint8Array {
  if (reservation === null) return withHeader(generation, []);
  const descriptor = new Uint8Array(16);
  descriptor.set(fromHex(reservation.key));
  descriptor[13] = reservation.type;
  return withHeader(generation, [descriptor]);
}

/**
 * REPORT CAPABILITIES: CRH, SIP_C, ATP_C and PTPL_C, every type; ALLOW COMMANDS 001b: TEST UNIT READY is let through,
 * MODE SENSE is not. PTPL_A is always one.
 */
export function encodeCapabilities(): Uint8Array {
  return Uint8Array.of(0, 8, 0x1d, 0x91, 0xea, 0x01, 0, 0);
}

/** One registration in READ FULL STATUS. `type`: of the reservation that it holds; null: it holds none. */
export interface FullStatusEntry {
  readonly name: string;
  readonly key: string;
  readonly type: number | null;
  readonly isAllTargetPorts: boolean;
  readonly relativeTargetPort: number;
}

/** READ FULL STATUS. */
export function encodeFullStatus(generation: number, entries: readonly FullStatusEntry[]): Uint8Array {
  const parts = entries.map((entry) => {
    const transportId = encodeTransportId(entry.name);
    const bytes = new Uint8Array(24 + transportId.length);
    bytes.set(fromHex(entry.key));
    bytes[12] = (entry.isAllTargetPorts ? 0x02 : 0) | (entry.type === null ? 0 : 0x01);
    bytes[13] = entry.type ?? 0;
    if (!entry.isAllTargetPorts) putU16(bytes, 18, entry.relativeTargetPort);
    putU32(bytes, 20, transportId.length);
    bytes.set(transportId, 24);
    return bytes;
  });
  return withHeader(generation, parts);
}

function withHeader(generation: number, parts: readonly Uint8Array[]): Uint8Array {
  const header = new Uint8Array(8);
  putU32(header, 0, generation);
  putU32(
    header,
    4,
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  return concatenated([header, ...parts]);
}
