import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { findBug } from '../faults/planted-bugs.ts';
import { tell, tellStory } from './tell.ts';

const STORY = '03-host-killed';
const ONE_VM = 'gp vm create web1 --image tiny --network lan';

async function logOf(seed: number): Promise<string> {
  const lines: string[] = [];
  await tellStory(STORY, { seed, log: (line) => lines.push(line) });
  return lines.join('\n');
}

/** Tells these steps on a cluster of three hosts. */
const told = (...steps: readonly string[]): Promise<unknown> => tell(['cluster', ...steps].join('\n'), { seed: 1 });

test('the same seed tells a story in the same way, to the last character, and another one does not', async () => {
  const log = await logOf(1);
  assert.ok(log.split('\n').length > 50);
  assert.equal(await logOf(1), log);
  assert.notEqual(await logOf(2), log);
});

test('an expectation that does not come true ends the story with its line and with what was seen', async () => {
  await assert.rejects(told(ONE_VM, 'expect vm web1 generation=2 within 2s'), (error: Error) => {
    assert.match(
      error.message,
      /^Line 3: expect vm web1 generation=2 within 2s\nNot so within 2000 ms\. Seen last: \{/,
    );
    assert.match(error.message, /"generation":1/);
    assert.match(error.message, /2: gp vm create web1.*\n.* 3: expect .* <- here/);
    return true;
  });
});

test('a command that is refused is told from one that is carried out', async () => {
  await told(ONE_VM, `refused: ${ONE_VM}`, 'refused: gp vm start web2', `try: ${ONE_VM}`, 'gp vm list');
  await assert.rejects(told(ONE_VM, ONE_VM), /Line 3: .*\nThe command failed: A VM named web1 exists\./);
  await assert.rejects(told('refused: gp vm list'), /Line 2: .*\nThe command was carried out\./);
  await assert.rejects(told('gp vm list', 'gp lab kill-host h9'), /There is no machine h9\./);
  await assert.rejects(told('gp lab kill-hosts h1'), /The simulated lab has no kill-hosts\./);
});

test('a story that asks for what the simulator does not have fails, whatever it expects', async () => {
  await assert.rejects(told('try: gp image list'), /The simulator has no gp image list\./);
  await assert.rejects(told('try: gp vm create web1 --disk 1G'), /The simulator knows no option --disk\./);
  await assert.rejects(
    told('try: gp vm create web1 --network lan --memory 1T'),
    /reads sizes such as 96M and 2G, not 1T/,
  );
  await assert.rejects(told('expect weather good now'), /The simulator knows nothing about "weather"\./);
  await assert.rejects(told('crash leader before stop nothing'), /stop has no step nothing\./);
  await assert.rejects(told(ONE_VM, 'let X = colour of web1'), /web1 has no colour\./);
});

test('who answers at a guest’s address follows from the overlays in force and from who computes', async () => {
  const watcher = 'gp vm create watcher --image tiny --network lan';
  const story = told(
    ONE_VM,
    watcher,
    'expect guest web1 from watcher generation=1 within 5s',
    'gp vm migrate web1',
    'expect guest web1 from watcher generation=2 within 5s',
    'let H = host of web1',
    'gp lab cut-host $H',
    'expect guest web1 from watcher generation=none now',
    'gp lab heal-host $H',
    'expect guest web1 from watcher generation=2 within 5s',
    'gp vm pause web1',
    'expect vm web1 verdict=suspended within 5s',
    'expect guest web1 from watcher generation=none now',
    'gp vm resume web1',
    'expect console web1 answers within 5s',
  );
  await assert.doesNotReject(story);
});

test('what was killed on purpose stays dead until it is healed; what died otherwise is started again', async () => {
  const story = told(
    'gp lab kill-agent h1',
    'expect host h1 agent=dead within 15s',
    ONE_VM,
    'expect host h1 agent=dead now',
    'gp lab heal-host h1',
    'expect host h1 agent=alive within 15s',
    'gp lab freeze-server c1',
    'refused: gp vm list',
    'gp lab thaw c1',
    'expect cluster leader=c1 within 15s',
    'crash leader before stop commit:stopping',
    'try: gp vm stop web1 --no-wait',
    'expect crash within 20s',
    'expect vm web1 verdict=stopped within 20s',
  );
  await assert.doesNotReject(story);
});

test('stories notice mistakes', async () => {
  for (const [story, bug] of [
    ['03-host-killed', 'skip-the-fence'],
    ['01-live-migration', 'fence-after-start'],
    ['03-host-killed', 'lost-by-one-heartbeat'],
    ['08-leader-frozen', 'no-election-key'],
    ['09c-crash-while-migrating', 'commit-after-cont'],
  ] as const)
    await assert.rejects(tellStory(story, { seed: 1, bug: findBug(bug) }), /^Error: Line \d+: /, `${story}, ${bug}`);
});

test('a story that does not exist is named with those that do', async () => {
  await assert.rejects(tellStory('99-nothing', { seed: 1 }), (error) => {
    assert.ok(error instanceof CodedError);
    assert.equal(error.code, 'not-found');
    assert.match(error.advice ?? '', /03-host-killed/);
    return true;
  });
});
