/** Browsers: log in by a token or a link, work with a cookie, log out; other origins get nothing. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { until } from '../../os/testing/until.ts';
import { type Answer, assertProblem, setUp } from './testing/asking.ts';

const HOST = 'gp.example:7440';
const ORIGIN = `http://${HOST}`;

/** A separate browser: its cookies, and the headers that browsers set. */
function browserOf({ ask }: Awaited<ReturnType<typeof setUp>>) {
  let cookie = '';
  const send = async (route: string, body?: unknown, more: Record<string, string> = {}): Promise<Answer> => {
    const own = { origin: ORIGIN, 'sec-fetch-site': 'same-origin', host: HOST, ...(cookie === '' ? {} : { cookie }) };
    const answer = await ask(route, body, { headers: { authorization: '', ...own, ...more } });
    const set = answer.headers['set-cookie'];
    if (typeof set === 'string') cookie = set.split(';')[0] ?? '';
    return answer;
  };
  return { send, cookie: () => cookie };
}

async function two(t: TestContext) {
  const api = await setUp(t);
  return { ...api, one: browserOf(api), other: browserOf(api) };
}

test('a browser logs in by a token, works by its cookie, and logs out', async (t) => {
  const { token, one, ask } = await two(t);
  assertProblem(await one.send('GET /v1/session'), 'unauthorized');
  assertProblem(await one.send('POST /v1/session', { token: `${token}x` }), 'unauthorized');
  const begun = await one.send('POST /v1/session', { token });
  assert.equal(begun.status, 201, begun.text);
  assert.match(
    String(begun.headers['set-cookie']),
    /^__Host-groundplane-7440=gp_session_[\w-]{43}; Max-Age=43200; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
  );
  assert(!begun.text.includes('gp_session_'), 'no script ever sees the secret');
  const who = (await one.send('GET /v1/session')).json as Record<string, unknown>;
  assert.deepEqual([who['name'], who['kind'], who['version']], ['admin', 'session', '1.2.3']);
  assert.equal((await one.send('POST /v1/vms', { name: 'web1', image: 'tiny', start: false })).status, 201);
  const asBearer = one.cookie().split('=')[1] ?? '';
  assertProblem(
    await ask('GET /v1/vms', undefined, { headers: { authorization: `Bearer ${asBearer}` } }),
    'unauthorized',
  );
  assertProblem(
    await one.send('GET /v1/vms', undefined, { cookie: `__Host-groundplane-7440=${token}` }),
    'unauthorized',
  );
  const held = one.cookie();
  const out = await one.send('DELETE /v1/session');
  assert.deepEqual([out.status, one.cookie()], [204, '__Host-groundplane-7440=']);
  assertProblem(await one.send('GET /v1/vms', undefined, { cookie: held }), 'unauthorized');
});

test('a link logs in once; its secret is kept nowhere', async (t) => {
  const { one, other, ask, cluster } = await two(t);
  const { link, path } = (await ask('POST /v1/session/links')).json as Record<string, string>;
  assert.equal(path, `/login#${link}`);
  const all = JSON.stringify([...(cluster.leader.store?.tokens.values() ?? [])]);
  assert(all.includes('"link"') && !all.includes(String(link)));
  assert.equal((await one.send('POST /v1/session', { link })).status, 201);
  assertProblem(await other.send('POST /v1/session', { link }), 'unauthorized');
  assertProblem(await other.send('POST /v1/session', { link: 'gp_link_short' }), 'bad-input');
});

test('two sessions of one name: each is listed, ends alone, and all end at once', async (t) => {
  const { token, one, other } = await two(t);
  await one.send('POST /v1/session', { token }, { 'user-agent': 'Fire\u001bfox' });
  await other.send('POST /v1/session', { token });
  const { items } = (await one.send('GET /v1/sessions')).json as unknown as { items: Record<string, unknown>[] };
  assert.deepEqual(
    [items.length, items.filter(({ current }) => current === true).map(({ agent }) => agent)],
    [2, ['Fire\\u{1b}fox']],
  );
  const theirs = items.find(({ current }) => current !== true);
  assert.equal((await one.send(`DELETE /v1/sessions/${String(theirs?.['id'])}`)).status, 204);
  assertProblem(await other.send('GET /v1/session'), 'unauthorized');
  await other.send('POST /v1/session', { token });
  assert.equal((await one.send('DELETE /v1/sessions')).status, 204);
  for (const browser of [one, other]) assertProblem(await browser.send('GET /v1/session'), 'unauthorized');
});

test('a revoked token takes its sessions with it; streams that they opened end', async (t) => {
  const { one, ask, server } = await two(t);
  const { token } = (await ask('POST /v1/tokens', { name: 'anna' })).json;
  await one.send('POST /v1/session', { token });
  const port = await server.listen();
  const watching = await fetch(`http://127.0.0.1:${port}/v1/watch`, {
    headers: { cookie: one.cookie().replace('7440', String(port)) },
  });
  assert.equal(watching.status, 200);
  let told = '';
  const reading = (async () => {
    for await (const chunk of watching.body ?? []) told += Buffer.from(chunk as Uint8Array).toString();
  })().catch(() => undefined);
  await ask('DELETE /v1/tokens/anna');
  assertProblem(await one.send('GET /v1/session'), 'unauthorized');
  await reading;
  await until('the stream says why', () => told.includes('unauthorized'));
});

test('a session ends when its time is over', async (t) => {
  const { token, one, cluster } = await two(t);
  await one.send('POST /v1/session', { token });
  const store = cluster.leader.store;
  assert(store !== null);
  const [record] = [...store.tokens.values()].filter(({ value }) => value.kind === 'session');
  assert(record !== undefined);
  const key = `/gp/token/${record.value.id}`;
  await store.transact([{ key, value: { ...record.value, expiresAt: 1 }, expect: record.revision }], null);
  assertProblem(await one.send('GET /v1/session'), 'unauthorized');
});

test('what another origin sends is refused, with a cookie and without; a page of our own may', async (t) => {
  const { token, one, ask } = await two(t);
  await one.send('POST /v1/session', { token });
  const create = { name: 'lan2' };
  for (const origin of ['https://evil.example', 'null', `https://${HOST}`, 'http://gp.example', `${ORIGIN}.evil`]) {
    assertProblem(await one.send('GET /v1/vms', undefined, { origin }), 'forbidden');
    assertProblem(await one.send('POST /v1/networks', create, { origin }), 'forbidden');
    assertProblem(await ask('GET /v1/vms', undefined, { headers: { origin, host: HOST } }), 'forbidden');
    assertProblem(await ask('POST /v1/session', { token }, { headers: { origin, host: HOST } }), 'forbidden');
  }
  const cookie = one.cookie();
  const bare = { host: HOST, cookie, authorization: '' };
  const asked = (route: string, headers: Record<string, string>, body?: unknown) =>
    ask(route, body, { headers: { ...bare, ...headers } });
  assertProblem(await asked('POST /v1/networks', {}, create), 'forbidden');
  assertProblem(await asked('POST /v1/networks', { 'sec-fetch-site': 'none' }, create), 'forbidden');
  for (const site of ['cross-site', 'same-site'])
    assertProblem(await asked('GET /v1/vms', { 'sec-fetch-site': site }), 'forbidden');
  assert.equal((await asked('GET /v1/vms', { 'sec-fetch-site': 'none' })).status, 200);
  assert.equal((await asked('GET /v1/vms', {})).status, 200);
  assert.equal((await one.send('POST /v1/networks', create)).status, 201);
});
