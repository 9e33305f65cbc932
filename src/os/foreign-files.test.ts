import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { chmod, link, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from './child-process.ts';
import { giveForeign, openForeign, removeForeign, syncForeign } from './foreign-files.ts';

const isRoot = process.geteuid?.() === 0;
const STRANGER = 612_345;
let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'gp-foreign-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const at = (...names: readonly string[]): string => join(directory, ...names);

test('only a regular file is opened: no link is followed, and a FIFO without a writer holds nobody', async () => {
  await writeFile(at('secret'), 'secret');
  await symlink(at('secret'), at('link'));
  await run(['mkfifo', at('fifo')], { deadlineMs: 5_000 });
  await mkdir(at('directory'));
  for (const entry of ['link', 'fifo', 'directory']) {
    await assert.rejects(openForeign(at(entry)), { code: 'failed' }, entry);
    await assert.rejects(syncForeign(at(entry)), { code: 'failed' }, entry);
  }
  await assert.rejects(openForeign(at('link'), constants.O_RDWR), { code: 'failed' });
  await assert.rejects(openForeign(at('absent')), { code: 'ENOENT' });
  const file = await openForeign(at('secret'));
  assert.equal(await file.readFile('utf8'), 'secret');
  await file.close();
});

test('a file is given away by its only name, and never through a link', { skip: !isRoot }, async () => {
  await writeFile(at('own'), '');
  await giveForeign(at('own'), STRANGER);
  assert.equal((await stat(at('own'))).uid, STRANGER);
  await giveForeign(at('own'), STRANGER);
  await writeFile(at('kept'), '');
  await link(at('kept'), at('second name'));
  await assert.rejects(giveForeign(at('second name'), STRANGER), { code: 'failed', message: /hard link/ });
  await symlink(at('kept'), at('name'));
  await assert.rejects(giveForeign(at('name'), STRANGER), { code: 'failed', message: /symbolic link/ });
  assert.equal((await stat(at('kept'))).uid, 0);
});

test('a directory goes with all that is in it, and nothing outside of it does', async () => {
  await mkdir(at('outside'));
  await writeFile(at('outside', 'kept'), 'kept');
  await mkdir(at('gone', 'below'), { recursive: true });
  await symlink(at('outside'), at('gone', 'below', 'link'));
  await writeFile(at('gone', 'file'), '');
  await chmod(at('gone', 'below'), 0o500);
  await removeForeign(at('gone'));
  await removeForeign(at('gone'));
  await symlink(at('outside'), at('a link'));
  await removeForeign(at('a link'));
  assert.equal(await readFile(at('outside', 'kept'), 'utf8'), 'kept');
  assert.ok(!(await readdir(directory)).some((name) => name === 'gone' || name === 'a link'));
  await mkdir(at('deep', ...Array.from({ length: 9 }, () => 'x')), { recursive: true });
  await assert.rejects(removeForeign(at('deep')), { code: 'failed', message: /deeper than 8/ });
});

test('a user who replaces directories by links while they are removed leads nobody outside', {
  skip: !isRoot,
}, async () => {
  await chmod(directory, 0o711);
  await mkdir(at('prey'));
  await chmod(at('prey'), 0o777);
  for (let file = 0; file < 20; file++) await writeFile(at('prey', `${file}`), 'kept');
  for (let round = 0; round < 20; round++) {
    await mkdir(at('theirs'));
    await run(['chown', `${STRANGER}`, at('theirs')], { deadlineMs: 5_000 });
    // The attacker works in the directory, which it does not leave: it makes a directory, and puts a link in its place,
    // again and again.
    const script = `cd ${at('theirs')}; while mkdir -p x/y 2>/dev/null; do rm -rf x; ln -s ${at('prey')} x; rm -f x; done`;
    const ended = new AbortController();
    const asStranger = ['setpriv', `--reuid=${STRANGER}`, `--regid=${STRANGER}`, '--clear-groups', 'sh', '-c', script];
    const swapping = run(asStranger, { deadlineMs: 10_000, signal: ended.signal }).catch(() => undefined);
    while ((await readdir(at('theirs'))).length === 0) await new Promise(setImmediate);
    await removeForeign(at('theirs')).catch(() => undefined);
    ended.abort();
    await swapping;
    await removeForeign(at('theirs'));
  }
  assert.equal((await readdir(at('prey'))).length, 20);
});
