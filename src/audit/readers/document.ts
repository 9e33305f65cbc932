/** What a file becomes before a platform's reader looks at it, and what a reader is. */

import type { Platform } from '../estate/estate.ts';
import type { EstateBuilder } from '../estate/estate-builder.ts';

/** One tab of a workbook, or one CSV file: only the columns that somebody reads. */
export interface Table {
  readonly file: string;
  /** The workbook, or the directory of the CSV files: tables of one export. */
  readonly group: string;
  /** The tab's name, or the CSV file's name without its ending. */
  readonly tab: string;
  readonly columns: readonly string[];
  /** Cells in the order of `columns`; an absent cell is empty. */
  readonly rows: readonly (readonly string[])[];
  /** The number of each row as a spreadsheet shows it. */
  readonly rowNumbers: readonly number[];
}

/** An element; prefixes of namespaces are left out of names. */
export interface Xml {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly Xml[];
  readonly text: string;
}

export type Document =
  | { readonly kind: 'tables'; readonly file: string; readonly tables: readonly Table[] }
  /** JSON, YAML and CLIXML. */
  | { readonly kind: 'data'; readonly file: string; readonly values: readonly unknown[] }
  | { readonly kind: 'xml'; readonly file: string; readonly root: Xml }
  /** Lines: `.vmx`, `.vmdk` descriptors, `/etc/pve`. */
  | { readonly kind: 'text'; readonly file: string; readonly text: string };

/** Reads the exports of one platform. `docs/tasks/adding-an-audit-reader.md` says how one is added. */
export interface Reader {
  readonly platform: Platform;
  /** Whether the document is this platform's. It must not throw. */
  claims(document: Document): boolean;
  /** Reads all documents that were claimed, in the order of their names. Throws `Unreadable`. */
  read(documents: readonly Document[], into: EstateBuilder): void;
}

/** A file that is an inventory and cannot be read; `fix`: what to do about it. */
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
