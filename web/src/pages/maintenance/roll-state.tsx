/** The state of a roll, and of one of its hosts. */
import type { Roll, RollSummary } from '../../api/types.ts';
import type { Tone } from '../../picture/verdict-style.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Mark } from '../../ui/mark.tsx';

const TONES: Readonly<Record<RollSummary['state'], Tone>> = {
  running: 'busy',
  paused: 'warn',
  aborting: 'warn',
  completed: 'good',
  aborted: 'off',
};

/** See the module's comment. */
export function RollState({ roll: { state, held, failed } }: { readonly roll: RollSummary }) {
  const tone = failed > 0 ? 'bad' : state === 'running' && held !== null ? 'warn' : TONES[state];
  return <Mark tone={tone}>{state === 'running' && held !== null ? TEXTS.roll.held : TEXTS.roll.states[state]}</Mark>;
}

type HostState = Roll['hosts'][number]['state'];

const HOST_TONES: Partial<Record<HostState, Tone>> = { waiting: 'off', skipped: 'off', done: 'good', failed: 'bad' };

/** See the module's comment. */
export function RollHostState({ state }: { readonly state: HostState }) {
  return <Mark tone={HOST_TONES[state] ?? 'busy'}>{TEXTS.roll.hostStates[state]}</Mark>;
}
