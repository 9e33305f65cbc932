/** Finds the files of the given paths and parses them to documents. The only module that reads the file system. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { compare } from '../../estate/estate-builder.ts';
import { type Document, Unreadable } from '../document.ts';
import { clixmlValues, isClixml } from './clixml.ts';
import { csvGrid } from './csv.ts';
import { jsonValues } from './json.ts';
import { MemoryBudget } from './memory-budget.ts';
import { textOf } from './text.ts';
import { type Wanted, xlsxSheets } from './xlsx.ts';
import { xmlOf } from './xml.ts';

const FILES_MAX = 20_000;
const DEPTH_MAX = 12;
const FILE_BYTES_MAX = 512 * 2 ** 20;
/** Largest YAML file: its tree takes thirty times its size, and parsing takes minutes. */
const YAML_BYTES_MAX = 8 * 2 ** 20;
/** Memory of parsed YAML per character of its text. */
const YAML_CHARACTER_BYTES = 30;
const XML_BYTES_MAX = 64 * 2 ** 20;
const TEXT_BYTES_MAX = 1 * 2 ** 20;

/** Directories that hold keys: Proxmox VE keeps its own in /etc/pve/priv. */
const SECRETS = new Set(['priv']);

interface Found {
  readonly path: string;
  /** The file's name in the report. */
  readonly file: string;
}

export interface Opened {
  readonly documents: readonly Document[];
  readonly failures: readonly Unreadable[];
  /** Files of a kind that no reader knows. */
  readonly ignored: readonly string[];
}

/** Opens everything below `paths`, relative to `cwd`, in the order of names. */
export async function openFiles(paths: readonly string[], cwd: string, wanted: Wanted): Promise<Opened> {
  const documents: Document[] = [];
  const failures: Unreadable[] = [];
  const ignored: string[] = [];
  const budget = new MemoryBudget();
  for (const { path, file } of filesBelow(paths, cwd, failures, ignored)) {
    try {
      const document = await documentOf(path, file, wanted, budget);
      if (document === null) ignored.push(file);
      else documents.push(document);
    } catch (error) {
      failures.push(asUnreadable(file, error));
    }
  }
  return { documents, failures, ignored };
}

function filesBelow(
  paths: readonly string[],
  cwd: string,
  failures: Unreadable[],
  ignored: string[],
): readonly Found[] {
  const found = new Map<string, Found>();
  const visit = (path: string, file: string, depth: number): void => {
    if (found.size >= FILES_MAX || depth > DEPTH_MAX)
      throw new Unreadable(
        file,
        `there are more than ${FILES_MAX} files, or ${DEPTH_MAX} directories deep`,
        'Give a smaller directory.',
      );
    const stat = statSync(path);
    if (stat.isFile()) found.set(path, { path, file });
    if (!stat.isDirectory()) return;
    for (const entry of readdirSync(path, { withFileTypes: true }).toSorted((a, b) => compare(a.name, b.name))) {
      const below = file === '' ? entry.name : `${file}/${entry.name}`;
      if (entry.isDirectory() && SECRETS.has(entry.name)) ignored.push(below);
      else if (entry.isFile() || entry.isDirectory()) visit(join(path, entry.name), below, depth + 1);
      // A symbolic link may lead out of the directory, or in a circle.
      else ignored.push(below);
    }
  };
  for (const given of paths) {
    const path = resolve(cwd, given);
    const shown = relative(cwd, path);
    try {
      // Two directories outside may end in the same name.
      visit(path, shown === '..' || shown.startsWith('../') ? path : shown, 0);
    } catch (error) {
      if (error instanceof Unreadable) failures.push(error);
      else failures.push(new Unreadable(given, 'it cannot be opened', 'Check the path and the permissions.'));
    }
  }
  return [...found.values()].toSorted((a, b) => compare(a.file, b.file));
}

async function documentOf(path: string, file: string, wanted: Wanted, budget: MemoryBudget): Promise<Document | null> {
  const ending = extname(path).toLowerCase();
  if (ending === '.xlsx' || ending === '.xlsm') {
    const sheets = await xlsxSheets(path, file, wanted, budget);
    return { kind: 'tables', file, tables: sheets.map((sheet) => ({ file, group: file, ...sheet })) };
  }
  if (ending === '.csv') return csvDocument(path, file, wanted, budget);
  if (ending === '.json' || ending === '.ndjson') return dataDocument(file, jsonValues(read(path, file), file, budget));
  if (ending === '.yaml' || ending === '.yml')
    return dataDocument(file, yamlValues(read(path, file, YAML_BYTES_MAX), file, budget));
  if (['.xml', '.clixml', '.ovf'].includes(ending)) return xmlDocument(read(path, file, XML_BYTES_MAX), file, budget);
  if (ending === '.vmx') return { kind: 'text', file, text: read(path, file, TEXT_BYTES_MAX) };
  if (ending === '.vmdk') return descriptor(path, file);
  if (['.conf', '.cfg', '.txt', ''].includes(ending)) return textDocument(path, file, budget);
  return null;
}

