import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { lockDirectory, makePrivateDirectory, readJsonFile, writeFileAtomic } from './files.ts';

const code = (expected: string) => (error: unknown) => error instanceof CodedError && error.code === expected;
let work = '';
before(async () => {
  work = await mkdtemp(join(tmpdir(), 'groundplane-files-'));
});
after(() => rm(work, { recursive: true }));

test('an atomic write replaces content and mode and leaves nothing else behind', async () => {
  const directory = join(work, 'atomic');
  await mkdir(directory);
  const path = join(directory, 'f');
  await writeFileAtomic(path, 'old', { mode: 0o644 });
  assert.equal((await stat(path)).mode & 0o777, 0o644);
  await writeFileAtomic(path, Buffer.from('new'));
  assert.equal(await readFile(path, 'utf8'), 'new');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  // A target that cannot be replaced: the temporary file goes too.
  await mkdir(join(directory, 'd', 'full'), { recursive: true });
  await assert.rejects(writeFileAtomic(join(directory, 'd'), 'x'));
  assert.deepEqual((await readdir(directory)).sort(), ['d', 'f']);
});

test('a private directory is 0700, also when it existed; a symbolic link is refused', async () => {
  const path = join(work, 'a', 'b');
  await makePrivateDirectory(path);
  assert.equal((await stat(path)).mode & 0o777, 0o700);
  await chmod(path, 0o755);
  await makePrivateDirectory(path);
  assert.equal((await stat(path)).mode & 0o777, 0o700);
  await symlink(path, join(work, 'link'));
  await assert.rejects(makePrivateDirectory(join(work, 'link')), code('failed'));
});

test('JSON is read within a bound', async () => {
  const path = join(work, 'x.json');
  assert.equal(await readJsonFile(path), undefined);
  await writeFile(path, '{"a":"é"}');
  assert.deepEqual(await readJsonFile(path, 10), { a: 'é' });
  await assert.rejects(readJsonFile(path, 9), code('too-large'));
  await writeFile(path, '{');
  await assert.rejects(readJsonFile(path), code('bad-input'));
});

test('a directory lock is exclusive and can be given back', async () => {
  const directory = join(work, 'lock');
  await mkdir(directory);
  const lock = await lockDirectory(directory);
  await assert.rejects(lockDirectory(directory), code('conflict'));
  await lock.release();
  await (await lockDirectory(directory)).release();
});

test('a directory lock ends with a killed holder, even while its child lives on', async () => {
  const directory = join(work, 'killed');
  await mkdir(directory);
  const source = `
    const { lockDirectory } = await import(${JSON.stringify(new URL('./files.ts', import.meta.url).href)});
    const { spawn } = await import('node:child_process');
    await lockDirectory(${JSON.stringify(directory)});
    const child = spawn('sleep', ['1000'], { stdio: 'ignore', detached: true });
    console.log(child.pid);
    setInterval(() => undefined, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(holder, 'exit');
  const [said] = await once(holder.stdout, 'data');
  const grandchild = Number(String(said));
  try {
    await assert.rejects(lockDirectory(directory), code('conflict'));
    holder.kill('SIGKILL');
    await exit;
    process.kill(grandchild, 0);
    await (await lockDirectory(directory)).release();
  } finally {
    process.kill(grandchild, 'SIGKILL');
  }
});
