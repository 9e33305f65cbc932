import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { Operation } from '../../api/operation.ts';
import { OPERATIONS, parametersOf } from '../../api/operations.ts';
import { PAGE_ITEMS_MAX, ROWS_MAX } from '../../api/page-size.ts';
import { PARAMETERS } from '../../api/parameters.ts';
import { AssertionFailed } from '../../base/assert.ts';
import { CodedError, ERROR_CODES, type ErrorCode } from '../../base/errors.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { flood, stillOpen } from '../../os/testing/flood.ts';
import { until } from '../../os/testing/until.ts';
import { createRequest } from '../../pki/authority.ts';
import { parseJoinToken } from '../../pki/join-token.ts';
import { addressOf } from '../../sim/network/addresses.ts';
import { failOnce, hang, testApi } from '../testing/api-cluster.ts';
import type { ForwardRequest } from './call.ts';
import type { Page } from './pages.ts';
import { assertProblem, serve, setUp } from './testing/asking.ts';

/** Every operation that answers with a page and needs nothing in its path. */
const LISTS = Object.entries<Operation>(OPERATIONS)
  .filter(([id, { path }]) => id.startsWith('list') && !path.includes('{'))
  .map(([, { path }]) => path);

test('what makes no sense of guest clusters and shared disks is refused before anybody is asked', async (t) => {
  const { ask } = await setUp(t);
  await ask('POST /v1/vms', { name: 'web1', image: 'tiny' });
  const good = { name: 'sql', members: ['web1'] };
  const wrong: readonly (readonly [string, unknown])[] = [
    ['POST /v1/guest-clusters', {}],
    ['POST /v1/guest-clusters', { ...good, members: [] }],
    ['POST /v1/guest-clusters', { ...good, members: Array.from({ length: 65 }, (_, i) => `vm${i}`) }],
    ['POST /v1/guest-clusters', { ...good, members: ['../web1'] }],
    ['POST /v1/guest-clusters', { ...good, name: '../sql' }],
    ['POST /v1/guest-clusters', { ...good, maxDisturbed: 0 }],
    ['POST /v1/guest-clusters', { ...good, toleratesMs: 1.5 }],
    ['POST /v1/guest-clusters', { ...good, heartbeatNetworks: ['a/b'] }],
    ['POST /v1/guest-clusters', { ...good, sharedDisks: [{ name: 'data', sizeBytes: 1000 }] }],
    ['POST /v1/guest-clusters', { ...good, sharedDisks: [{ name: 'data', sizeBytes: 2 ** 20, blockBytes: 1024 }] }],
    ['POST /v1/guest-clusters', { ...good, sharedDisks: [{ name: 'da ta', sizeBytes: 2 ** 20 }] }],
    ['POST /v1/guest-clusters', { ...good, unknown: true }],
    ['PATCH /v1/guest-clusters/sql', {}],
    ['POST /v1/guest-clusters/sql/members', { vm: 7 }],
    ['DELETE /v1/guest-clusters/sql?force=perhaps', undefined],
    ['DELETE /v1/guest-clusters/..%2fsql', undefined],
    ['POST /v1/shared-disks', { name: 'data', sizeBytes: 2 ** 60 }],
    ['POST /v1/shared-disks', { name: 'data', sizeBytes: -512 }],
    ['PATCH /v1/shared-disks/data', { sizeBytes: 2 ** 20 + 1 }],
    ['POST /v1/shared-disks/data/attachments', { vm: 'web1', lun: 256 }],
    ['POST /v1/shared-disks/data/attachments', { vm: 'web1', lun: -1 }],
  ];
  for (const [route, body] of wrong) assertProblem(await ask(route, body), 'bad-input');
  assert.equal((await ask('POST /v1/guest-clusters', good)).status, 201);
  assertProblem(await ask('POST /v1/guest-clusters', { ...good, name: 'sql2' }), 'conflict');
  assertProblem(await ask('POST /v1/guest-clusters', good), 'exists');
  const stale = { headers: { 'if-match': '"1"' } };
  assertProblem(await ask('PATCH /v1/guest-clusters/sql', { maxDisturbed: 2 }, stale), 'stale-revision');
  assertProblem(await ask('DELETE /v1/guest-clusters/sql', undefined, stale), 'stale-revision');
  assertProblem(await ask('GET /v1/shared-disks/none'), 'not-found');
});

