import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { HEARTBEAT, HELD } from './heartbeat.ts';

const MODULE = new URL('heartbeat.ts', import.meta.url).href;
const EVERY_MS = 20;

/** A process that beats on file descriptor 3, lives for as long as it is let, and does `then` when it is told something. */
function beating(then: string) {
  const script = `
    const { startHeartbeat, holdHeartbeat } = await import('${MODULE}');
    startHeartbeat();
    process.stdin.once('data', () => { ${then} });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
    env: { ...process.env, [HEARTBEAT]: `3:${EVERY_MS}` },
  });
  const pipe = child.stdio[3] as Readable;
  return { child, pipe };
}

async function beats(pipe: Readable, count: number): Promise<void> {
  for (let seen = 0; seen < count; ) {
    const [chunk] = (await once(pipe, 'data', { signal: AbortSignal.timeout(10_000) })) as [Buffer];
    assert.match(chunk.toString(), /^\.+$/);
    seen += chunk.length;
  }
}

test('a process beats for as long as its event loop turns, and not while it does not', async () => {
  const { child, pipe } = beating(`
    process.stdout.write('busy');
    for (const end = performance.now() + 600; performance.now() < end; );
    process.stdout.write('free');`);
  await beats(pipe, 3);
  child.stdin?.write('x');
  const said = child.stdout as Readable;
  const [first] = (await once(said, 'data')) as [Buffer];
  assert.equal(first.toString(), 'busy');
  let late = 0;
  const count = (chunk: Buffer): void => {
    late += chunk.length;
  };
  pipe.on('data', count);
  const [second] = (await once(said, 'data')) as [Buffer];
  pipe.off('data', count);
  assert.equal(second.toString(), 'free');
  // One that was begun before it was busy may have arrived since; 600 ms of beats are 30.
  assert.ok(late <= 2, `${late} beats`);
  await beats(pipe, 3);
  child.kill('SIGKILL');
  await once(child, 'exit');
});

test('a supervisor that is gone ends the beats, and not the process', async () => {
  // It has beaten in vain by then.
  const { child, pipe } = beating(
    `setTimeout(() => { process.stdout.write('alive'); process.exit(0); }, ${5 * EVERY_MS});`,
  );
  await beats(pipe, 2);
  pipe.destroy();
  await once(pipe, 'close');
  child.stdin?.write('x');
  const [said] = (await once(child.stdout as Readable, 'data')) as [Buffer];
  assert.equal(said.toString(), 'alive');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('a process that a fault is about to stop says so before it stands still', async () => {
  const { child, pipe } = beating(`holdHeartbeat(); process.kill(process.pid, 'SIGSTOP');`);
  await beats(pipe, 1);
  child.stdin?.write('x');
  let told = '';
  while (!told.includes(HELD)) {
    const [chunk] = (await once(pipe, 'data', { signal: AbortSignal.timeout(10_000) })) as [Buffer];
    told += chunk.toString();
  }
  assert.match(told, /^[.]*h[.]*$/);
  child.kill('SIGKILL');
  await once(child, 'exit');
});

test('without a supervisor nothing beats', async () => {
  const script = `const { startHeartbeat } = await import('${MODULE}'); startHeartbeat({}); startHeartbeat({ ${HEARTBEAT}: 'x:y' });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});
