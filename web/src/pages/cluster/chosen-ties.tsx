/** The ties of what is chosen in the picture, in words: what the broken lines of the picture show. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import { listed } from '../../../../src/base/listed.ts';
import { tiesQuery } from '../../api/queries.ts';
import type { Tie } from '../../api/types.ts';
import { type PictureTie, toldTies } from '../../picture/tie-links.ts';
import { TEXTS } from '../../texts/texts.ts';

/** A tie with its words. */
export interface ShownTie extends PictureTie {
  readonly what: string;
}

const NO_TIES: readonly ShownTie[] = [];

/** All ties, live; none are asked for while nothing is chosen. */
export function useTies(isWanted: boolean): readonly ShownTie[] {
  const ties = useQuery({ ...tiesQuery, enabled: isWanted }).data;
  return useMemo(() => ties?.map(shownTie) ?? NO_TIES, [ties]);
}

function shownTie({ about, what, costs }: Tie): ShownTie {
  const own = about.kind === 'vm' ? [about.name] : [];
  const hosts = about.kind === 'host' ? [about.name] : [];
  return {
    what,
    vms: [...new Set([...own, ...costs.vms])],
    hosts: [...new Set([...hosts, ...costs.undrainable, ...costs.unlosable])],
    guestCluster: about.kind === 'guest-cluster' ? about.name : null,
  };
}

interface TiesProps {
  readonly ties: readonly ShownTie[];
}

/** See the module's comment. */
export function ChosenTies({ ties }: TiesProps) {
  if (ties.length === 0) return null;
  const { told, more } = toldTies(ties);
  return (
    <>
      <h3>
        <Link to="/ties">{TEXTS.pages.ties}</Link>
      </h3>
      <ul className="plain-list hint" aria-label={TEXTS.pages.ties}>
        {told.map(({ what, hosts }) => (
          <li key={what}>
            {what}
            {hosts.length === 0 ? null : ` (${listed(hosts)})`}
          </li>
        ))}
        {more === 0 ? null : <li>{TEXTS.chosen.moreTies(more)}</li>}
      </ul>
    </>
  );
}