test('without a valid token every operation but the public ones is refused', async (t) => {
  const { token, ask } = await setUp(t);
  for (const [id, operation] of Object.entries<Operation>(OPERATIONS)) {
    const url = operation.path.replaceAll(/\{(\w+)\}/g, 'x');
    const headers = { authorization: '' };
    const answer = await ask(`${operation.method} ${url}`, undefined, { headers });
    if (operation.auth === 'none') assert.notEqual(answer.status, 401, id);
    else assertProblem(answer, 'unauthorized');
  }
  for (const authorization of [
    'Bearer',
    'Bearer wrong',
    `Basic ${token}`,
    `Bearer ${token}x`,
    `Bearer ${'x'.repeat(5_000)}`,
  ]) {
    const answer = await ask('GET /v1/vms', undefined, { headers: { authorization } });
    assertProblem(answer, 'unauthorized');
    assert(!answer.text.includes(token));
    assert.equal(answer.headers['www-authenticate'], 'Bearer');
  }
});

test('a valid token is taken whatever others send, also right after a start; only failures are counted, by address', async (t) => {
  const { token, ask } = await setUp(t);
  const bearer = (token: string, remoteAddress = '10.9.9.8') => ({
    remoteAddress,
    headers: { authorization: `Bearer ${token}` },
  });
  const wrong = () => ask('GET /v1/vms', undefined, bearer('wrong'));
  const first = await wrong();
  assertProblem(first, 'unauthorized');
  let last = first;
  for (let i = 0; i < 25; i += 1) last = await wrong();
  assertProblem(last, 'too-many');
  assert.equal(last.headers['retry-after'], '1');
  // This server has never seen these tokens before.
  assert.equal((await ask('GET /v1/vms', undefined, bearer(token))).status, 200);
  const fresh = await ask('POST /v1/tokens', { name: 'fresh' });
  assert.equal((await ask('GET /v1/vms', undefined, bearer(String(fresh.json.token)))).status, 200);
  assertProblem(await wrong(), 'too-many');
  assertProblem(await ask('GET /v1/vms', undefined, bearer('wrong', '10.9.9.9')), 'unauthorized');
});

test('every error code becomes problem details', async (t) => {
  const { backend, ask } = await setUp(t);
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    failOnce(backend.vms, 'list', new CodedError(code, 'It happened.', { advice: 'Do that.' }));
    const answer = await ask('GET /v1/vms');
    assertProblem(answer, code);
    assert.equal(answer.json.detail, 'It happened.');
    assert.equal(answer.json.advice, 'Do that.');
    assert.equal(answer.json.type, `urn:groundplane:error:${code}`);
  }
});

test('a bug shows nothing of its inside, and is reported where it is an assertion', async (t) => {
  const bugs: unknown[] = [];
  const { backend, ask } = await setUp(t, { onBug: (error) => bugs.push(error) });
  failOnce(backend.vms, 'list', new TypeError('secret inside'));
  const answer = await ask('GET /v1/vms');
  assertProblem(answer, 'failed');
  assert(!answer.text.includes('secret'));
  assert.equal(bugs.length, 0);
  failOnce(backend.vms, 'list', new AssertionFailed('G1'));
  assertProblem(await ask('GET /v1/vms'), 'failed');
  assert.equal(bugs.length, 1);
});

