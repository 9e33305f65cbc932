/**
 * Commands about ranges rather than data: UNMAP, WRITE SAME, GET LBA STATUS, SYNCHRONIZE CACHE, PRE-FETCH, READ
 * CAPACITY (SBC-3 5).
 */
import {
  type BlockRange,
  decodeUnmap,
  encodeCapacity10,
  encodeCapacity16,
  encodeLbaStatus,
} from '../../wire/scsi/blocks.ts';
import { u16, u32, u64 } from '../../wire/scsi/bytes.ts';
import { CONDITION, STATUS } from '../../wire/scsi/sense.ts';
import { after, dataAnswer, GOOD, recovered, statusAnswer } from './answers.ts';
import { asksProtection, type BlockCdb, CDB_16, rangeRefusal, writeRefusal } from './block-cdb.ts';
import { writeFailed } from './block-commands.ts';
import type { BlockExtent, ScsiAnswer } from './target-port.ts';
import { type CommandHandler, limitsOf, type UnitContext } from './unit-context.ts';

type MaybePromise<T> = T | Promise<T>;

const capacity = (unit: UnitContext) => ({
  blockCount: unit.backing.blockCount,
  blockBytes: unit.backing.blockBytes,
});

/** READ CAPACITY(10). */
export const readCapacity10: CommandHandler = (unit, command) => {
  const isPartial = ((command.cdb[8] ?? 0) & 0x01) !== 0;
  if (!isPartial && u32(command.cdb, 2) !== 0) return unit.refuse(CONDITION.invalidCdb);
  return dataAnswer(encodeCapacity10(capacity(unit)), command, 8);
};

/** READ CAPACITY(16). */
export const readCapacity16: CommandHandler = (unit, command) => {
  const isPartial = ((command.cdb[14] ?? 0) & 0x01) !== 0;
  if (!isPartial && u64(command.cdb, 2) !== 0) return unit.refuse(CONDITION.invalidCdb);
  return dataAnswer(encodeCapacity16(capacity(unit)), command, u32(command.cdb, 10));
};

/**
 * SYNCHRONIZE CACHE(10), (16): all data is written, for any range. The kernel reports a failure once: it must not be
 * tried again.
 */
export function synchronizing(layout: BlockCdb): CommandHandler {
  return (unit, command) => {
    const refusal = rangeRefusal(unit, layout.lba(command.cdb), layout.count(command.cdb));
    if (refusal !== null) return refusal;
    return recovered(
      () => after(unit.backing.flush(), (): ScsiAnswer => GOOD),
      () => unit.refuse(CONDITION.writesLost),
    );
  };
}

/** PRE-FETCH(10), (16): checked and answered; the page cache decides for itself what it keeps. */
export function prefetching(layout: BlockCdb): CommandHandler {
  return (unit, command) => rangeRefusal(unit, layout.lba(command.cdb), layout.count(command.cdb)) ?? GOOD;
}

const ANCHOR = 0x01;

/** UNMAP: all ranges are checked before the first is unmapped. */
export const unmap: CommandHandler = (unit, command) => {
  const { cdb } = command;
  if (((cdb[1] ?? 0) & ANCHOR) !== 0) return unit.refuse(CONDITION.invalidCdb);
  const length = u16(cdb, 7);
  if (length === 0) return GOOD;
  const data = command.dataOut;
  const ranges = data === null || data.length < length ? null : decodeUnmap(data.subarray(0, length));
  if (ranges === null) return unit.refuse(CONDITION.parameterListLength);
  const refusal = writeRefusal(unit) ?? unmapRefusal(unit, ranges);
  if (refusal !== null) return refusal;
  const { backing, gate } = unit;
  return recovered(
    () =>
      after(
        inTurn(ranges, ({ lba, count }) =>
          count === 0 ? undefined : gate.run({ lba, count, isExclusive: false }, () => backing.unmap(lba, count)),
        ),
        () => statusAnswer(STATUS.good, length),
      ),
    writeFailed(unit),
  );
};

function unmapRefusal(unit: UnitContext, ranges: readonly BlockRange[]): ScsiAnswer | null {
  const limits = limitsOf(unit.backing);
  const total = ranges.reduce((sum, range) => sum + range.count, 0);
  if (ranges.length > limits.unmapDescriptorsMax || total > limits.unmapMax)
    return unit.refuse(CONDITION.invalidParameter);
  for (const range of ranges) {
    const refusal = rangeRefusal(unit, range.lba, range.count);
    if (refusal !== null) return refusal;
  }
  return null;
}

/** One after the other, without waiting where nothing waits. */
function inTurn<T>(items: readonly T[], work: (item: T) => MaybePromise<void>): MaybePromise<void> {
  for (const [index, item] of items.entries()) {
    const result = work(item);
    if (result instanceof Promise) return result.then(() => inTurn(items.slice(index + 1), work));
  }
  return undefined;
}

