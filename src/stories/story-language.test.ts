import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { WORKFLOWS } from '../core/plan/vm/steps.ts';
import { meets, parseStory, type Statement, substitute, wordsOf } from './story-language.ts';

const SCENARIOS = join(import.meta.dirname, '../../scenarios');

test('a line is split as a shell does it', () => {
  assert.deepEqual(wordsOf(`gp vm create "web 1" --append 'a=1 b=2' x"y z"`), [
    'gp',
    'vm',
    'create',
    'web 1',
    '--append',
    'a=1 b=2',
    'xy z',
  ]);
  assert.deepEqual(wordsOf('gp vm list  # and why'), ['gp', 'vm', 'list']);
  assert.throws(() => wordsOf('gp "vm'), /not closed/);
});

test('a story is a shape and statements, nested', () => {
  const story = parseStory(`
    cluster hosts=2 control-nodes=3
    # a comment
    gp vm list
    repeat 3
      for STEP in steps-of start
        crash leader before start $STEP
      end
      expect vm web1 verdict=running within 250ms
    end
    refused: gp vm stop nobody
    expect process $P alive now`);
  assert.deepEqual(story.shape, { hosts: 2, controlNodes: 3, storageNodes: 1 });
  const kinds = (of: readonly Statement[]): unknown[] =>
    of.map((at) => ('body' in at ? [at.kind, kinds(at.body)] : at.kind));
  assert.deepEqual(kinds(story.statements), ['gp', ['repeat', [['for', ['fell-leader']], 'expect']], 'gp', 'expect']);
  const last = story.statements.at(-1);
  assert.equal(last?.kind === 'expect' && last.withinMs, 0);
});

test('what is no story is refused with its line', () => {
  const refusals: readonly [string, RegExp][] = [
    ['', /empty/],
    ['gp vm list', /begins with/],
    ['cluster hosts=none', /no part of a shape/],
    ['cluster control-nodes=2', /control-nodes is 1 or 3/],
    ['cluster\nexpect vm web1 verdict=running', /Line 2.*\n.*within/],
    ['cluster\nsleep 3', /no verb "sleep"/],
    ['cluster\nrepeat 2\ngp vm list', /no `end`/],
    ['cluster\nend', /nothing is open/],
    ['cluster\nlet lower = host of web1', /let NAME/],
  ];
  for (const [text, why] of refusals) assert.throws(() => parseStory(text), why);
});

test('conditions compare fields, by path where it has dots', () => {
  const vm = { verdict: 'running', generation: 2, host: null, observations: { qmp: { status: 'paused' } } };
  assert.ok(meets(vm, 'verdict=running') && meets(vm, 'verdict!=lost') && meets(vm, 'generation>=2'));
  assert.ok(meets(vm, 'observations.qmp.status~pau') && meets(vm, 'host=null'));
  assert.ok(!meets(vm, 'generation>=3') && !meets(vm, 'verdict=run'));
  assert.throws(() => meets(vm, 'nothing=1'), /no nothing/);
  assert.throws(() => meets(vm, 'verdict'), /no condition/);
});

test('values are put in, and counted up', () => {
  const values = new Map([
    ['H', 'h2'],
    ['G', '4'],
  ]);
  assert.equal(substitute('host!=$H', values), 'host!=h2');
  assert.equal(substitute('generation=$G+1', values), 'generation=5');
  assert.throws(() => substitute('$X', values), /never given/);
});

test('every story under scenarios/ parses and is explained', () => {
  const folders = readdirSync(SCENARIOS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  assert.ok(folders.length > 0);
  for (const { name } of folders) {
    const story = parseStory(readFileSync(join(SCENARIOS, name, 'story.txt'), 'utf8'));
    assert.ok(story.statements.length > 0, name);
    assert.match(readFileSync(join(SCENARIOS, name, 'README.md'), 'utf8'), /^# /, name);
  }
});

test('every workflow has a story that crashes the leader before each of its steps', () => {
  const text = readdirSync(SCENARIOS, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => readFileSync(join(SCENARIOS, name, 'story.txt'), 'utf8'))
    .join('\n');
  for (const workflow of Object.keys(WORKFLOWS)) {
    assert.match(
      text,
      new RegExp(`for STEP in steps-of ${workflow}\\n(?:.*\\n)*?.*crash leader before ${workflow} \\$STEP`),
    );
  }
});