const BAD_VMS: readonly (readonly [string, unknown, string, RegExp])[] = [
  ['a name that is a path', { name: '../../etc/passwd' }, '/name', /must match/],
  ['a name in capitals', { name: 'Web1' }, '/name', /must match/],
  ['no name', {}, '/name', /missing/],
  ['an unknown field', { name: 'a', memory: 1 }, '/memory', /not known/],
  ['an unknown field inside', { name: 'a', cloudInit: { users: [] } }, '/cloudInit/users', /not known/],
  ['a number as text', { name: 'a', vcpus: '2' }, '/vcpus', /of type integer/],
  ['no vCPU', { name: 'a', vcpus: 0 }, '/vcpus', /at least 1/],
  ['a fraction', { name: 'a', vcpus: 1.5 }, '/vcpus', /of type integer/],
  ['impossible memory', { name: 'a', memoryBytes: 2 ** 60 }, '/memoryBytes', /at most/],
  ['negative memory', { name: 'a', memoryBytes: -1 }, '/memoryBytes', /at least/],
  ['memory not in whole MiB', { name: 'a', memoryBytes: 64 * 1024 ** 2 + 1 }, '/memoryBytes', /multiple/],
  ['a disk of no kind', { name: 'a', disks: [{}] }, '/disks/0/sizeBytes', /missing/],
  ['a disk that is a text', { name: 'a', disks: ['1G'] }, '/disks/0', /of type object/],
  ['a network that is a number', { name: 'a', networks: [7] }, '/networks/0', /of type string or object/],
  [
    'an address that is none',
    { name: 'a', networks: [{ network: 'lan', address: '10.20.0.256' }] },
    '/networks/0/address',
    /match/,
  ],
  [
    'a multicast MAC',
    { name: 'a', networks: [{ network: 'lan', mac: '01:00:00:00:00:00' }] },
    '/networks/0/mac',
    /match/,
  ],
  ['an unknown firmware', { name: 'a', firmware: 'coreboot' }, '/firmware', /one of bios, uefi, direct/],
  ['a line feed on the kernel command line', { name: 'a', append: 'a\nb' }, '/append', /match/],
  ['a label with a bad key', { name: 'a', image: 'tiny', labels: { 'A B': 'x' } }, '/labels/A B', /not known/],
  ['null', null, '', /./],
  ['a list', [], '', /of type object/],
];

