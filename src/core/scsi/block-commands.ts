/**
 * READ, WRITE, VERIFY, WRITE AND VERIFY, COMPARE AND WRITE, ORWRITE (SBC-3 5). Nothing is written of a command that is
 * refused.
 */
import { CodedError } from '../../base/errors.ts';
import { CONDITION, STATUS } from '../../wire/scsi/sense.ts';
import { after, dataAnswer, GOOD, recovered, statusAnswer } from './answers.ts';
import { asksProtection, type BlockCdb, CDB_16, forcesUnitAccess, rangeRefusal, writeRefusal } from './block-cdb.ts';
import { type ScsiAnswer, type ScsiCommand, TRANSFER_BYTES_MAX } from './target-port.ts';
import type { CommandHandler, UnitContext } from './unit-context.ts';

type MaybePromise<T> = T | Promise<T>;

/** The answer to a read that the disk failed. */
const readFailed = (unit: UnitContext) => (): ScsiAnswer => unit.refuse(CONDITION.readError);

/** The answer to a write that the disk failed, or has no room for. */
export const writeFailed =
  (unit: UnitContext) =>
  (error: unknown): ScsiAnswer =>
    unit.refuse(
      error instanceof CodedError && error.code === 'no-capacity'
        ? CONDITION.spaceAllocationFailed
        : CONDITION.writeError,
    );

/** Range and length of one transfer; null if both are right. */
function transferRefusal(unit: UnitContext, lba: number, count: number): ScsiAnswer | null {
  const refusal = rangeRefusal(unit, lba, count);
  if (refusal !== null) return refusal;
  return count * unit.backing.blockBytes > TRANSFER_BYTES_MAX ? unit.refuse(CONDITION.invalidCdb) : null;
}

/** The first `neededBytes` of the data that came with a command; a refusal where there is less. */
function outData(unit: UnitContext, command: ScsiCommand, neededBytes: number): Uint8Array | ScsiAnswer {
  const data = command.dataOut;
  if (data === null || data.length < neededBytes)
    return { ...unit.refuse(CONDITION.lengthMismatch), transferBytes: neededBytes };
  return data.length === neededBytes ? data : data.subarray(0, neededBytes);
}

/** READ(6), (10), (12), (16). With FUA the cache is written first, so that what is read is on the medium. */
export function reading(layout: BlockCdb): CommandHandler {
  return (unit, command) => {
    const { cdb } = command;
    if (asksProtection(layout, cdb)) return unit.refuse(CONDITION.invalidCdb);
    const lba = layout.lba(cdb);
    const count = layout.count(cdb);
    const refusal = transferRefusal(unit, lba, count);
    if (refusal !== null) return refusal;
    if (count === 0) return GOOD;
    const { backing } = unit;
    const answer = (data: Uint8Array): ScsiAnswer => dataAnswer(data, command, data.length);
    return recovered(() => {
      if (!forcesUnitAccess(layout, cdb)) return after(backing.read(lba, count), answer);
      return after(backing.flush(), () => after(backing.read(lba, count), answer));
    }, readFailed(unit));
  };
}

/**
 * WRITE(6), (10), (12), (16). If an initiator expects to send less than the CDB names, the bytes that it sent are
 * written and the answer reports the overflow (RFC 7143 11.4.5.1); if it expects to send none at all, the command is
 * refused.
 */
export function writing(layout: BlockCdb): CommandHandler {
  return (unit, command) => {
    const { cdb } = command;
    if (asksProtection(layout, cdb)) return unit.refuse(CONDITION.invalidCdb);
    const lba = layout.lba(cdb);
    const count = layout.count(cdb);
    const refusal = writeRefusal(unit) ?? transferRefusal(unit, lba, count);
    if (refusal !== null) return refusal;
    const needed = count * unit.backing.blockBytes;
    return written(unit, command, { lba, needed, fua: forcesUnitAccess(layout, cdb) });
  };
}

interface Writing {
  readonly lba: number;
  /** Bytes that the CDB names. */
  readonly needed: number;
  readonly fua: boolean;
}

/** Writes the data of a command as far as it came. */
function written(unit: UnitContext, command: ScsiCommand, { lba, needed, fua }: Writing): MaybePromise<ScsiAnswer> {
  const { backing, gate } = unit;
  const sent = command.dataOut;
  const done = (): ScsiAnswer => statusAnswer(STATUS.good, needed);
  if (needed === 0) return done();
  // The initiator sends no data (no W flag): GOOD would claim that something was written.
  if (sent === null) return { ...unit.refuse(CONDITION.lengthMismatch), transferBytes: needed };
  if (sent.length === 0) return done();
  const data = sent.length > needed ? sent.subarray(0, needed) : sent;
  const count = Math.ceil(data.length / backing.blockBytes);
  if (data.length % backing.blockBytes !== 0)
    return replacing(unit, { lba, count, fua }, (found) => {
      const whole = found.slice();
      whole.set(data);
      return { written: whole, answer: done() };
    });
  return recovered(
    () => gate.run({ lba, count, isExclusive: false }, () => after(backing.write(lba, data, { fua }), done)),
    writeFailed(unit),
  );
}

/** BYTCHK of VERIFY and WRITE AND VERIFY. */
const CHECK = { medium: 0, compare: 1, compareOneBlock: 3 } as const;

