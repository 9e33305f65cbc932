/**
 * What the readers have in common: one site (a cluster manager with everything below it) per export, the objects of an
 * export by kind, keys that belong to the site, and what the export lacks.
 */
import { dirname } from 'node:path/posix';
import { type Aspect, type Gap, keyOf, type Platform } from '../estate/estate.ts';
import type { EstateBuilder } from '../estate/estate-builder.ts';
import { type Document, Unreadable } from './document.ts';

/** The objects of one site, as its reader sorts them. */
export class ExportSite<Kind extends string, Item> {
  readonly into: EstateBuilder;
  /** Fields that every object of the site has. */
  readonly origin: { readonly platform: Platform; readonly group: string };
  /** The directory of the site; empty if the export has one site only. */
  readonly directory: string;
  readonly #fix: string;
  readonly #objects = new Map<Kind, Item[]>();

  constructor(platform: Platform, fix: string, into: EstateBuilder, directory = '') {
    this.into = into;
    this.directory = directory;
    this.origin = { platform, group: directory === '' ? platform : keyOf(platform, directory) };
    this.#fix = fix;
  }

  /** Returns a key that no other site has. */
  key(...parts: readonly string[]): string {
    return keyOf(this.origin.group, ...parts);
  }

  /** Returns a name for what the export does not name, such as the only cluster. */
  named(what: string): string {
    return this.directory === '' ? what : `${what} of ${this.directory}`;
  }

  /** Adds objects; a kind without objects counts as exported and empty. */
  add(kind: Kind, items: readonly Item[]): void {
    const all = this.#objects.get(kind) ?? [];
    this.#objects.set(kind, all);
    for (const item of items) all.push(item);
  }

  of(kind: Kind): readonly Item[] {
    return this.#objects.get(kind) ?? [];
  }

  /** Returns true if the kind is exported, even without any object. */
  has(kind: Kind): boolean {
    return this.#objects.has(kind);
  }

  /** Records what the export does not say; `column` is empty if a whole file is missing. */
  gap(aspect: Aspect, kind: Gap['kind'], file: string, part: string, column: string, example = ''): void {
    const count = kind === 'file' ? 0 : 1;
    const where = kind === 'file' && file === '' ? this.directory : file;
    this.into.gap({ ...this.origin, aspect, kind, file: where, part, column, count, example, fix: this.#fix });
  }

  /** Records a missing file of one host, which covers that host only. */
  gapOfHost(aspect: Aspect, part: string, host: string): void {
    const where = { file: this.directory, part, count: 1, hosts: new Set([host]), fix: this.#fix };
    this.into.gap({ ...this.origin, aspect, kind: 'file', ...where });
  }

  /** Records a gap for each kind that is not exported, or, with `some`, of which there is no object. */
  need(kinds: readonly (readonly [Kind, Aspect, part: string])[], rule: 'exported' | 'some' = 'exported'): void {
    for (const [kind, aspect, part] of kinds)
      if (rule === 'some' ? this.of(kind).length === 0 : !this.has(kind)) this.gap(aspect, 'file', '', part, '');
  }
}

/** The documents of one site. */
export interface SiteDocuments {
  /** Empty if there is one site only. */
  readonly directory: string;
  readonly documents: readonly Document[];
}

/**
 * Divides documents into sites. `anchors` tell the documents of which every site has its own, such as its list of
 * hosts; the first that occurs in several directories decides. Every other document belongs to the site with which it
 * has most of its path in common. Throws `Unreadable` for a document that could belong to two sites.
 */
export function sitesOf(
  documents: readonly Document[],
  anchors: readonly ((document: Document) => boolean)[],
): readonly SiteDocuments[] {
  for (const isAnchor of anchors) {
    const directories = outermost(documents.filter(isAnchor).map(({ file }) => dirname(file)));
    if (directories.length > 1) return divided(documents, directories);
  }
  return [{ directory: '', documents }];
}

/** Returns the directories that are below none of the others. */
function outermost(directories: readonly string[]): readonly string[] {
  const all = [...new Set(directories)];
  const isBelow = (inner: string, outer: string): boolean =>
    inner !== outer && (outer === '.' || inner.startsWith(`${outer}/`));
  return all.filter((one) => !all.some((other) => isBelow(one, other)));
}

function divided(documents: readonly Document[], directories: readonly string[]): readonly SiteDocuments[] {
  const sites = new Map<string, Document[]>(directories.map((directory) => [directory, []]));
  const known = new Map<string, string | null>();
  for (const document of documents) {
    const at = dirname(document.file);
    const site = known.get(at) ?? nearest(at, directories);
    known.set(at, site);
    if (site === null)
      throw new Unreadable(
        document.file,
        `it could belong to ${directories[0]} or to ${directories[1]}, which are exports of two sites`,
        'Move it into the directory of its site, or give one site at a time.',
      );
    sites.get(site)?.push(document);
  }
  return [...sites].map(([directory, own]) => ({ directory, documents: own }));
}

function nearest(at: string, directories: readonly string[]): string | null {
  const path = at.split('/');
  const common = (other: string): number => {
    const parts = other.split('/');
    const differs = parts.findIndex((part, index) => part !== path[index]);
    return differs === -1 ? parts.length : differs;
  };
  const ranked = directories
    .map((directory) => ({ directory, length: common(directory) }))
    .toSorted((a, b) => b.length - a.length);
  const [best, next] = ranked;
  return best === undefined || best.length === next?.length ? null : best.directory;
}
