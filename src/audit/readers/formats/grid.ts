/** Reduces rows of cells to the columns that a reader uses. Equal texts are stored once. */
import { Unreadable } from '../document.ts';
import type { MemoryBudget } from './memory-budget.ts';

export interface Grid {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly rowNumbers: readonly number[];
}

const CELLS_MAX = 30_000_000;
/** Memory of a row, of a cell in it, and of a text that no other cell has. */
const ROW_BYTES = 48;
const CELL_BYTES = 8;
const TEXT_BYTES = 32;
const INTERNED_MAX = 400_000;
/** Longer texts are rarely equal, and are not deduplicated. */
const INTERNED_LENGTH_MAX = 64;

/** Takes rows one by one; the first row with text is the header. */
export class GridFilter {
  readonly #file: string;
  readonly #isWanted: (column: string) => boolean;
  readonly #budget: MemoryBudget;
  readonly #columns: string[] = [];
  readonly #positions: number[] = [];
  readonly #isRead: boolean[] = [];
  readonly #rows: string[][] = [];
  readonly #numbers: number[] = [];
  readonly #interned = new Map<string, string>();
  #cells = 0;
  #hasHeader = false;

  constructor(file: string, isWanted: (column: string) => boolean, budget: MemoryBudget) {
    this.#file = file;
    this.#budget = budget;
    this.#isWanted = isWanted;
  }

  /** Returns true if the cell at that position is read; all cells of the header are. */
  wants(position: number): boolean {
    return !this.#hasHeader || this.#isRead[position] === true;
  }

  /**
   * Takes a row. `cells` are keyed by position; an absent cell is empty. Throws `Unreadable` if the table has too many
   * cells.
   */
  row(number: number, cells: readonly (string | undefined)[]): void {
    if (!this.#hasHeader) {
      this.#header(cells);
      return;
    }
    const row: string[] = [];
    let isBlank = true;
    for (const position of this.#positions) {
      const cell = this.#intern(cells[position] ?? '');
      if (cell !== '') isBlank = false;
      row.push(cell);
    }
    if (isBlank) return;
    this.#cells += row.length;
    this.#budget.take(this.#file, ROW_BYTES + row.length * CELL_BYTES);
    if (this.#cells > CELLS_MAX)
      throw new Unreadable(this.#file, `a table has more than ${CELLS_MAX} cells`, 'Export it in parts.');
    this.#rows.push(row);
    this.#numbers.push(number);
  }

  /** Returns the rows taken so far. */
  grid(): Grid {
    return { columns: this.#columns, rows: this.#rows, rowNumbers: this.#numbers };
  }

  #header(cells: readonly (string | undefined)[]): void {
    cells.forEach((cell, position) => {
      const name = (cell ?? '').trim();
      if (name === '' || !this.#isWanted(name)) return;
      this.#columns.push(name);
      this.#positions.push(position);
      this.#isRead[position] = true;
    });
    this.#hasHeader = cells.some((cell) => (cell ?? '').trim() !== '');
  }

  #intern(cell: string): string {
    const text = cell.trim();
    if (text.length > INTERNED_LENGTH_MAX) {
      this.#budget.take(this.#file, text.length * 2);
      return ownText(text);
    }
    const known = this.#interned.get(text);
    if (known !== undefined) return known;
    const own = ownText(text);
    this.#budget.take(this.#file, TEXT_BYTES + text.length);
    if (this.#interned.size < INTERNED_MAX) this.#interned.set(own, own);
    return own;
  }
}

/** V8 copies shorter slices. */
const SLICE_MIN = 13;

/** Copies a text: a slice would keep the whole text from which it was cut. */
export function ownText(text: string): string {
  return text.length < SLICE_MIN ? text : Buffer.from(text, 'utf16le').toString('utf16le');
}
