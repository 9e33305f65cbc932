/** Parses JSON, also with one object per line. Depth and number of values are bounded before anything is built. */
import { Unreadable } from '../document.ts';
import type { MemoryBudget } from './memory-budget.ts';

const DEPTH_MAX = 100;
/** Memory of a value in a parsed object, and of a character of its text. */
const VALUE_BYTES = 64;
const CHARACTER_BYTES = 1.5;

/** Returns the values of the file. Throws `Unreadable`. */
export function jsonValues(text: string, file: string, budget: MemoryBudget): readonly unknown[] {
  // PowerShell writes an empty file for an empty result.
  if (text.trim() === '') return [];
  checkShape(text, file, budget);
  try {
    return [JSON.parse(text)];
  } catch (error) {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const values = lines.length > 1 && /^\s*\{.*\}\s*$/.test(lines[0] ?? '') ? lines.map(valueOrNothing) : [undefined];
    if (values.every((value) => value !== undefined)) return values;
    const problem = error instanceof Error ? error.message.slice(0, 120) : '';
    throw new Unreadable(file, `it is not complete JSON: ${problem}`, 'Export it again in full.');
  }
}

function valueOrNothing(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

const [QUOTE, BACKSLASH, COMMA] = [34, 92, 44];
const OPENING = new Set([91, 123]);
const CLOSING = new Set([93, 125]);

function checkShape(text: string, file: string, budget: MemoryBudget): void {
  let depth = 0;
  let values = 0;
  let isInText = false;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (isInText) {
      if (code === BACKSLASH) at += 1;
      else if (code === QUOTE) isInText = false;
    } else if (code === QUOTE) isInText = true;
    else if (code === COMMA) values += 1;
    else if (OPENING.has(code)) {
      depth += 1;
      values += 1;
      if (depth > DEPTH_MAX)
        throw new Unreadable(file, `its objects are nested deeper than ${DEPTH_MAX}`, 'Export it again.');
    } else if (CLOSING.has(code)) depth -= 1;
  }
  budget.take(file, values * VALUE_BYTES + text.length * CHARACTER_BYTES);
}
