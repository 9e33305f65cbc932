import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { until } from '../src/os/testing/until.ts';
import { root } from './lib/steps.ts';

function start(t: TestContext, ...args: string[]) {
  const child = spawn(process.execPath, [join(root, 'scripts/mock-api.ts'), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

interface Item {
  readonly name: string;
  readonly verdict?: string;
  readonly agent?: string;
}

test('the mock answers like a cluster, takes faults from its input, and ends when it is told to', async (t) => {
  const child = start(t, '--port', '0', '--vms', '2', '--speed', '20');
  const said: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => said.push(line));
  const after = (mark: string): string | undefined =>
    said
      .find((line) => line.startsWith(mark))
      ?.slice(mark.length)
      .trim();
  await until('it says where it is', () => after('Token:') !== undefined || child.exitCode !== null);
  const list = async (path: string): Promise<readonly Item[]> => {
    const answer = await fetch(`${after('API:')}${path}`, { headers: { authorization: `Bearer ${after('Token:')}` } });
    return ((await answer.json()) as { items: Item[] }).items;
  };
  await until('both VMs run', async () => (await list('/vms')).every(({ verdict }) => verdict === 'running'));
  assert.deepEqual(
    (await list('/vms')).map(({ name }) => name),
    ['web1', 'web2'],
  );
  const link = new URL(after('UI:') ?? '');
  const session = await fetch(new URL('/v1/session', link), {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: link.origin },
    body: JSON.stringify({ link: link.hash.slice(1) }),
  });
  assert.deepEqual([session.status, /HttpOnly/.test(session.headers.get('set-cookie') ?? '')], [201, true]);
  child.stdin.write('kill-host h1\n');
  await until('h1 is lost', async () =>
    (await list('/hosts')).some(({ name, agent }) => name === 'h1' && agent === 'dead'),
  );
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 0);
});

test('wrong use is told', async (t) => {
  const child = start(t, '--vms', 'many');
  const [[code], said] = await Promise.all([once(child, 'exit'), child.stderr.toArray()]);
  assert.equal(code, 2);
  assert.match(Buffer.concat(said as Buffer[]).toString(), /--vms takes a number/);
});
