/** Consoles in a browser: tickets, origins, the serial port and the display over WebSocket. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { IncomingMessage, request } from 'node:http';
import { type TestContext, test } from 'node:test';
import { type ClientOptions, WebSocket } from 'ws';
import { until } from '../../os/testing/until.ts';
import { type Answer, setUp } from './testing/asking.ts';

async function listening(t: TestContext, shape: Parameters<typeof setUp>[2] = {}) {
  const api = await setUp(t, {}, shape);
  const port = await api.server.listen();
  for (const [name, display] of [
    ['web1', 'vga'],
    ['web2', 'none'],
  ]) {
    const { json } = await api.ask('POST /v1/vms', { name, image: 'tiny', display });
    await api.ask(`GET /v1/tasks/${String((json.task as { id: string }).id)}?wait=20`);
  }
  const ticket = async (vm: string, body: object = {}): Promise<string> => {
    const answer: Answer = await api.ask(`POST /v1/vms/${vm}/console-tickets`, body);
    assert.equal(answer.status, 201, answer.text);
    return (answer.json as { path: string }).path;
  };
  const open = (path: string, options: ClientOptions = {}): WebSocket => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, options);
    t.after(() => socket.terminate());
    return socket;
  };
  return { ...api, port, ticket, open };
}

/** The messages that a socket has received so far, and the close code. */
function reader(socket: WebSocket) {
  const seen = { bytes: Buffer.alloc(0), closed: null as null | number };
  socket.on('message', (data: Buffer) => {
    seen.bytes = Buffer.concat([seen.bytes, data]);
  });
  socket.on('close', (code) => {
    seen.closed = code;
  });
  return seen;
}

/** The status with which a handshake is refused. */
async function refused(socket: WebSocket): Promise<number | undefined> {
  socket.on('error', () => undefined);
  const [, answer] = await Promise.race([
    once(socket, 'unexpected-response'),
    once(socket, 'open').then(() => [null, { statusCode: 101 }]),
  ]);
  // An unread answer would keep its connection, and the process.
  if (answer instanceof IncomingMessage) answer.destroy();
  return (answer as { readonly statusCode?: number }).statusCode;
}

test('a ticket opens the serial console once, from a page of this server only', async (t) => {
  const { ticket, open, port } = await listening(t);
  const path = await ticket('web2');
  assert.equal(await refused(open(path, { origin: 'https://evil.example' })), 403);
  const socket = open(path, { origin: `http://127.0.0.1:${port}` });
  const seen = reader(socket);
  if (socket.readyState !== WebSocket.OPEN) await once(socket, 'open');
  socket.send(Buffer.from('hello\r'));
  await until('the guest echoes', () => seen.bytes.toString().includes('hello'));
  assert.equal(await refused(open(path)), 401, 'used');
  const other = await ticket('web1');
  assert.equal(await refused(open(other.replace('web1', 'web2'))), 401, 'of another VM');
  assert.equal(await refused(open(other.replace('/serial', '/vnc'))), 401, 'of another console');
  assert.equal(await refused(open('/v1/vms/web1/serial')), 400);
  // An invalid handshake uses the ticket up, and leaves no console behind.
  const bare = request({ port, path: await ticket('web1'), headers: { connection: 'Upgrade', upgrade: 'websocket' } });
  bare.end();
  const [answer] = (await once(bare, 'response')) as [IncomingMessage];
  assert.equal(answer.statusCode, 400);
  answer.destroy();
  const again = open(await ticket('web1'));
  if (again.readyState !== WebSocket.OPEN) await once(again, 'open');
  again.close();
  assert.equal(await refused(open('/v1/vms/web1/serial?ticket=gp_ticket_x')), 401);
  socket.close();
});

test('two viewers see a display at once; each is told when the VM moves, and looks again', async (t) => {
  const { ticket, open, ask, cluster } = await listening(t);
  const [one, two] = await Promise.all([1, 2].map(async () => open(await ticket('web1', { console: 'vnc' }))));
  assert(one !== undefined && two !== undefined);
  const seen = [one, two].map(reader);
  for (const socket of [one, two]) if (socket.readyState !== WebSocket.OPEN) await once(socket, 'open');
  for (const [index, socket] of [one, two].entries()) {
    const received = seen[index];
    assert(received !== undefined);
    await until('its version', () => received.bytes.toString('latin1').startsWith('RFB 003.008\n'));
    socket.send(Buffer.from('RFB 003.008\n'));
    socket.send(Buffer.from([1]));
    socket.send(Buffer.from([1]));
    // Version, security types, result; then 320 by 200, the pixel format, and the name.
    await until('its size', () => received.bytes.length >= 12 + 2 + 4 + 24 + 4);
    assert.deepEqual([received.bytes.readUInt16BE(18), received.bytes.readUInt16BE(20)], [320, 200]);
    socket.send(Buffer.from([3, 0, 0, 0, 0, 0, 1, 64, 0, 200]));
    await until('a picture', () => received.bytes.length > 320 * 200 * 4);
  }
  const { json } = await ask('POST /v1/vms/web1/migrate', {});
  await ask(`GET /v1/tasks/${String(json.id)}?wait=20`);
  await until('both are told', () => seen.every(({ closed }) => closed === 4_001));
  assert.equal(cluster.vms.get('web1')?.generation, 2);
  const again = open(await ticket('web1', { console: 'vnc' }));
  const last = reader(again);
  if (again.readyState !== WebSocket.OPEN) await once(again, 'open');
  await ask('POST /v1/vms/web1/stop', { mode: 'hard' });
  await until('it ends with the VM', () => last.closed === 1_000);
  const none = open(await ticket('web2', { console: 'vnc' }));
  const [code, reason] = (await once(none, 'close')) as [number, Buffer];
  assert.deepEqual([code, reason.toString()], [4_002, 'web2 has no display.']);
});

test('a console ends with the session that opened it', async (t) => {
  const { ask, open, port, token } = await listening(t);
  const host = { host: `127.0.0.1:${port}`, authorization: '' };
  const begun = await ask('POST /v1/session', { token }, { headers: host });
  const cookie = String(begun.headers['set-cookie']).split(';')[0] ?? '';
  const own = { headers: { ...host, cookie, origin: `http://127.0.0.1:${port}` } };
  const made = await ask('POST /v1/vms/web2/console-tickets', {}, own);
  const socket = open((made.json as { path?: string }).path ?? '');
  const seen = reader(socket);
  if (socket.readyState !== WebSocket.OPEN) await once(socket, 'open');
  assert.equal((await ask('DELETE /v1/session', undefined, own)).status, 204);
  await until('it is closed', () => seen.closed !== null);
});
