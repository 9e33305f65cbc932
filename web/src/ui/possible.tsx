/** Whether something is possible: yes, no, or not known yet. */
import { TEXTS } from '../texts/texts.ts';
import { Mark } from './mark.tsx';

const TONES = { yes: 'good', no: 'bad', unknown: 'off' } as const;

/** See the module's comment. */
export function Possible({ answer }: { readonly answer: keyof typeof TONES }) {
  return <Mark tone={TONES[answer]}>{TEXTS[answer]}</Mark>;
}
