/** The picture of a plan of many hosts, or of a roll: a lane for each host, waves one after the other. */
import { durationText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Section } from '../../ui/page.tsx';
import { axisOf, type RollBar, type RollLane } from './roll-timeline.ts';
import './plan-picture.css';

const { roll: texts } = TEXTS;
const TICKS = [0, 0.25, 0.5, 0.75, 1];

interface PictureProps {
  readonly lanes: readonly RollLane[];
  /** When it began, Unix ms; null: it has not, and times are shown relative to its beginning. */
  readonly beganMs: number | null;
  /** The present, relative to the beginning; null: it is not drawn. */
  readonly nowMs: number | null;
}

/** See the module's comment. */
export function RollPicture({ lanes, beganMs, nowMs }: PictureProps) {
  const bars = lanes.flatMap((lane) => lane.bars);
  const axis = axisOf(bars);
  const percent = (ms: number): string => `${100 * axis.at(ms)}%`;
  const told = (ms: number): string =>
    beganMs === null ? durationText(ms) : timeText(new Date(beganMs + ms).toISOString()).slice(5, 16);
  const waves = new Set(lanes.map(({ wave }) => wave)).size;
  const width = ({ startMs, endMs }: RollBar): string => `${100 * (axis.at(endMs) - axis.at(startMs))}%`;
  return (
    <Section title={texts.timeline}>
      <p className="legend">
        {(['foretold', 'now', 'done', 'failed'] as const).map((state) => (
          <span key={state}>
            <span className={`bar-sample bar-${state}`} aria-hidden="true" /> {texts.barStates[state]}
          </span>
        ))}
      </p>
      <div className="roll-lanes" role="img" aria-label={texts.summary(lanes.length, waves)}>
        <div className="roll-names" aria-hidden="true">
          {lanes.map(({ host, wave }, index) => (
            <div key={host} className={isNewWave(lanes, index) ? 'roll-lane new-wave' : 'roll-lane'}>
              <span className="hint">{isNewWave(lanes, index) ? wave : ''}</span> {host}
            </div>
          ))}
        </div>
        <div className="roll-bars">
          {lanes.map((lane, index) => (
            <div key={lane.host} className={isNewWave(lanes, index) ? 'roll-lane new-wave' : 'roll-lane'}>
              {lane.bars.map((bar) => (
                <div
                  key={`${bar.what} ${bar.startMs} ${bar.state}`}
                  className={`roll-bar bar-${bar.state}`}
                  style={{ left: percent(bar.startMs), width: width(bar) }}
                  title={texts.barTitle(lane.host, texts.bars[bar.what], texts.barStates[bar.state], spanOf(bar))}
                >
                  {texts.bars[bar.what]}
                </div>
              ))}
            </div>
          ))}
          {axis.gaps.map((gap) => (
            <div
              key={gap.startMs}
              className="roll-gap"
              style={{ left: percent(gap.startMs), width: `${100 * (axis.at(gap.endMs) - axis.at(gap.startMs))}%` }}
              title={texts.gap(durationText(gap.endMs - gap.startMs))}
            />
          ))}
          {nowMs === null ? null : <div className="now" style={{ left: percent(nowMs) }} />}
        </div>
        <div />
        <div className="ticks">
          {TICKS.map((part) => (
            <span key={part} style={{ left: `${100 * part}%` }}>
              {told(axis.timeAt(part))}
            </span>
          ))}
        </div>
      </div>
    </Section>
  );
}

function isNewWave(lanes: readonly RollLane[], index: number): boolean {
  return lanes[index]?.wave !== lanes[index - 1]?.wave;
}

function spanOf({ startMs, endMs }: RollBar): string {
  return durationText(endMs - startMs);
}
