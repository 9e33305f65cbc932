/**
 * Scans the XML of a spreadsheet's parts row by row, without a tree: a sheet of 20,000 VMs has a hundred megabytes. It
 * relies on the fixed parts of the format (rows and cells do not nest), accepts any namespace prefix, and refuses a
 * document type.
 */
import { own } from '../../../base/own.ts';
import { Unreadable } from '../document.ts';
import { type GridFilter, ownText } from './grid.ts';
import type { MemoryBudget } from './memory-budget.ts';

const HEAD = 2048;
/** Most characters between the ends of two rows. */
const ROW_MAX = 8_000_000;
/** Memory of a text without its characters. */
const TEXT_BYTES = 32;
const SHARED_MAX = 6_000_000;
const FIX = 'Save the workbook again as .xlsx, or export CSV.';

/** Cuts a stream of text into the elements `name` with their content, and passes each to `take`. */
export class ElementCutter {
  readonly #file: string;
  readonly #name: string;
  readonly #take: (element: string) => void;
  #rest = '';
  #prefix: string | null = null;

  constructor(file: string, name: string, take: (element: string) => void) {
    this.#file = file;
    this.#name = name;
    this.#take = take;
  }

  /** Takes the next piece of the part's text. Throws `Unreadable`. */
  write(piece: string): void {
    this.#rest += piece;
    if (this.#prefix === null) {
      if (this.#rest.length < HEAD) return;
      this.#begin();
    }
    this.#cut();
  }

  /** Ends the part. */
  end(): void {
    if (this.#prefix === null) this.#begin();
    this.#cut();
  }

  #begin(): void {
    if (this.#rest.includes('<!DOCTYPE'))
      throw new Unreadable(this.#file, 'a part of it has a DOCTYPE, which a workbook never has', FIX);
    this.#prefix = /<(\w+:)?(?:worksheet|sst)\b/.exec(this.#rest)?.[1] ?? '';
  }

  #cut(): void {
    const open = `<${this.#prefix}${this.#name}`;
    const close = `</${this.#prefix}${this.#name}>`;
    let at = 0;
    for (;;) {
      const start = indexOfElement(this.#rest, open, at);
      if (start === -1) {
        // The rest may contain the beginning of an element.
        at = Math.max(at, this.#rest.length - open.length);
        break;
      }
      const headEnd = this.#rest.indexOf('>', start);
      if (headEnd === -1) {
        at = start;
        break;
      }
      if (this.#rest[headEnd - 1] === '/') {
        at = headEnd + 1;
        continue;
      }
      const end = this.#rest.indexOf(close, headEnd);
      if (end === -1) {
        at = start;
        break;
      }
      this.#take(this.#rest.slice(start, end));
      at = end + close.length;
    }
    this.#rest = this.#rest.slice(at);
    if (this.#rest.length > ROW_MAX)
      throw new Unreadable(this.#file, `a row of it is longer than ${ROW_MAX} characters`, FIX);
  }

  /** The namespace prefix, known once the root is seen. */
  get prefix(): string {
    return this.#prefix ?? '';
  }
}

function indexOfElement(text: string, open: string, from: number): number {
  for (let at = text.indexOf(open, from); at !== -1; at = text.indexOf(open, at + 1)) {
    const next = text.charCodeAt(at + open.length);
    // The name must end here: with a space, ">", "/" or a line's end.
    if (Number.isNaN(next) || next === 32 || next === 62 || next === 47 || next === 10 || next === 13 || next === 9)
      return at;
  }
  return -1;
}

/** Collects the shared strings of a workbook. */
export function sharedStringsCutter(file: string, into: string[], budget: MemoryBudget): ElementCutter {
  const cutter = new ElementCutter(file, 'si', (element) => {
    if (into.length >= SHARED_MAX) throw new Unreadable(file, 'it has too many texts', 'Export CSV instead.');
    const text = textsOf(element, cutter.prefix);
    budget.take(file, TEXT_BYTES + text.length);
    into.push(ownText(text));
  });
  return cutter;
}

/** Passes the rows of a sheet to a filter. */
export function rowsCutter(file: string, shared: readonly string[], filter: GridFilter): ElementCutter {
  let number = 0;
  const cutter = new ElementCutter(file, 'row', (element) => {
    const head = element.slice(0, element.indexOf('>'));
    const said = Number(/\br="(\d+)"/.exec(head)?.[1]);
    number = Number.isInteger(said) ? said : number + 1;
    const cells = cellsOf(element, cutter.prefix, shared, filter);
    if (cells !== null) filter.row(number, cells);
  });
  return cutter;
}

/** Returns the texts of a row's cells by position; null for a row without text. */
function cellsOf(
  row: string,
  prefix: string,
  shared: readonly string[],
  filter: GridFilter,
): (string | undefined)[] | null {
  const open = `<${prefix}c`;
  const cells: (string | undefined)[] = [];
  let position = -1;
  let hasText = false;
  for (let at = row.indexOf(open, 1); at !== -1; ) {
    const headEnd = row.indexOf('>', at);
    if (headEnd === -1) break;
    const head = row.slice(at + open.length, headEnd);
    const next = row.indexOf(open, headEnd);
    if (/^[\s/]|^$/.test(head)) {
      position = positionOf(head) ?? position + 1;
      if (!head.endsWith('/') && filter.wants(position)) {
        const text = cellText(head, row.slice(headEnd + 1, next === -1 ? row.length : next), prefix, shared);
        cells[position] = text;
        hasText ||= text !== '';
      }
    }
    at = next;
  }
  return hasText ? cells : null;
}

function positionOf(head: string): number | null {
  const start = head.indexOf(' r="');
  if (start === -1) return null;
  let column = 0;
  for (let at = start + 4; ; at += 1) {
    const code = head.charCodeAt(at);
    if (code < 65 || code > 90 || Number.isNaN(code)) break;
    column = column * 26 + code - 64;
  }
  return column === 0 || column > 16_384 ? null : column - 1;
}

function cellText(head: string, body: string, prefix: string, shared: readonly string[]): string {
  const type = /\bt="(\w+)"/.exec(head)?.[1];
  if (type === 'inlineStr') return textsOf(body, prefix);
  const open = `<${prefix}v`;
  const start = body.indexOf(open);
  if (start === -1) return '';
  const from = body.indexOf('>', start) + 1;
  const end = body.indexOf('<', from);
  const value = end === -1 ? '' : body.slice(from, end);
  if (type === 's') return shared[Number(value)] ?? '';
  if (type === 'b') return value === '1' ? 'True' : 'False';
  if (type === 'e') return '';
  return decoded(value);
}

/** Joins the texts of an element, without phonetic annotations of East Asian scripts. */
function textsOf(element: string, prefix: string): string {
  let body = element;
  const aid = `<${prefix}rPh`;
  if (body.includes(aid)) body = body.slice(0, body.indexOf(aid));
  const open = `<${prefix}t`;
  const close = `</${prefix}t>`;
  let text = '';
  for (let at = indexOfElement(body, open, 0); at !== -1; at = indexOfElement(body, open, at + 1)) {
    const headEnd = body.indexOf('>', at);
    if (headEnd === -1) break;
    if (body[headEnd - 1] === '/') continue;
    const end = body.indexOf(close, headEnd);
    if (end === -1) break;
    text += body.slice(headEnd + 1, end);
    at = end;
  }
  return decoded(text);
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const CODE_MAX = 0x10ffff;

function decoded(text: string): string {
  if (!text.includes('&') && !text.includes('_x')) return text;
  return text
    .replace(/&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(\w+));/g, (all, hex?: string, decimal?: string, name?: string) => {
      const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
      if (name !== undefined) return own(NAMED, name) ?? all;
      return code <= CODE_MAX ? String.fromCodePoint(code) : '';
    })
    .replace(/_x([0-9A-Fa-f]{4})_/g, (_all, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}
