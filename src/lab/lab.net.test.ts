/**
 * The lab with stand-ins in the place of the roles: the effects of faults on machines, links and processes, and what is
 * left at the end.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { present } from '../base/assert.ts';
import { CodedError, type ErrorCode } from '../base/errors.ts';
import { run } from '../os/child-process.ts';
import { isRunning, listProcesses, type ProcessRecord, waitGone } from '../os/process-table.ts';
import { until } from '../os/testing/until.ts';
import { enterMachineArgv, labCall, labStatus } from './client.ts';
import type { LabInfo } from './outer.ts';
import { AGENT, type Executed, StandInLab, standInOptions, WATCHDOG_MS } from './testing/stand-in-lab.ts';
import { down, up } from './up.ts';

const DEADLINE_MS = 30_000;
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
const NOBODY = 65_534;

let lab: StandInLab;
let dir: string;
let base: string;

const coded = (code: ErrorCode, message: RegExp) => (error: unknown) =>
  error instanceof CodedError && error.code === code && message.test(`${error.message} ${error.advice}`);

before(async () => {
  lab = await StandInLab.start();
  ({ dir, base } = lab);
  assert.equal(lab.steps.at(-1), '5/5 ready');
});
after(() => lab.end());

const exec = (target: string, argv: readonly string[]) => lab.exec(target, argv);
const ask = (from: string, at: readonly [string, number], line?: string) => lab.ask(from, at, line);
const statusOf = (name: string) => lab.statusOf(name);
const answers = (from: string, at: readonly [string, number], pattern: RegExp) => lab.answers(from, at, pattern);

test('every machine has its own name, processes, links and disk, and reaches the others on every network', async () => {
  const { stdout } = await exec('h1', [
    'sh',
    '-c',
    'hostname; ls "$1"; ls "$2"',
    'sh',
    join(dir, 'machines'),
    join(dir, 'authority'),
  ]);
  assert.equal(stdout, 'h1\nh1\n');
  assert.equal((await exec('h1', ['sh', '-c', 'ls /proc | grep -c "^[0-9]"'])).stdout.trim().length, 1);
  for (const from of ['h2', 's1', 'c1']) assert.match(await ask(from, AGENT), /^h1 \d+$/);
  assert.match(await ask('h2', ['10.78.1.1', 7444]), /^s1 \d+$/);
  assert.match(await ask('h1', ['10.79.2.2', 7443]), /^h2 \d+$/);
  // Beyond the default route: no process listens there, and the room's kernel says so.
  assert.equal(await ask('h1', ['203.0.113.1', 7]), 'refused');
  // Without an agent, the lab sets how long a kernel waits for a silent peer.
  const patience = async (on: string): Promise<string> =>
    (await exec(on, ['cat', '/proc/sys/net/ipv4/tcp_retries2'])).stdout;
  assert.deepEqual([await patience('s1'), await patience('c1')], ['4\n', '4\n']);
  assert.notEqual(await patience('h1'), '4\n');
});

test('configuration and logs are where the layout says, and private', async () => {
  const config = JSON.parse(await readFile(join(dir, 'machines/h1/config/agent.json'), 'utf8'));
  assert.equal(config.overlayAddress, '10.79.2.1');
  assert.deepEqual(config.join.controlAddresses, ['10.77.0.11']);
  assert.equal(await readFile(join(dir, 'machines/h1/log/agent.log'), 'utf8'), 'h1 serves\n');
  for (const path of ['machines/h1/config/agent.json', 'machines/h1/log/agent.log', 'lab.sock', 'context.json'])
    assert.equal((await stat(join(dir, path))).mode & 0o077, 0, path);
});

test('the API port reaches the control node', async () => {
  const socket = connect({ host: '127.0.0.1', port: lab.up.info.apiPort });
  socket.write('who\n');
  const [chunk] = await once(socket, 'data', { signal: AbortSignal.timeout(DEADLINE_MS) });
  assert.match(String(chunk), /^c1 \d+\n$/);
  socket.destroy();
});

test('a second cluster in the same directory is refused, one beside it runs', async () => {
  await assert.rejects(
    up(standInOptions(dir)),
    coded('conflict', new RegExp(`process ${process.pid}, since .*gp down`)),
  );
  const beside = await up({ ...standInOptions(join(base, 'two')), detach: true });
  try {
    assert.notEqual(beside.info.apiPort, lab.up.info.apiPort);
    assert.equal((await labStatus(beside.info.dir)).length, 4);
    // After a restart the directory, shape and port are the same; another number of control nodes is refused.
    await assert.rejects(up({ ...standInOptions(beside.info.dir), detach: true }), coded('conflict', /runs in/));
    assert.deepEqual(await down({ dir: beside.info.dir }), { ended: true });
    assert.deepEqual(await down({ dir: beside.info.dir }), { ended: false });
    await assert.rejects(
      up({ ...standInOptions(beside.info.dir), controlNodes: 3 }),
      coded('conflict', /cannot be changed/),
    );
    const { hosts: _h, apiPort: _p, ...again } = standInOptions(beside.info.dir);
    const second = await up({ ...again, detach: true });
    assert.equal(second.info.apiPort, beside.info.apiPort);
    assert.equal(second.info.shape.hosts, 2);
  } finally {
    await down({ dir: beside.info.dir });
  }
  assert.equal((await labStatus(dir)).length, 4);
});

test('bad directories, shapes and faults are refused with what to do', async () => {
  await assert.rejects(up(standInOptions(join(base, 'x'.repeat(100)))), coded('bad-input', /bytes too long.*--dir/));
  await assert.rejects(up(standInOptions('/run/gp')), coded('bad-input', /under \/run/));
  await assert.rejects(up({ ...standInOptions(join(base, 'three')), controlNodes: 2 }), coded('bad-input', /1 or 3/));
  await mkdir(join(base, 'photos'));
  await writeFile(join(base, 'photos/cat.jpg'), '');
  await assert.rejects(up(standInOptions(join(base, 'photos'))), coded('conflict', /not empty/));
  await assert.rejects(labCall(join(base, 'none'), { verb: 'status' }), coded('unavailable', /gp up/));
  await assert.rejects(labCall(dir, { verb: 'kill-host', target: 'h9' }), coded('not-found', /c1, s1, h1, h2/));
  await assert.rejects(labCall(dir, { verb: 'kill-host', target: 's1' }), coded('bad-input', /h1, h2/));
  await assert.rejects(labCall(dir, { verb: 'kill-host' }), coded('bad-input', /needs a machine/));
  await assert.rejects(labCall(dir, { verb: 'kill-hots', target: 'h1' }), coded('bad-input', /kill-host/));
  await assert.rejects(labCall(dir, { verb: 'kill-host', target: 'h1', once: true }), coded('bad-input', /no "once"/));
  await assert.rejects(labCall(dir, { verb: 'kill-agent', target: 'h1', forSeconds: -1 }), coded('bad-input', /3600/));
});

test('cut-host: packets vanish both ways, processes run on, heal-host brings all back', async () => {
  const before_ = await ask('h2', AGENT);
  await labCall(dir, { verb: 'cut-host', target: 'h1' });
  assert.deepEqual((await statusOf('h1')).cutFrom, ['control', 'storage', 'overlay']);
  assert.equal(await ask('h2', AGENT), 'silence');
  assert.equal(await ask('h2', ['10.78.2.1', 7443]), 'silence');
  assert.equal(await ask('h1', ['10.77.0.11', 7440]), 'silence');
  assert.match((await exec('h1', ['ip', 'link', 'show', 'ctl0'])).stdout, /LOWER_UP/);
  await labCall(dir, { verb: 'heal-host', target: 'h1' });
  await until('the same agent as before', async () => (await ask('h2', AGENT)) === before_);
});

test('cut-storage and cut-control cut one path only', async () => {
  await labCall(dir, { verb: 'cut-storage', target: 'h1' });
  assert.equal(await ask('h1', ['10.78.1.1', 7444]), 'silence');
  assert.match(await ask('h2', ['10.78.1.1', 7444]), /^s1/);
  assert.match(await ask('h2', AGENT), /^h1/);
  await labCall(dir, { verb: 'cut-control', target: 'c1' });
  assert.equal(await ask('h2', ['10.77.0.11', 7440]), 'silence');
  await labCall(dir, { verb: 'restore' });
  // The first attempt may still hear that the neighbour was given up while the link was cut.
  await answers('h1', ['10.78.1.1', 7444], /^s1/);
  await answers('h2', ['10.77.0.11', 7440], /^c1/);
});

test('cut-disks drops the ports of disks only; blind-server keeps a control node from what it leads, and from nothing else', async () => {
  const listening = labCall(dir, {
    verb: 'exec',
    target: 's1',
    argv: [process.execPath, '-e', LISTEN_ON_DISK_PORT],
    deadlineMs: 20_000,
  });
  await answers('h1', ['10.78.1.1', 30_000], /^disk/);
  await labCall(dir, { verb: 'cut-disks', target: 'h1' });
  assert.deepEqual((await statusOf('h1')).cutFrom, ['disks']);
  assert.equal(await ask('h1', ['10.78.1.1', 30_000]), 'silence');
  assert.match(await ask('h1', ['10.78.1.1', 7444]), /^s1/, 'another port answers');
  assert.match(await ask('s1', ['10.78.2.1', 7443]), /^h1/, 'and the node reaches the host');
  assert.match(await ask('h2', ['10.78.1.1', 30_000]), /^disk/, 'as another host does the disk');
  await labCall(dir, { verb: 'blind-server', target: 'c1' });
  assert.equal(await ask('c1', AGENT), 'silence');
  assert.equal(await ask('s1', ['10.77.0.11', 7440]), 'silence');
  assert.match(await ask('s1', AGENT), /^h1/);
  await labCall(dir, { verb: 'restore' });
  await answers('h1', ['10.78.1.1', 30_000], /^disk/);
  await answers('c1', AGENT, /^h1/);
  assert.match(await ask('h1', ['10.78.1.1', 30_000], 'end'), /^disk/);
  await listening;
});

test('a cut for some seconds heals by itself', async () => {
  await labCall(dir, { verb: 'cut-control', target: 'h1', forSeconds: 3 });
  assert.equal(await ask('h2', AGENT), 'silence');
  await answers('h2', AGENT, /^h1/);
});

test('kill-host: everything on it ends at once and silently; heal-host boots it with its disk', async () => {
  await ask('h2', AGENT, 'child');
  await writeFile(join(dir, 'machines/h1/state/identity'), 'kept');
  const initPid = (await statusOf('h1')).initPid;
  const bootId = (await exec('h1', ['cat', BOOT_ID])).stdout;
  assert.match(bootId, /^[0-9a-f-]{36}\n$/);
  assert.notEqual((await exec('h2', ['cat', BOOT_ID])).stdout, bootId);
  const watcher = labCall(dir, {
    verb: 'exec',
    target: 'h2',
    argv: [process.execPath, '-e', WATCH_SCRIPT],
    deadlineMs: 20_000,
  });
  await until('a watched connection', async () =>
    (await exec('h2', ['cat', '/proc/net/tcp'])).stdout.split('\n').some((line) => /:1D13 01 /.test(line)),
  );
  await labCall(dir, { verb: 'kill-host', target: 'h1' });
  const machine = await statusOf('h1');
  assert.equal(machine.power, 'off');
  assert.equal(await ask('h2', AGENT), 'silence');
  await assert.rejects(exec('h1', ['true']), coded('conflict', /off.*restore h1/));
  await assert.rejects(labCall(dir, { verb: 'kill-agent', target: 'h1' }), coded('conflict', /off/));
  // No FIN and no RST: the peer still believes in its connection.
  assert.equal(((await watcher) as Executed).stdout, 'nothing');
  await labCall(dir, { verb: 'heal-host', target: 'h1' });
  await answers('h2', AGENT, /^h1/);
  assert.notEqual((await statusOf('h1')).initPid, initPid);
  assert.notEqual((await exec('h1', ['cat', BOOT_ID])).stdout, bootId);
  assert.equal((await exec('h1', ['cat', join(dir, 'machines/h1/state/identity')])).stdout, 'kept');
  assert.equal((await exec('h1', ['pgrep', '-cf', '^sleep 86399'])).stdout, '0\n');
});

/** Holds a connection to h1's agent and prints what it receives within 3 s. */
const LISTEN_ON_DISK_PORT = `
  require('node:net').createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (chunk) => socket.end('disk\\n', () => String(chunk) === 'end\\n' && process.exit(0)));
  }).listen(30000);`;
