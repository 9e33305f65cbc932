import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import type { ControlOrder } from './control-protocol.ts';
import { ControlSocket } from './control-socket.ts';

interface Rig {
  readonly path: string;
  readonly orders: ControlOrder[];
  /** The promise that the next order waits for. */
  gate: Promise<void>;
}

async function rig(t: TestContext): Promise<Rig> {
  const directory = await mkdtemp(join(tmpdir(), 'gp-control-'));
  t.after(() => rm(directory, { recursive: true }));
  const made: Rig = { path: join(directory, 'control'), orders: [], gate: Promise.resolve() };
  const control = await ControlSocket.listen(made.path, async (order) => {
    made.orders.push(order);
    await made.gate;
    if (order.kind === 'ready') throw new CodedError('unavailable', 'not yet');
    return { kind: order.kind };
  });
  t.after(() => control.close());
  return made;
}

async function peer(
  t: TestContext,
  { path }: Rig,
): Promise<{ socket: Socket; ask: (line: string) => Promise<unknown> }> {
  const socket = connect(path).setEncoding('utf8');
  socket.on('error', () => undefined);
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  const ask = async (line: string): Promise<unknown> => {
    socket.write(`${line}\n`);
    const [answer] = (await once(socket, 'data')) as [string];
    return JSON.parse(answer) as unknown;
  };
  return { socket, ask };
}

test('orders are answered by their ids, mistakes by an error, and nothing ends it', async (t) => {
  const made = await rig(t);
  const { ask } = await peer(t, made);
  assert.deepEqual(await ask('{"id":7,"order":{"kind":"sessions"}}'), { id: 7, ok: { kind: 'sessions' } });
  const refused = { code: 'unavailable', message: 'not yet' };
  assert.deepEqual(await ask('{"id":8,"order":{"kind":"ready","vm":"vm-0123456789ab"}}'), { id: 8, error: refused });
  for (const line of [
    '{',
    '[]',
    '{"id":1}',
    '{"id":1,"order":{"kind":"end"}}',
    '{"id":1,"order":{"kind":"apply","state":{}}}',
  ])
    assert.match(JSON.stringify(await ask(line)), /"error"/);
  assert.equal(made.orders.length, 2);
});

test('the last that came speaks: what an earlier one still had to say is not heard', async (t) => {
  const made = await rig(t);
  const first = await peer(t, made);
  assert.deepEqual(await first.ask('{"id":1,"order":{"kind":"state"}}'), { id: 1, ok: { kind: 'state' } });
  const second = await peer(t, made);
  assert.deepEqual(await second.ask('{"id":2,"order":{"kind":"sessions"}}'), { id: 2, ok: { kind: 'sessions' } });
  first.socket.write('{"id":3,"order":{"kind":"state"}}\n');
  if (!first.socket.destroyed) await once(first.socket, 'close');
  assert.deepEqual(await second.ask('{"id":4,"order":{"kind":"sessions"}}'), { id: 4, ok: { kind: 'sessions' } });
  assert.deepEqual(
    made.orders.map(({ kind }) => kind),
    ['state', 'sessions', 'sessions'],
  );
});
