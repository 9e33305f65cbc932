/**
 * Predicts how long a live migration is going to pause a guest. Pure: from the pauses of its earlier moves or, before
 * the first, from properties of QEMU and of this protocol. Safety does not depend on this prediction.
 */

import { LONGEST_PAUSE_MS } from '../../model/pause-allowance.ts';

/** Pauses that a VM's record keeps: those of its last moves. */
export const PAUSES_KEPT = 8;
/**
 * From both sides complete to the guest running again: one transaction, one fence, one `cont`. Measured: 20 ms to 90
 * ms.
 */
const SWITCH_MS = 100;
/** QEMU walks the dirty bitmap of the whole memory while the guest is paused, in ms for each GiB. */
const MS_PER_GIB = 2;
const GIB = 2 ** 30;
/** A move may take longer than the longest of the few before it. */
const MARGIN = 1.2;

export interface PauseInput {
  /** Pauses of the VM's last moves, in ms. */
  readonly measuredMs: readonly number[];
  readonly memoryBytes: number;
}

export interface PredictedPause {
  readonly ms: number;
  /** The reasons for the number, for people. */
  readonly because: string;
}

/** The pause of the next move, in whole ms. */
export function predictPause({ measuredMs, memoryBytes }: PauseInput): PredictedPause {
  if (measuredMs.length > 0) {
    const longest = Math.max(...measuredMs);
    const moves = measuredMs.length === 1 ? 'its last move' : `its last ${measuredMs.length} moves`;
    return {
      ms: Math.ceil(longest * MARGIN),
      because: `the longest pause of ${moves} was ${Math.round(longest)} ms, and a fifth is added`,
    };
  }
  const walkMs = Math.ceil((memoryBytes / GIB) * MS_PER_GIB);
  return {
    ms: LONGEST_PAUSE_MS + SWITCH_MS + walkMs,
    because: `it was never moved: ${LONGEST_PAUSE_MS} ms for the last of its memory, ${SWITCH_MS} ms to switch, ${walkMs} ms for ${(memoryBytes / GIB).toFixed(1)} GiB of memory`,
  };
}

/** The pauses a record keeps after one more move. */
export function withPause(measuredMs: readonly number[], pauseMs: number): readonly number[] {
  return [...measuredMs, Math.max(0, Math.round(pauseMs))].slice(-PAUSES_KEPT);
}
