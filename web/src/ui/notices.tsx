/** Short notices at the lower edge: what was begun, what was refused and what to do. */
import { useSyncExternalStore } from 'react';
import { CodedError } from '../../../src/base/errors.ts';
import { TEXTS } from '../texts/texts.ts';

interface Notice {
  readonly id: number;
  readonly tone: 'good' | 'bad';
  readonly title: string;
  readonly more: string | null;
}

const SHOWN_MS = 6_000;
const NOTICES_MAX = 4;
let notices: readonly Notice[] = [];
let lastId = 0;
const listeners = new Set<() => void>();

/** Reports that something was begun or done; the notice goes away by itself. */
export function tell(title: string): void {
  const id = add({ tone: 'good', title, more: null });
  setTimeout(() => dismiss(id), SHOWN_MS);
}

/** Reports a problem in the API's words; the notice stays until it was read. */
export function tellProblem(error: unknown): void {
  const more = error instanceof CodedError ? (error.advice ?? null) : null;
  add({ tone: 'bad', title: error instanceof Error ? error.message : String(error), more });
}

function add(notice: Omit<Notice, 'id'>): number {
  lastId += 1;
  change([...notices, { ...notice, id: lastId }].slice(-NOTICES_MAX));
  return lastId;
}

function dismiss(id: number): void {
  change(notices.filter((notice) => notice.id !== id));
}

function change(next: readonly Notice[]): void {
  notices = next;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The place of the notices. */
export function Notices() {
  const shown = useSyncExternalStore(subscribe, () => notices);
  return (
    <section className="notices" aria-label={TEXTS.notices} aria-live="polite">
      {shown.map(({ id, tone, title, more }) => (
        <div key={id} className={`notice tone-${tone}`}>
          <div>
            <strong>{title}</strong>
            {more === null ? null : <p>{more}</p>}
          </div>
          <button type="button" className="quiet" aria-label={TEXTS.dismiss} onClick={() => dismiss(id)}>
            ✕
          </button>
        </div>
      ))}
    </section>
  );
}
