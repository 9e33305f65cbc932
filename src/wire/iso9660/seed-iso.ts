/**
 * Writes the small ISO 9660 images that carry cloud-init's NoCloud seed (ECMA-119 with a Joliet volume descriptor,
 * which gives Linux and Windows the names as they are). One root folder, no times: the same files give the same bytes.
 */
import { assert } from '../../base/assert.ts';

export interface SeedFile {
  /** 1 to 64 characters of A-Z a-z 0-9 . _ - */
  readonly name: string;
  /** Text is written as UTF-8. */
  readonly content: Uint8Array | string;
}

export interface SeedIsoOptions {
  /** At most 16, with names that differ in more than case. */
  readonly files: readonly SeedFile[];
  /** 1 to 16 characters of A-Z 0-9 _; cloud-init looks for CIDATA. */
  readonly volumeLabel: string;
}

/** Limits: one sector of directory, and no more than a seed can reasonably be. */
const SEED_FILES_MAX = 16;
const SEED_SIZE_BYTES_MAX = 16 * 1024 * 1024;

const SECTOR = 2048;
const PRIMARY_AT = 16;
const JOLIET_AT = 17;
const TERMINATOR_AT = 18;
const FIRST_FILE_AT = 25;
/** Sectors of the structures of each of the two trees. */
const PRIMARY_TREE: Tree = { pathTableLittle: 19, pathTableBig: 20, root: 23, wide: false };
const JOLIET_TREE: Tree = { pathTableLittle: 21, pathTableBig: 22, root: 24, wide: true };
const PATH_TABLE_BYTES = 10;
const DESCRIPTOR_PRIMARY = 1;
const DESCRIPTOR_SUPPLEMENTARY = 2;
const DESCRIPTOR_TERMINATOR = 255;
const FLAG_DIRECTORY = 2;

interface Tree {
  readonly pathTableLittle: number;
  readonly pathTableBig: number;
  readonly root: number;
  readonly wide: boolean;
}

interface PlacedFile {
  readonly name: string;
  readonly shortName: string;
  readonly content: Uint8Array;
  readonly sector: number;
}

/** The image, a whole number of 2048-byte sectors. Limits are the caller's to keep: they are asserted. */
export function makeSeedIso(options: SeedIsoOptions): Uint8Array {
  const { volumeLabel } = options;
  assert(/^[A-Z0-9_]{1,16}$/.test(volumeLabel), `volume label ${volumeLabel}`);
  const files = place(options.files);
  const last = files.at(-1);
  const sectors = last === undefined ? FIRST_FILE_AT : last.sector + sectorsOf(last.content);
  const image = new Uint8Array(sectors * SECTOR);
  for (const tree of [PRIMARY_TREE, JOLIET_TREE]) {
    writeDescriptor(at(image, tree.wide ? JOLIET_AT : PRIMARY_AT), tree, { volumeLabel, sectors });
    writePathTable(at(image, tree.pathTableLittle), tree.root, true);
    writePathTable(at(image, tree.pathTableBig), tree.root, false);
    writeDirectory(at(image, tree.root), tree, files);
  }
  writeHead(at(image, TERMINATOR_AT), DESCRIPTOR_TERMINATOR);
  for (const file of files) image.set(file.content, file.sector * SECTOR);
  return image;
}

function at(image: Uint8Array, sector: number): Uint8Array {
  return image.subarray(sector * SECTOR, (sector + 1) * SECTOR);
}

function sectorsOf(content: Uint8Array): number {
  return Math.ceil(content.length / SECTOR);
}

