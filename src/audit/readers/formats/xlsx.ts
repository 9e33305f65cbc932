/**
 * Reads the used tabs of workbooks as grids. Bounds are checked before decompression: a zip bomb is refused by its
 * directory.
 */
import { type Entry, open, type ZipFile } from 'yauzl';
import { Unreadable } from '../document.ts';
import { type Grid, GridFilter } from './grid.ts';
import type { MemoryBudget } from './memory-budget.ts';
import { type ElementCutter, rowsCutter, sharedStringsCutter } from './sheet-scanner.ts';
import { children, xmlOf } from './xml.ts';

const ENTRIES_MAX = 2000;
const PART_BYTES_MAX = 400 * 2 ** 20;
const SMALL_PART_BYTES_MAX = 4 * 2 ** 20;
/** A large part with a higher compression ratio is refused as a zip bomb: sheets compress 10 to 40 times. */
const RATIO_MAX = 120;
const RATIO_FREE_BYTES = 32 * 2 ** 20;
const FIX = 'Save the workbook again as .xlsx, or export CSV.';

/** Selects the tabs and columns to read. */
export interface Wanted {
  tab(name: string): boolean;
  column(tab: string, name: string): boolean;
}

export interface Sheet extends Grid {
  readonly tab: string;
}

/** Returns the wanted tabs in the order of the workbook. Throws `Unreadable`. */
export async function xlsxSheets(
  path: string,
  file: string,
  wanted: Wanted,
  budget: MemoryBudget,
): Promise<readonly Sheet[]> {
  const zip = await opened(path, file);
  try {
    const entries = await entriesOf(zip, file);
    const workbook = xmlOf(await smallPart(zip, entries, 'xl/workbook.xml', file), file, budget);
    const relations = xmlOf(await smallPart(zip, entries, 'xl/_rels/workbook.xml.rels', file), file, budget);
    const targets = new Map(
      children(relations, 'Relationship').map(({ attributes }) => [attributes['Id'], attributes['Target'] ?? '']),
    );
    const tabs = children(workbook.children.find(({ name }) => name === 'sheets') ?? workbook, 'sheet')
      .map(({ attributes }) => ({ tab: attributes['name'] ?? '', target: targets.get(attributes['id'] ?? '') ?? '' }))
      .filter(({ tab }) => wanted.tab(tab));
    const shared: string[] = [];
    const strings = entries.get('xl/sharedStrings.xml');
    if (strings !== undefined && tabs.length > 0)
      await streamed(zip, strings, file, sharedStringsCutter(file, shared, budget));
    const sheets: Sheet[] = [];
    for (const { tab, target } of tabs) {
      const entry = entries.get(target.startsWith('/') ? target.slice(1) : `xl/${target}`);
      if (entry === undefined) throw new Unreadable(file, `the sheet of tab ${tab} is missing in it`, FIX);
      const filter = new GridFilter(file, (column) => wanted.column(tab, column), budget);
      await streamed(zip, entry, file, rowsCutter(file, shared, filter));
      sheets.push({ tab, ...filter.grid() });
    }
    return sheets;
  } finally {
    zip.close();
  }
}

function unreadable(file: string, error: unknown): Unreadable {
  if (error instanceof Unreadable) return error;
  const problem = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
  return new Unreadable(file, `it is not a complete workbook: ${problem.slice(0, 120)}`, FIX);
}

function opened(path: string, file: string): Promise<ZipFile> {
  return new Promise((resolve, reject) => {
    open(path, { lazyEntries: true, autoClose: false }, (error, zip) => {
      if (error === null && zip !== undefined) resolve(zip);
      else reject(unreadable(file, error));
    });
  });
}

function entriesOf(zip: ZipFile, file: string): Promise<ReadonlyMap<string, Entry>> {
  return new Promise((resolve, reject) => {
    const entries = new Map<string, Entry>();
    zip.on('error', (error: unknown) => reject(unreadable(file, error)));
    zip.on('end', () => resolve(entries));
    zip.on('entry', (entry: Entry) => {
      entries.set(entry.fileName, entry);
      if (entries.size > ENTRIES_MAX) reject(new Unreadable(file, `it has more than ${ENTRIES_MAX} parts`, FIX));
      else zip.readEntry();
    });
    zip.readEntry();
  });
}

async function smallPart(zip: ZipFile, entries: ReadonlyMap<string, Entry>, name: string, file: string) {
  const entry = entries.get(name);
  if (entry === undefined) throw new Unreadable(file, `it is a zip without ${name}, so not a workbook`, FIX);
  if (entry.uncompressedSize > SMALL_PART_BYTES_MAX) throw new Unreadable(file, `${name} in it is too large`, FIX);
  let text = '';
  await eachPiece(zip, entry, file, (piece) => {
    text += piece;
  });
  return text;
}

async function streamed(zip: ZipFile, entry: Entry, file: string, cutter: ElementCutter): Promise<void> {
  await eachPiece(zip, entry, file, (piece) => cutter.write(piece));
  cutter.end();
}

function eachPiece(zip: ZipFile, entry: Entry, file: string, take: (piece: string) => void): Promise<void> {
  const { uncompressedSize: size, compressedSize, fileName } = entry;
  const isBomb = size > RATIO_FREE_BYTES && size > compressedSize * RATIO_MAX;
  if (size > PART_BYTES_MAX || isBomb) {
    const sizes = `${Math.round(size / 2 ** 20)} MiB out of ${Math.round(compressedSize / 1024)} KiB`;
    return Promise.reject(new Unreadable(file, `${fileName} in it would grow to ${sizes}`, FIX));
  }
  return new Promise((resolve, reject) => {
    zip.openReadStream(entry, (error, stream) => {
      if (error !== null || stream === undefined) {
        reject(unreadable(file, error));
        return;
      }
      const decoder = new TextDecoder();
      stream.on('error', (failure: unknown) => reject(unreadable(file, failure)));
      stream.on('data', (bytes: Buffer) => {
        try {
          take(decoder.decode(bytes, { stream: true }));
        } catch (failure) {
          stream.destroy();
          reject(unreadable(file, failure));
        }
      });
      stream.on('end', () => resolve());
    });
  });
}
