/** The picture of a plan or a drain: lanes of moves over time, peaks per host, and the same as a table. */
import { bytesText, durationText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Section } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { type Bar, peakMemory, timelineOf } from './timeline.ts';
import './plan-picture.css';

const { plan: texts } = TEXTS;
const TICKS = [0, 0.25, 0.5, 0.75, 1];

/** `nowMs`: where the present is, since the beginning; null: before it begins. */
export function PlanPicture({ bars, nowMs }: { readonly bars: readonly Bar[]; readonly nowMs: number | null }) {
  const { lanes, durationMs } = timelineOf(bars);
  const percent = (ms: number): string => `${durationMs === 0 ? 0 : Math.min(100, (100 * ms) / durationMs)}%`;
  const peaks = [...peakMemory(bars)].filter(([, bytes]) => bytes > 0);
  return (
    <>
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
      <Section title={texts.peaks}>
        <SmallTable
          heads={texts.peakHeads}
          rows={peaks.map(([host, bytes]) => ({ key: host, cells: [host, bytesText(bytes)] }))}
        />
      </Section>
      <Section title={texts.moves}>
        <SmallTable heads={texts.moveHeads} rows={bars.map((bar) => ({ key: String(bar.id), cells: cellsOf(bar) }))} />
      </Section>
    </>
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
