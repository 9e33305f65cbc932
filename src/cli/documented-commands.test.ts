/** Commands in documents and messages are commands of this version: nouns, verbs, arguments and options exist. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  blockCommands,
  faultOf,
  grammar,
  inlineCommands,
  inlineFaultOf,
  pathOf,
  wordsOf,
} from './testing/documented-commands.ts';

const ROOT = join(import.meta.dirname, '../..');
const DOCUMENTS = [
  ...['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'SECURITY.md', 'docs/glossary.md'],
  ...globSync(['docs/operating/*.md', 'docs/specs/*.md', 'docs/tasks/*.md'], { cwd: ROOT }),
].sort();
const SOURCES = globSync(['src/**/*.ts', 'scripts/**/*.ts'], { cwd: ROOT }).filter(
  (file) => !/\.test\.ts$|\/testing\//.test(file),
);
/** Commands with words of a reader's own in the middle. */
const IS_PATTERN = /NOUN|WORDS|VERB|…|\.\.\.|\$\{/;

const contentOf = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

test('a line is read as a shell reads it', () => {
  assert.deepEqual(wordsOf("vm create a --reason 'two words' -o json > file # why"), [
    ...['vm', 'create', 'a', '--reason', 'two words', '-o', 'json'],
  ]);
  assert.deepEqual(wordsOf('host drain h2   the plan, then the moves'), ['host', 'drain', 'h2']);
  assert.deepEqual(wordsOf('vm list -o json | jq .'), ['vm', 'list', '-o', 'json']);
});

test('what does not exist is found', async () => {
  assert.match((await faultOf('vm creat web1')) ?? '', /unknown command/);
  assert.match((await faultOf('vm show')) ?? '', /missing required argument/);
  assert.match((await faultOf('vm show web1 web2')) ?? '', /too many arguments/);
  assert.match((await faultOf('vm show web1 --colour')) ?? '', /unknown option/);
  assert.match(inlineFaultOf('vm show --colour') ?? '', /has no option --colour/);
  assert.match(inlineFaultOf('vm start|creat web1') ?? '', /has no creat/);
});

test('each command that a document shows in a block is one that gp takes', async () => {
  const faults: string[] = [];
  let count = 0;
  for (const file of DOCUMENTS)
    for (const { line, text } of blockCommands(contentOf(file))) {
      if (IS_PATTERN.test(wordsOf(text).join(' '))) continue;
      count++;
      const fault = await faultOf(text);
      if (fault !== null) faults.push(`${file}:${line}: gp ${text}: ${fault}`);
    }
  assert.deepEqual(faults, []);
  assert.ok(count > 80, `${count} commands`);
});

test('each command that documents and messages name in a sentence exists, with its options', () => {
  const faults: string[] = [];
  for (const file of [...DOCUMENTS, ...SOURCES])
    for (const { line, text } of inlineCommands(contentOf(file))) {
      const fault = IS_PATTERN.test(text) ? null : inlineFaultOf(text);
      if (fault !== null) faults.push(`${file}:${line}: gp ${text}: ${fault}`);
    }
  assert.deepEqual(faults, []);
});

test('the table of nouns and verbs in cli.md is the grammar', () => {
  const text = contentOf('docs/operating/cli.md');
  const rows = new Map<string, readonly string[]>();
  for (const [, nouns = '', verbs = ''] of text.matchAll(/^\| ((?:`[a-z-]+`(?:, )?)+) \| (.*) \|$/gm))
    for (const noun of quoted(nouns)) rows.set(noun, quoted(verbs));
  const single = quoted(/^Commands without verbs: ([\s\S]*?)\.$/m.exec(text)?.[1] ?? '');
  const has = grammar();
  const nouns = [...has].filter(([name, verbs]) => verbs.length > 0 && name !== 'lab');
  assert.deepEqual([...rows.keys()].sort(), nouns.map(([name]) => name).sort());
  for (const [noun, verbs] of nouns) assert.deepEqual([...(rows.get(noun) ?? [])].sort(), [...verbs].sort(), noun);
  const without = [...has].filter(([, verbs]) => verbs.length === 0).map(([name]) => name);
  assert.deepEqual([...single].sort(), without.sort());
});

/** Pages about installed machines, whose commands are run for real. */
const RUN_PAGES = ['install', 'backup', 'certificates', 'networks', 'production'];
/** Commands of these pages that no story runs yet, each with the test of what it does. */
const NOT_RUN: ReadonlyMap<string, string> = new Map([
  ['cluster backup list', 'src/install/cluster-backup.test.ts'],
  ['control remove', 'src/core/request/control-removal.test.ts'],
  ['host remove', 'src/core/request/host-removal.test.ts'],
  ['cluster backup', 'src/install/cluster-backup.test.ts'],
  ['cluster restore', 'src/install/restore-etcd.etcd.test.ts'],
  ['authority rotate', 'src/control/cluster-authority.test.ts'],
  ['authority show', 'src/control/cluster-authority.test.ts'],
  ['cluster make-room', 'src/install/etcd-recovery.etcd.test.ts'],
  ['unknown list', 'src/core/plan/restore/unknown.test.ts'],
  ['unknown adopt', 'src/core/request/unknown-vms.test.ts'],
  ['unknown delete', 'src/core/request/unknown-vms.test.ts'],
]);

test('each command on the pages about installed machines is run by a story, or named with its test', () => {
  const stories = globSync(['test/**/*.ts', 'scenarios/**/*', 'src/stories/**/*.ts'], { cwd: ROOT })
    .filter((file) => /\.(ts|md|txt|story)$/.test(file))
    .map(contentOf)
    .join('\n');
  const isRun = (path: readonly string[]): boolean =>
    new RegExp(`(?:['"\`]|gp )${path.join("(?: |', ')")}(?![a-z-])`).test(stories);
  const missing = new Set<string>();
  for (const page of RUN_PAGES)
    for (const { text } of blockCommands(contentOf(`docs/operating/${page}.md`))) {
      const path = pathOf(text);
      if (!isRun(path) && !NOT_RUN.has(path.join(' '))) missing.add(path.join(' '));
    }
  assert.deepEqual([...missing], []);
  for (const file of NOT_RUN.values()) assert.ok(existsSync(join(ROOT, file)), file);
});

function quoted(text: string): readonly string[] {
  return [...text.matchAll(/`([a-z-]+)`/g)].map(([, word = '']) => word);
}
