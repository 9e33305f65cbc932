import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

/** Runs the command as a process of its own, input closed. */
async function gp(...words: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: { PATH: process.env['PATH'], HOME: '/nonexistent' },
    timeout: 20_000,
  });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: child.exitCode, out, err };
}

test('as a process: exit codes, streams, no stack', async () => {
  const help = await gp('--help');
  assert.equal(help.code, 0);
  assert.match(help.out, /^Usage: gp /);
  assert.match(help.out, /Exit codes: 0 done/);
  assert.deepEqual(await gp('vm', 'list'), {
    code: 4,
    out: '',
    err: 'gp: No cluster was found from here. Start one with `gp up`, or name its directory with --dir, GP_DIR or `gp context use DIR`.\n',
  });
  const wrong = await gp('vm', 'lst');
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /Did you mean list/);
});

test('the lab’s verbs are those of its table; completion knows nouns and verbs', async () => {
  const lab = await gp('lab', '--help');
  assert.match(lab.out, /kill-host <machine>/);
  assert.match(lab.out, /restore \[machine\]/);
  assert.equal((await gp('lab', 'kill-host', 'h1', '--dir', '/nonexistent')).code, 6);
  assert.match((await gp('complete', '--', 'vm', 'mig')).out, /^migrate\t/);
  for (const shell of ['bash', 'zsh', 'fish']) assert.match((await gp('completion', shell)).out, /gp/);
  assert.equal((await gp('completion', 'tcsh')).code, 2);
});
