/**
 * Mode pages (SPC-4 7.5, SBC-3 6.5): caching, control, control extension. Two fields can be changed: D_SENSE and SWP of
 * the control page. The write cache is the storage node's page cache: it is always on (WCE) and cannot be switched off,
 * because a setting would not outlive the target's restart; FUA and SYNCHRONIZE CACHE reach the disk.
 */
import { concatenated, putU16, putU32, putU64, u16 } from './bytes.ts';

/** The fields that MODE SELECT can change. */
export interface ModeSettings {
  /** D_SENSE: sense data in descriptor format. */
  readonly isDescriptorSense: boolean;
  /** SWP: the unit refuses writes. */
  readonly isWriteProtected: boolean;
}

export const DEFAULT_MODE: ModeSettings = { isDescriptorSense: false, isWriteProtected: false };

/** PAGE CONTROL of MODE SENSE. */
export type PageControl = 'current' | 'changeable' | 'default';

const ALL_PAGES = 0x3f;
const ALL_SUBPAGES = 0xff;
const CONTROL = 0x0a;

interface ModePage {
  readonly code: number;
  readonly subpage: number;
  readonly encode: (settings: ModeSettings) => Uint8Array;
  readonly changeable: (bytes: Uint8Array) => void;
}

function caching(): Uint8Array {
  const bytes = new Uint8Array(20);
  bytes.set([0x08, 18, 0x04]);
  return bytes;
}

function control(settings: ModeSettings): Uint8Array {
  const bytes = new Uint8Array(12);
  bytes.set([CONTROL, 10]);
  bytes[2] = settings.isDescriptorSense ? 0x04 : 0;
  // QUEUE ALGORITHM MODIFIER 1: commands are reordered without restriction.
  bytes[3] = 0x10;
  bytes[4] = settings.isWriteProtected ? 0x08 : 0;
  // TAS: a command that another nexus aborted ends with TASK ABORTED.
  bytes[5] = 0x40;
  putU16(bytes, 8, 0xffff);
  return bytes;
}

function controlExtension(): Uint8Array {
  const bytes = new Uint8Array(32);
  bytes.set([CONTROL | 0x40, 0x01, 0, 28]);
  return bytes;
}

const PAGES: readonly ModePage[] = [
  { code: 0x08, subpage: 0, encode: caching, changeable: () => undefined },
  {
    code: CONTROL,
    subpage: 0,
    encode: control,
    changeable: (bytes) => {
      bytes[2] = 0x04;
      bytes[4] = 0x08;
    },
  },
  { code: CONTROL, subpage: 0x01, encode: controlExtension, changeable: () => undefined },
];

/** The content of a MODE SENSE request. */
export interface ModeSenseRequest {
  /** MODE SENSE(10): the longer header. */
  readonly isLong: boolean;
  readonly page: number;
  readonly subpage: number;
  readonly control: PageControl;
  /** DBD clear: with a block descriptor. */
  readonly hasBlockDescriptor: boolean;
  /** LLBAA: the 16 byte block descriptor, with MODE SENSE(10) only. */
  readonly isLongDescriptor: boolean;
}

/** The unit that answers. */
export interface ModeUnit {
  readonly settings: ModeSettings;
  readonly blockCount: number;
  readonly blockBytes: number;
  readonly isReadOnly: boolean;
}

/** The mode parameter list; null: there is no such page. */
export function encodeModeSense(request: ModeSenseRequest, unit: ModeUnit): Uint8Array | null {
  const pages = PAGES.filter((page) => isAskedFor(page, request)).map((page) => pageBytes(page, request, unit));
  if (pages.length === 0) return null;
  const descriptor = request.hasBlockDescriptor ? blockDescriptor(request, unit) : new Uint8Array(0);
  const header = new Uint8Array(request.isLong ? 8 : 4);
  const length = header.length + descriptor.length + pages.reduce((sum, page) => sum + page.length, 0);
  const flags = 0x10 | (unit.settings.isWriteProtected || unit.isReadOnly ? 0x80 : 0);
  if (request.isLong) {
    putU16(header, 0, length - 2);
    header[3] = flags;
    header[4] = request.hasBlockDescriptor && request.isLongDescriptor ? 0x01 : 0;
    putU16(header, 6, descriptor.length);
  } else {
    header[0] = length - 1;
    header[2] = flags;
    header[3] = descriptor.length;
  }
  return concatenated([header, descriptor, ...pages]);
}

