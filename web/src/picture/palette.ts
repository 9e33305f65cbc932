/** Colours and patterns of the picture, taken from the style sheet, so that light and dark are in one place. */
import type { HostMood } from './layout.ts';
import type { Pattern, Tone } from './verdict-style.ts';

type Fill = string | CanvasPattern;

/** The colours that the drawing needs. */
export interface Palette {
  readonly text: string;
  readonly muted: string;
  readonly accent: string;
  /** Lines of ties. */
  readonly tie: string;
  readonly surface: string;
  readonly onSlice: string;
  readonly fills: Readonly<Record<Tone, Readonly<Record<Pattern, Fill>>>>;
  readonly moods: Readonly<Record<HostMood, { readonly line: string; readonly head: string }>>;
}

const TONES: readonly Tone[] = ['good', 'busy', 'warn', 'bad', 'odd', 'off'];
const CELL = 8;

/** Reads the colours that are in force at `element`. */
export function paletteOf(element: Element): Palette {
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const fillsOf = (tone: Tone): Record<Pattern, Fill> => {
    const [strong, soft] = [color(`slice-${tone}`), color(`${tone === 'off' ? 'slice-none' : `${tone}-soft`}`)];
    const pattern = (draw: (context: CanvasRenderingContext2D) => void): Fill => patternOf(strong, soft, draw);
    return {
      solid: strong,
      stripes: pattern(diagonal),
      bars: pattern((context) => context.fillRect(0, 0, CELL / 2, CELL)),
      dots: pattern(dot),
      cross: pattern((context) => {
        diagonal(context);
        context.setTransform(-1, 0, 0, 1, CELL, 0);
        diagonal(context);
      }),
      hollow: soft,
    };
  };
  return {
    ...{ text: color('text'), muted: color('muted'), accent: color('accent'), surface: color('surface') },
    onSlice: color('on-slice'),
    tie: color('warn'),
    fills: Object.fromEntries(TONES.map((tone) => [tone, fillsOf(tone)])) as Palette['fills'],
    moods: {
      normal: { line: color('line-strong'), head: color('surface') },
      'kept-empty': { line: color('warn'), head: color('warn-soft') },
      agentless: { line: color('odd'), head: color('odd-soft') },
      quarantined: { line: color('bad'), head: color('bad-soft') },
    },
  };
}

function patternOf(strong: string, soft: string, draw: (context: CanvasRenderingContext2D) => void): Fill {
  const cell = new OffscreenCanvas(CELL, CELL);
  const context = cell.getContext('2d');
  if (context === null) return strong;
  context.fillStyle = soft;
  context.fillRect(0, 0, CELL, CELL);
  context.fillStyle = strong;
  context.strokeStyle = strong;
  context.lineWidth = 2.5;
  draw(context as unknown as CanvasRenderingContext2D);
  return (context.createPattern(cell, 'repeat') as CanvasPattern | null) ?? strong;
}

function diagonal(context: CanvasRenderingContext2D): void {
  for (const shift of [-CELL, 0, CELL]) {
    context.beginPath();
    context.moveTo(shift - 1, CELL + 1);
    context.lineTo(shift + CELL + 1, -1);
    context.stroke();
  }
}

function dot(context: CanvasRenderingContext2D): void {
  for (const [x, y] of [
    [2, 2],
    [6, 6],
  ] as const) {
    context.beginPath();
    context.arc(x, y, 1.6, 0, 2 * Math.PI);
    context.fill();
  }
}
