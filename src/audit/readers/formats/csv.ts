/** Parses CSV to a table with the columns that a reader uses. The separator is detected in the first line. */
import { parse } from 'csv-parse/sync';
import { Unreadable } from '../document.ts';
import { type Grid, GridFilter } from './grid.ts';
import type { MemoryBudget } from './memory-budget.ts';

/** Parses the file; `isWanted` gets a column's name as written. Throws `Unreadable`. */
export function csvGrid(text: string, file: string, isWanted: (column: string) => boolean, budget: MemoryBudget): Grid {
  const filter = new GridFilter(file, isWanted, budget);
  const [separator, from] = separatorOf(text);
  if (!text.includes('"')) return plainGrid(text, from, separator, filter);
  try {
    parse(from === 0 ? text : text.slice(from), {
      delimiter: separator,
      relax_column_count: true,
      relax_quotes: true,
      skip_empty_lines: true,
      max_record_size: 1_048_576,
      on_record: (record: string[], { records, empty_lines: empty }) => {
        filter.row(records + empty + (from === 0 ? 0 : 1), record);
        return null;
      },
    });
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    const problem = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new Unreadable(file, `it is not CSV: ${problem}`, 'Export it again; do not edit it in a spreadsheet.');
  }
  return filter.grid();
}

/** Parses a file without quotes, in which each line is a row: several times as fast. */
function plainGrid(text: string, from: number, separator: string, filter: GridFilter): Grid {
  let number = from === 0 ? 0 : 1;
  for (let at = from; at < text.length; ) {
    const found = text.indexOf('\n', at);
    const end = found === -1 ? text.length : found;
    const line = text.slice(at, text.charCodeAt(end - 1) === 13 ? end - 1 : end);
    at = end + 1;
    number += 1;
    if (line !== '') filter.row(number, line.split(separator));
  }
  return filter.grid();
}

/** Returns the separator, and where the table begins: Excel may write `sep=;` before it. */
function separatorOf(text: string): readonly [separator: string, from: number] {
  const end = text.indexOf('\n');
  const line = (end === -1 ? text : text.slice(0, end)).trimEnd();
  const said = /^"?sep=(.)"?$/i.exec(line)?.[1];
  if (said !== undefined) return [said, end + 1];
  const counts = [',', ';', '\t', '|'].map((separator) => ({ separator, count: line.split(separator).length }));
  return [counts.toSorted((a, b) => b.count - a.count)[0]?.separator ?? ',', 0];
}