for (const [what, body, pointer, detail] of BAD_VMS) {
  test(`create refuses ${what}`, async (t) => {
    const { cluster, ask } = await setUp(t);
    const options = { payload: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
    const answer = await ask('POST /v1/vms', undefined, options);
    assertProblem(answer, 'bad-input');
    const errors = answer.json.errors as { pointer: string; detail: string }[];
    assert(
      errors.some((error) => (pointer === '' || error.pointer === pointer) && detail.test(error.detail)),
      answer.text,
    );
    assert.equal(cluster.vms.size, 0);
  });
}

test('what cannot be read as a request is bad input, too large or not found', async (t) => {
  const { ask } = await setUp(t);
  const json = { 'content-type': 'application/json' };
  assertProblem(await ask('POST /v1/vms', undefined, { payload: '{"name":', headers: json }), 'bad-input');
  assertProblem(await ask('POST /v1/vms', undefined, { payload: '{"__proto__":{}}', headers: json }), 'bad-input');
  assertProblem(
    await ask('POST /v1/vms', undefined, { payload: 'name=a', headers: { 'content-type': 'text/plain' } }),
    'bad-input',
  );
  const upload = { 'content-type': 'application/octet-stream' };
  assertProblem(await ask('POST /v1/vms', undefined, { payload: '{"name":"a"}', headers: upload }), 'bad-input');
  assertProblem(
    await ask('POST /v1/vms', undefined, { payload: ' '.repeat(LIMITS.requestBytes.max + 1), headers: json }),
    'too-large',
  );
  assertProblem(await ask('POST /v1/vms/web1/start', { force: true }), 'bad-input');
  for (const list of LISTS) {
    const tooMany = 1 + (list.startsWith('/v1/overview/') ? ROWS_MAX : PAGE_ITEMS_MAX);
    for (const limit of ['0', String(tooMany), 'ten', '1&limit=2'])
      assertProblem(await ask(`GET ${list}?limit=${limit}`), 'bad-input');
    for (const wrong of ['after=', 'after=%2f', 'x=1']) assertProblem(await ask(`GET ${list}?${wrong}`), 'bad-input');
  }
  assertProblem(await ask('GET /v1/events?since=yesterday'), 'bad-input');
  assertProblem(await ask('GET /v1/vms?verdict=fine'), 'bad-input');
  assertProblem(await ask('GET /v1/watch?kind=vm&eventKind=lost'), 'bad-input');
  assertProblem(await ask('GET /v1/vms/..%2f..%2fetc'), 'bad-input');
  assertProblem(await ask('GET /v1/disks/disk-1'), 'bad-input');
  assertProblem(await ask('GET /v1/nothing'), 'not-found');
  assertProblem(await ask('DELETE /v1/vms'), 'not-found');
  assertProblem(await ask('GET /v1/vms/web1/console'), 'bad-input');
});

test('query values are typed by their schema: lists, numbers', async (t) => {
  const { ask } = await setUp(t);
  await ask('POST /v1/vms', { name: 'a', image: 'tiny', start: false, labels: { tier: 'web', zone: 'x' } });
  await ask('POST /v1/vms', { name: 'b', image: 'tiny', start: false, labels: { tier: 'web' } });
  const names = async (query: string) =>
    ((await ask(`GET /v1/vms?${query}`)).json as unknown as Page<{ name: string }>).items.map((vm) => vm.name);
  assert.deepEqual(await names('label=tier=web'), ['a', 'b']);
  assert.deepEqual(await names('label=tier=web&label=zone'), ['a']);
  assert.deepEqual(await names('name=b'), ['b']);
  assert.equal((await ask('GET /v1/events?limit=5')).status, 200);
  for (const key of ['toString', '__proto__', 'constructor']) {
    assertProblem(await ask(`GET /v1/vms?${key}=1`), 'bad-input');
    assert.deepEqual(await names(`label=${key}`), [], key);
  }
  assert.deepEqual(await names('verdict=stopped'), ['a', 'b']);
  assert.deepEqual(await names('verdict=running'), []);
  assert.deepEqual(await names('label=toString'), []);
});

test('every list is answered in pages, each of which says how to go on', async (t) => {
  const { ask } = await setUp(t);
  const created = ['c', 'a', 'e', 'b', 'd'];
  for (const name of created) await ask('POST /v1/vms', { name, image: 'tiny', start: false });
  const read = async (path: string): Promise<Page<{ name: string }>> =>
    (await ask(`GET ${path}`)).json as unknown as Page<{ name: string }>;
  const first = await read('/v1/vms?limit=2');
  assert.deepEqual(
    first.items.map(({ name }) => name),
    ['a', 'b'],
  );
  // Objects that come and go in between do not move the others.
  await ask('DELETE /v1/vms/a');
  await ask('POST /v1/vms', { name: 'aa', start: false });
  const second = await read(`/v1/vms?limit=2&after=${first.next}`);
  assert.deepEqual(
    second.items.map(({ name }) => name),
    ['c', 'd'],
  );
  const third = await read(`/v1/vms?limit=2&after=${second.next}`);
  assert.deepEqual([third.items.map(({ name }) => name), third.next], [['e'], null]);
  for (const list of LISTS) {
    const { items, next } = await read(list);
    assert.ok(Array.isArray(items) && next === null, list);
  }
});

test('a stale revision is refused, a current one is taken, with or without quotes', async (t) => {
  const { ask } = await setUp(t);
  const created = await ask('POST /v1/vms', { name: 'web1', image: 'tiny', start: false });
  const shown = await ask('GET /v1/vms/web1');
  assert.equal(shown.headers.etag, `"${String(shown.json.revision)}"`);
  const patch = (ifMatch: string) =>
    ask('PATCH /v1/vms/web1', { labels: { a: 'b' } }, { headers: { 'if-match': ifMatch } });
  assertProblem(await patch('"1"'), 'stale-revision');
  const patched = await patch(String(shown.headers.etag));
  assert.equal(patched.status, 200);
  assertProblem(await patch(String(created.json.revision)), 'stale-revision');
  assert.equal((await patch(String(patched.json.revision))).status, 200);
  assertProblem(await patch('nonsense'), 'bad-input');
});

test('duplicates, missing objects and states that do not allow it', async (t) => {
  const { ask } = await setUp(t);
  assert.equal((await ask('POST /v1/vms', { name: 'web1', image: 'tiny', start: false })).status, 201);
  assertProblem(await ask('POST /v1/vms', { name: 'web1', image: 'tiny' }), 'exists');
  assertProblem(await ask('POST /v1/vms', { name: 'web2', image: 'none' }), 'not-found');
  assertProblem(await ask('GET /v1/vms/none'), 'not-found');
  assertProblem(await ask('POST /v1/vms/web1/reset'), 'conflict');
  assertProblem(await ask('PUT /v1/images/none', {}), 'bad-input');
});

test('a task is waited for by long-poll', async (t) => {
  const { ask } = await setUp(t);
  const vm = await ask('POST /v1/vms', { name: 'web1', image: 'tiny' });
  const task = vm.json.task as { id: string; state: string };
  assert.equal(task.state, 'running');
  const ended = await ask(`GET /v1/tasks/${task.id}?wait=10`);
  assert.equal(ended.json.state, 'succeeded');
  assertProblem(await ask(`GET /v1/tasks/${task.id}?wait=61`), 'bad-input');
});

test('a handler that hangs ends at the deadline, and its signal fires', async (t) => {
  const { backend, ask } = await setUp(t, { deadlineMs: 30 });
  hang(backend.hosts, 'list');
  assertProblem(await ask('GET /v1/hosts'), 'deadline');
});

test('a body that does not come ends at the deadline too', async (t) => {
  const { cluster, token, server } = await setUp(t, { deadlineMs: 30 });
  const socket = connect(await server.listen());
  t.after(() => socket.destroy());
  const head = ['POST /v1/vms HTTP/1.1', 'host: x', `authorization: Bearer ${token}`];
  socket.write([...head, 'content-type: application/json', 'content-length: 100', '', '{'].join('\r\n'));
  let said = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    said += chunk;
  });
  await once(socket, 'close');
  assert.match(said, /^HTTP\/1.1 408 [\s\S]*application\/problem\+json[\s\S]*"status":408,"code":"deadline"/);
  assert.equal(cluster.vms.size, 0);
});

