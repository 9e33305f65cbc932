import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { closingLine } from './show.ts';
import { kindOf, runTestFiles, type TestCount } from './test-files.ts';

const HEAD = "import { test, describe, it, before } from 'node:test';\n";

/** Runs one planted test file. */
async function runPlanted(text: string, deadlineMs = 20_000, leftBehindMs?: number): Promise<TestCount> {
  const root = mkdtempSync(join(tmpdir(), 'gp-planted-'));
  try {
    writeFileSync(join(root, 'a.test.ts'), HEAD + text);
    // The runner would otherwise take itself for a child of our run.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    return await runTestFiles({
      root,
      files: ['a.test.ts'],
      deadlineMs,
      signal: new AbortController().signal,
      env,
      ...(leftBehindMs === undefined ? {} : { leftBehindMs }),
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

test('counts tests, subtests and skips, not suites', async () => {
  const count = await runPlanted(`
    test('a', async (t) => { await t.test('b', () => {}); });
    describe('s', () => { it('c', () => {}); it('d', { skip: 'why' }, () => {}); });`);
  assert.equal(closingLine(count), '3 passed, 0 failed, 1 skipped');
});

test('a failed assertion is a failure with its message', async () => {
  const count = await runPlanted("test('a', () => { throw new Error('planted'); });");
  assert.equal(closingLine(count), '0 passed, 1 failed');
  assert.match(count.failures[0]?.message ?? '', /planted/);
});

test('what a test prints is not taken for a result', async () => {
  const count = await runPlanted("test('a', () => { process.stdout.write('half a line'); });");
  assert.equal(closingLine(count), '1 passed, 0 failed');
});

for (const [what, text] of [
  ['without tests', 'export const a = 1;'],
  ['that cannot be loaded', "throw new Error('planted');"],
  ['with an error of syntax', 'const = ;'],
  ['that ends the process', "test('a', () => { process.exit(0); });"],
  ['whose hook fails', "describe('s', () => { before(() => { throw new Error('x'); }); it('a', () => {}); });"],
] as const) {
  test(`a file ${what} is a failure`, async () => {
    const count = await runPlanted(text);
    assert.equal(count.passed, 0);
    assert.ok(count.failed > 0, JSON.stringify(count));
  });
}

test('a file that does not end in time is a failure', async () => {
  const count = await runPlanted("test('a', () => {}); setInterval(() => {}, 1000);", 1500);
  assert.equal(closingLine(count), '1 passed, 1 failed');
  assert.match(count.failures[0]?.message ?? '', /did not end within/);
});

test('what a failed test leaves behind does not keep its process alive, nor the tests after it from running', async () => {
  const count = await runPlanted(
    "test('a', () => { setInterval(() => {}, 1000); throw new Error('planted'); }); test('b', () => {});",
    30_000,
    500,
  );
  assert.deepEqual([count.passed, count.failed], [1, 1]);
  assert.match(count.failures[0]?.message ?? '', /planted/);
});

test('the suffix says what a test needs', () => {
  const kinds = [
    'a.test.ts',
    'a.sim.test.ts',
    'a.spin.test.ts',
    'a.etcd.test.ts',
    'a.net.test.ts',
    'a.qemu.test.ts',
    'a.story.test.ts',
    'a.long.test.ts',
    'a.ts',
  ].map(kindOf);
  assert.deepEqual(kinds, ['unit', 'sim', 'spin', 'etcd', 'net', 'qemu', 'story', 'long', undefined]);
});
