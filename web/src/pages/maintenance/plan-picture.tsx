/** The picture of a plan or a drain: lanes of moves over time, peaks per host, and the same as a table. */
import { useList } from '../../live/lists.ts';
import { byName, bytesText, durationText, percentOf } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Meter } from '../../ui/mark.tsx';
import { Section } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { type Bar, peakMemory, timelineOf } from './timeline.ts';
import './plan-picture.css';

const { plan: texts } = TEXTS;
const TICKS = [0, 0.25, 0.5, 0.75, 1];

interface PictureProps {
  readonly bars: readonly Bar[];
  /** The present, relative to the beginning; null: before it begins. */
  readonly nowMs: number | null;
}

/** The whole picture. */
export function PlanPicture({ bars, nowMs }: PictureProps) {
  return (
    <>
      <Timeline bars={bars} nowMs={nowMs} />
      <Peaks bars={bars} isBefore={nowMs === null && bars.every(({ state }) => state === 'foretold')} />
      <MovesTable bars={bars} />
    </>
  );
}

/** Moves over time, in as many lanes as there are moves at once. */
export function Timeline({ bars, nowMs }: PictureProps) {
  const { lanes, durationMs } = timelineOf(bars);
  const percent = (ms: number): string => `${durationMs === 0 ? 0 : Math.min(100, (100 * ms) / durationMs)}%`;
  return (
    <Section title={texts.timeline}>
      <div
        className="timeline"
        role="img"
        aria-label={texts.summary(bars.length, lanes.length, durationText(durationMs))}
      >
        {lanes.map((lane) => (
          <div className="lane" key={lane[0]?.id}>
            {lane.map((bar) => (
              <div
                key={bar.id}
                className={`bar-move state-${bar.state}`}
                style={{ left: percent(bar.startMs), width: percent(bar.endMs - bar.startMs) }}
                title={titleOf(bar)}
              >
                {bar.vm} → {bar.to}
              </div>
            ))}
          </div>
        ))}
        {nowMs === null || nowMs > durationMs ? null : <div className="now" style={{ left: percent(nowMs) }} />}
        <div className="ticks">
          {TICKS.map((part) => (
            <span key={part} style={{ left: `${100 * part}%` }}>
              {durationText(durationMs * part)}
            </span>
          ))}
        </div>
      </div>
    </Section>
  );
}

/** The most memory that comes to each host; before anything moves also the most that the host then holds. */
export function Peaks({ bars, isBefore }: { readonly bars: readonly Bar[]; readonly isBefore: boolean }) {
  const hosts = new Map(useList('host-row').map((host) => [host.name, host]));
  const peaks = [...peakMemory(bars)].filter(([, bytes]) => bytes > 0).sort(([a], [b]) => byName(a, b));
  return (
    <Section title={texts.peaks}>
      <SmallTable
        heads={isBefore ? texts.peakHeadsBefore : texts.peakHeads}
        rows={peaks.map(([name, bytes]) => {
          const host = hosts.get(name);
          const { memoryUsedBytes = 0, memoryTotalBytes = 0 } = host ?? {};
          const peak = memoryUsedBytes + bytes;
          const whole = [
            bytesText(memoryUsedBytes),
            bytesText(peak),
            <span key="share">
              <Meter part={peak} whole={memoryTotalBytes} label={texts.peakOf(name)} />{' '}
              {percentOf(peak, memoryTotalBytes)} %
            </span>,
          ];
          return { key: name, cells: [name, bytesText(bytes), ...(isBefore ? whole : [])] };
        })}
      />
    </Section>
  );
}

/** The moves, a line for each. */
export function MovesTable({ bars }: { readonly bars: readonly Bar[] }) {
  return (
    <Section title={texts.moves}>
      <SmallTable heads={texts.moveHeads} rows={bars.map((bar) => ({ key: String(bar.id), cells: cellsOf(bar) }))} />
    </Section>
  );
}

function titleOf({ vm, from, to, foretoldMs, foretoldPauseMs }: Bar): string {
  return texts.moveTitle({ vm, from, to, takes: durationText(foretoldMs), pause: durationText(foretoldPauseMs) });
}

function cellsOf(bar: Bar): readonly string[] {
  const { vm, from, to, why, memoryBytes, foretoldMs, foretoldPauseMs, tookMs, measuredPauseMs, state, note } = bar;
  return [
    ...[
      vm,
      from,
      to,
      texts.why[why as keyof typeof texts.why] ?? why,
      bytesText(memoryBytes),
      durationText(foretoldMs),
    ],
    tookMs === null ? '' : durationText(tookMs),
    durationText(foretoldPauseMs),
    measuredPauseMs === null ? '' : durationText(measuredPauseMs),
    note ?? texts.states[state],
  ];
}
