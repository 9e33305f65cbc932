/** A plot of a few series over time. Its library is loaded when somebody looks at one. */
import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import './plot.css';

interface Series {
  readonly name: string;
  /** A colour of tokens.css: `busy`. */
  readonly tone: string;
  readonly values: readonly (number | null)[];
}

interface PlotProps {
  /** The name of the plot, and its present value, for screen readers. */
  readonly label: string;
  /** Unix seconds. */
  readonly times: readonly number[];
  readonly series: readonly Series[];
  readonly text: (value: number) => string;
  /** The axis reaches at least this value. */
  readonly atLeast: number;
}

const HEIGHT_PX = 150;
const SHOWN_S_MIN = 60;

/** See the module's comment. */
export function Plot({ label, times, series, text, atLeast }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const scheme = useComputedColorScheme();
  const shape = series.map(({ name, tone }) => `${name} ${tone}`).join();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the plot is made again for another shape, not other values
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const made = new uPlot(optionsOf(element, { series, text, atLeast }), [[]], element);
    plot.current = made;
    const watching = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    watching.observe(element);
    return () => {
      watching.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, scheme, atLeast]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a plot that was made again gets the values again
  useEffect(() => {
    plot.current?.setData([[...times], ...series.map(({ values }) => [...values])]);
  }, [times, series, shape, scheme, atLeast]);
  return <div className="plot" role="img" aria-label={label} ref={place} />;
}

function optionsOf(
  element: HTMLElement,
  { series, text, atLeast }: Pick<PlotProps, 'series' | 'text' | 'atLeast'>,
): uPlot.Options {
  const colours = getComputedStyle(element);
  const colour = (name: string): string => colours.getPropertyValue(`--${name}`).trim();
  const axis = { stroke: colour('muted'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false } };
  return {
    ...{ width: element.clientWidth, height: HEIGHT_PX, legend: { show: false }, cursor: { show: false } },
    scales: {
      // A minute at least: a single sample would be drawn over years.
      x: { range: (_plot, low, high) => [Math.min(low ?? 0, (high ?? 0) - SHOWN_S_MIN), high ?? 0] },
      y: { range: (_plot, _low, high) => [0, Math.max(atLeast, 1.1 * (high ?? 0))] },
    },
    axes: [axis, { ...axis, size: 74, values: (_plot, splits) => splits.map(text) }],
    series: [
      {},
      ...series.map(({ name, tone }) => ({
        ...{ label: name, stroke: colour(tone), width: 1.5, points: { show: false }, spanGaps: false },
      })),
    ],
  };
}