function csvDocument(path: string, file: string, wanted: Wanted, budget: MemoryBudget): Document {
  const tab = basename(path).replace(/\.csv$/i, '');
  const grid = csvGrid(read(path, file), file, (column) => wanted.column(tab, column), budget);
  return { kind: 'tables', file, tables: [{ file, group: dirname(file), tab, ...grid }] };
}

/** Converts an error of the operating system about a file; rethrows a bug of this program. */
function asUnreadable(file: string, error: unknown): Unreadable {
  if (error instanceof Unreadable) return error;
  if (!(error instanceof Error) || !('code' in error)) throw error;
  return new Unreadable(file, `it cannot be read (${String(error.code)})`, 'Check the permissions of the file.');
}

function dataDocument(file: string, values: readonly unknown[]): Document {
  return { kind: 'data', file, values };
}

function read(path: string, file: string, bytesMax = FILE_BYTES_MAX): string {
  const { size } = statSync(path);
  if (size > bytesMax) {
    const advice = bytesMax === YAML_BYTES_MAX ? 'Export JSON instead (-o json).' : 'Export it in parts.';
    throw new Unreadable(file, `it is larger than ${bytesMax / 2 ** 20} MiB`, advice);
  }
  return textOf(readFileSync(path), file);
}

function yamlValues(text: string, file: string, budget: MemoryBudget): readonly unknown[] {
  budget.take(file, text.length * YAML_CHARACTER_BYTES);
  try {
    const documents = parseAllDocuments(text, { maxAliasCount: 100, logLevel: 'silent', uniqueKeys: false } as never);
    const list = Array.isArray(documents) ? documents : [];
    const wrong = list.flatMap((document) => document.errors)[0];
    if (wrong !== undefined) throw wrong;
    return list.map((document) => document.toJS({ maxAliasCount: 100 }) as unknown);
  } catch (error) {
    const problem = error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 120) : '';
    throw new Unreadable(file, `it is not YAML that can be used: ${problem}`, 'Export it again, as JSON if possible.');
  }
}

function xmlDocument(text: string, file: string, budget: MemoryBudget): Document {
  const root = xmlOf(text, file, budget);
  return isClixml(root) ? dataDocument(file, clixmlValues(root, file)) : { kind: 'xml', file, root };
}

/** Reads the descriptors of disks, which are small texts, and not the disks. */
function descriptor(path: string, file: string): Document | null {
  const { size } = statSync(path);
  if (size > TEXT_BYTES_MAX) return null;
  const head = readHead(path);
  return head.startsWith('# Disk DescriptorFile') ? { kind: 'text', file, text: read(path, file) } : null;
}

/** Recognises files of `/etc/pve`, and exports saved without an extension. */
function textDocument(path: string, file: string, budget: MemoryBudget): Document | null {
  const head = readHead(path).trimStart();
  if (head.startsWith('{') || head.startsWith('[')) {
    // A section of a Proxmox file also begins with a bracket.
    if (/^\[[\w:. -]+\]\s*$/m.test(head.split('\n')[0] ?? '')) return { kind: 'text', file, text: read(path, file) };
    return dataDocument(file, jsonValues(read(path, file), file, budget));
  }
  if (head.startsWith('<')) return xmlDocument(read(path, file, XML_BYTES_MAX), file, budget);
  if (head.startsWith('\u007fELF') || head.includes('\0')) return null;
  const text = read(path, file, XML_BYTES_MAX);
  budget.take(file, text.length);
  return { kind: 'text', file, text };
}

function readHead(path: string): string {
  const descriptorNumber = openSync(path, 'r');
  try {
    const bytes = new Uint8Array(512);
    const length = readSync(descriptorNumber, bytes, 0, bytes.length, 0);
    return new TextDecoder('latin1').decode(bytes.subarray(0, length));
  } finally {
    closeSync(descriptorNumber);
  }
}
