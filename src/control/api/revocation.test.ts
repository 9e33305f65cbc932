/**
 * Open requests end with their token: streams, consoles, long polls and uploads, at a leader, at a follower, and at a
 * node that cannot check tokens.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:https';
import type { Duplex, Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import { parseControlName } from '../../base/ids.ts';
import { type CertifiedKey, createAuthority, issue } from '../../pki/authority.ts';
import { publicServerTlsOptions } from '../../pki/tls.ts';
import { forwardOverTls } from '../forward.ts';
import { CALL, called, replace, startTestApi } from '../testing/api-cluster.ts';
import { createApiServer } from './server.ts';

/** The promised time for ending open requests after a token is revoked. */
const ENDS_MS = 5_000;
const closing: (() => Promise<unknown>)[] = [];
const { cluster, backend: leader, token: adminToken } = await startTestApi({ controls: 3, speed: 3 });
const [followerNode] = cluster.followers;
const follower = cluster.backend(followerNode);
closing.push(async () => cluster.stop());
let authority: CertifiedKey;
let stopping = '';
const ports: Record<'leader' | 'follower', number> = { leader: 0, follower: 0 };

async function controlNode(name: string, backend: typeof leader): Promise<number> {
  const identity = { kind: 'control', name: parseControlName(name) } as const;
  const credentials = { caPem: authority.certPem, ...(await issue(authority, { identity, daysValid: 1 })) };
  const forward = forwardOverTls({
    credentials,
    peers: () => [{ name: parseControlName('c1'), address: '127.0.0.1' }],
  });
  const server = createApiServer({ backend, version: '1', tls: publicServerTlsOptions(credentials), forward });
  closing.push(() => server.close());
  return server.listen();
}

before(async () => {
  authority = await createAuthority({ clusterName: 'test', daysValid: 1 });
  ports.leader = await controlNode('c1', leader);
  follower.controlNodes.leader = () => ({ self: false, name: 'c1', origin: `https://127.0.0.1:${ports.leader}` });
  ports.follower = await controlNode('c2', follower);
  for (const name of ['web1', 'web2']) {
    const { task } = await leader.vms.create({ name, image: 'tiny' });
    await leader.tasks.get(task?.id ?? '', 20_000, CALL);
  }
  // The stop of a guest that takes no notice is a task that lasts.
  for (const qemu of cluster.sim.qemus) qemu.isDeaf = true;
  stopping = (await leader.vms.stop('web2', { mode: 'acpi', patienceMs: 600_000 })).id;
});
after(async () => {
  for (const close of closing) await close();
});

function options(port: number, token: string, more: Readonly<Record<string, string>> = {}) {
  const headers = { authorization: `Bearer ${token}`, ...more };
  return {
    port,
    host: '127.0.0.1',
    ca: authority.certPem,
    checkServerIdentity: () => undefined,
    agent: false,
    headers,
  };
}

/** An open request: what it receives until its end. */
interface Opened {
  readonly told: Promise<string>;
}
type Open = (port: number, token: string) => Promise<Opened>;

async function textOf(stream: Readable): Promise<string> {
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  stream.on('error', () => undefined);
  await once(stream, 'close');
  return text;
}

const openWatch: Open = async (port, token) => {
  const outgoing = request({ ...options(port, token), path: '/v1/watch' }).end();
  const [answer] = (await once(outgoing, 'response')) as [Readable];
  return { told: textOf(answer) };
};

const openConsole: Open = async (port, token) => {
  const headers = { connection: 'Upgrade', upgrade: 'groundplane-console' };
  const outgoing = request({ ...options(port, token, headers), path: '/v1/vms/web1/console' }).end();
  const [, socket] = (await once(outgoing, 'upgrade')) as [unknown, Duplex];
  return { told: textOf(socket) };
};

/** A request that has reached the backend (`entered`) and is unanswered when its token ends. */
async function unanswered(outgoing: ReturnType<typeof request>, entered: Promise<void>): Promise<Opened> {
  const told = once(outgoing, 'response')
    .then(([answer]) => textOf(answer as Readable))
    .finally(() => outgoing.on('error', () => undefined).destroy());
  await entered;
  return { told };
}

const openTask: Open = async (port, token) => {
  return unanswered(
    request({ ...options(port, token), path: `/v1/tasks/${stopping}?wait=60` }).end(),
    called(leader.tasks, 'get'),
  );
};

const openUpload: Open = async (port, token) => {
  const headers = { 'content-type': 'application/octet-stream', 'content-length': '9' };
  const path = `/v1/artifacts/${'a'.repeat(64)}?kind=disk`;
  const outgoing = request({ ...options(port, token, headers), method: 'PUT', path });
  outgoing.write('1234');
  return unanswered(outgoing, called(leader.artifacts, 'put'));
};

const KINDS: Readonly<Record<string, Open>> = {
  'the event stream': openWatch,
  'a console': openConsole,
  'a wait for a task': openTask,
  'an upload': openUpload,
};

for (const [what, open] of Object.entries(KINDS)) {
  for (const node of ['leader', 'follower'] as const) {
    test(`${what} at a ${node} ends with its token, and others go on`, async () => {
      const { token, name } = await leader.access.create({ name: `t${performance.now()}`.replace('.', '-') }, CALL);
      const { told } = await open(ports[node], token);
      const other = await openWatch(ports[node], adminToken);
      const since = performance.now();
      await leader.access.delete(name);
      const text = await told;
      assert(performance.now() - since < ENDS_MS, `${performance.now() - since} ms`);
      if (open !== openConsole && !(open === openWatch && node === 'follower')) assert.match(text, /unauthorized/);
      const state = await Promise.race([other.told.then(() => 'ended'), Promise.resolve('open')]);
      assert.equal(state, 'open');
    });
  }

  test(`${what} ends where nobody can know whether its token is valid`, async () => {
    const { token } = await leader.access.create({ name: `u${performance.now()}`.replace('.', '-') }, CALL);
    const { told } = await open(ports.leader, token);
    const { etcd } = present(cluster.leader.context, 'the context of the leader');
    const list = etcd.list.bind(etcd);
    replace(etcd, 'list', async () => {
      throw new CodedError('unavailable', 'etcd does not answer.');
    });
    const text = await told.finally(() => replace(etcd, 'list', list as () => unknown));
    if (open !== openConsole) assert.match(text, /unavailable/);
  });
}
