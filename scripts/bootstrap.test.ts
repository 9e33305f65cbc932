import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

const root = join(import.meta.dirname, '..');

/** A clone with everything installed, whose quick check is `checkSource`. Removed after the test. */
function installedClone(t: TestContext, checkSource: string): string {
  const clone = mkdtempSync(join(tmpdir(), 'gp-clone-'));
  t.after(() => rmSync(clone, { recursive: true, force: true }));
  mkdirSync(join(clone, 'node_modules/.bin'), { recursive: true });
  mkdirSync(join(clone, 'src/cli'), { recursive: true });
  for (const folder of ['scripts', 'bin']) cpSync(join(root, folder), join(clone, folder), { recursive: true });
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(root, file), join(clone, file));
  symlinkSync(process.execPath, join(clone, 'node_modules/.bin/node'));
  const lock = readFileSync(join(clone, 'package-lock.json'));
  writeFileSync(join(clone, 'node_modules/.groundplane-stamp'), createHash('sha256').update(lock).digest('hex'));
  writeFileSync(join(clone, 'scripts/check.ts'), checkSource);
  writeFileSync(join(clone, 'src/cli/main.ts'), 'console.log(process.argv.slice(2)); process.exitCode = 5;');
  return clone;
}

type Run = { readonly child: ChildProcess; readonly output: () => string; readonly ended: Promise<readonly unknown[]> };

function start(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Run {
  const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000, env });
  let text = '';
  child.stdout.on('data', (chunk) => (text += String(chunk)));
  child.stderr.on('data', (chunk) => (text += String(chunk)));
  return { child, output: () => text, ended: once(child, 'close') };
}

test('passes arguments and the exit code through, and installs nothing a second time', async (t) => {
  const clone = installedClone(t, 'console.log(process.argv.slice(2)); process.exitCode = 7;');
  const run = start(join(clone, 'scripts/bootstrap.mjs'), ['check', 'a', 'b']);
  assert.deepEqual(await run.ended, [7, null]);
  assert.equal(run.output(), "[ 'a', 'b' ]\n");
});

test('a Ctrl-C that arrives twice reaches the command once, and bootstrap waits for it', async (t) => {
  const source = `
    let count = 0;
    process.on('SIGINT', () => { count += 1; console.log('interrupted'); });
    process.on('SIGTERM', () => process.exit(40 + count));
    setInterval(() => {}, 1000);
    console.log('ready');`;
  const run = start(join(installedClone(t, source), 'scripts/bootstrap.mjs'), ['check']);
  await until(run, 'ready');
  run.child.kill('SIGINT');
  run.child.kill('SIGINT');
  await until(run, 'interrupted');
  run.child.kill('SIGTERM');
  assert.deepEqual(await run.ended, [41, null]);
});

test('a Ctrl-C during the installation ends only once npm has', async (t) => {
  const clone = installedClone(t, '');
  rmSync(join(clone, 'node_modules/.bin/node'));
  // The program interrupts its parent itself, so that the signal comes while the parent runs.
  const npm = `#!/bin/sh
trap 'sleep 0.5; touch taken-back; exit 1' TERM
kill -INT $PPID
while :; do sleep 0.05; done
`;
  mkdirSync(join(clone, 'fake'));
  writeFileSync(join(clone, 'fake/npm'), npm, { mode: 0o755 });
  const env = { ...process.env, PATH: `${join(clone, 'fake')}:${process.env['PATH']}` };
  const run = start(join(clone, 'scripts/bootstrap.mjs'), ['check'], env);
  assert.deepEqual(await run.ended, [130, null]);
  assert.match(run.output(), /Interrupted while installing. Run this again/);
  assert.ok(existsSync(join(clone, 'taken-back')));
});

test('the command ends when bootstrap is killed', async (t) => {
  const source =
    "process.on('SIGTERM', () => { console.log('ended'); process.exit(0); }); setInterval(() => {}, 1000); console.log('ready');";
  const run = start(join(installedClone(t, source), 'scripts/bootstrap.mjs'), ['check']);
  await until(run, 'ready');
  run.child.kill('SIGKILL');
  await run.ended;
  assert.match(run.output(), /ended/);
});

test('an unknown command is refused with the known ones', async () => {
  const run = start(join(root, 'scripts/bootstrap.mjs'), ['constructor']);
  assert.deepEqual(await run.ended, [2, null]);
  assert.match(run.output(), /usage: .*start\|test\|check\|bench/);
});

test('gp runs the command line with its arguments and exit code', async (t) => {
  const run = start(join(installedClone(t, ''), 'bin/gp.mjs'), ['vm', 'list']);
  assert.deepEqual(await run.ended, [5, null]);
  assert.equal(run.output(), "[ 'vm', 'list' ]\n");
});

test('gp says what to do first in a clone without packages', async (t) => {
  const clone = installedClone(t, '');
  rmSync(join(clone, 'node_modules'), { recursive: true });
  const run = start(join(clone, 'bin/gp.mjs'), []);
  assert.deepEqual(await run.ended, [3, null]);
  assert.match(run.output(), /Run "npm start" there first/);
});

test('the quick check needs no Debian packages, and every list can be resolved', () => {
  const lists: Record<string, string[]> = JSON.parse(readFileSync(join(root, 'scripts/debian-packages.json'), 'utf8'));
  assert.deepEqual(lists['check'], []);
  const included = Object.values(lists)
    .flat()
    .filter((name) => name.startsWith('@'));
  assert.deepEqual(
    included.filter((name) => !Object.hasOwn(lists, name.slice(1))),
    [],
  );
});

/** Waits until the run has printed `text`; the run's own time limit ends it where that never comes. */
async function until(run: Run, text: string): Promise<void> {
  while (!run.output().includes(text)) {
    assert.equal(run.child.exitCode, null, run.output());
    await Promise.race([once(run.child.stdout ?? run.child, 'data'), run.ended]);
  }
}