/** VERIFY(10), (12), (16): by reading, or by comparing with the data, or each block with the one block of data. */
export function verifying(layout: BlockCdb): CommandHandler {
  return (unit, command) => {
    const { cdb } = command;
    const check = ((cdb[1] ?? 0) >> 1) & 0x03;
    if (asksProtection(layout, cdb) || check === 2) return unit.refuse(CONDITION.invalidCdb);
    const lba = layout.lba(cdb);
    const count = layout.count(cdb);
    const refusal = transferRefusal(unit, lba, count);
    if (refusal !== null) return refusal;
    if (count === 0) return GOOD;
    const { backing } = unit;
    if (check === CHECK.medium)
      return recovered(() => after(backing.read(lba, count), (): ScsiAnswer => GOOD), readFailed(unit));
    const data = outData(unit, command, (check === CHECK.compare ? count : 1) * backing.blockBytes);
    if (!(data instanceof Uint8Array)) return data;
    return recovered(() => after(backing.read(lba, count), (found) => comparison(unit, found, data)), readFailed(unit));
  };
}

/** GOOD, or MISCOMPARE with the offset of the first byte that differs. `expected` is repeated. */
function comparison(unit: UnitContext, found: Uint8Array, expected: Uint8Array): ScsiAnswer {
  const offset = firstDifference(found, expected);
  if (offset === -1) return statusAnswer(STATUS.good, expected.length);
  return { ...unit.refuse(CONDITION.miscompare, offset), transferBytes: expected.length };
}

function firstDifference(found: Uint8Array, expected: Uint8Array): number {
  for (let offset = 0; offset < found.length; offset++)
    if (found[offset] !== expected[offset % expected.length]) return offset;
  return -1;
}

/** WRITE AND VERIFY(10), (12), (16): to stable storage, read again, compared with BYTCHK 1. */
export function writingAndVerifying(layout: BlockCdb): CommandHandler {
  return (unit, command) => {
    const { cdb, dataOut } = command;
    const check = ((cdb[1] ?? 0) >> 1) & 0x03;
    if (asksProtection(layout, cdb) || check > CHECK.compare) return unit.refuse(CONDITION.invalidCdb);
    const lba = layout.lba(cdb);
    const count = layout.count(cdb);
    const refusal = writeRefusal(unit) ?? transferRefusal(unit, lba, count);
    if (refusal !== null) return refusal;
    const { backing } = unit;
    const needed = count * backing.blockBytes;
    const verify = (answer: ScsiAnswer): MaybePromise<ScsiAnswer> => {
      if (answer.status !== STATUS.good || count === 0) return answer;
      return after(backing.read(lba, count), (found) => {
        if (check === CHECK.medium || dataOut === null || dataOut.length < needed) return answer;
        return comparison(unit, found, dataOut.subarray(0, needed));
      });
    };
    return recovered(() => after(written(unit, command, { lba, needed, fua: true }), verify), readFailed(unit));
  };
}

/**
 * COMPARE AND WRITE: the data is what to compare with and then what to write. Nothing is written after a miscompare.
 */
export const compareAndWrite: CommandHandler = (unit, command) => {
  const { cdb } = command;
  if (asksProtection(CDB_16, cdb)) return unit.refuse(CONDITION.invalidCdb);
  const lba = CDB_16.lba(cdb);
  const count = cdb[13] ?? 0;
  const refusal = writeRefusal(unit) ?? rangeRefusal(unit, lba, count);
  if (refusal !== null) return refusal;
  const { backing } = unit;
  const bytes = count * backing.blockBytes;
  const data = command.dataOut;
  if ((data?.length ?? 0) !== 2 * bytes) return { ...unit.refuse(CONDITION.invalidCdb), transferBytes: 2 * bytes };
  if (data === null || count === 0) return GOOD;
  return replacing(unit, { lba, count, fua: forcesUnitAccess(CDB_16, cdb) }, (found) => {
    const answer = comparison(unit, found, data.subarray(0, bytes));
    return {
      written: answer.status === STATUS.good ? data.subarray(bytes) : null,
      answer: { ...answer, transferBytes: 2 * bytes },
    };
  });
};

/** ORWRITE(16): every bit that is set in the data is set on the disk. */
export const orWrite: CommandHandler = (unit, command) => {
  const { cdb } = command;
  if (asksProtection(CDB_16, cdb)) return unit.refuse(CONDITION.invalidCdb);
  const lba = CDB_16.lba(cdb);
  const count = CDB_16.count(cdb);
  const refusal = writeRefusal(unit) ?? transferRefusal(unit, lba, count);
  if (refusal !== null) return refusal;
  if (count === 0) return GOOD;
  const data = outData(unit, command, count * unit.backing.blockBytes);
  if (!(data instanceof Uint8Array)) return data;
  return replacing(unit, { lba, count, fua: forcesUnitAccess(CDB_16, cdb) }, (found) => ({
    written: found.map((byte, offset) => byte | (data[offset] ?? 0)),
    answer: statusAnswer(STATUS.good, data.length),
  }));
};

interface Replacement {
  /** Null: nothing is to be written. */
  readonly written: Uint8Array | null;
  readonly answer: ScsiAnswer;
}

/** Reads and writes the same blocks with nothing between. */
function replacing(
  unit: UnitContext,
  range: { readonly lba: number; readonly count: number; readonly fua: boolean },
  decide: (found: Uint8Array) => Replacement,
): MaybePromise<ScsiAnswer> {
  const { backing, gate } = unit;
  const { lba, count, fua } = range;
  const write = ({ written, answer }: Replacement): MaybePromise<ScsiAnswer> =>
    written === null ? answer : after(backing.write(lba, written, { fua }), () => answer);
  return recovered(
    () =>
      gate.run({ lba, count, isExclusive: true }, () =>
        after(backing.read(lba, count), (found) => write(decide(found))),
      ),
    writeFailed(unit),
  );
}
