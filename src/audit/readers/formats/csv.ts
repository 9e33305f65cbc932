/** Parses CSV to a table with the columns that a reader uses. The separator is detected in the first line. */
import { parse } from 'csv-parse/sync';
import { Unreadable } from '../document.ts';
import { type Grid, GridFilter } from './grid.ts';

/** Parses the file; `isWanted` gets a column's name as written. Throws `Unreadable`. */
export function csvGrid(text: string, file: string, isWanted: (column: string) => boolean): Grid {
  const filter = new GridFilter(file, isWanted);
  const separator = separatorOf(text);
  if (!text.includes('"')) return plainGrid(text, separator, filter);
  let number = 0;
  try {
    parse(text, {
      delimiter: separator,
      relax_column_count: true,
      relax_quotes: true,
      skip_empty_lines: true,
      max_record_size: 1_048_576,
      on_record: (record: string[]) => {
        number += 1;
        filter.row(number, record);
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
function plainGrid(text: string, separator: string, filter: GridFilter): Grid {
  let number = 0;
  for (let at = 0; at < text.length; ) {
    const found = text.indexOf('\n', at);
    const end = found === -1 ? text.length : found;
    const line = text.slice(at, text.charCodeAt(end - 1) === 13 ? end - 1 : end);
    at = end + 1;
    if (line === '') continue;
    number += 1;
    filter.row(number, line.split(separator));
  }
  return filter.grid();
}

function separatorOf(text: string): string {
  const end = text.indexOf('\n');
  const line = end === -1 ? text : text.slice(0, end);
  const counts = [',', ';', '\t', '|'].map((separator) => ({ separator, count: line.split(separator).length }));
  return counts.toSorted((a, b) => b.count - a.count)[0]?.separator ?? ',';
}
