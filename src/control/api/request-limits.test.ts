/**
 * Each limit of requests and connections themselves at its boundary: a request at the limit is taken, one more is
 * refused.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { type ApiLimitName, LIMITS } from '../../core/model/limits.ts';
import { replace, testApi } from '../testing/api-cluster.ts';
import { createApiServer } from './server.ts';

/** Whether the API takes a request of this size, and refuses a larger one for its size. */
type Probe = (t: TestContext, amount: number) => Promise<boolean>;

async function setUp(t: TestContext) {
  const { backend, token } = await testApi(t);
  const server = createApiServer({ backend, version: '1.2.3' });
  t.after(() => server.close());
  return { server, backend, authorization: `Bearer ${token}` };
}

/** A body that fits no schema, so that its refusal says whether it was looked at. */
const body =
  (route: string, make: (amount: number) => string, refusal: RegExp): Probe =>
  async (t, amount) => {
    const { server, authorization } = await setUp(t);
    const headers = { authorization, 'content-type': 'application/json' };
    const { body: text } = await server.app.inject({ method: 'POST', url: route, payload: make(amount), headers });
    const isTaken = text.includes('"errors"');
    assert.equal(refusal.test(text), !isTaken, text);
    return isTaken;
  };
const ofBytes = (amount: number): string => `"${'x'.repeat(amount - 2)}"`;

interface Asked {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * The answers of a listening server to as many requests, held open. Consoles are streams without a VM: 256 guests would
 * take long.
 */
async function held(t: TestContext, amount: number, { path, headers }: Asked): Promise<readonly number[]> {
  const { server, authorization, backend } = await setUp(t);
  replace(backend.vms, 'find', () => ({}));
  replace(backend.consoles, 'open', async () => new PassThrough());
  const port = await server.listen();
  const statuses: number[] = [];
  for (let number = 0; number < amount; number++) {
    const request = httpRequest({ port, path, headers: { ...headers, authorization }, agent: false });
    t.after(() => request.destroy());
    request.on('error', () => undefined).end();
    const [answer] = (await Promise.race([once(request, 'response'), once(request, 'upgrade')])) as [IncomingMessage];
    statuses.push(answer.statusCode ?? 0);
  }
  return statuses;
}
const connections =
  (opened: number, asked: Asked): Probe =>
  async (t, amount) => {
    const statuses = await held(t, amount, asked);
    const refused = statuses.filter((status) => status !== opened);
    assert.deepEqual(refused, refused.length === 0 ? [] : [503]);
    return refused.length === 0;
  };

const PROBES: Readonly<Record<ApiLimitName, Probe>> = {
  requestBytes: body('/v1/vms', ofBytes, /"too-large"/),
  smallRequestBytes: body('/v1/networks', ofBytes, /"too-large"/),
  requestValues: body('/v1/vms', (values) => JSON.stringify(new Array(values - 1).fill(0)), /more than 1000 values/),
  requestLevels: body('/v1/vms', (levels) => '['.repeat(levels) + ']'.repeat(levels), /more than 16 levels/),
  eventStreams: connections(200, { path: '/v1/watch' }),
  consoles: connections(101, {
    path: '/v1/vms/web1/console',
    headers: { connection: 'Upgrade', upgrade: 'groundplane-console' },
  }),
};

for (const [name, probe] of Object.entries(PROBES) as [ApiLimitName, Probe][])
  test(`${LIMITS[name].what}: as many as the limit, and no more`, async (t) => {
    assert.equal(await probe(t, LIMITS[name].max), true);
    assert.equal(await probe(t, LIMITS[name].max + 1), false);
  });