test('an upload is streamed, bounded and checked', async (t) => {
  const { ask } = await setUp(t);
  const content = Buffer.alloc(3 * LIMITS.requestBytes.max, 7);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const headers = { 'content-type': 'application/octet-stream' };
  const put = (of: string, more: object) => ask(`PUT /v1/artifacts/${of}?kind=disk`, undefined, { headers, ...more });
  assert.equal((await put(sha256, { payload: content })).status, 201);
  assert.equal((await ask(`GET /v1/artifacts/${sha256}`)).status, 200);
  assertProblem(await put('0'.repeat(64), { payload: content }), 'bad-input');
  assertProblem(await put(sha256, { payload: Readable.from([content]) }), 'bad-input');
  const huge = { ...headers, 'content-length': String(LIMITS.fileBytes.max + 1) };
  assertProblem(await put(sha256, { payload: Readable.from([content]), headers: huge }), 'too-large');
  assertProblem(await ask(`PUT /v1/artifacts/${sha256}?kind=floppy`, content, { headers }), 'bad-input');
  assertProblem(await ask(`PUT /v1/artifacts/${sha256}?kind=disk`, { a: 1 }), 'bad-input');
});

test('a body that does not say what it is: the answer says what to send', async (t) => {
  const { cluster, ask } = await setUp(t);
  const cases = [
    ['PUT /v1/artifacts/SHA?kind=disk', undefined, 'application/octet-stream'],
    ['PUT /v1/artifacts/SHA?kind=disk', 'application/x-www-form-urlencoded', 'application/octet-stream'],
    ['PUT /v1/artifacts/SHA?kind=disk', 'nonsense', 'application/octet-stream'],
    ['POST /v1/vms', undefined, 'application/json'],
    ['POST /v1/vms', 'text/yaml', 'application/json'],
  ] as const;
  for (const [route, type, wanted] of cases) {
    const headers = type === undefined ? {} : { 'content-type': type };
    const answer = await ask(route.replace('SHA', 'a'.repeat(64)), undefined, { payload: Buffer.from('x'), headers });
    assertProblem(answer, 'bad-input');
    assert.equal(answer.json.detail, `The Content-Type must be ${wanted}.`);
    assert.match(String(answer.json.advice), new RegExp(`Nothing was changed.*"Content-Type: ${wanted}"`));
  }
  assertProblem(await ask('POST /v1/vms/web1/start', undefined, { payload: Buffer.from('x') }), 'bad-input');
  assert.equal(cluster.vms.size, 0);
});

