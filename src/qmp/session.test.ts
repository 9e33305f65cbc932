import assert from 'node:assert/strict';
import { createInterface, type Interface } from 'node:readline';
import { Duplex, duplexPair } from 'node:stream';
import { test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { QmpError } from '../wire/qmp/error.ts';
import { qmp } from './commands.ts';
import { QmpSession, type SessionOptions } from './session.ts';

const DEADLINE = { deadlineMs: 10_000 };
const code =
  (expected: string, text = /./) =>
  (error: unknown) =>
    error instanceof CodedError && error.code === expected && text.test(`${error.message} ${error.advice}`);

/** The other end of a conversation, in the role of QEMU. */
class Peer {
  readonly stream: Duplex;
  readonly #lines: AsyncIterator<string>;
  readonly #interface: Interface;

  constructor(stream: Duplex) {
    this.stream = stream;
    this.#interface = createInterface({ input: stream });
    this.#lines = this.#interface[Symbol.asyncIterator]();
  }

  say(message: object): void {
    this.stream.write(`${JSON.stringify(message)}\r\n`);
  }

  greet(capabilities: readonly string[] = []): void {
    this.say({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 }, package: '' }, capabilities } });
  }

  async next(): Promise<Record<string, unknown>> {
    const { value } = await this.#lines.next();
    const parsed: unknown = JSON.parse(String(value));
    assert(typeof parsed === 'object' && parsed !== null);
    return { ...parsed };
  }
}

async function openPair(
  options: Partial<SessionOptions> = {},
  capabilities: readonly string[] = [],
): Promise<{ session: QmpSession; peer: Peer }> {
  const [ours, theirs] = duplexPair();
  const peer = new Peer(theirs);
  const opening = QmpSession.open(ours, { ...DEADLINE, ...options });
  peer.greet(capabilities);
  const { id } = await peer.next();
  peer.say({ return: {}, id });
  return { session: await opening, peer };
}

test('answers reach their command by id, in whatever order', async () => {
  const { session, peer } = await openPair();
  const status = qmp(session, 'query-status', {}, DEADLINE);
  const nodes = qmp(session, 'query-named-block-nodes', { flat: true }, DEADLINE);
  const first = await peer.next();
  const second = await peer.next();
  assert.deepEqual(second, { execute: 'query-named-block-nodes', arguments: { flat: true }, id: second['id'] });
  peer.say({ return: [], id: second['id'] });
  assert.deepEqual(await nodes, []);
  peer.say({ return: { running: true, status: 'running' }, id: first['id'] });
  assert.equal((await status).status, 'running');
  session.close();
});

test('out-of-band execution is negotiated when offered, and used only then', async () => {
  for (const offered of [true, false]) {
    const [ours, theirs] = duplexPair();
    const peer = new Peer(theirs);
    const opening = QmpSession.open(ours, DEADLINE);
    peer.greet(offered ? ['oob', 'unknown'] : []);
    const negotiation = await peer.next();
    assert.deepEqual(negotiation['arguments'], offered ? { enable: ['oob'] } : undefined);
    peer.say({ return: {}, id: negotiation['id'] });
    const session = await opening;
    assert.equal(session.outOfBand, offered);
    const yank = qmp(session, 'yank', { instances: [] }, DEADLINE).catch(() => undefined);
    assert.equal(Object.keys(await peer.next())[0], offered ? 'exec-oob' : 'execute');
    session.close();
    await yank;
  }
});

test('a refusal is a QmpError, and the session goes on', async () => {
  const { session, peer } = await openPair();
  const stopping = session.execute('device_del', { id: 'x' }, DEADLINE);
  peer.say({ error: { class: 'DeviceNotFound', desc: 'no x' }, id: (await peer.next())['id'] });
  await assert.rejects(stopping, (error) => {
    assert(error instanceof QmpError);
    assert.deepEqual([error.code, error.errorClass, error.description], ['not-found', 'DeviceNotFound', 'no x']);
    return true;
  });
  const status = qmp(session, 'query-status', {}, DEADLINE);
  peer.say({ return: { running: false, status: 'paused' }, id: (await peer.next())['id'] });
  assert.equal((await status).running, false);
  session.close();
});

test('when the connection ends, what is in flight has an unknown outcome, and nothing more is sent', async () => {
  const { session, peer } = await openPair();
  const waiting = ['cont', 'stop'].map((command) => session.execute(command, undefined, DEADLINE));
  await peer.next();
  peer.stream.destroy();
  for (const command of waiting) await assert.rejects(command, code('unavailable', /unknown/));
  assert.equal((await session.closed).code, 'unavailable');
  await assert.rejects(session.execute('cont', undefined, DEADLINE), code('unavailable', /was not sent/));
});

test('a command has a deadline and a signal; its late answer is dropped', async () => {
  const { session, peer } = await openPair();
  await assert.rejects(session.execute('stop', undefined, { deadlineMs: 10 }), code('deadline', /unknown/));
  const late = await peer.next();
  const controller = new AbortController();
  const aborted = session.execute('stop', undefined, { ...DEADLINE, signal: controller.signal });
  controller.abort(new Error('leadership lost'));
  await assert.rejects(aborted, /leadership lost/);
  await peer.next();
  const status = qmp(session, 'query-status', {}, DEADLINE);
  peer.say({ return: { status: 'wrong' }, id: late['id'] });
  peer.say({ return: { status: 'paused' }, id: (await peer.next())['id'] });
  assert.equal((await status).status, 'paused');
  session.close();
});

