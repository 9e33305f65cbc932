/**
 * Writes a GUID partition table (UEFI specification 2.10, chapter 5) and GRUB's BIOS boot sectors as bytes.
 * Guarantees: primary and backup table agree; nothing is written into a partition.
 */
import { crc32 } from 'node:zlib';
import { assert } from '../base/assert.ts';

export const SECTOR_BYTES = 512;
/** Partition types, as in the UEFI specification and the Discoverable Partitions Specification. */
export const PARTITION_TYPES = {
  biosBoot: '21686148-6449-6e6f-744e-656564454649',
  efiSystem: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  linuxRootX64: '4f68bce3-e8cd-4db1-96e7-fbcaf984b709',
} as const;

export interface Partition {
  readonly type: string;
  /** UUID of this partition, lower case with dashes. */
  readonly id: string;
  readonly name: string;
  readonly firstSector: number;
  readonly sectors: number;
}

export interface Gpt {
  /** Sectors 0 to 33: protective MBR (without boot code), header, entries. */
  readonly primary: Buffer;
  /** The last 33 sectors of the disk. */
  readonly backup: Buffer;
}

const ENTRIES = 128;
const ENTRY_BYTES = 128;
const ENTRY_SECTORS = (ENTRIES * ENTRY_BYTES) / SECTOR_BYTES;
/** Sectors that the primary and the backup table take at the two ends of a disk. */
export const GPT_SECTORS = { primary: ENTRY_SECTORS + 2, backup: ENTRY_SECTORS + 1 } as const;

/** A UUID in the mixed byte order of EFI: the first three groups little-endian. */
function guidBytes(id: string): Buffer {
  const bytes = Buffer.from(id.replaceAll('-', ''), 'hex');
  assert(bytes.length === 16, `UUID ${id}`);
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}

function entriesOf(partitions: readonly Partition[], diskSectors: number): Buffer {
  const entries = Buffer.alloc(ENTRIES * ENTRY_BYTES);
  let freeFrom: number = GPT_SECTORS.primary;
  partitions.forEach((partition, index) => {
    const last = partition.firstSector + partition.sectors - 1;
    assert(
      partition.firstSector >= freeFrom && last < diskSectors - GPT_SECTORS.backup,
      `partition ${partition.name} fits`,
    );
    freeFrom = last + 1;
    const at = index * ENTRY_BYTES;
    guidBytes(partition.type).copy(entries, at);
    guidBytes(partition.id).copy(entries, at + 16);
    entries.writeBigUInt64LE(BigInt(partition.firstSector), at + 32);
    entries.writeBigUInt64LE(BigInt(last), at + 40);
    entries.write(partition.name.slice(0, 36), at + 56, 'utf16le');
  });
  return entries;
}

function headerOf(options: {
  diskId: string;
  diskSectors: number;
  entries: Buffer;
  own: number;
  other: number;
  entriesAt: number;
}): Buffer {
  const header = Buffer.alloc(SECTOR_BYTES);
  header.write('EFI PART', 0, 'latin1');
  header.writeUInt32LE(0x00010000, 8);
  header.writeUInt32LE(92, 12);
  header.writeBigUInt64LE(BigInt(options.own), 24);
  header.writeBigUInt64LE(BigInt(options.other), 32);
  header.writeBigUInt64LE(BigInt(GPT_SECTORS.primary), 40);
  header.writeBigUInt64LE(BigInt(options.diskSectors - GPT_SECTORS.backup - 1), 48);
  guidBytes(options.diskId).copy(header, 56);
  header.writeBigUInt64LE(BigInt(options.entriesAt), 72);
  header.writeUInt32LE(ENTRIES, 80);
  header.writeUInt32LE(ENTRY_BYTES, 84);
  header.writeUInt32LE(crc32(options.entries), 88);
  header.writeUInt32LE(crc32(header.subarray(0, 92)), 16);
  return header;
}

/** The tables for a disk of `diskSectors` sectors of 512 bytes. Partitions in ascending order; checked by assertion. */
export function makeGpt(options: { diskId: string; diskSectors: number; partitions: readonly Partition[] }): Gpt {
  const { diskId, diskSectors, partitions } = options;
  const entries = entriesOf(partitions, diskSectors);
  const last = diskSectors - 1;
  const mbr = Buffer.alloc(SECTOR_BYTES);
  // One partition of type 0xEE over the whole disk, from sector 1.
  mbr.set([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff], 446);
  mbr.writeUInt32LE(1, 454);
  mbr.writeUInt32LE(Math.min(last, 0xffffffff), 458);
  mbr.writeUInt16LE(0xaa55, 510);
  const common = { diskId, diskSectors, entries };
  return {
    primary: Buffer.concat([mbr, headerOf({ ...common, own: 1, other: last, entriesAt: 2 }), entries]),
    backup: Buffer.concat([entries, headerOf({ ...common, own: last, other: 1, entriesAt: last - ENTRY_SECTORS })]),
  };
}

/**
 * Joins GRUB's boot.img and core.img (i386-pc) as grub-bios-setup does for a BIOS boot partition: boot.img learns where
 * core.img starts, core.img's first sector where its rest is. Answers the MBR's 440 bytes of code and the core image.
 */
export function linkGrub(options: { bootImage: Buffer; coreImage: Buffer; coreFirstSector: number }): {
  code: Buffer;
  core: Buffer;
} {
  const { bootImage, coreImage, coreFirstSector } = options;
  assert(bootImage.length === SECTOR_BYTES && coreImage.length > SECTOR_BYTES, "GRUB's boot images");
  const code = Buffer.from(bootImage.subarray(0, 440));
  code.writeBigUInt64LE(BigInt(coreFirstSector), 0x5c);
  const core = Buffer.alloc(Math.ceil(coreImage.length / SECTOR_BYTES) * SECTOR_BYTES);
  coreImage.copy(core);
  // The first block-list entry ends the first sector: start (8 bytes), length in sectors (2), load segment (2).
  core.writeBigUInt64LE(BigInt(coreFirstSector + 1), 0x1f4);
  core.writeUInt16LE(core.length / SECTOR_BYTES - 1, 0x1fc);
  return { code, core };
}
