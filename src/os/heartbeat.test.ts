import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { run } from './child-process.ts';
import { HEARTBEAT, HELD } from './heartbeat.ts';

const MODULE = new URL('heartbeat.ts', import.meta.url).href;
const EVERY_MS = 20;

/** A process that beats on file descriptor 3, lives until the test ends it, and does `then` when it gets input. */
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
  // A beat that was started before the process was busy may have arrived since; 600 ms of beats are 30.
  assert.ok(late <= 2, `${late} beats`);
  await beats(pipe, 3);
  child.kill('SIGKILL');
  await once(child, 'exit');
});

test('a supervisor that is gone ends the beats, and not the process', async () => {
  // The process has beaten in vain by then.
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

test("a supervisor that takes no beats stops none of the process's own work", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'gp-heartbeat-'));
  t.after(() => rm(directory, { recursive: true }));
  const fifo = join(directory, 'beats');
  await run(['mkfifo', fifo], { deadlineMs: 10_000 });
  // Open at both ends, so that no reader is needed; filled until nothing more fits.
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  assert.throws(
    () => {
      for (;;) writeSync(fd, Buffer.alloc(4096));
    },
    { code: 'EAGAIN' },
  );
  // Each beat that is not read would block a thread of the pool, which has four and also reads files.
  const script = `
    const { startHeartbeat } = await import('${MODULE}');
    const { readFile } = await import('node:fs/promises');
    const { setTimeout: sleep } = await import('node:timers/promises');
    startHeartbeat();
    await sleep(20 * ${EVERY_MS});
    await readFile('/proc/self/stat');
    process.stdout.write('alive');
    process.kill(process.pid, 'SIGKILL');`;
  const beatsIn = openSync(fifo, 'r+');
  t.after(() => closeSync(beatsIn));
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit', beatsIn],
    env: { ...process.env, [HEARTBEAT]: `3:${EVERY_MS}` },
  });
  t.after(() => child.kill('SIGKILL'));
  const [said] = (await once(child.stdout as Readable, 'data', { signal: AbortSignal.timeout(10_000) })) as [Buffer];
  assert.equal(said.toString(), 'alive');
});

test('without a supervisor nothing beats', async () => {
  const script = `const { startHeartbeat } = await import('${MODULE}'); startHeartbeat({}); startHeartbeat({ ${HEARTBEAT}: 'x:y' });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});