const WATCH_SCRIPT = `
  const socket = require('node:net').connect({ host: '10.77.2.1', port: 7443 });
  const say = (text) => { process.stdout.write(text); process.exit(0); };
  for (const event of ['end', 'close', 'error']) socket.once(event, () => say(event));
  setTimeout(() => say('nothing'), 3000);`;

test('a process that stands still is ended and started anew; one that a fault froze stays frozen, however long', async () => {
  const storage = ['10.77.1.1', 7444] as const;
  const [service, agent] = [await ask('h2', storage), await ask('h2', AGENT)];
  const startsOf = async (machine: string, role: string) => (await statusOf(machine)).processes[role];
  const before = await startsOf('h1', 'agent');
  await labCall(dir, { verb: 'freeze-agent', target: 'h1' });
  const stoppedAt = performance.now();
  const pid = service.split(' ')[1] ?? '';
  assert.equal((await exec('s1', ['kill', '-STOP', pid])).exitCode, 0);
  assert.equal(await ask('h2', storage), 'silence', 'its kernel accepts, and it says nothing');
  await until('another storage service', async () => {
    const now = await ask('h2', storage);
    return /^s1 /.test(now) && now !== service;
  });
  assert.ok(performance.now() - stoppedAt >= WATCHDOG_MS * 0.8);
  assert.deepEqual(await startsOf('h1', 'agent'), { state: 'frozen', starts: before?.starts });
  await labCall(dir, { verb: 'thaw', target: 'h1' });
  await until('the same agent as before', async () => (await ask('h2', AGENT)) === agent);
});

