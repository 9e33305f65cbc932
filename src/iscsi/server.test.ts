import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { LIMITS } from '../core/iscsi/limits.ts';
import { until } from '../os/testing/until.ts';
import { IscsiServer, type ServerOptions } from './server.ts';
import { cdb10, pduBytes, pduHeader, TEST_TARGET, text } from './testing/initiator.ts';
import { MemoryStore } from './testing/memory-store.ts';
import { StubTarget } from './testing/stub-target.ts';

/** Time that passes when the test says so. */
class HandClock {
  nowMs = 0;
  #timers: { readonly atMs: number; readonly callback: () => void }[] = [];

  readonly wallMs = (): number => this.nowMs;
  readonly monotonicMs = (): number => this.nowMs;
  readonly after = (delayMs: number, callback: () => void): (() => void) => {
    const timer = { atMs: this.nowMs + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  };

  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let due = this.#next(endMs); due !== undefined; due = this.#next(endMs)) {
      this.nowMs = due.atMs;
      due.callback();
    }
    this.nowMs = endMs;
  }

  #next(endMs: number): { readonly atMs: number; readonly callback: () => void } | undefined {
    const due = this.#timers.find(({ atMs }) => atMs <= endMs);
    this.#timers = this.#timers.filter((each) => each !== due);
    return due;
  }
}

interface Rig {
  readonly store: MemoryStore;
  readonly target: StubTarget;
  readonly clock: HandClock;
  readonly server: IscsiServer;
  readonly closed: string[];
}

async function rig(t: TestContext, blocks = 4096): Promise<Rig> {
  const store = new MemoryStore(blocks);
  const target = new StubTarget(store);
  const clock = new HandClock();
  const closed: string[] = [];
  const options: ServerOptions = {
    host: '127.0.0.1',
    port: 0,
    targetsOf: () => [TEST_TARGET],
    targetNamed: () => target,
    clock,
    policyFor: () => ({ kind: 'open' }),
    onClosed: (_initiator, reason) => void closed.push(reason),
  };
  const server = await IscsiServer.listen(options);
  t.after(() => server.close());
  return { store, target, clock, server, closed };
}

async function connected(t: TestContext, server: IscsiServer): Promise<Socket> {
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => undefined);
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** A reset is an end like any other. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

async function loggedIn(t: TestContext, server: IscsiServer, { name = 'vm1', isid = 1 } = {}): Promise<Socket> {
  const socket = await connected(t, server);
  const keys = text(
    `InitiatorName=iqn.2026-11.test:${name}`,
    `TargetName=${TEST_TARGET}`,
    'MaxRecvDataSegmentLength=262144',
  );
  socket.write(pduBytes(pduHeader(0x43, 0x87, { 8: isid, 16: 1, 24: 1 }), keys));
  await once(socket, 'data');
  return socket;
}

function command(socket: Socket, cdb: Buffer, about: { tag: number; flags: number; expected: number; data?: Buffer }) {
  const header = pduHeader(0x01, about.flags, { 16: about.tag, 20: about.expected, 24: about.tag });
  cdb.copy(header, 32);
  socket.write(pduBytes(header, about.data));
}

test('a read over a socket, and a port that is in use', async (t) => {
  const { server, store } = await rig(t);
  store.bytes.fill(9);
  const socket = await loggedIn(t, server);
  command(socket, cdb10(0x28, 0, 8), { tag: 1, flags: 0xc1, expected: 4096 });
  const [answer] = (await once(socket, 'data')) as [Buffer];
  assert.equal(answer.length, 48 + 4096);
  const again = IscsiServer.listen({
    host: '127.0.0.1',
    port: server.port,
    targetsOf: () => [TEST_TARGET],
    targetNamed: () => new StubTarget(store),
    clock: new HandClock(),
    policyFor: () => null,
    onClosed: () => undefined,
  });
  await assert.rejects(again, (error) => error instanceof CodedError && error.code === 'conflict');
});

test('a fence cuts all connections of a VM at once and waits for its commands; others go on', async (t) => {
  const { server, store } = await rig(t);
  const [first, second, other] = [
    await loggedIn(t, server, { isid: 1 }),
    await loggedIn(t, server, { isid: 2 }),
    await loggedIn(t, server, { name: 'vm2' }),
  ];
  store.hold = true;
  command(first, cdb10(0x2a, 0, 1), { tag: 1, flags: 0xa1, expected: 512, data: Buffer.alloc(512, 7) });
  while (store.held === 0) await new Promise(setImmediate);
  const ends = [closing(first), closing(second)];
  let isFenced = false;
  const fenced = server.fence('iqn.2026-11.test:VM1').then(() => {
    isFenced = true;
  });
  assert.equal(server.connectionCount, 1);
  await Promise.all(ends);
  assert.equal(isFenced, false, 'a write still runs');
  store.release();
  await fenced;
  store.hold = false;
  command(other, cdb10(0x28, 0, 1), { tag: 1, flags: 0xc1, expected: 512 });
  await once(other, 'data');
});

test('the last connection of a VM that goes is a nexus loss; the same session again takes the place of the old one', async (t) => {
  const { server, target } = await rig(t);
  const old = await loggedIn(t, server, { isid: 5 });
  const gone = closing(old);
  const next = await loggedIn(t, server, { isid: 5 });
  await gone;
  assert.deepEqual(target.lost, []);
  next.end();
  while (target.lost.length === 0) await new Promise(setImmediate);
  assert.deepEqual(target.lost, ['iqn.2026-11.test:vm1']);
});

test('a thousand idle connections disturb nobody: an address may have few, and those are closed at the deadline', async (t) => {
  const { server, clock } = await rig(t);
  const ends: Promise<void>[] = [];
  for (let count = 0; count < 1_000; count++) ends.push(closing(await connected(t, server)));
  await until('few are left', () => server.connectionCount <= LIMITS.strangers.perAddressMax);
  const socket = await loggedIn(t, server);
  command(socket, cdb10(0x28, 0, 1), { tag: 1, flags: 0xc1, expected: 512 });
  await once(socket, 'data');
  clock.pass(LIMITS.loginDeadlineMs + 2_000);
  await Promise.all(ends);
  assert.equal(server.connectionCount, 1);
});

test('a reader that takes nothing holds a bounded amount and is closed when it stalls', async (t) => {
  const { server, store, target, clock, closed } = await rig(t, 8192);
  const socket = await loggedIn(t, server);
  socket.pause();
  for (let tag = 1; tag <= 100; tag++) command(socket, cdb10(0x28, 0, 4096), { tag, flags: 0xc1, expected: 2 ** 21 });
  let before = -1;
  // Until no byte moves any more: the kernel's buffers are full.
  for (let still = 0; still < 50; still++) {
    if (target.executed !== before) still = 0;
    before = target.executed;
    await new Promise(setImmediate);
  }
  assert.ok(target.executed < 40, `${target.executed} of 100 were read`);
  const other = await loggedIn(t, server, { name: 'vm2' });
  command(other, cdb10(0x28, 0, 1), { tag: 1, flags: 0xc1, expected: 512 });
  await once(other, 'data');
  clock.pass(LIMITS.stallDeadlineMs + 3_000);
  assert.deepEqual(closed, ['stalled']);
  assert.equal(store.held, 0);
});