/** Begins an upload that is refused, on a connection that is closed after the answer, and sends half of it. */
async function sendHalf(t: TestContext, refusedBodyMs: number) {
  const { token, server } = await setUp(t, { refusedBodyMs });
  const port = await server.listen();
  const half = Buffer.alloc(64 * 1024);
  const socket = connect(port, '127.0.0.1');
  let said = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    said += chunk;
  });
  const closed = once(socket, 'close');
  const head = `PUT /v1/artifacts/${'a'.repeat(64)}?kind=kernel HTTP/1.1\r\nHost: gp\r\nAuthorization: Bearer ${token}\r\n`;
  socket.write(`${head}Connection: close\r\nContent-Length: ${2 * half.length}\r\n\r\n`);
  socket.write(half);
  return { socket, half, said: () => said, answered: async () => closed.then(() => said) };
}

test('whoever is refused while still sending is answered at once, and may send the rest before the connection ends', async (t) => {
  const { socket, half, said, answered } = await sendHalf(t, 60_000);
  while (!said().includes('}')) await once(socket, 'data');
  assert.match(said(), /^HTTP\/1.1 400 [\s\S]*application\/octet-stream/);
  socket.write(half);
  assert.match(await answered(), /^HTTP\/1.1 400 /);
});

test('the connection of one who is refused and sends no more ends after a while', async (t) => {
  const { answered } = await sendHalf(t, 20);
  assert.match(await answered(), /^HTTP\/1.1 400 /);
});

test('a file that an image names cannot be deleted by itself', async (t) => {
  const { ask } = await setUp(t);
  const content = Buffer.from('initrd');
  const sha256 = createHash('sha256').update(content).digest('hex');
  const headers = { 'content-type': 'application/octet-stream' };
  const path = `/v1/artifacts/${sha256}`;
  assertProblem(await ask(`DELETE ${path}`), 'not-found');
  await ask(`PUT ${path}?kind=kernel`, undefined, { headers, payload: content });
  await ask('PUT /v1/images/small', { direct: { kernel: sha256 } });
  assertProblem(await ask(`DELETE ${path}`), 'conflict');
  await ask('DELETE /v1/images/small');
  assert.equal((await ask(`DELETE ${path}`)).status, 204);
  assertProblem(await ask(`GET ${path}`), 'not-found');
});

test('a follower hands requests to the leader once, whole and unchanged', async (t) => {
  const seen: ForwardRequest[] = [];
  const api = await testApi(t, { controls: 3 });
  const { leader, followers } = api.cluster;
  const backend = api.cluster.backend(followers[0]);
  const { ask, token } = serve(
    t,
    { ...api, backend },
    {
      forward: async (origin, request) => {
        assert.equal(origin, `https://${addressOf('control', leader.name)}:7440`);
        seen.push(request);
        const body = request.body === null ? '' : Buffer.concat(await request.body.toArray()).toString();
        const headers = { 'content-type': 'application/json', connection: 'close' };
        return { status: 201, headers, body: Readable.from([JSON.stringify({ body })]) };
      },
    },
  );
  const answer = await ask('POST /v1/vms?x=1', { name: 'Not Valid: the leader judges' });
  assert.equal(answer.status, 201);
  assert.deepEqual(JSON.parse(String(answer.json.body)), { name: 'Not Valid: the leader judges' });
  assert.equal(seen[0]?.path, '/v1/vms?x=1');
  assert.equal(seen[0]?.headers['authorization'], `Bearer ${token}`);
  // A client's own header does not count: the request is forwarded like any other.
  assert.equal(
    (await ask('DELETE /v1/vms/web1', undefined, { headers: { 'groundplane-forwarded': '1' } })).status,
    201,
  );
  assert.deepEqual([seen[1]?.body, seen[1]?.headers['groundplane-forwarded']], [null, '127.0.0.1']);
  assertProblem(await ask('GET /v1/vms', undefined, { headers: { authorization: 'Bearer wrong' } }), 'unauthorized');
  assert.equal((await ask('GET /healthz')).json.leader, leader.name);
  backend.controlNodes.leader = () => null;
  // Records can be read while no control node leads; they cannot be changed.
  assert.equal((await ask('GET /v1/vms')).status, 200);
  assertProblem(await ask('POST /v1/networks', { name: 'net1' }), 'unavailable');
  assert.equal(seen.length, 2);
});