test('a process that stands still before its first sign of life is ended and started anew', async () => {
  const { starts = 0 } = (await statusOf('h1')).processes['agent'] ?? {};
  const hang = join(dir, 'machines/h1/state/hang');
  await exec('h1', ['touch', hang]);
  await labCall(dir, { verb: 'kill-agent', target: 'h1', once: true });
  await until('the agent that stands still', async () => (await exec('h1', ['test', '-e', hang])).exitCode === 1);
  await answers('h2', AGENT, /^h1/);
  assert.equal((await statusOf('h1')).processes['agent']?.starts, starts + 2);
});

test('kill-agent: stays dead until restored, its children run on; once: is back at once', async () => {
  const first = await ask('h2', AGENT);
  await ask('h2', AGENT, 'child');
  await labCall(dir, { verb: 'kill-agent', target: 'h1' });
  assert.equal(await ask('h2', AGENT), 'refused');
  assert.equal((await statusOf('h1')).processes['agent']?.state, 'dead');
  assert.equal((await exec('h1', ['pgrep', '-cf', '^sleep 86399'])).stdout, '1\n');
  await labCall(dir, { verb: 'restore', target: 'h1' });
  await answers('h2', AGENT, /^h1/);
  const second = await ask('h2', AGENT);
  assert.notEqual(second, first);
  await labCall(dir, { verb: 'kill-agent', target: 'h1', once: true });
  await answers('h2', AGENT, /^h1/);
  assert.notEqual(await ask('h2', AGENT), second);
  await labCall(dir, { verb: 'kill-agent', target: 'h1', forSeconds: 3 });
  assert.equal(await ask('h2', AGENT), 'refused');
  await answers('h2', AGENT, /^h1/);
  assert.equal((await exec('h1', ['pgrep', '-cf', '^sleep 86399'])).stdout, '1\n');
});

