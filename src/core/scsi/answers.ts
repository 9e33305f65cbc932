/** Answers that every command handler makes, and a way to continue without waiting if nothing has to be waited for. */
import { STATUS } from '../../wire/scsi/sense.ts';
import type { ScsiAnswer, ScsiCommand } from './target-port.ts';

/** An answer of a bare status. */
export function statusAnswer(status: number, transferBytes = 0): ScsiAnswer {
  return { status, sense: null, dataIn: null, transferBytes };
}

/** GOOD, nothing transferred. */
export const GOOD: ScsiAnswer = statusAnswer(STATUS.good);

export const RESERVATION_CONFLICT: ScsiAnswer = statusAnswer(STATUS.reservationConflict);

export const TASK_ABORTED: ScsiAnswer = statusAnswer(STATUS.taskAborted);

/** GOOD with data: as much of it as the CDB allocates and the initiator expects. */
export function dataAnswer(data: Uint8Array, command: ScsiCommand, allocationBytes: number): ScsiAnswer {
  const transferBytes = Math.min(data.length, allocationBytes);
  const sentBytes = Math.min(transferBytes, command.expectedInBytes);
  return {
    status: STATUS.good,
    sense: null,
    dataIn: sentBytes === data.length ? data : data.subarray(0, sentBytes),
    transferBytes,
    ...(command.transfer === 'out' ? { isUnexpectedWay: true } : {}),
  };
}

/** `next` on the value, at once where it is there already. */
export function after<T, R>(value: T | Promise<T>, next: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** `work`, with a thrown or rejected error turned into a value. */
export function recovered<T>(work: () => T | Promise<T>, recover: (error: unknown) => T): T | Promise<T> {
  try {
    const value = work();
    return value instanceof Promise ? value.catch(recover) : value;
  } catch (error) {
    return recover(error);
  }
}
