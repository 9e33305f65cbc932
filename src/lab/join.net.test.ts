/** First start, second start, wiping: identities with real etcd members, a fake control server, stand-in nodes. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import { parseJoinToken } from '../pki/join-token.ts';
import { labCall } from './client.ts';
import type { LabOptions } from './outer.ts';
import { down, up } from './up.ts';

const base = await mkdtemp(join(tmpdir(), 'groundplane-join-'));
const dir = join(base, 'lab');
const program = (name: string, ...args: readonly string[]): readonly string[] => [
  process.execPath,
  fileURLToPath(new URL(`testing/${name}`, import.meta.url)),
  ...args,
];
const OPTIONS: LabOptions = {
  dir,
  hosts: 2,
  controlNodes: 3,
  storageNodes: 1,
  apiPort: 0,
  standIns: {
    control: program('fake-control.ts'),
    storage: program('stand-in.ts', '7444'),
    agent: program('stand-in.ts', '7443'),
  },
};

after(async () => {
  await down({ dir });
  await rm(base, { recursive: true });
});

const identity = (machine: string): Promise<string> =>
  readFile(join(dir, 'machines', machine, 'state/identity'), 'utf8');

/** As any client does it: with the context file's URL, authority and token. */
function hosts(): Promise<number> {
  const context = JSON.parse(readFileSync(join(dir, 'context.json'), 'utf8'));
  return new Promise((resolve, reject) => {
    request(
      `${context.apiUrl}/v1/hosts`,
      {
        agent: false,
        ca: readFileSync(context.caFile),
        headers: { authorization: `Bearer ${readFileSync(context.tokenFile, 'utf8').trim()}` },
      },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    )
      .once('error', reject)
      .end();
  });
}

/**
 * Does what `gp host remove` does to a host: no control node knows it any more. The next start does not wait for it.
 */
async function forgetHost(name: string): Promise<void> {
  for (const control of ['c1', 'c2', 'c3']) {
    const file = join(dir, 'machines', control, 'state/members');
    const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n');
    await writeFile(file, lines.filter((line) => line !== `host ${name}`).join('\n'));
  }
}

test('the first start makes identities, the second keeps them, wipe-host gives a new one', async () => {
  const first = await up({ ...OPTIONS, detach: true });
  assert.equal(await hosts(), 200);
  const identities = await Promise.all(['h1', 'h2', 's1'].map(identity));
  assert.equal(new Set(identities).size, 3);
  for (const token of identities) parseJoinToken(token);
  for (const file of ['admin-token', 'authority/ca-key.pem', 'machines/c1/credentials/server-key.pem'])
    assert.equal((await stat(join(dir, file))).mode & 0o077, 0, file);
  // Used up: nothing that could be used again lies about.
  await assert.rejects(stat(join(dir, 'machines/h1/join-token')));
  const config = JSON.parse(await readFile(join(dir, 'machines/c3/config/control.json'), 'utf8'));
  assert.deepEqual(config.etcd.endpoints, [
    'https://10.77.0.11:2379',
    'https://10.77.0.12:2379',
    'https://10.77.0.13:2379',
  ]);
  assert.equal(config.peers.length, 3);

  await labCall(dir, { verb: 'kill-server', target: 'c1' });
  assert.equal(await hosts(), 200);
  await down({ dir });
  await forgetHost('h2');

  const { hosts: _hosts, controlNodes: _controlNodes, ...asBefore } = OPTIONS;
  const second = await up({ ...asBefore, detach: true });
  assert.deepEqual(second.info.shape, first.info.shape);
  assert.equal(await hosts(), 200);
  assert.deepEqual(await Promise.all(['h1', 'h2', 's1'].map(identity)), identities);

  await labCall(dir, { verb: 'wipe-host', target: 'h1' });
  const endMs = Date.now() + 20_000;
  while ((await identity('h1').catch(() => '')) === '') assert(Date.now() < endMs, 'h1 joined again');
  assert.notEqual(await identity('h1'), identities[0]);
  assert.equal(await identity('h2'), identities[1]);
});

test('a role that cannot run ends the start, with what it said, and leaves nothing', async () => {
  const broken = join(base, 'broken');
  const control = [process.execPath, '-e', 'console.error("no such option: --color"); process.exit(3)', '--'];
  const standIns = { ...present(OPTIONS.standIns, 'stand-ins'), control };
  await assert.rejects(up({ ...OPTIONS, dir: broken, standIns, detach: true }), (error) => {
    assert(error instanceof CodedError);
    assert.equal(error.code, 'failed');
    assert.match(
      error.message,
      /^control of c\d ends again and again\.\nThe end of .*control\.log:\n(.*\n)*no such option/,
    );
    return true;
  });
  assert.deepEqual(await down({ dir: broken }), { ended: false });
});