test('freeze and thaw keep the process; a frozen one can be killed', async () => {
  const server = ['10.77.0.11', 7440] as const;
  const first = await ask('h1', server);
  await labCall(dir, { verb: 'freeze-server', target: 'c1' });
  assert.equal(await ask('h1', server), 'silence');
  assert.equal((await statusOf('c1')).processes['control']?.state, 'frozen');
  await labCall(dir, { verb: 'thaw', target: 'c1' });
  assert.equal(await ask('h1', server), first);
  await labCall(dir, { verb: 'freeze-server', target: 'c1' });
  await labCall(dir, { verb: 'kill-server', target: 'c1' });
  assert.equal(await ask('h1', server), 'refused');
  assert.match(await ask('h1', ['10.77.0.11', 2379]), /^c1/);
  await labCall(dir, { verb: 'kill-etcd', target: 'c1' });
  assert.equal(await ask('h1', ['10.77.0.11', 2379]), 'refused');
  await labCall(dir, { verb: 'restore', target: 'c1' });
  await answers('h1', server, /^c1/);
  await answers('h1', ['10.77.0.11', 2379], /^c1/);
});

test('wipe-host: what the host kept is gone, its other processes run on, its agent is new', async () => {
  const first = await ask('h2', AGENT);
  await exec('h1', ['sh', '-c', 'touch /run/groundplane/qmp "$1"/state/identity', 'sh', join(dir, 'machines/h1')]);
  await labCall(dir, { verb: 'wipe-host', target: 'h1' });
  await answers('h2', AGENT, /^h1/);
  assert.notEqual(await ask('h2', AGENT), first);
  assert.equal(
    (await exec('h1', ['ls', '/run/groundplane', join(dir, 'machines/h1/state')])).stdout.includes('qmp'),
    false,
  );
  await assert.rejects(stat(join(dir, 'machines/h1/state/identity')));
  assert.equal((await exec('h1', ['pgrep', '-cf', '^sleep 86399'])).stdout, '1\n');
});

