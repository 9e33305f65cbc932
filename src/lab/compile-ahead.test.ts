import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { compileAhead } from './compile-ahead.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'compile-ahead-'));
});
after(() => rm(directory, { recursive: true, force: true }));

/** Programs that say each time that they were run. */
async function programs(name: string) {
  const own = join(directory, name);
  const cache = join(own, 'cache');
  await mkdir(cache, { recursive: true });
  const program = join(own, 'program.cjs');
  const log = join(own, 'runs');
  await writeFile(log, '');
  await writeFile(program, `require('node:fs').appendFileSync(${JSON.stringify(log)}, 'x');`);
  const argv = [process.execPath, program];
  return {
    commands: { control: argv, storage: argv, agent: argv, compile: true },
    cache,
    runs: async () => (await readFile(log, 'utf8')).length,
  };
}

test('each program is compiled once for all clusters, and again when a source has changed since; stand-ins are left alone', async () => {
  const { commands, cache, runs } = await programs('once');
  await compileAhead({ ...commands, compile: undefined }, cache);
  assert.deepEqual([await runs(), await readdir(cache)], [0, []]);
  await compileAhead(commands, cache);
  const names = await readdir(cache);
  assert.ok(names.includes('compiled') && names.length > 1, names.join());
  await compileAhead(commands, cache);
  assert.equal(await runs(), 3);
  await writeFile(join(cache, 'compiled'), 'another version');
  await compileAhead(commands, cache);
  assert.equal(await runs(), 6);
});

test('a failure is tried again by the next cluster', async () => {
  const { commands, cache, runs } = await programs('failing');
  const agent = [join(directory, 'no-such-program')];
  await compileAhead({ ...commands, agent }, cache);
  await compileAhead(commands, cache);
  assert.equal(await runs(), 5);
});
