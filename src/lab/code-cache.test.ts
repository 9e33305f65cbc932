import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { codeCacheDir, compileAhead } from './code-cache.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'code-cache-'));
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

test('what may not be written beside the packages is written to the cluster’s own directory', async () => {
  const { cache } = await programs('place');
  const shared = join(directory, 'beside', 'packages');
  assert.equal(codeCacheDir({ cacheDir: cache }, shared), shared);
  assert.equal(codeCacheDir({ cacheDir: cache }, shared), shared, 'it is there by now');
  const file = join(directory, 'file');
  await writeFile(file, '');
  assert.equal(codeCacheDir({ cacheDir: cache }, join(file, 'below')), cache);
  await chmod(shared, 0o500);
  if (process.geteuid?.() !== 0) assert.equal(codeCacheDir({ cacheDir: cache }, shared), cache);
});