test('kill-storage takes the disk servers along, or not', async () => {
  const service = ['10.78.1.1', 7444] as const;
  await ask('h1', service, 'child');
  await labCall(dir, { verb: 'kill-storage', target: 's1', serviceOnly: true });
  assert.equal(await ask('h1', service), 'refused');
  assert.equal((await exec('s1', ['pgrep', '-cf', '^sleep 86399'])).stdout, '1\n');
  await labCall(dir, { verb: 'restore', target: 's1' });
  await answers('h1', service, /^s1/);
  await labCall(dir, { verb: 'kill-storage', target: 's1' });
  assert.equal((await exec('s1', ['pgrep', '-cf', '^sleep 86399'])).stdout, '0\n');
  await labCall(dir, { verb: 'restore' });
  await answers('h1', service, /^s1/);
});

test('kill-everything, restore', async () => {
  await labCall(dir, { verb: 'kill-everything' });
  assert.deepEqual(new Set((await labStatus(dir)).map(({ power }) => power)), new Set(['off']));
  await labCall(dir, { verb: 'restore' });
  await answers('h2', AGENT, /^h1/);
  await answers('h1', ['10.78.1.1', 7444], /^s1/);
  await answers('h1', ['10.77.0.11', 7440], /^c1/);
  assert.deepEqual((await statusOf('h1')).cutFrom, []);
});

test('a process that ends by itself is started again', async () => {
  const before_ = (await statusOf('h2')).processes['agent']?.starts ?? 0;
  await exec('h2', ['pkill', '-f', 'stand-in.ts']);
  await answers('h1', ['10.77.2.2', 7443], /^h2/);
  assert.equal((await statusOf('h2')).processes['agent']?.starts, before_ + 1);
});

