/**
 * Uploads that are refused while the client still sends, over real sockets: client, proxy of the one-machine cluster,
 * follower and leader. Each of them must hear why, in every one of many runs.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { CodedError, type ErrorCode } from '../base/errors.ts';
import { parseControlName } from '../base/ids.ts';
import type { ArtifactUpload, Forward } from '../control/api/call.ts';
import { createApiServer } from '../control/api/server.ts';
import { forwardOverTls } from '../control/forward.ts';
import { startTestApi, type TestApi } from '../control/testing/api-cluster.ts';
import { LIMITS } from '../core/model/limits.ts';
import { startApiProxy } from '../lab/api-proxy.ts';
import { type CertifiedKey, createAuthority, issue } from '../pki/authority.ts';
import { publicServerTlsOptions } from '../pki/tls.ts';
import { createClient, type Target } from './client.ts';

const RUNS = 200;
const CHUNK = Buffer.alloc(64 * 1024, 7);
/** More than all sockets in between take. */
const SIZE_BYTES = 12 * 1024 ** 2;
const SHA = 'a'.repeat(64);

const closing: (() => Promise<unknown>)[] = [];
let directory: string;
let authority: CertifiedKey;
let api: TestApi;
/** The cluster's address behind a proxy, by which node answers there. */
const targets: Target[] = [];
/** How many chunks the pool takes before it is full. */
let room = 0;

/** A control node behind a proxy, as in a one-machine cluster; returns the port of its own listener. */
async function controlNode(name: 'c1' | 'c2', its: TestApi['backend'], peerPort: number | null): Promise<number> {
  const identity = { kind: 'control', name: parseControlName(name) } as const;
  const credentials = { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) };
  const peers = [{ name: parseControlName('c1'), address: '127.0.0.1' }];
  const forward: { forward?: Forward } =
    peerPort === null ? {} : { forward: forwardOverTls({ credentials, peers: () => peers }) };
  const server = createApiServer({
    backend: its,
    version: '1.2.3',
    tls: publicServerTlsOptions(credentials),
    ...forward,
  });
  const port = await server.listen();
  const path = join(directory, name);
  const local = createServer((socket) => void server.app.server.emit('connection', socket)).listen(path);
  await once(local, 'listening');
  const proxy = await startApiProxy({ ports: [0], socketPaths: [path] });
  const { token } = api;
  targets.push({ apiUrl: `https://127.0.0.1:${proxy.port}`, caPem: authority.certPem, token });
  closing.push(
    () => proxy.close(),
    () => server.close(),
    async () => local.close(),
  );
  return port;
}

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'groundplane-refused-'));
  authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  api = await startTestApi({ controls: 3, speed: 1 });
  closing.push(async () => api.cluster.stop());
  const { backend, cluster } = api;
  backend.artifacts.put = async ({ body }: ArtifactUpload) => {
    let left = room;
    for await (const _ of body) {
      left -= 1;
      if (left <= 0) break;
    }
    throw new CodedError('no-capacity', 'The pool is full.', { advice: 'Nothing was stored.' });
  };
  const port = await controlNode('c1', backend, null);
  const follower = cluster.backend(cluster.followers[0]);
  follower.controlNodes.leader = () => ({ self: false, name: 'c1', origin: `https://127.0.0.1:${port}` });
  await controlNode('c2', follower, port);
});

after(async () => {
  for (const close of closing) await close();
  await rm(directory, { recursive: true });
});

function content(sizeBytes: number): Readable {
  let left = sizeBytes;
  return new Readable({
    read() {
      if (left <= 0) this.push(null);
      else this.push(CHUNK);
      left -= CHUNK.length;
    },
  });
}

/** Sends everything at once with Node's own client, like a client that does not look for an answer in the meantime. */
async function sendAll(target: Target, path: string, headers: Record<string, string>): Promise<string> {
  const body = Buffer.alloc(SIZE_BYTES);
  const all = { authorization: `Bearer ${target.token}`, 'content-length': String(body.length), ...headers };
  const method = path.startsWith('/v1/vms') ? 'POST' : 'PUT';
  const options = { ca: target.caPem, checkServerIdentity: () => undefined, agent: false, method, headers: all };
  const outgoing = request(new URL(path, target.apiUrl), options);
  outgoing.end(body);
  const [answer] = (await once(outgoing, 'response')) as [Readable];
  outgoing.on('error', () => undefined);
  const { code } = JSON.parse(Buffer.concat(await answer.toArray()).toString()) as { code: string };
  outgoing.destroy();
  return code;
}

async function upload(target: Target, sizeBytes = SIZE_BYTES): Promise<string> {
  const client = createClient(target);
  try {
    await client.upload({ sha256: SHA, kind: 'disk', sizeBytes, dataBytes: sizeBytes, content: content(sizeBytes) });
    return 'stored';
  } catch (error) {
    return error instanceof CodedError ? (error.code === 'unavailable' ? error.message : error.code) : String(error);
  } finally {
    await client.close();
  }
}

const bytes = { 'content-type': 'application/octet-stream' };
const KINDS: readonly (readonly [ErrorCode, (target: Target) => Promise<string>])[] = [
  ['no-capacity', (target) => upload(target)],
  ['unauthorized', (target) => upload({ ...target, token: 'gp_api_wrong' })],
  ['no-capacity', (target) => sendAll(target, `/v1/artifacts/${SHA}?kind=disk`, bytes)],
  ['too-large', (target) => upload(target, LIMITS.fileBytes.max + 1)],
  ['unauthorized', (target) => sendAll({ ...target, token: '' }, `/v1/artifacts/${SHA}?kind=disk`, bytes)],
  ['bad-input', (target) => sendAll(target, `/v1/artifacts/${SHA}?kind=disk`, {})],
  ['bad-input', (target) => sendAll(target, `/v1/artifacts/${SHA}?kind=floppy`, bytes)],
  ['bad-input', (target) => sendAll(target, '/v1/vms', bytes)],
  ['bad-input', (target) => sendAll(target, '/v1/vms', { connection: 'close' })],
  ['too-large', (target) => sendAll(target, '/v1/vms', { 'content-type': 'application/json' })],
  ['not-found', (target) => sendAll(target, '/v1/nothing', bytes)],
  ['bad-input', (target) => sendAll(target, '/v1/%zz', bytes)],
  ['bad-input', (target) => sendAll(target, '/v1/vms', { ...bytes, expect: 'x' })],
];

test(`an upload that is refused while it is sent hears why, ${RUNS} times, at a leader and at a follower`, async () => {
  for (let run = 0; run < RUNS; run += 1) {
    const [code, send] = KINDS[run % KINDS.length] ?? ['failed', async () => ''];
    const at = Math.floor(run / KINDS.length) % targets.length;
    const target = targets[at];
    assert(target !== undefined);
    // The pool fills at another place each time.
    room = (run * 7) % 97;
    // Many wrong tokens from one address are answered with "too many".
    const answers = code === 'unauthorized' ? [code, 'too-many'] : [code];
    const heard = await send(target);
    assert(answers.includes(heard), `run ${run} at c${at + 1}: ${code} wanted, and heard: ${heard}`);
  }
});
