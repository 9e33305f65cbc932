/** The cluster in one line: its promises, its sizes, and how many VMs are in which state (the picture's legend). */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import { clusterQuery, tiesQuery } from '../../api/queries.ts';
import type { Verdict } from '../../api/types.ts';
import type { Estate } from '../../live/estate.ts';
import { TONE_WEIGHT, VERDICT_STYLES } from '../../picture/verdict-style.ts';
import { bytesText, percentOf } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Meter } from '../../ui/mark.tsx';
import type { Search } from '../../ui/search.ts';
import { countDebts } from '../ties/ties-table.ts';

/** See the module's comment. */
export function Summary({ estate }: { readonly estate: Estate }) {
  const cluster = useQuery(clusterQuery).data;
  const verdicts = useMemo(() => countVerdicts(estate), [estate]);
  return (
    <div className="summary">
      {cluster === undefined ? null : (
        <>
          <Figure name={TEXTS.summary.hosts} value={`${cluster.hosts.alive} / ${cluster.hosts.total}`} to="/hosts" />
          <Figure name={TEXTS.summary.vms} value={cluster.vms.total.toLocaleString('en')} to="/vms" />
          <Figure
            name={TEXTS.summary.storage}
            value={`${cluster.storageNodes.alive} / ${cluster.storageNodes.total}`}
            to="/storage"
          />
          <Figure
            name={TEXTS.summary.losable}
            value={lossText(cluster.evacuability.loss)}
            to="/ties"
            search={{ tab: 'reasons' }}
          />
          <Figure
            name={TEXTS.summary.alarms}
            value={String(cluster.alarms.length)}
            to="/ties"
            search={{ tab: 'reasons' }}
          />
          <Debts />
          <div className="figure">
            <span className="hint">{TEXTS.summary.memory}</span>
            <span>
              {percentOf(cluster.memoryUsedBytes, cluster.memoryTotalBytes)} %{' '}
              <span className="hint">{TEXTS.summary.of(bytesText(cluster.memoryTotalBytes))}</span>{' '}
              <Meter part={cluster.memoryUsedBytes} whole={cluster.memoryTotalBytes} label={TEXTS.summary.memory} />
            </span>
          </div>
        </>
      )}
      <ul className="legend" aria-label={TEXTS.summary.legend}>
        {verdicts.map(([verdict, count]) => {
          const { tone, pattern, text } = VERDICT_STYLES[verdict];
          return (
            <li key={verdict}>
              <Link to="/vms" search={{ verdict: text } as never} className={`mark tone-${tone}`}>
                <span className={`sign pattern-${pattern}`} aria-hidden="true" />
                {text} <strong>{count.toLocaleString('en')}</strong>
              </Link>
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function lossText({ possible, refused }: { readonly possible: 'yes' | 'no' | 'unknown'; readonly refused: number }) {
  return possible === 'no' ? TEXTS.summary.refused(refused) : TEXTS[possible];
}

/** The number of debts, and how many of them are due. */
function Debts() {
  const ties = useQuery(tiesQuery).data;
  if (ties === undefined) return null;
  const { debts, due } = countDebts(ties);
  return <Figure name={TEXTS.summary.debts} value={TEXTS.summary.dueOf(debts, due)} to="/ties" />;
}

interface FigureProps {
  readonly name: string;
  readonly value: string;
  readonly to: string;
  readonly search?: Search;
}

function Figure({ name, value, to, search = {} }: FigureProps) {
  return (
    <div className="figure">
      <span className="hint">{name}</span>
      <Link to={to as '/'} search={search as never}>
        {value}
      </Link>
    </div>
  );
}

/** The number of VMs per verdict, the most urgent first. */
function countVerdicts({ hosts, homeless }: Estate): readonly (readonly [Verdict, number])[] {
  const counts = new Map<Verdict, number>();
  for (const { verdict } of [...hosts.flatMap(({ vms }) => vms), ...homeless])
    counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  const weight = (verdict: Verdict): number => TONE_WEIGHT[VERDICT_STYLES[verdict].tone];
  return [...counts].sort(([a], [b]) => weight(b) - weight(a) || a.localeCompare(b));
}
