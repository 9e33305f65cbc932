/** The tidy rules as data: each ban with its replacement, reason and scope. find.ts finds the violations. */
import * as find from './find.ts';
import { type KnownNames, missingNames } from './names.ts';
import { type Hit, hitsInText, type Source } from './source.ts';

/** One rule. `where` gets a path relative to the clone. */
export type Rule = {
  readonly name: string;
  readonly ban: string;
  readonly instead: string;
  readonly reason: string;
  readonly where: (path: string) => boolean;
  readonly find: (source: Source, known: KnownNames) => Iterable<Hit>;
};

const isTest = (path: string): boolean =>
  path.endsWith('.test.ts') || path.startsWith('test/') || path.includes('/testing/');
const isCode = (path: string): boolean => /\.(tsx?|mjs|cjs)$/.test(path);
const isPure = (path: string): boolean => /^src\/(base|core|wire)\//.test(path) && !isTest(path);
const everywhere = (): boolean => true;

/** All rules, by the order in which they are explained. */
export const RULES: readonly Rule[] = [
  {
    name: 'clock-in-core',
    ban: 'clocks, randomness and timers in src/base, src/core and src/wire',
    instead: 'take the time or the random number as an argument',
    reason: 'the same code runs in the simulator, where one seed repeats a failure',
    where: isPure,
    find: find.clocks,
  },
  {
    name: 'console',
    ban: 'console outside src/cli, src/lab, scripts and bench',
    instead: "the part's logger",
    reason: 'standard output belongs to the command, and secrets are redacted by the logger',
    where: (path) => path.startsWith('src/') && !/^src\/(cli|lab)\//.test(path),
    find: find.consoles,
  },
  {
    name: 'long-function',
    ban: 'functions over 70 lines',
    instead: 'split it where a part has a name',
    reason: 'a function is read as a whole or not at all',
    where: isCode,
    find: find.longFunctions,
  },
  {
    name: 'long-file',
    ban: 'files over 700 lines',
    instead: 'split it along what changes together',
    reason: 'a file is one thing with one guarantee at its head',
    where: isCode,
    find: find.longFiles,
  },
  {
    name: 'sleep-in-test',
    ban: 'sleeping in a test',
    instead: 'wait for the condition, with a deadline',
    reason: 'a sleep is too short on a busy machine and too long on every other',
    where: isTest,
    find: find.sleeps,
  },
  {
    name: 'only',
    ban: 'tests singled out',
    instead: 'npm test -- FILTER',
    reason: 'it would switch all other tests off',
    where: isTest,
    find: find.onlyTests,
  },
  {
    name: 'skip-without-reason',
    ban: 'tests skipped without a reason',
    instead: "{ skip: 'why' } or t.skip('why')",
    reason: 'a skip without a reason is never taken back',
    where: isTest,
    find: find.skippedTests,
  },
  {
    name: 'lookup',
    ban: 'looking a word up in a Record<string, …> without Object.hasOwn',
    instead: 'own() of src/base/own.ts, a Map, or Object.hasOwn of the same object in the same function',
    reason: 'every object has toString, constructor and __proto__, and the word may be one that somebody else chose',
    where: (path) => path.startsWith('src/') && !isTest(path),
    find: find.lookups,
  },
  {
    name: 'any',
    ban: 'the type any',
    instead: 'unknown, and a check',
    reason: 'any switches the type checker off for everything it touches',
    where: isCode,
    find: find.anyTypes,
  },
  {
    name: 'type-check-off',
    ban: 'comments that switch the type checker off',
    instead: 'the right type',
    reason: 'what the checker cannot see nobody else will',
    where: isCode,
    find: (source) => hitsInText(source, /@ts-(?:ignore|nocheck|expect-error)\b/g),
  },
  {
    name: 'file-name',
    ban: 'file names that are not kebab-case',
    instead: 'words-like-this.ts',
    reason: 'one way to guess a name, on every file system',
    where: isCode,
    find: find.fileNames,
  },
  {
    name: 'barrel',
    ban: 'index.ts and export *',
    instead: 'import from the module that has it',
    reason: 'barrels hide who uses what and load everything',
    where: isCode,
    find: find.barrels,
  },
  {
    name: 'unfinished',
    ban: 'notes to do something later',
    instead: 'do it, or open an issue',
    reason: 'notes in code are never read again',
    where: everywhere,
    find: (source) => hitsInText(source, /\b(?:TO[D]O|FIX[M]E|X{3})\b/g),
  },
  {
    name: 'default-export',
    ban: 'default exports',
    instead: 'a named export',
    reason: 'one name everywhere, found by searching for it',
    where: (path) => /\.(tsx?|mjs)$/.test(path),
    find: find.defaultExports,
  },
  {
    name: 'child-process',
    ban: 'child_process outside src/os, scripts, bin and tests',
    instead: 'src/os/child-process.ts',
    reason: 'every child has an owner that ends it, a deadline and no secret in its arguments',
    where: (path) => isCode(path) && !isTest(path) && !/^(src\/os|scripts|bin)\//.test(path),
    find: find.childProcesses,
  },
  {
    name: 'test-without-assertion',
    ban: 'tests in which nothing can fail',
    instead: 'assert what the name of the test says',
    reason: 'it passes for ever and proves nothing',
    where: (path) => path.endsWith('.test.ts'),
    find: find.testsWithoutAssertion,
  },
  {
    name: 'undocumented',
    ban: 'exported functions and classes without a doc comment',
    instead: 'a sentence: what it guarantees, units, errors',
    reason: 'a reader of the caller must not have to read the callee',
    where: (path) => isCode(path) && !isTest(path),
    find: find.undocumented,
  },
  {
    name: 'missing-name',
    ban: 'documents and comments that name a path, file or identifier that does not exist',
    instead: 'the present name; what belongs to others is listed in foreign-names.ts',
    reason: 'a reader who looks for it finds nothing and trusts no other comment',
    where: (path) => isCode(path) || path.endsWith('.md'),
    find: missingNames,
  },
  {
    name: 'registry-host',
    ban: 'names of package registries and mirrors',
    instead: 'what npm and apt are configured with',
    reason: 'people install from mirrors of their own',
    where: everywhere,
    find: (source) =>
      hitsInText(source, /\b(?:registry|pypi|deb|archive|security|mirrors?|ftp)\.[a-z0-9-]+\.(?:org|com|net|io)\b/g),
  },
];
