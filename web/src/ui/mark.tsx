/** How states are shown: a sign with a pattern, and its word. */

import type { Verdict } from '../api/types.ts';
import { type Tone, VERDICT_STYLES } from '../picture/verdict-style.ts';

/** The verdict about a VM. */
export function VerdictMark({ verdict, isShort = false }: { readonly verdict: Verdict; readonly isShort?: boolean }) {
  const { tone, pattern, text } = VERDICT_STYLES[verdict];
  return (
    <span className={`mark tone-${tone}`} title={isShort ? text : undefined}>
      <span className={`sign pattern-${pattern}`} aria-hidden="true" />
      {isShort ? <span className="hidden-text">{text}</span> : text}
    </span>
  );
}

/** Any other state. */
export function Mark({ tone, children }: { readonly tone: Tone; readonly children: React.ReactNode }) {
  return (
    <span className={`mark tone-${tone}`}>
      <span className={`sign pattern-${tone === 'off' ? 'hollow' : 'solid'}`} aria-hidden="true" />
      {children}
    </span>
  );
}

/** A word on a ground of its tone. */
export function Tag({ tone = 'off', children }: { readonly tone?: Tone; readonly children: React.ReactNode }) {
  return <span className={`tag tone-${tone}`}>{children}</span>;
}

/** A share of a whole as a bar. `label` says of what. */
export function Meter({
  part,
  whole,
  label,
}: {
  readonly part: number;
  readonly whole: number;
  readonly label: string;
}) {
  const percent = whole <= 0 ? 0 : Math.min(100, (100 * part) / whole);
  const tone = percent >= 95 ? 'bad' : percent >= 85 ? 'warn' : 'busy';
  return (
    <span
      className={`meter tone-${tone}`}
      role="meter"
      aria-label={label}
      aria-valuenow={Math.round(percent)}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <span style={{ width: `${percent}%` }} />
    </span>
  );
}