function place(files: readonly SeedFile[]): PlacedFile[] {
  assert(files.length <= SEED_FILES_MAX, `at most ${SEED_FILES_MAX} files`);
  const taken = new Set<string>();
  let sector = FIRST_FILE_AT;
  let sizeBytes = 0;
  return files.map(({ name, content: given }, index) => {
    assert(/^[A-Za-z0-9._-]{1,64}$/.test(name) && !taken.has(name.toLowerCase()), `file name ${name}`);
    taken.add(name.toLowerCase());
    const content = typeof given === 'string' ? utf8(given) : given;
    sizeBytes += content.length;
    assert(sizeBytes <= SEED_SIZE_BYTES_MAX, `at most ${SEED_SIZE_BYTES_MAX} bytes`);
    const stem = name
      .toUpperCase()
      .replace(/[^A-Z0-9]/g, '_')
      .slice(0, 6);
    // The two digits keep shortened names apart.
    const shortName = `${stem}${String(index).padStart(2, '0')}.;1`;
    const placed = { name, shortName, content, sector };
    sector += sectorsOf(content);
    return placed;
  });
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A number in both byte orders, as most fields of ISO 9660 are. */
function both32(bytes: Uint8Array, offset: number, value: number): void {
  view(bytes).setUint32(offset, value, true);
  view(bytes).setUint32(offset + 4, value, false);
}

function both16(bytes: Uint8Array, offset: number, value: number): void {
  view(bytes).setUint16(offset, value, true);
  view(bytes).setUint16(offset + 2, value, false);
}

/** Characters as single bytes, or as UCS-2 big-endian in the Joliet tree. */
function encode(text: string, wide: boolean): Uint8Array {
  const bytes = new Uint8Array(text.length * (wide ? 2 : 1));
  for (let index = 0; index < text.length; index += 1) bytes[wide ? index * 2 + 1 : index] = text.charCodeAt(index);
  return bytes;
}

function writeHead(sector: Uint8Array, type: number): void {
  sector[0] = type;
  sector.set(encode('CD001', false), 1);
  sector[6] = 1;
}

function writeDescriptor(sector: Uint8Array, tree: Tree, volume: { volumeLabel: string; sectors: number }): void {
  writeHead(sector, tree.wide ? DESCRIPTOR_SUPPLEMENTARY : DESCRIPTOR_PRIMARY);
  const text = (offset: number, lengthBytes: number, value: string) => {
    sector.set(encode(value.padEnd(lengthBytes / (tree.wide ? 2 : 1), ' ').slice(0, lengthBytes), tree.wide), offset);
  };
  text(8, 32, '');
  text(40, 32, volume.volumeLabel);
  both32(sector, 80, volume.sectors);
  // Escape sequence of UCS-2 level 3: this is what makes a supplementary descriptor Joliet.
  if (tree.wide) sector.set([0x25, 0x2f, 0x45], 88);
  both16(sector, 120, 1);
  both16(sector, 124, 1);
  both16(sector, 128, SECTOR);
  both32(sector, 132, PATH_TABLE_BYTES);
  view(sector).setUint32(140, tree.pathTableLittle, true);
  view(sector).setUint32(148, tree.pathTableBig, false);
  sector.set(directoryRecord({ name: Uint8Array.of(0), sector: tree.root, sizeBytes: SECTOR, directory: true }), 156);
  for (const offset of [190, 318, 446, 574]) text(offset, 128, '');
  for (const offset of [702, 739, 776]) text(offset, 36, '');
  // Four times without a value: sixteen digits 0 and a zone of 0.
  for (const offset of [813, 830, 847, 864]) sector.set(encode('0'.repeat(16), false), offset);
  sector[881] = 1;
}

function writePathTable(sector: Uint8Array, root: number, little: boolean): void {
  sector[0] = 1;
  view(sector).setUint32(2, root, little);
  view(sector).setUint16(6, 1, little);
}

function directoryRecord(entry: {
  name: Uint8Array;
  sector: number;
  sizeBytes: number;
  directory: boolean;
}): Uint8Array {
  const lengthBytes = 33 + entry.name.length;
  const record = new Uint8Array(lengthBytes + (lengthBytes % 2));
  record[0] = record.length;
  both32(record, 2, entry.sector);
  both32(record, 10, entry.sizeBytes);
  record[25] = entry.directory ? FLAG_DIRECTORY : 0;
  both16(record, 28, 1);
  record[32] = entry.name.length;
  record.set(entry.name, 33);
  return record;
}

function writeDirectory(sector: Uint8Array, tree: Tree, files: readonly PlacedFile[]): void {
  const nameOf = (file: PlacedFile) => (tree.wide ? file.name : file.shortName);
  const sorted = [...files].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const self = [0, 1].map((id) =>
    directoryRecord({ name: Uint8Array.of(id), sector: tree.root, sizeBytes: SECTOR, directory: true }),
  );
  const records = sorted.map((file) =>
    directoryRecord({
      name: encode(nameOf(file), tree.wide),
      sector: file.sector,
      sizeBytes: file.content.length,
      directory: false,
    }),
  );
  let offset = 0;
  for (const record of [...self, ...records]) {
    assert(offset + record.length <= SECTOR, 'the names fit into one sector of directory');
    sector.set(record, offset);
    offset += record.length;
  }
}

/** UTF-8 by hand, as this folder has no TextEncoder. Lone surrogates become U+FFFD. */
function utf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text.toWellFormed()) {
    const code = character.codePointAt(0) ?? 0;
    const tail = (shift: number) => 0x80 | ((code >> shift) & 0x3f);
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), tail(0));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), tail(6), tail(0));
    else bytes.push(0xf0 | (code >> 18), tail(12), tail(6), tail(0));
  }
  return Uint8Array.from(bytes);
}