function isAskedFor(page: ModePage, request: ModeSenseRequest): boolean {
  if (request.page !== ALL_PAGES && request.page !== page.code) return false;
  return request.subpage === ALL_SUBPAGES || request.subpage === page.subpage;
}

function pageBytes(page: ModePage, request: ModeSenseRequest, unit: ModeUnit): Uint8Array {
  if (request.control !== 'changeable')
    return page.encode(request.control === 'current' ? unit.settings : DEFAULT_MODE);
  const bytes = page.encode(DEFAULT_MODE);
  bytes.fill(0, (bytes[0] ?? 0) & 0x40 ? 4 : 2);
  page.changeable(bytes);
  return bytes;
}

function blockDescriptor(request: ModeSenseRequest, unit: ModeUnit): Uint8Array {
  if (request.isLong && request.isLongDescriptor) {
    const bytes = new Uint8Array(16);
    putU64(bytes, 0, unit.blockCount);
    putU32(bytes, 12, unit.blockBytes);
    return bytes;
  }
  const bytes = new Uint8Array(8);
  putU32(bytes, 0, Math.min(unit.blockCount, 0xffff_ffff));
  putU16(bytes, 6, unit.blockBytes);
  return bytes;
}

/** The changes that a mode parameter list asks for, or the reason for its refusal. */
export type ModeSelectResult = ModeSettings | 'parameter-list-length' | 'invalid-parameter';

/**
 * Reads the parameter list of MODE SELECT(6) or, `isLong`, (10). A value that differs in a field that cannot be changed
 * is refused.
 */
export function decodeModeSelect(bytes: Uint8Array, isLong: boolean, unit: ModeUnit): ModeSelectResult {
  if (bytes.length === 0) return unit.settings;
  const headerBytes = isLong ? 8 : 4;
  if (bytes.length < headerBytes) return 'parameter-list-length';
  const descriptorBytes = isLong ? u16(bytes, 6) : (bytes[3] ?? 0);
  let offset = headerBytes + descriptorBytes;
  if (bytes.length < offset) return 'parameter-list-length';
  if (descriptorBytes !== 0 && !isSameFormat(bytes.subarray(headerBytes, offset), unit)) return 'invalid-parameter';
  let settings = unit.settings;
  while (offset < bytes.length) {
    const isSubpage = ((bytes[offset] ?? 0) & 0x40) !== 0;
    const size = isSubpage ? 4 + u16(bytes, offset + 2) : 2 + (bytes[offset + 1] ?? 0);
    if (offset + size > bytes.length) return 'parameter-list-length';
    const changed = readPage(bytes.subarray(offset, offset + size), settings);
    if (changed === null) return 'invalid-parameter';
    settings = changed;
    offset += size;
  }
  return settings;
}

function isSameFormat(descriptor: Uint8Array, unit: ModeUnit): boolean {
  if (descriptor.length !== 8 && descriptor.length !== 16) return false;
  return u16(descriptor, descriptor.length - 2) === unit.blockBytes;
}

/** The settings that one page asks for; null: no such page, or it changes what cannot be changed. */
function readPage(bytes: Uint8Array, settings: ModeSettings): ModeSettings | null {
  const first = (bytes[0] ?? 0) & 0x7f;
  const subpage = (first & 0x40) !== 0 ? (bytes[1] ?? 0) : 0;
  const page = PAGES.find((each) => each.code === (first & 0x3f) && each.subpage === subpage);
  if (page === undefined) return null;
  const current = page.encode(settings);
  const mask = new Uint8Array(current.length);
  page.changeable(mask);
  if (bytes.length !== current.length) return null;
  for (let index = 1; index < current.length; index++)
    if ((((current[index] ?? 0) ^ (bytes[index] ?? 0)) & ~(mask[index] ?? 0)) !== 0) return null;
  if (page.code !== CONTROL || page.subpage !== 0) return settings;
  return { isDescriptorSense: ((bytes[2] ?? 0) & 0x04) !== 0, isWriteProtected: ((bytes[4] ?? 0) & 0x08) !== 0 };
}
