import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import { filter, run, spawnDaemon, tryRun } from './child-process.ts';
import { systemClock } from './clock.ts';
import { monotonicMs } from './monotonic.ts';
import { isRunning, listProcesses, readProcess, signalProcess, waitGone } from './process-table.ts';

const DEADLINE_MS = 20_000;
const code = (expected: string) => (error: unknown) => error instanceof CodedError && error.code === expected;

test('output, input, environment and working directory', async () => {
  const { stdout } = await run(['/bin/sh', '-c', 'cat; echo $WORD; pwd'], {
    deadlineMs: DEADLINE_MS,
    input: 'fed ',
    env: { WORD: 'spoken' },
    cwd: '/usr',
  });
  assert.equal(stdout, 'fed spoken\n/usr\n');
});

test('arguments are not interpreted by a shell', async () => {
  const { stdout } = await run(['printf', '%s', '$HOME; `id` *'], { deadlineMs: DEADLINE_MS });
  assert.equal(stdout, '$HOME; `id` *');
});

test('a failing status is an error with the last lines of stderr, or a result', async () => {
  const argv = ['/bin/sh', '-c', 'for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3'];
  await assert.rejects(run(argv, { deadlineMs: DEADLINE_MS }), (error) => {
    assert(error instanceof CodedError);
    assert.equal(error.code, 'failed');
    assert.match(error.message, /^\/bin\/sh failed with exit status 3: line 3\nline 4\n/);
    return true;
  });
  assert.equal((await tryRun(argv, { deadlineMs: DEADLINE_MS })).exitCode, 3);
  assert.equal((await tryRun(['/bin/sh', '-c', 'kill -9 $$'], { deadlineMs: DEADLINE_MS })).exitCode, 137);
});

test('a missing program is not-installed', async () => {
  // A path of our own: with a folder in it that we may not read, the system says "permission denied" instead.
  const env = { PATH: '/usr/bin:/bin' };
  const options = { deadlineMs: DEADLINE_MS, env };
  await assert.rejects(run(['groundplane-has-no-such-program'], options), code('not-installed'));
  await assert.rejects(spawnDaemon(['groundplane-has-no-such-program'], { env: {}, cwd: '/' }), code('not-installed'));
});

test('at the deadline the whole process group ends, also a child that keeps the pipes open', async () => {
  const mark = `314159.${process.pid}`;
  await assert.rejects(run(['/bin/sh', '-c', `sleep ${mark} & sleep ${mark}`], { deadlineMs: 300 }), code('deadline'));
  for (const left of listProcesses()) {
    if (left.argv[0] === 'sleep' && left.argv[1] === mark) await waitGone(left, DEADLINE_MS);
  }
  // The program itself has ended at once; the one that holds its pipe has not.
  await assert.rejects(run(['/bin/sh', '-c', `sleep ${mark} & exit 0`], { deadlineMs: 300 }), code('deadline'));
  for (const left of listProcesses()) {
    if (left.argv[0] === 'sleep' && left.argv[1] === mark) await waitGone(left, DEADLINE_MS);
  }
});

test('a signal ends a program with its reason, and too much output does', async () => {
  const controller = new AbortController();
  const waiting = run(['sleep', '1000'], { deadlineMs: DEADLINE_MS, signal: controller.signal });
  controller.abort(new Error('not wanted any more'));
  await assert.rejects(waiting, /not wanted any more/);
  await assert.rejects(run(['yes'], { deadlineMs: DEADLINE_MS, outputBytesMax: 1000 }), code('too-large'));
});

test('of a program that may write much the end is kept, and it goes on', async () => {
  const script = 'yes a | head -c 5000000; echo the end; yes b | head -c 300 >&2; exit 3';
  const options = { deadlineMs: DEADLINE_MS, outputBytesMax: 1_000, keepsEndOnly: true } as const;
  const { stdout, stderr, exitCode } = await tryRun(['/bin/sh', '-c', script], options);
  assert.deepEqual([stdout.length, stderr.length, exitCode], [1_000, 300, 3]);
  assert.match(stdout, /^[a\n]+the end\n$/);
});

test('a daemon has its own session and private log, and is named by pid and start time', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'groundplane-os-'));
  try {
    const stdoutFile = join(directory, 'out');
    const daemon = await spawnDaemon(['/bin/sh', '-c', 'echo $WORD; exec sleep 1000'], {
      stdoutFile,
      env: { WORD: 'hello', PATH: '/bin:/usr/bin' },
      cwd: '/',
    });
    try {
      assert.equal(readProcess(daemon.pid)?.startTicks, daemon.startTicks);
      assert.notEqual(readProcess(daemon.pid)?.state, 'Z');
      const session = (await readFile(`/proc/${daemon.pid}/stat`, 'utf8')).split(') ')[1]?.split(' ')[3];
      assert.equal(session, String(daemon.pid));
    } finally {
      assert(signalProcess(daemon, 'SIGTERM'));
    }
    assert.equal(await daemon.exited, 143);
    await waitGone(daemon, DEADLINE_MS);
    assert.equal(isRunning(daemon), false);
    assert.equal((await stat(stdoutFile)).mode & 0o777, 0o600);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a daemon that fails at once still has an identity and tells its status', async () => {
  const daemon = await spawnDaemon(['/bin/sh', '-c', 'exit 7'], { env: {}, cwd: '/' });
  assert.equal(await daemon.exited, 7);
});

test('a filter: what it makes of a stream, its failure, and its end when nobody reads on', async () => {
  const { signal } = new AbortController();
  const text = async (stream: Readable): Promise<string> => Buffer.concat(await stream.toArray()).toString();
  const input = () => Readable.from([Buffer.from('fed'), Buffer.from(' in parts')], { objectMode: false });
  assert.equal(await text(filter(['tr', 'a-z', 'A-Z'], input(), signal)), 'FED IN PARTS');
  await assert.rejects(text(filter(['/bin/sh', '-c', 'echo why >&2; exit 3'], input(), signal)), /status 3: why/);
  await assert.rejects(text(filter(['groundplane-has-no-such-program'], input(), signal)), code('not-installed'));
  const broken = new PassThrough();
  const output = filter(['cat'], broken, signal);
  broken.destroy(new Error('cut'));
  await assert.rejects(text(output), /cut/);

  const mark = `271828.${process.pid}`;
  const endless = filter(['/bin/sh', '-c', `yes & sleep ${mark}`], input(), signal);
  await once(endless, 'data');
  const sleeping = () => listProcesses().filter(({ argv }) => argv[0] === 'sleep' && argv[1] === mark);
  // The two processes begin in any order.
  const endsAtMs = monotonicMs() + DEADLINE_MS;
  while (sleeping().length === 0 && monotonicMs() < endsAtMs) await sleep(systemClock, 5);
  const own = sleeping();
  endless.destroy();
  assert.equal(own.length, 1);
  for (const each of own) await waitGone(each, DEADLINE_MS);
});