test('a join token works once; guessing is bounded', async (t) => {
  const { ask } = await setUp(t);
  const secretFor = async (name: string): Promise<string> =>
    parseJoinToken(String((await ask('POST /v1/join-tokens', { role: 'host', name })).json.token)).secret;
  const body = {
    token: await secretFor('h4'),
    role: 'host',
    name: 'h4',
    csrPem: (await createRequest()).requestPem,
    addresses: { control: '10.0.9.4' },
  };
  const join = (of: object) => ask('POST /v1/join', of, { headers: { authorization: '' } });
  assert.equal((await join(body)).status, 200);
  assertProblem(await join(body), 'unauthorized');
  let last = await join({ ...body, token: 'y'.repeat(43) });
  for (let i = 0; i < 25; i += 1) last = await join({ ...body, token: 'y'.repeat(43) });
  assertProblem(last, 'too-many');
  const other = { ...body, name: 'h5', token: await secretFor('h5'), addresses: { control: '10.0.9.5' } };
  assert.equal((await join(other)).status, 200);
});

test('the watch streams changes with their revisions, heartbeats in silence, and a problem at a compacted revision', async (t) => {
  const { cluster, token, server, ask } = await setUp(t, { heartbeatMs: 20 });
  const port = await server.listen();
  const open = async (headers: Record<string, string>) => {
    const abort = new AbortController();
    t.after(() => abort.abort());
    const answer = await fetch(`http://127.0.0.1:${port}/v1/watch?kind=vm`, {
      headers: { authorization: `Bearer ${token}`, ...headers },
      signal: abort.signal,
    });
    assert.equal(answer.headers.get('content-type'), 'text/event-stream');
    let text = '';
    const chunks = (answer.body as ReadableStream<Uint8Array>).getReader();
    return async (until: RegExp): Promise<string> => {
      while (!until.test(text)) {
        const { done, value } = await chunks.read();
        if (done) break;
        text += Buffer.from(value).toString();
      }
      return text;
    };
  };
  const read = await open({});
  await read(/: heartbeat\n\n/);
  const { json: vm } = await ask('POST /v1/vms', { name: 'web1', image: 'tiny', start: false });
  const text = await read(/"name":"web1"/);
  assert.match(text, new RegExp(`id: ${vm.revision}\nevent: vm\ndata: \\{`));
  cluster.sim.etcd.compact(Number(vm.revision));
  const compacted = await open({ 'last-event-id': '3' });
  assert.match(await compacted(/event: problem\n.*\n/), /"code":"conflict"/);
});

