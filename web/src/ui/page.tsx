/** The frame of every page: title, facts, sections, what to show while there is nothing. */
import type { ReactNode } from 'react';
import { useEffect } from 'react';
import { CodedError } from '../../../src/base/errors.ts';
import { TEXTS } from '../texts/texts.ts';

interface PageProps {
  readonly title: string;
  /** Beside the title. */
  readonly state?: ReactNode;
  readonly actions?: ReactNode;
  /** A page whose content scrolls by itself, such as a table, takes all of the height. */
  readonly isFilled?: boolean;
  readonly children: ReactNode;
}

/** A page with its title, which is also that of the window. */
export function Page({ title, state, actions, isFilled = false, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} – ${TEXTS.product}`;
  }, [title]);
  return (
    <div className={isFilled ? 'page page-filled' : 'page'}>
      <header className="page-head">
        <h1>{title}</h1>
        {state}
        <div className="page-actions">{actions}</div>
      </header>
      {children}
    </div>
  );
}

/** A part of a page. */
export function Section({
  title,
  actions,
  children,
}: {
  readonly title: string;
  readonly actions?: ReactNode;
  readonly children: ReactNode;
}) {
  return (
    <section className="section">
      <header>
        <h2>{title}</h2>
        {actions}
      </header>
      {children}
    </section>
  );
}

/** Names and values. */
export function Facts({ facts }: { readonly facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A problem in the API's words, and what to do. */
export function Problem({ error }: { readonly error: unknown }) {
  const advice = error instanceof CodedError ? error.advice : undefined;
  return (
    <div className="problem" role="alert">
      <strong>{error instanceof Error ? error.message : String(error)}</strong>
      {advice === undefined ? null : <p>{advice}</p>}
    </div>
  );
}

/** An empty page says what to do first. */
export function Empty({ title, children }: { readonly title: string; readonly children?: ReactNode }) {
  return (
    <div className="empty">
      <strong>{title}</strong>
      {children === undefined ? null : <p>{children}</p>}
    </div>
  );
}

/** Shown while an answer is on its way. */
export function Waiting() {
  return (
    <div className="waiting" role="status">
      {TEXTS.waiting}
    </div>
  );
}