const WRITE_SAME = { unmap: 0x08, anchor: 0x10, obsolete: 0x06, noData: 0x01 } as const;

/**
 * WRITE SAME(10), (16): no blocks means all to the end. Zeroes are written as zeroes, or unmapped where (16) allows it
 * by UNMAP; other data is written even then, because unmapped blocks read as zeroes (SBC-3 table 10). (10) does not
 * unmap: LBPWS10 is zero.
 */
export function writingSame(layout: BlockCdb): CommandHandler {
  return (unit, command) => {
    const { cdb } = command;
    const flags = cdb[1] ?? 0;
    if (asksProtection(layout, cdb) || (flags & (WRITE_SAME.anchor | WRITE_SAME.obsolete)) !== 0)
      return unit.refuse(CONDITION.invalidCdb);
    const { backing } = unit;
    const hasNoData = (flags & WRITE_SAME.noData) !== 0;
    const isUnmapping = (flags & WRITE_SAME.unmap) !== 0;
    if ((hasNoData || isUnmapping) && layout !== CDB_16) return unit.refuse(CONDITION.invalidCdb);
    const lba = layout.lba(cdb);
    const count = layout.count(cdb) || backing.blockCount - lba;
    const refusal = writeRefusal(unit) ?? rangeRefusal(unit, lba, Math.max(count, 0));
    if (refusal !== null) return refusal;
    if (count > limitsOf(backing).writeSameMax) return unit.refuse(CONDITION.invalidCdb);
    if (count === 0) return GOOD;
    const block = hasNoData ? new Uint8Array(backing.blockBytes) : command.dataOut;
    if (block === null || block.length !== backing.blockBytes)
      return { ...unit.refuse(CONDITION.invalidCdb), transferBytes: backing.blockBytes };
    const transferBytes = hasNoData ? 0 : block.length;
    return recovered(
      () =>
        unit.gate.run({ lba, count, isExclusive: false }, () =>
          after(writeSame(unit, { lba, count, block, isUnmapping }), () => statusAnswer(STATUS.good, transferBytes)),
        ),
      writeFailed(unit),
    );
  };
}

interface SameBlocks extends BlockRange {
  readonly block: Uint8Array;
  readonly isUnmapping: boolean;
}

const CHUNK_BYTES = 1024 * 1024;

function writeSame(unit: UnitContext, { lba, count, block, isUnmapping }: SameBlocks): MaybePromise<void> {
  const { backing } = unit;
  if (block.every((byte) => byte === 0))
    return isUnmapping ? backing.unmap(lba, count) : backing.writeZeroes(lba, count, { fua: false });
  const chunkBlocks = Math.min(count, CHUNK_BYTES / backing.blockBytes);
  const chunk = new Uint8Array(chunkBlocks * backing.blockBytes);
  for (let offset = 0; offset < chunk.length; offset += block.length) chunk.set(block, offset);
  const from = (done: number): MaybePromise<void> => {
    for (let at = done; at < count; at += chunkBlocks) {
      const blocks = Math.min(chunkBlocks, count - at);
      const result = backing.write(lba + at, chunk.subarray(0, blocks * backing.blockBytes), { fua: false });
      if (result instanceof Promise) return result.then(() => from(at + blocks));
    }
    return undefined;
  };
  return from(0);
}

const STATUS_HEADER_BYTES = 8;
const STATUS_DESCRIPTOR_BYTES = 16;
const STATUS_DESCRIPTORS_MAX = 64;

/** GET LBA STATUS: extents from the block on, at least one, as many as the allocation length has room for. */
export const getLbaStatus: CommandHandler = (unit, command) => {
  const { cdb } = command;
  const first = CDB_16.lba(cdb);
  const refusal = rangeRefusal(unit, first, 1);
  if (refusal !== null) return refusal;
  const allocationBytes = u32(cdb, 10);
  const room = Math.floor((allocationBytes - STATUS_HEADER_BYTES) / STATUS_DESCRIPTOR_BYTES);
  const wanted = Math.min(Math.max(room, 1), STATUS_DESCRIPTORS_MAX);
  const { backing } = unit;
  const collect = (extents: (BlockRange & { isMapped: boolean })[], lba: number): MaybePromise<ScsiAnswer> => {
    if (extents.length >= wanted || lba >= backing.blockCount)
      return dataAnswer(encodeLbaStatus(extents), command, allocationBytes);
    return after(backing.allocation(lba), (extent: BlockExtent) => {
      const count = Math.min(Math.max(extent.blockCount, 1), backing.blockCount - lba, 0xffff_ffff);
      return collect([...extents, { lba, count, isMapped: extent.isMapped }], lba + count);
    });
  };
  return recovered(
    () => collect([], first),
    () => unit.refuse(CONDITION.readError),
  );
};