test('the number of commands in flight is bounded', async () => {
  const { session } = await openPair({ pendingMax: 1 });
  const first = session.execute('stop', undefined, DEADLINE);
  await assert.rejects(session.execute('cont', undefined, DEADLINE), code('unavailable', /was not sent/));
  session.close();
  await assert.rejects(first, code('unavailable', /unknown/));
});

test('silence, a closed stream and another protocol before the greeting are told apart', async () => {
  const open = (act: (peer: Duplex) => void, deadlineMs: number): Promise<unknown> => {
    const [ours, theirs] = duplexPair();
    const opening = QmpSession.open(ours, { deadlineMs });
    act(theirs);
    return opening;
  };
  await assert.rejects(
    open(() => undefined, 20),
    code('deadline'),
  );
  await assert.rejects(
    open((peer) => peer.end(), 10_000),
    code('unavailable', /closed/),
  );
  await assert.rejects(
    open((peer) => peer.write('SSH-2.0-OpenSSH\r\n'), 10_000),
    code('unavailable', /does not speak QMP/),
  );
});

test('events reach listeners from the first on, and an iterator from its creation on', async () => {
  const names: string[] = [];
  const { session, peer } = await openPair({ onEvent: ({ name }) => names.push(name) });
  const controller = new AbortController();
  const events = session.events({ signal: controller.signal });
  const event = (name: string) => ({ event: name, data: { n: 1 }, timestamp: { seconds: 1, microseconds: 0 } });
  peer.say(event('STOP'));
  peer.say(event('RESUME'));
  assert.deepEqual((await events.next()).value, { kind: 'event', name: 'STOP', data: { n: 1 }, timestampMs: 1000 });
  assert.equal((await events.next()).value?.name, 'RESUME');
  assert.deepEqual(names, ['STOP', 'RESUME']);
  const waiting = events.next();
  controller.abort();
  assert.equal((await waiting).done, true);
  session.close();
});

test('events that do not fit are reported as missed; the end of the session ends the iterator', async () => {
  const { session, peer } = await openPair();
  const small = session.events({ queueMax: 1 });
  const ended = session.events();
  for (const name of ['A', 'B']) peer.say({ event: name, timestamp: { seconds: 1, microseconds: 0 } });
  peer.stream.end();
  await session.closed;
  assert.equal((await small.next()).value?.name, 'A');
  await assert.rejects(small.next(), code('too-large', /missed/));
  await ended.next();
  await ended.next();
  await assert.rejects(ended.next(), code('unavailable'));
});

test('a character cut in two by the network arrives whole', async () => {
  const { session, peer } = await openPair();
  const name = session.execute<{ name: string }>('query-name', undefined, DEADLINE);
  const bytes = Buffer.from(`${JSON.stringify({ return: { name: 'ü' }, id: (await peer.next())['id'] })}\n`);
  const cut = bytes.indexOf(0xc3) + 1;
  peer.stream.write(bytes.subarray(0, cut));
  peer.stream.write(bytes.subarray(cut));
  assert.equal((await name).name, 'ü');
  session.close();
});

test('the last character of all that is sent at once is written alone and last, for TLS monitors of QEMU before 8.0', async () => {
  const chunks: string[] = [];
  let answered = 0;
  // Takes a write a turn later, as a socket does; writes in the meantime arrive joined. Answers once a whole line has
  // arrived.
  const take = (text: string, done: () => void): void => {
    chunks.push(text);
    const lines = chunks.join('').split('\n').length - 1;
    if (text === '\n') while (answered < lines) stream.push(`{"return": {}, "id": ${++answered}}\n`);
    setImmediate(done);
  };
  const stream: Duplex = new Duplex({
    read: () => undefined,
    write: (chunk, _encoding, done) => take(String(chunk), done),
    writev: (parts, done) => take(parts.map(({ chunk }) => String(chunk)).join(''), done),
  });
  const opening = QmpSession.open(stream, DEADLINE);
  stream.push(
    '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\n',
  );
  const session = await opening;
  const execute = (command: string): Promise<unknown> => session.execute(command, undefined, DEADLINE);
  const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  await turn();
  const together = ['stop', 'cont'].map(execute);
  await Promise.resolve();
  // While those are written.
  await Promise.all([...together, execute('stop'), execute('cont')]);
  await turn();
  await execute('stop');
  const line = (command: string, id: number) => `{"execute":"${command}","id":${id}}`;
  assert.deepEqual(chunks, [
    ...[line('qmp_capabilities', 1), '\n'],
    ...[`${line('stop', 2)}\n${line('cont', 3)}`, '\n'],
    ...[`${line('stop', 4)}\n${line('cont', 5)}`, '\n'],
    ...[line('stop', 6), '\n'],
  ]);
  session.close();
});
