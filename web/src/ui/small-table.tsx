/** A short table within a section. */
import type { ReactNode } from 'react';
import { TEXTS } from '../texts/texts.ts';

interface SmallTableProps {
  readonly heads: readonly string[];
  readonly rows: readonly { readonly key: string; readonly cells: readonly ReactNode[] }[];
}

/** A table that says "none" if it is empty. */
export function SmallTable({ heads, rows }: SmallTableProps) {
  if (rows.length === 0) return <p className="hint">{TEXTS.none}</p>;
  return (
    <section className="wide small-table" tabIndex={0} aria-label={heads.filter((head) => head !== '').join(', ')}>
      <table>
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ key, cells }) => (
            <tr key={key}>
              {cells.map((cell, at) => (
                <td key={heads[at] ?? at}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
