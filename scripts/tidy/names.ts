/**
 * The names in documents and comments: every path, file and identifier that one of them names must exist in the clone.
 * A path has the extension of one of the project's files, or begins with a folder of the project. An identifier is a
 * word with a capital or an underscore inside; the code must use it. Names of products have inner capitals too
 * (OpenStack): a word that begins with one capital is an identifier only in backticks.
 */
import ts from 'typescript';
import { FOREIGN_NAMES } from './foreign-names.ts';
import type { Hit, Source } from './source.ts';

/** What documents and comments may name. */
export interface KnownNames {
  /**
   * Every file and folder: whole paths, their beginnings and their ends (`etcd/member.ts` for `src/etcd/member.ts`).
   */
  readonly paths: ReadonlySet<string>;
  /** Every word of the code outside of comments. */
  readonly words: ReadonlySet<string>;
}

const WORD = /[A-Za-z_$][\w$]*/g;
const FILE = /(?<![\w/.$*{<:%@~-])(?:[.]?[A-Za-z][\w-]*\/)*[A-Za-z0-9][\w.-]*\.(?:tsx?|mjs|cjs|md|pml)(?![\w*])/g;
const FOLDER = /(?<![\w/.$*{<:@~-])(?:src|docs|test|scripts|bench|scenarios|formal|web)\/[\w/-]*\w(?![\w*{[<-]|\.\w)/g;
/** A decision may be cited by its number: docs/decisions/0014. */
const DECISION = /^(docs\/decisions\/\d{4})-.*/;
const QUOTED = /`([\w$.#]+)(?:\(\))?`/g;
const QUOTED_IDENTIFIER = /^(?:[a-z]\w*[A-Z]|[A-Z]\w*[a-z]\w*[A-Z]|[A-Z]+_[A-Z])\w*$/;
const BARE_IDENTIFIER = /(?<![\w`'"$./@<{#-])(?:[a-z][a-z0-9]+[A-Z]\w+|[A-Z]+_[A-Z]\w+)(?![\w/@-]|\.\w)/g;

/** Collects the names that exist. `files`: every file of the clone, relative to it. */
export function knownNames(sources: readonly Source[], files: readonly string[]): KnownNames {
  const paths = new Set<string>();
  for (const file of files) {
    const parts = file.split('/');
    for (const [at] of parts.entries()) {
      paths.add(parts.slice(0, at + 1).join('/'));
      paths.add(parts.slice(at).join('/'));
    }
    const decision = DECISION.exec(file)?.[1];
    if (decision !== undefined) paths.add(decision);
  }
  const words = new Set<string>(FOREIGN_NAMES);
  for (const source of sources.filter((each) => !isDocument(each))) {
    for (const word of codeOf(source).match(WORD) ?? []) words.add(word);
  }
  return { paths, words };
}

/** The names in a document, or in the comments of a source, that do not exist. */
export function* missingNames(source: Source, known: KnownNames): Generator<Hit> {
  const texts = isDocument(source) ? [{ text: source.text, start: 0 }] : commentsOf(source);
  for (const { text, start } of texts) {
    for (const { name, index } of namesIn(text)) {
      if (known.paths.has(name) || known.words.has(name)) continue;
      yield { line: source.text.slice(0, start + index).split('\n').length, name };
    }
  }
}

function* namesIn(text: string): Generator<{ readonly name: string; readonly index: number }> {
  for (const pattern of [FILE, FOLDER, BARE_IDENTIFIER]) {
    for (const match of text.matchAll(pattern)) yield { name: match[0], index: match.index };
  }
  for (const { 1: quoted = '', index } of text.matchAll(QUOTED)) {
    if (new RegExp(FILE).test(quoted)) continue;
    for (const name of quoted.split(/[.#]/)) if (QUOTED_IDENTIFIER.test(name)) yield { name, index };
  }
}

function isDocument(source: Source): boolean {
  return source.path.endsWith('.md');
}

/** The text of a source without its comments. */
function codeOf(source: Source): string {
  let code = '';
  let at = 0;
  for (const { start, text } of commentsOf(source)) {
    code += source.text.slice(at, start);
    at = start + text.length;
  }
  return code + source.text.slice(at);
}

/** Every comment with its place in the source, in order. */
function commentsOf({ text, nodes }: Source): readonly { readonly start: number; readonly text: string }[] {
  const ends = new Map<number, number>();
  for (const node of nodes) {
    const ranges = [
      ...(ts.getLeadingCommentRanges(text, node.getFullStart()) ?? []),
      ...(ts.getTrailingCommentRanges(text, node.getEnd()) ?? []),
    ];
    // A text in a template may look like a comment: the scanner must not start inside a template.
    if (!ts.isTemplateMiddleOrTemplateTail(node)) for (const { pos, end } of ranges) ends.set(pos, end);
  }
  return [...ends].sort(([a], [b]) => a - b).map(([start, end]) => ({ start, text: text.slice(start, end) }));
}
