/** The firewall of docs/operating/install.md: loaded as it is there, machines reach all ports and strangers only two. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PORTS } from '../../src/core/model/ports.ts';
import { spawnDaemon, tryRun } from '../../src/os/child-process.ts';
import { type ProcessIdentity, signalProcess, waitGone } from '../../src/os/process-table.ts';
import { until } from '../../src/os/testing/until.ts';

const CALL_MS = 20_000;
const env = { PATH: process.env['PATH'] ?? '' };
const LISTEN = `
const { createServer } = require('node:net');
for (const port of process.argv.slice(1)) createServer((s) => s.end()).listen(Number(port), '0.0.0.0');
`;
/** Prints how each attempt ended: connected, or the error's code; `silent` after two seconds. */
const CONNECT = `
const { connect } = require('node:net');
const [localAddress, ...ports] = process.argv.slice(1);
Promise.all(ports.map((port) => new Promise((resolve) => {
  const socket = connect({ host: '10.0.0.11', port: Number(port), localAddress, timeout: 2000 });
  const end = (word) => { socket.destroy(); resolve(word); };
  socket.once('connect', () => end('open')).once('timeout', () => end('silent')).once('error', (e) => end(e.code));
}))).then((all) => console.log(all.join(' ')));
`;

async function rulesOfDocument(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../docs/operating/install.md'), 'utf8');
  return /```nft\n([\s\S]*?)```/.exec(text)?.[1] ?? assert.fail('there are no rules in install.md');
}

/** A network of its own, until its process ends. */
function network(): Promise<ProcessIdentity> {
  return spawnDaemon(['unshare', '--net', 'sleep', '120'], { env, cwd: '/' });
}

const within = (pid: number, argv: readonly string[]): readonly string[] => [
  ...['nsenter', '--target', String(pid), '--net', '--', ...argv],
];

async function must(argv: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await tryRun(argv, { deadlineMs: CALL_MS });
  assert.equal(exitCode, 0, `${argv.join(' ')}: ${stderr}`);
  return stdout.trim();
}

test('machines reach every port, strangers SSH and the API, and nobody is met with silence', async () => {
  const work = await mkdtemp(join(tmpdir(), 'firewall-'));
  const processes: ProcessIdentity[] = [];
  try {
    const [inside, outside] = [await network(), await network()];
    processes.push(inside, outside);
    for (const { pid } of [inside, outside])
      await until('a network of its own', async () => {
        const argv = within(pid, ['ip', '-o', 'link']);
        return (await tryRun(argv, { deadlineMs: CALL_MS })).stdout.trim().split('\n').length === 1;
      });
    const link = ['ip', 'link', 'add', 'e0', 'netns', String(inside.pid), 'type', 'veth'];
    await must([...link, 'peer', 'name', 'e0', 'netns', String(outside.pid)]);
    for (const [{ pid }, addresses] of [
      [inside, ['10.0.0.11']],
      [outside, ['10.0.0.12', '10.0.0.99']],
    ] as const) {
      for (const address of addresses) await must(within(pid, ['ip', 'addr', 'add', `${address}/24`, 'dev', 'e0']));
      await must(within(pid, ['ip', 'link', 'set', 'e0', 'up']));
    }
    const rules = join(work, 'rules.nft');
    await writeFile(rules, await rulesOfDocument());
    // Twice: a firewall is loaded again when it changes.
    for (let time = 0; time < 2; time++) await must(within(inside.pid, ['nft', '-f', rules]));
    const ports = [22, PORTS.control, PORTS.storage, PORTS.etcdPeer, PORTS.agent].map(String);
    const listening = within(inside.pid, [process.execPath, '-e', LISTEN, ...ports]);
    processes.push(await spawnDaemon(listening, { env, cwd: '/' }));
    await until('somebody listens', async () => {
      const { stdout } = await tryRun(within(inside.pid, ['ss', '-Hltn']), { deadlineMs: CALL_MS });
      return ports.every((port) => stdout.includes(`:${port} `));
    });
    const seenFrom = (address: string): Promise<string> =>
      must(within(outside.pid, [process.execPath, '-e', CONNECT, address, ...ports, String(PORTS.reachability)]));
    assert.equal(await seenFrom('10.0.0.12'), 'open open open open open ECONNREFUSED');
    const refused = 'ECONNREFUSED';
    assert.equal(await seenFrom('10.0.0.99'), `open open ${refused} ${refused} ${refused} ${refused}`);
  } finally {
    for (const each of processes.reverse()) {
      signalProcess(each, 'SIGKILL');
      await waitGone(each, CALL_MS);
    }
    await rm(work, { recursive: true, force: true });
  }
});
