import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestCount } from './test-files.ts';
import { runSuite } from './test-run.ts';

const HEAD = `import { spawn } from 'node:child_process'; import { existsSync, writeFileSync } from 'node:fs'; import { tmpdir } from 'node:os';
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
async function runPlanted(texts: Readonly<Record<string, string>>, lanes: number): Promise<TestCount> {
  const root = mkdtempSync(join(tmpdir(), 'gp-planted-'));
  try {
    for (const [file, text] of Object.entries(texts)) writeFileSync(join(root, file), HEAD + text);
    return await runSuite({
      ...{ root, files: Object.keys(texts), lanes, endMs: performance.now() + 20_000 },
      ...{ signal: new AbortController().signal, onFile: () => undefined, onTest: () => undefined },
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
