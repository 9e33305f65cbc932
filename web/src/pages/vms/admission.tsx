/**
 * Admission's answer to a form as it is filled in. Guarantees: the answer comes from the code that admits the request
 * itself, a moment after the last key; an answer to outdated input is never shown.
 */
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import type { Admission } from '../../api/types.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Mark } from '../../ui/mark.tsx';

const PAUSE_MS = 350;

/** The answer to a request so far. */
interface Checked {
  /** Whether there is a complete request to check. */
  readonly isAsked: boolean;
  readonly answer: Admission | undefined;
  readonly error: Error | null;
}

/** Checks a request; null: it is not complete enough to be checked. */
export function useAdmission(request: object | null, ask: (signal: AbortSignal) => Promise<Admission>): Checked {
  const now = request === null ? '' : JSON.stringify(request);
  const settled = useSettled(now);
  const { data, error } = useQuery({
    queryKey: ['admission', settled],
    queryFn: ({ signal }) => ask(signal),
    enabled: settled !== '' && settled === now,
    ...{ gcTime: 0, staleTime: 0, retry: false },
  });
  const isAsked = now !== '';
  return isAsked && settled === now ? { isAsked, answer: data, error } : { isAsked, answer: undefined, error: null };
}

interface SaysProps {
  readonly checked: Checked;
  /** The text that is shown if the request is admitted. */
  readonly fine: (admission: Admission) => string;
}

/** See the module's comment. */
export function AdmissionSays({ checked: { isAsked, answer, error }, fine }: SaysProps) {
  return (
    <div className="admission" role="status" aria-label={TEXTS.admission.label}>
      {isAsked ? said(answer, error, fine) : null}
    </div>
  );
}

function said(admission: Admission | undefined, error: Error | null, fine: SaysProps['fine']) {
  // To the person who fills in the form, a refusal by the API's schema looks like any other.
  if (error !== null) return <Mark tone="bad">{error.message}</Mark>;
  if (admission === undefined) return <span className="hint">{TEXTS.admission.asking}</span>;
  if (admission.admitted) return <Mark tone="good">{fine(admission)}</Mark>;
  return (
    <>
      <Mark tone="bad">{admission.reason}</Mark>
      {admission.advice === null ? null : <p className="hint">{admission.advice}</p>}
    </>
  );
}

/** A value that has not changed for PAUSE_MS. */
function useSettled(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
