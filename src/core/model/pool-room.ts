/**
 * The fill level of a storage node's pool, in four steps. Pure.
 *
 * Guarantees: a lower level is entered only some way below the boundary (hysteresis), so that a pool at a boundary
 * causes one event.
 */
import type { PoolReport } from '../ports/storage-link.ts';

/** `low` from 80 % used, `very-low` from 90 %, `full` when guests' writes fail or are about to. */
export type PoolLevel = 'enough' | 'low' | 'very-low' | 'full';

const LEVELS: readonly PoolLevel[] = ['enough', 'low', 'very-low', 'full'];
const MIB = 1024 ** 2;
const PERCENT = { low: 80, 'very-low': 90 } as const;
/** How far below its beginning a level ends, in percent of the pool. */
const BACK_PERCENT = 2;
/**
 * A pool with fewer free bytes is full: guests write so much at once, and a file system keeps some for itself. At most
 * a hundredth of the pool.
 */
const FULL_BYTES = 64 * MIB;

/** Returns the used bytes of a pool in percent, 0 to 100. */
function usedPercent({ totalBytes, freeBytes }: PoolReport): number {
  return totalBytes === 0 ? 100 : Math.min(100, Math.max(0, ((totalBytes - freeBytes) / totalBytes) * 100));
}

/** Returns the level of a pool whose last level was `before`; null: it was never measured. */
export function poolLevel(pool: PoolReport, before: PoolLevel | null = null): PoolLevel {
  const level = levelAt(pool, 0);
  if (before === null || LEVELS.indexOf(level) >= LEVELS.indexOf(before)) return level;
  // On the way down, the pool is judged as if it were fuller by the hysteresis.
  const kept = levelAt(pool, BACK_PERCENT);
  return LEVELS.indexOf(kept) < LEVELS.indexOf(before) ? kept : before;
}

function levelAt(pool: PoolReport, morePercent: number): PoolLevel {
  const fullBytes = Math.min(FULL_BYTES, pool.totalBytes / 100) * (morePercent === 0 ? 1 : 2);
  const used = usedPercent(pool) + morePercent;
  if (pool.freeBytes <= fullBytes) return 'full';
  if (used >= PERCENT['very-low']) return 'very-low';
  return used >= PERCENT.low ? 'low' : 'enough';
}

/** Describes a pool's level; the text follows the node's name. */
export function poolWords(pool: PoolReport, level: PoolLevel): string {
  const [free, total] = [pool.freeBytes, pool.totalBytes].map((bytes) => `${Math.floor(bytes / MIB)} MiB`);
  const room = `${free} of ${total} free`;
  switch (level) {
    case 'full':
      return `is full (${room}): guests that write are paused, and nothing can be created there`;
    case 'very-low':
      return `is more than ${PERCENT['very-low']} % full (${room})`;
    case 'low':
      return `is more than ${PERCENT.low} % full (${room})`;
    case 'enough':
      return `has room again (${room})`;
  }
}
