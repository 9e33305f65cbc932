import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep } from '../../src/base/sleep.ts';
import { systemClock } from '../../src/os/clock.ts';
import type { TestCount } from './test-files.ts';
import { runSuite } from './test-run.ts';

const HEAD = `import { spawn } from 'node:child_process'; import { existsSync, renameSync, writeFileSync } from 'node:fs'; import { tmpdir } from 'node:os';
import { setTimeout } from 'node:timers/promises'; import { test } from 'node:test';\n`;
/** Waits for the other file, which does the same: both pass only if they run side by side. */
const meet = (own: string, other: string): string => `test('meets', async () => {
  writeFileSync(${JSON.stringify(own)}, '');
  while (!existsSync(${JSON.stringify(other)})) await setTimeout(20);
});\n`;

// The runner would otherwise take itself for a child of our run.
const context = process.env['NODE_TEST_CONTEXT'];
before(() => void delete process.env['NODE_TEST_CONTEXT']);
after(() => {
  if (context !== undefined) process.env['NODE_TEST_CONTEXT'] = context;
});

/** Runs planted test files, and returns which test failed in which file. */
async function runPlanted(
  texts: Readonly<Record<string, string>>,
  lanes: number,
  signal = new AbortController().signal,
): Promise<TestCount> {
  const root = mkdtempSync(join(tmpdir(), 'gp-planted-'));
  try {
    for (const [file, text] of Object.entries(texts)) writeFileSync(join(root, file), HEAD + text);
    return await runSuite({
      ...{ root, files: Object.keys(texts), lanes, endMs: performance.now() + 20_000 },
      ...{ signal, onFile: () => undefined, onTest: () => undefined },
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

test('files run side by side, and each answers for what it left', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gp-meeting-'));
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  try {
    const count = await runPlanted(
      {
        'a.test.ts': `${meet(a, b)}test('leaves', () => {
          spawn('sleep', ['60'], { stdio: 'ignore', detached: true }).unref();
          writeFileSync(tmpdir() + '/left', '');
        });`,
        'b.test.ts': meet(b, a),
      },
      2,
    );
    assert.equal(count.passed, 3);
    assert.deepEqual(
      count.failures.map(({ file, name }) => `${file} ${name}`),
      ['a.test.ts (leak)'],
    );
    assert.match(count.failures[0]?.message ?? '', /process [0-9]+ sleep\n.*temporary file left/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('in one lane a file begins when the one before it has ended', async () => {
  const once = (own: string, other: string): string =>
    `test('alone', () => { if (${own === 'a'} === existsSync(process.cwd() + '/${other}-ended')) throw new Error('order'); });
     test.after(() => writeFileSync(process.cwd() + '/${own}-ended', ''));`;
  const count = await runPlanted({ 'a.test.ts': once('a', 'b'), 'b.test.ts': once('b', 'a') }, 1);
  assert.deepEqual([count.passed, count.failed], [2, 0], JSON.stringify(count.failures));
});

test('a run that is interrupted says so, and what a test had started ends with it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gp-interrupted-'));
  const told = join(folder, 'pid');
  const stopped = new AbortController();
  try {
    const run = runPlanted(
      {
        'a.test.ts': `test('never ends', async () => {
          const child = spawn('sleep', ['60'], { stdio: 'ignore', detached: true });
          child.unref();
          writeFileSync(${JSON.stringify(`${told}.new`)}, String(child.pid));
          renameSync(${JSON.stringify(`${told}.new`)}, ${JSON.stringify(told)});
          writeFileSync(tmpdir() + '/left', '');
          await setTimeout(60_000);
        });`,
        'b.test.ts': `test('is not begun', () => undefined);`,
      },
      1,
      stopped.signal,
    );
    await waitUntil(() => existsSync(told));
    stopped.abort();
    const { passed, failures } = await run;
    assert.equal(passed, 0);
    const cancelled = failures.filter(({ message }) => message === 'was cancelled').map(({ file }) => file);
    assert.deepEqual(cancelled, ['a.test.ts', 'b.test.ts'], JSON.stringify(failures));
    const pid = Number(readFileSync(told, 'utf8'));
    await waitUntil(() => !existsSync(`/proc/${pid}`));
  } finally {
    stopped.abort();
    rmSync(folder, { recursive: true, force: true });
  }
});

async function waitUntil(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 15_000;
  while (!isSo()) {
    assert.ok(performance.now() < endMs, 'not within 15 s');
    await sleep(systemClock, 20);
  }
}
