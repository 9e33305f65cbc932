/** Plain tables: columns as wide as their widest cell on the screen (string-width), two spaces between, no lines. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** `rows`: as many cells each as `header` has. Control characters never reach the terminal. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [header, ...rows].map((row) => row.map(printable));
  const widths = header.map((_title, column) => Math.max(...cells.map((row) => widthOf(row[column] ?? ''))));
  return cells.map((row) => `${line(row, widths)}\n`).join('');
}

/** `Key: value` lines with aligned values; a list becomes one line per item. */
export function formatFields(fields: readonly (readonly [string, string | readonly string[]])[]): string {
  const width = Math.max(...fields.map(([key]) => widthOf(key))) + 2;
  return fields
    .flatMap(([key, value]) => {
      const lines = typeof value === 'string' ? [value] : value.length === 0 ? ['-'] : value;
      return lines.map((text, index) => `${(index === 0 ? `${key}:` : '').padEnd(width)}${printable(text)}\n`);
    })
    .join('');
}

function line(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - widthOf(cell)))
    .join('  ')
    .trimEnd();
}

const ESCAPE = '\u001b';
const COLOURS = new RegExp(`${ESCAPE}\\[[0-9;]*m`, 'g');

/**
 * Columns on the screen. What knows every script is loaded only for a text that needs it: that takes longer than most
 * commands.
 */
function widthOf(text: string): number {
  const plain = text.replace(COLOURS, '');
  if (/^[ -~]*$/.test(plain)) return plain.length;
  const { default: stringWidth } = require('string-width') as typeof import('string-width');
  return stringWidth(plain);
}

/** Colours (SGR) stay; anything else that would move the cursor or ring the bell becomes a dot. */
function printable(text: string): string {
  return Array.from(text)
    .map((char, index, all) => {
      const code = char.codePointAt(0) ?? 0;
      if (char === ESCAPE && all[index + 1] === '[' && isColour(all, index + 2)) return char;
      return code < 32 || (code >= 127 && code < 160) ? '·' : char;
    })
    .join('');
}

function isColour(chars: readonly string[], from: number): boolean {
  let at = from;
  while (/^[0-9;]$/.test(chars[at] ?? '')) at += 1;
  return chars[at] === 'm';
}
