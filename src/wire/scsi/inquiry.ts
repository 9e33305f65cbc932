/**
 * INQUIRY data and vital product data pages (SPC-4 6.6, 7.8; SBC-3 6.6) of a thin provisioned disk that never changes
 * its name.
 */
import { concatenated, fromHex, putAscii, putU16, putU32, putU64 } from './bytes.ts';

/** The identity of a logical unit: the same for ever, whichever storage node serves it. */
export interface UnitIdentity {
  /** A UUID in its usual text form; serial number and designators are made from it. */
  readonly uuid: string;
  /** The target's iSCSI name, for the designators of the target port. */
  readonly targetName: string;
}

/** The only target port: every portal of the target leads to it. */
export const RELATIVE_TARGET_PORT = 1;

const VENDOR = 'GRNDPLNE';
const PRODUCT = 'SHARED DISK';
const REVISION = '0001';
/** SAM-5, SPC-4, SBC-3, iSCSI: no version claimed of each (SPC-4 table 142). */
const VERSION_DESCRIPTORS = [0x00a0, 0x0460, 0x04c0, 0x0960] as const;
const STANDARD_BYTES = 96;
/** Peripheral qualifier 011b: no device can be at this address. */
const NO_UNIT = 0x7f;

/** Standard INQUIRY data; `isPresent` false: for an address without a logical unit. */
export function encodeInquiry(isPresent: boolean): Uint8Array {
  const bytes = new Uint8Array(STANDARD_BYTES);
  bytes[0] = isPresent ? 0 : NO_UNIT;
  bytes[2] = 6;
  bytes[3] = 0x12;
  bytes[4] = STANDARD_BYTES - 5;
  bytes[7] = 0x02;
  putAscii(bytes, 8, { value: VENDOR, length: 8 });
  putAscii(bytes, 16, { value: PRODUCT, length: 16 });
  putAscii(bytes, 32, { value: REVISION, length: 4 });
  VERSION_DESCRIPTORS.forEach((version, index) => {
    putU16(bytes, 58 + index * 2, version);
  });
  return bytes;
}

/** Supported VPD pages in ascending order, as they must be reported. */
export const VPD_PAGES = [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2] as const;

export type VpdPage = (typeof VPD_PAGES)[number];

const page = (code: VpdPage, payload: Uint8Array): Uint8Array => {
  const header = new Uint8Array(4);
  header[1] = code;
  putU16(header, 2, payload.length);
  return concatenated([header, payload]);
};

/** 0x00: supported pages. */
export function encodeSupportedPages(): Uint8Array {
  return page(0x00, Uint8Array.from(VPD_PAGES));
}

/** 0x80: the unit's serial number, 32 hexadecimal digits. */
export function encodeSerialNumber(identity: UnitIdentity): Uint8Array {
  return page(0x80, ascii(digitsOf(identity)));
}

/**
 * 0x83: of the logical unit NAA (locally assigned, the UUID's last 60 bits), UUID and T10 vendor identification; of the
 * target port its relative number and its name.
 */
export function encodeDeviceIdentification(identity: UnitIdentity): Uint8Array {
  const uuid = fromHex(digitsOf(identity));
  const naa = uuid.slice(8, 16);
  naa[0] = 0x30 | ((naa[0] ?? 0) & 0x0f);
  const vendor = new Uint8Array(8);
  putAscii(vendor, 0, { value: VENDOR, length: 8 });
  const portName = zeroFilled(`${identity.targetName},t,0x0001`);
  return page(
    0x83,
    concatenated([
      Uint8Array.of(0x01, 0x03, 0, naa.length),
      naa,
      Uint8Array.of(0x01, 0x0a, 0, uuid.length + 2, 0x10, 0),
      uuid,
      Uint8Array.of(0x02, 0x01, 0, vendor.length + 32),
      vendor,
      ascii(digitsOf(identity)),
      Uint8Array.of(0x51, 0x94, 0, 4, 0, 0, 0, RELATIVE_TARGET_PORT),
      Uint8Array.of(0x53, 0x98, 0, portName.length),
      portName,
    ]),
  );
}

/** Limits of one command, in logical blocks but for the descriptors. */
export interface BlockLimits {
  readonly transferGranularity: number;
  readonly transferMax: number;
  readonly transferOptimal: number;
  readonly compareAndWriteMax: number;
  readonly unmapMax: number;
  readonly unmapDescriptorsMax: number;
  readonly unmapGranularity: number;
  readonly writeSameMax: number;
}

/** 0xB0: block limits. WRITE SAME of zero blocks is allowed and means "to the end" (WSNZ zero). */
export function encodeBlockLimits(limits: BlockLimits): Uint8Array {
  const payload = new Uint8Array(0x3c);
  const at = (offset: number): number => offset - 4;
  payload[at(5)] = limits.compareAndWriteMax;
  putU16(payload, at(6), limits.transferGranularity);
  putU32(payload, at(8), limits.transferMax);
  putU32(payload, at(12), limits.transferOptimal);
  putU32(payload, at(20), limits.unmapMax);
  putU32(payload, at(24), limits.unmapDescriptorsMax);
  putU32(payload, at(28), limits.unmapGranularity);
  // The unmap granularity alignment is zero, and valid.
  putU32(payload, at(32), 0x8000_0000);
  putU64(payload, at(36), limits.writeSameMax);
  return page(0xb0, payload);
}

/** 0xB1: block device characteristics: nothing rotates. */
export function encodeCharacteristics(): Uint8Array {
  const payload = new Uint8Array(0x3c);
  putU16(payload, 0, 1);
  return page(0xb1, payload);
}

/** 0xB2: logical block provisioning: thin; UNMAP and WRITE SAME(16) may unmap; unmapped blocks read as zeroes. */
export function encodeProvisioning(): Uint8Array {
  return page(0xb2, Uint8Array.of(0, 0xc4, 0x02, 0));
}

const digitsOf = (identity: UnitIdentity): string => identity.uuid.replaceAll('-', '').toLowerCase();

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** With a zero at the end, filled with zeroes to a multiple of four (SPC-4 7.8.6.11). */
function zeroFilled(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((text.length + 1) / 4) * 4);
  bytes.set(ascii(text));
  return bytes;
}
