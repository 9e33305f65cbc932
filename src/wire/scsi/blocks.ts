/** Parameter data about ranges of blocks (SBC-3): READ CAPACITY, UNMAP, GET LBA STATUS. */
import { concatenated, putU32, putU64, u16, u32, u64 } from './bytes.ts';

/** The size of a unit. A physical block is a logical one: the page cache makes every block whole. */
export interface Capacity {
  readonly blockCount: number;
  readonly blockBytes: number;
}

/** READ CAPACITY(10): 0xffffffff for a last block that does not fit, so that (16) is asked. */
export function encodeCapacity10(capacity: Capacity): Uint8Array {
  const bytes = new Uint8Array(8);
  putU32(bytes, 0, Math.min(capacity.blockCount - 1, 0xffff_ffff));
  putU32(bytes, 4, capacity.blockBytes);
  return bytes;
}

/** READ CAPACITY(16): provisioning management is enabled (LBPME) and unmapped blocks read as zeroes (LBPRZ). */
export function encodeCapacity16(capacity: Capacity): Uint8Array {
  const bytes = new Uint8Array(32);
  putU64(bytes, 0, capacity.blockCount - 1);
  putU32(bytes, 8, capacity.blockBytes);
  bytes[14] = 0xc0;
  return bytes;
}

/** A run of blocks. */
export interface BlockRange {
  readonly lba: number;
  readonly count: number;
}

const UNMAP_HEADER_BYTES = 8;
const DESCRIPTOR_BYTES = 16;

/**
 * The ranges of an UNMAP parameter list; null: shorter than its header. A descriptor that is not whole is left out
 * (SBC-3 5.28.2).
 */
export function decodeUnmap(bytes: Uint8Array): BlockRange[] | null {
  if (bytes.length < UNMAP_HEADER_BYTES) return null;
  const length = Math.min(u16(bytes, 2), bytes.length - UNMAP_HEADER_BYTES);
  const ranges: BlockRange[] = [];
  for (let offset = 0; offset + DESCRIPTOR_BYTES <= length; offset += DESCRIPTOR_BYTES)
    ranges.push({
      lba: u64(bytes, UNMAP_HEADER_BYTES + offset),
      count: u32(bytes, UNMAP_HEADER_BYTES + offset + 8),
    });
  return ranges;
}

/** GET LBA STATUS: extents one after the other. */
export function encodeLbaStatus(extents: readonly (BlockRange & { readonly isMapped: boolean })[]): Uint8Array {
  const header = new Uint8Array(8);
  putU32(header, 0, 4 + extents.length * DESCRIPTOR_BYTES);
  const descriptors = extents.map((extent) => {
    const bytes = new Uint8Array(DESCRIPTOR_BYTES);
    putU64(bytes, 0, extent.lba);
    putU32(bytes, 8, Math.min(extent.count, 0xffff_ffff));
    bytes[12] = extent.isMapped ? 0 : 1;
    return bytes;
  });
  return concatenated([header, ...descriptors]);
}