test('a shell can be opened on a machine', async () => {
  const argv = await enterMachineArgv(dir, 'h1', ['hostname']);
  assert.equal((await run(argv, { deadlineMs: DEADLINE_MS })).stdout, 'h1\n');
});

/** A process and all that came from it. */
function descendants(pid: number): readonly ProcessRecord[] {
  const all = listProcesses();
  const found = all.filter((record) => record.pid === pid);
  for (const parent of found) found.push(...all.filter(({ ppid }) => ppid === parent.pid));
  return found;
}

interface Outer {
  readonly child: ChildProcess;
  readonly info: LabInfo;
}

async function upInProcess(directory: string, uid: number | undefined): Promise<Outer> {
  const main = fileURLToPath(new URL('testing/up-main.ts', import.meta.url));
  const identity = uid === undefined ? {} : { uid, gid: uid };
  const child = spawn(process.execPath, [main, JSON.stringify(standInOptions(directory))], {
    ...identity,
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [chunk] = await once(child.stdout, 'data', { signal: AbortSignal.timeout(DEADLINE_MS) });
  return { child, info: JSON.parse(String(chunk)) };
}

async function nothingRemains(directory: string, before_: readonly ProcessRecord[]): Promise<void> {
  for (const process of before_) await waitGone(process, DEADLINE_MS);
  assert.deepEqual(
    listProcesses().filter(
      ({ argv, pid }) => pid !== process.pid && argv.some((word) => word.includes(`${directory}/`)),
    ),
    [],
  );
  assert(!readFileSync('/proc/self/mounts', 'utf8').includes(directory));
  const { stdout } = await run(['ip', '-oneline', 'link'], { deadlineMs: DEADLINE_MS });
  assert.doesNotMatch(stdout, /\b(ctl|sto|ovl|h1-ctl)\b/);
}

for (const [who, uid] of [
  ['root', undefined],
  ['an ordinary user', NOBODY],
] as const) {
  const skip = process.geteuid?.() === 0 ? false : 'needs root to become several users';

  test(`as ${who}: killing the outer process leaves nothing, and the next up works`, { skip }, async () => {
    const directory = join(base, `killed-${uid ?? 0}`);
    await mkdir(directory);
    if (uid !== undefined) await run(['chown', `${uid}:${uid}`, directory], { deadlineMs: DEADLINE_MS });
    const first = await upInProcess(directory, uid);
    assert.equal(first.info.userNamespace, uid !== undefined);
    await labCall(directory, { verb: 'kill-host', target: 'h1' });
    const processes = descendants(present(first.child.pid, 'pid'));
    assert(processes.length > 15, `${processes.length} processes`);
    const exit = once(first.child, 'exit');
    first.child.kill('SIGKILL');
    await exit;
    const second = await upInProcess(directory, uid);
    await nothingRemains(join(base, 'no-such'), processes);
    assert.equal((await labStatus(directory)).length, 4);
    // In order, this time.
    const rest = descendants(present(second.child.pid, 'pid'));
    const ended = once(second.child, 'exit');
    second.child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
    await nothingRemains(directory, rest);
    for (const file of ['lab.sock', 'lab.json']) await assert.rejects(stat(join(directory, file)));
  });
}

test('down ends a cluster whose outer process runs elsewhere', async () => {
  const outer = await upInProcess(join(base, 'elsewhere'), undefined);
  const processes = descendants(present(outer.child.pid, 'pid'));
  assert.deepEqual(await down({ dir: outer.info.dir }), { ended: true });
  assert.equal(processes.some(isRunning), false);
});

test('interrupted while it starts, nothing is left', async () => {
  const controller = new AbortController();
  const directory = join(base, 'interrupted');
  const starting = up({
    ...standInOptions(directory),
    signal: controller.signal,
    onProgress: ({ step }) => {
      if (step === 2) controller.abort(new Error('changed my mind'));
    },
  });
  await assert.rejects(starting, /changed my mind/);
  await nothingRemains(directory, []);
});
