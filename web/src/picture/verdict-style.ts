/** The look of a verdict: a tone and a pattern, so that it can be recognised without colours. Pure data. */
import type { Vm } from '../api/types.ts';

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'odd' | 'off';
export type Pattern = 'solid' | 'stripes' | 'bars' | 'dots' | 'cross' | 'hollow';

/** How one verdict is drawn and called. */
export interface VerdictStyle {
  readonly tone: Tone;
  readonly pattern: Pattern;
  readonly text: string;
}

export const VERDICT_STYLES: Readonly<Record<Vm['verdict'], VerdictStyle>> = {
  running: { tone: 'good', pattern: 'solid', text: 'running' },
  starting: { tone: 'busy', pattern: 'stripes', text: 'starting' },
  migrating: { tone: 'busy', pattern: 'solid', text: 'migrating' },
  stopping: { tone: 'busy', pattern: 'bars', text: 'stopping' },
  paused: { tone: 'warn', pattern: 'bars', text: 'paused' },
  suspended: { tone: 'warn', pattern: 'stripes', text: 'suspended' },
  'guest-shutdown': { tone: 'off', pattern: 'bars', text: 'shut down by its guest' },
  stopped: { tone: 'off', pattern: 'hollow', text: 'stopped' },
  crashed: { tone: 'bad', pattern: 'stripes', text: 'crashed' },
  lost: { tone: 'bad', pattern: 'cross', text: 'lost' },
  fenced: { tone: 'bad', pattern: 'dots', text: 'fenced' },
  'storage-trouble': { tone: 'odd', pattern: 'dots', text: 'waits for storage' },
  unresponsive: { tone: 'odd', pattern: 'stripes', text: 'unresponsive' },
  unknown: { tone: 'odd', pattern: 'hollow', text: 'unknown' },
};

/** The urgency of a verdict: a person should look at the higher one first. */
export const TONE_WEIGHT: Readonly<Record<Tone, number>> = { off: 0, good: 1, busy: 2, warn: 3, odd: 4, bad: 5 };
