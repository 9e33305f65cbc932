/** Whatever answers at the port of a control node, the question ends. */
import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { parseControlName } from '../base/ids.ts';
import { createAuthority, issue } from '../pki/authority.ts';
import { healthAt } from './control-health.ts';

const HEALTH = { name: 'c1', leader: 'c1', waitingFor: null, version: '1.0.0', release: '1.0.0' };
const DEADLINE_MS = 20_000;
const SHORT_MS = 300;

/** Asks a server that answers so. */
async function asked(t: TestContext, answer: RequestListener, deadlineMs = DEADLINE_MS) {
  const authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
  const identity = { kind: 'control', name: parseControlName('c1') } as const;
  const { certPem: cert, keyPem: key } = await issue(authority, { identity, daysValid: 1 });
  const server = createServer({ cert, key }, answer);
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return healthAt({ address: '127.0.0.1', port }, deadlineMs);
}

test('the health and the clock of a control node are read', async (t) => {
  const { health, clock } = await asked(t, (_, answer) => answer.end(JSON.stringify(HEALTH)));
  assert.deepEqual(health, HEALTH);
  assert.ok(Math.abs(clock.offsetMs) <= clock.errorMs, JSON.stringify(clock));
});

test('a server that ends in the middle of its answer is unavailable', async (t) => {
  const cut = asked(t, (_, answer) => {
    answer.writeHead(200, { 'content-length': '1000' });
    answer.write('{', () => answer.destroy());
  });
  await assert.rejects(cut, { code: 'unavailable' });
});

test('a server that answers slower than the deadline is not waited for, though it never stands still', async (t) => {
  const dripping: RequestListener = (_, answer) => {
    const drip = setInterval(() => answer.write(' '), 20);
    t.after(() => clearInterval(drip));
  };
  const slow = asked(t, dripping, SHORT_MS);
  await assert.rejects(slow, { code: 'deadline' });
});

test('an answer that is too long is not read to its end', async (t) => {
  const long = asked(t, (_, answer) => {
    answer.write(' '.repeat(100_000));
  });
  await assert.rejects(long, { code: 'unavailable', message: /too long/ });
});
