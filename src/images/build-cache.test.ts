import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { makeBuild, newestBuild } from './build-cache.ts';

const DAY_S = 24 * 3_600;
let cacheDir = '';
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'gpb-'));
});
afterEach(() => rm(cacheDir, { recursive: true, force: true }));

const make = (text: string) => ({
  cacheDir,
  name: 'tiny-1',
  kind: 'tiny',
  make: ({ build }: { readonly build: string }): Promise<void> => writeFile(join(build, 'file'), text),
});

test('a build appears with everything in it, and the second of a name is the first', async () => {
  const path = await makeBuild(make('one'));
  assert.equal(await makeBuild(make('two')), path);
  assert.equal(await readFile(join(path, 'file'), 'utf8'), 'one');
  assert.equal(((await stat(join(path, 'file'))).mode & 0o777).toString(8), '444');
  assert.deepEqual(await readdir(cacheDir), ['tiny-1']);
  assert.equal(await newestBuild(cacheDir, 'tiny-'), path);
});

test('one that fails leaves nothing', async () => {
  const fails = { ...make(''), make: () => Promise.reject(new Error('no room')) };
  await assert.rejects(makeBuild(fails), /no room/);
  assert.deepEqual(await readdir(cacheDir), []);
});

test('one whose builder is killed is no build, and what it left goes with the first build a day later', async () => {
  const program = `
    import { writeFile } from 'node:fs/promises';
    import { makeBuild } from ${JSON.stringify(join(import.meta.dirname, 'build-cache.ts'))};
    await makeBuild({ cacheDir: ${JSON.stringify(cacheDir)}, name: 'tiny-1', kind: 'tiny', make: async ({ build }) => {
      await writeFile(build + '/file', 'half');
      console.log('written');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    }});`;
  const builder = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(builder, 'exit');
  await once(builder.stdout, 'data');
  builder.kill('SIGKILL');
  await ended;
  assert.equal(await newestBuild(cacheDir, 'tiny-'), undefined);
  const [left = ''] = await readdir(cacheDir);
  assert.match(left, /^\.tiny-/);
  await makeBuild({ ...make('other'), name: 'tiny-2' });
  assert.deepEqual((await readdir(cacheDir)).sort(), [left, 'tiny-2'].sort(), 'it might still be at work');
  const then = Date.now() / 1_000 - DAY_S - 60;
  await utimes(join(cacheDir, left), then, then);
  const path = await makeBuild(make('whole'));
  assert.equal(await readFile(join(path, 'file'), 'utf8'), 'whole');
  assert.deepEqual((await readdir(cacheDir)).sort(), ['tiny-1', 'tiny-2']);
});
