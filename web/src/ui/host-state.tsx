/** The state of a host in one word. */
import type { Host } from '../api/types.ts';
import type { Tone } from '../picture/verdict-style.ts';
import { TEXTS } from '../texts/texts.ts';
import { Mark } from './mark.tsx';

/** The most important part of a host's state. Pure. */
export function hostState(host: Pick<Host, 'agent' | 'cordoned' | 'maintenance' | 'quarantined'>): {
  readonly tone: Tone;
  readonly text: string;
} {
  if (host.quarantined) return { tone: 'bad', text: TEXTS.host.quarantined };
  if (host.agent !== 'alive') return { tone: 'odd', text: TEXTS.host.agentDead };
  if (host.maintenance !== null) return { tone: 'warn', text: TEXTS.host.maintenance };
  if (host.cordoned) return { tone: 'warn', text: TEXTS.host.cordoned };
  return { tone: 'good', text: TEXTS.host.normal };
}

/** See `hostState`. */
export function HostState({ host }: { readonly host: Host }) {
  const { tone, text } = hostState(host);
  return <Mark tone={tone}>{text}</Mark>;
}
