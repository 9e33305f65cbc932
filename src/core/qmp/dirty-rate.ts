/**
 * How fast a guest writes to its memory (QMP `calc-dirty-rate`, `query-dirty-rate`; qapi/migration.json). QEMU hashes
 * some pages of each region, and again a second later: it counts pages whose content changed, each once, so that
 * writing the same bytes again is not seen. The guest is not paused, under KVM or software emulation.
 * Only the mode `page-sampling`, QEMU's default, is ever asked for: with `dirty-bitmap` QEMU 7.2 ends under software
 * emulation, and its guest with it (tried).
 */
import { CodedError } from '../../base/errors.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import type { Clock } from '../ports/clock.ts';
import type { Execute } from '../ports/qmp-dialer.ts';

/** The time between the two looks, in s: QEMU takes 1 to 60. */
const APART_S = 1;
/** Pages looked at in each GiB, 128 to 16,384: hashing them takes about 5 ms. */
const SAMPLES = 1_024;
/** The time between two questions whether QEMU is done, in ms, and their number. */
const ASK_MS = 300;
const QUESTIONS_MAX = 10;
/** More than any memory takes, in MiB a second. */
const RATE_MAX = 2 ** 20;

/** QMP query-dirty-rate, as far as it is used. */
interface QueryDirtyRate {
  readonly status?: string;
  /** The rate in whole MiB a second. */
  readonly 'dirty-rate'?: number;
}

/** Measures for about a second. Returns MiB a second. CodedError 'deadline' where QEMU does not come to an end. */
export async function measureDirtyRate(execute: Execute, clock: Pick<Clock, 'after'>): Promise<number> {
  try {
    await execute('calc-dirty-rate', { 'calc-time': APART_S, 'sample-pages': SAMPLES });
  } catch (error) {
    // Another control node is measuring it just now: its result is as good.
    if (!(error instanceof QmpError) || !/still in process|in progress/i.test(error.description)) throw error;
  }
  await later(clock, APART_S * 1_000);
  for (let questions = 0; questions < QUESTIONS_MAX; questions++) {
    const { status, 'dirty-rate': rate } = await execute<QueryDirtyRate>('query-dirty-rate');
    if (status === 'measured' && Number.isFinite(rate)) return Math.min(Math.max(0, rate ?? 0), RATE_MAX);
    await later(clock, ASK_MS);
  }
  throw new CodedError('deadline', 'QEMU has not measured how fast its guest writes to memory.');
}

function later(clock: Pick<Clock, 'after'>, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}
