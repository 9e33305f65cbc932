/** The state of a drain. */
import type { DrainSummary } from '../../api/types.ts';
import type { Tone } from '../../picture/verdict-style.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Mark } from '../../ui/mark.tsx';

const TONES: Readonly<Record<DrainSummary['state'], Tone>> = {
  running: 'busy',
  paused: 'warn',
  cancelling: 'warn',
  drained: 'good',
  returned: 'good',
  cancelled: 'off',
};

/** See the module's comment. */
export function DrainState({ state }: Pick<DrainSummary, 'state'>) {
  return <Mark tone={TONES[state]}>{TEXTS.drain.states[state]}</Mark>;
}