test('event streams are bounded, and one that ended makes room', async (t) => {
  const { token, server } = await setUp(t);
  const port = await server.listen();
  const open = async () => {
    const asked = httpRequest({ port, path: '/v1/watch', headers: { authorization: `Bearer ${token}` } }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    return { asked, answer };
  };
  const streams: Awaited<ReturnType<typeof open>>[] = [];
  for (let count = 0; count < 128; count += 1) streams.push(await open());
  assert.deepEqual(new Set(streams.map(({ answer }) => answer.statusCode)), new Set([200]));
  const refused = await open();
  assert.equal(refused.answer.statusCode, 503);
  refused.answer.resume();
  streams.pop()?.asked.destroy();
  let again = await open();
  for (; again.answer.statusCode === 503; again = await open()) again.answer.resume();
  assert.equal(again.answer.statusCode, 200);
  for (const { asked } of [...streams, again]) asked.destroy();
});

test('the console is a raw stream both ways, with the same refusals as every route', async (t) => {
  const { token, server, ask } = await setUp(t);
  const run = async (name: string): Promise<void> => {
    const { json } = await ask('POST /v1/vms', { name, image: 'tiny' });
    await ask(`GET /v1/tasks/${(json.task as { id: string }).id}?wait=20`);
  };
  await run('web1');
  const port = await server.listen();
  const upgrade = (path: string, headers: Record<string, string> = {}) => {
    const all = {
      connection: 'Upgrade',
      upgrade: 'groundplane-console',
      authorization: `Bearer ${token}`,
      ...headers,
    };
    const request = httpRequest({ port, path, headers: all }).end();
    return new Promise<{ status: number; socket?: import('node:net').Socket; head: Buffer }>((resolve, reject) => {
      request.on('upgrade', (answer, socket, head) => resolve({ status: answer.statusCode ?? 0, socket, head }));
      request.on('response', (answer) => resolve({ status: answer.resume().statusCode ?? 0, head: Buffer.alloc(0) }));
      request.on('error', reject);
    });
  };
  const { socket, status, head } = await upgrade('/v1/vms/web1/console');
  assert.equal(status, 101);
  assert(socket !== undefined);
  socket.write('root\r');
  let text = head.toString();
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    text += chunk.toString();
    if (text.includes('root\r')) break;
  }
  assert.equal(text, 'web1 login: root\r\nweb1 login: ');
  await run('web2');
  const first = await upgrade('/v1/vms/web2/console');
  assert.equal(first.status, 101);
  assert.equal((await upgrade('/v1/vms/web2/console')).status, 409);
  assert.equal((await upgrade('/v1/vms/web2/console?takeOver=false')).status, 409);
  const told = first.socket?.toArray();
  assert.equal((await upgrade('/v1/vms/web2/console?takeOver=true')).status, 101);
  assert.match(
    first.head.toString() + Buffer.concat((await told) ?? []).toString(),
    /login: \r\n\[groundplane: admin took this console over\]\r\n$/,
  );
  assert.equal((await upgrade('/v1/vms/web2/console?readOnly=always')).status, 101);
  for (const wrong of [
    'takeOver=yes',
    'takeOver=true&takeOver=true',
    'takeOver=true&readOnly=always',
    'readOnly=true',
    'x=1',
  ])
    assert.equal((await upgrade(`/v1/vms/web1/console?${wrong}`)).status, 400, wrong);
  assert.equal((await upgrade('/v1/vms/none/console')).status, 404);
  assert.equal((await upgrade('/v1/vms/web1/console', { authorization: 'Bearer wrong' })).status, 401);
  assert.equal((await upgrade('/v1/vms/web1/console', { upgrade: 'websocket' })).status, 400);
  assert.equal((await upgrade('/v1/vms/..%2f/console')).status, 400);
});

test('metrics are Prometheus text with escaped labels', async (t) => {
  const { ask } = await setUp(t);
  await ask('POST /v1/vms', { name: 'web1', image: 'tiny', start: false });
  const { text, headers } = await ask('GET /metrics');
  assert.match(String(headers['content-type']), /^text\/plain; version=0.0.4/);
  assert.match(
    text,
    /^# HELP groundplane_vm_info .*\n# TYPE groundplane_vm_info gauge\ngroundplane_vm_info\{vm="web1",host="",phase="stopped",verdict="stopped"\} 0$/m,
  );
});

test('every operation with a path parameter names a known one', () => {
  for (const [id, operation] of Object.entries<Operation>(OPERATIONS)) {
    for (const name of parametersOf(operation.path)) assert.ok(Object.hasOwn(PARAMETERS, name), id);
  }
});

test('connections without a token, whatever they say, have a deadline; one with a token goes on', async (t) => {
  const { token, server } = await setUp(t, { strangerMs: 1_500 });
  const port = await server.listen();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ports = new Set<number | undefined>();
  const ask = async (): Promise<void> => {
    const headers = { authorization: `Bearer ${token}` };
    const request = httpRequest({ port, path: '/v1/hosts', agent, headers }).end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    ports.add(request.socket?.localPort);
    assert.equal(response.statusCode, 200);
    await once(response.resume(), 'end');
  };
  await ask();
  const strangers = [...flood({ host: '127.0.0.1', port, count: 100 })];
  for (const words of [
    'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /v1/hosts HTTP/1.1\r\nAuthorization: Bearer wr',
  ])
    for (let count = 0; count < 30; count++) {
      const socket = connect(port, '127.0.0.1', () => socket.write(words));
      strangers.push(socket.on('error', () => undefined).resume());
    }
  await ask();
  await until('all of them are ended', () => stillOpen(strangers) === 0);
  await ask();
  assert.equal(ports.size, 1, 'the connection with a token was the same all the time');
});
