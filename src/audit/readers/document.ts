/** The parsed forms of a file, and the interface of a platform's reader. */

import type { Platform } from '../estate/estate.ts';
import type { EstateBuilder } from '../estate/estate-builder.ts';

/** One tab of a workbook, or one CSV file; only columns that a reader uses are kept. */
export interface Table {
  readonly file: string;
  /** The workbook, or the directory of the CSV files: the tables of one export. */
  readonly group: string;
  /** Name of the tab, or of the CSV file without its extension. */
  readonly tab: string;
  readonly columns: readonly string[];
  /** Cells in the order of `columns`; an absent cell is empty. */
  readonly rows: readonly (readonly string[])[];
  /** The number of each row as a spreadsheet shows it. */
  readonly rowNumbers: readonly number[];
}

/** An XML element; names have no namespace prefixes. */
export interface Xml {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly Xml[];
  readonly text: string;
}

export type Document =
  | { readonly kind: 'tables'; readonly file: string; readonly tables: readonly Table[] }
  /** A value from JSON, YAML or CLIXML. */
  | { readonly kind: 'data'; readonly file: string; readonly values: readonly unknown[] }
  | { readonly kind: 'xml'; readonly file: string; readonly root: Xml }
  /** A text of lines: `.vmx`, `.vmdk` descriptors, `/etc/pve`. */
  | { readonly kind: 'text'; readonly file: string; readonly text: string };

/** Reads the exports of one platform. `docs/tasks/adding-an-audit-reader.md` says how one is added. */
export interface Reader {
  readonly platform: Platform;
  /** Returns true if the document belongs to this platform. Must not throw. */
  claims(document: Document): boolean;
  /** Reads all claimed documents, in the order of their names. Throws `Unreadable`. */
  read(documents: readonly Document[], into: EstateBuilder): void;
}

/** An inventory file that cannot be read; `fix`: what to do about it. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable';
  readonly file: string;
  readonly fix: string;

  constructor(file: string, problem: string, fix: string) {
    super(problem);
    this.file = file;
    this.fix = fix;
  }
}
