import assert from 'node:assert/strict';
import { Duplex, PassThrough } from 'node:stream';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import type { Generation, HostName, VmId } from '../../base/ids.ts';
import type { Incarnation, VmPhase, VmRecord } from '../../core/model/vm.ts';
import type { Call } from '../api/call.ts';
import { vmRecord } from '../testing/records.ts';
import { type AskPeers, Consoles } from './consoles.ts';
import type { ConsolePorts } from './following-console.ts';

const ID = vmRecord(1).id;
const at = (generation: number, host: string): Incarnation => ({
  generation: generation as Generation,
  host: host as HostName,
  slot: 0,
});
const running = (generation: number, host: string): VmPhase => ({
  kind: 'running',
  incarnation: at(generation, host),
});
const callOf = (name: string): Call => ({ principal: { name }, signal: new AbortController().signal });

/** A serial port like QEMU's: one client at a time. */
class Port extends Duplex {
  typed = '';
  constructor() {
    super({ read: () => undefined });
  }
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.typed += chunk.toString();
    done();
  }
}

/** A VM, its serial ports by generation, and time. */
class World {
  vm: VmRecord | undefined = vmRecord(1, { intent: 'running', phase: running(1, 'h1') });
  readonly ports = new Map<number, Port>();
  /** Generations whose ports cannot be reached. */
  readonly silent = new Set<number>();
  readonly #listeners = new Set<() => void>();
  readonly #timers = new Set<{ readonly delayMs: number; readonly callback: () => void }>();

  readonly consolePorts: ConsolePorts = {
    clock: {
      wallMs: () => Date.parse('2026-05-01T12:00:00Z'),
      monotonicMs: () => 0,
      after: (delayMs, callback) => {
        const timer = { delayMs, callback };
        this.#timers.add(timer);
        return () => void this.#timers.delete(timer);
      },
    },
    vm: () => this.vm,
    onChange: (_id, listener) => {
      this.#listeners.add(listener);
      return () => void this.#listeners.delete(listener);
    },
    openDisplay: async () => new PassThrough(),
    open: async (_vm, { generation }) => {
      const there = this.ports.get(generation);
      if (this.silent.has(generation) || (there !== undefined && !there.destroyed))
        throw new CodedError('unavailable', 'The port is silent.');
      const port = new Port();
      this.ports.set(generation, port);
      return port;
    },
  };

  become(phase: VmPhase, intent: VmRecord['intent'] = 'running'): void {
    this.vm = vmRecord(1, { intent, phase });
    for (const listener of [...this.#listeners]) listener();
  }

  delete(): void {
    this.vm = undefined;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Fires all timers of at most that length. */
  pass(delayMs: number): void {
    for (const timer of [...this.#timers].filter((each) => each.delayMs <= delayMs)) {
      this.#timers.delete(timer);
      timer.callback();
    }
  }

  port(generation: number): Port {
    const port = this.ports.get(generation);
    assert.ok(port !== undefined, `generation ${generation} was connected`);
    return port;
  }

  /** Checks that no timer and no subscription is left. */
  get isQuiet(): boolean {
    return this.#timers.size === 0 && this.#listeners.size === 0;
  }
}

const nobody: AskPeers = async () => null;
const consolesOf = (world: World, askPeers = nobody): Consoles =>
  new Consoles({ node: 'c1', ports: world.consolePorts, askPeers });

/** Collects what a console prints. */
function reader(opened: Duplex): { readonly text: () => string; readonly ended: Promise<void> } {
  let text = '';
  opened.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return { text: () => text, ended: new Promise((resolve) => void opened.once('close', () => resolve())) };
}

const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
const KEPT = { takeOver: false };

test('an open console follows a live migration: it says so, and what is typed meanwhile arrives at the destination', async () => {
  const world = new World();
  const opened = await consolesOf(world).open(world.vm as VmRecord, callOf('ann'), KEPT);
  const read = reader(opened);
  world.port(1).push('before ');
  const move = { source: at(1, 'h1'), destination: at(2, 'h2'), taskId: null };
  world.become({ kind: 'migrating', ...move, deadlineAt: 0 });
  await settle();
  assert.equal(world.ports.size, 1, 'the destination is left alone while it loads');
  world.become({ kind: 'switching', ...move });
  world.port(1).push(null);
  await settle();
  opened.write('typed');
  await settle();
  assert.equal(world.ports.size, 1);
  world.become(running(2, 'h2'));
  await settle();
  world.port(2).push('after');
  await settle();
  assert.match(
    read.text(),
    /^before \r\n\[groundplane: vm1 moved from h1 to h2, generation 2; .*not shown here\]\r\nafter$/,
  );
  assert.equal(world.port(2).typed, 'typed');
  opened.destroy();
  await read.ended;
  assert.ok(world.port(2).destroyed);
  assert.ok(world.isQuiet);
});

test('after a loss it goes on where the VM was started again, once its port answers', async () => {
  const world = new World();
  const opened = await consolesOf(world).open(world.vm as VmRecord, callOf('ann'), KEPT);
  const read = reader(opened);
  world.silent.add(2);
  world.become({ kind: 'starting', incarnation: at(2, 'h3'), reason: 'lost', avoid: [] });
  world.port(1).destroy();
  await settle();
  world.pass(1_000);
  await settle();
  assert.equal(read.text(), '');
  world.silent.delete(2);
  world.pass(1_000);
  await settle();
  assert.match(read.text(), /vm1 was started again from h1 to h3, generation 2/);
  opened.destroy();
  await read.ended;
  assert.ok(world.isQuiet);
});

test('a lost connection to the same incarnation is made again', async () => {
  const world = new World();
  const opened = await consolesOf(world).open(world.vm as VmRecord, callOf('ann'), KEPT);
  const read = reader(opened);
  world.port(1).destroy(new Error('cut'));
  await settle();
  await settle();
  assert.match(read.text(), /the connection to vm1 was lost and is back/);
  world.port(1).push('on');
  await settle();
  assert.match(read.text(), /on$/);
  opened.destroy();
  await read.ended;
});

test('a stop, a deletion and a wait without end close it with a sentence', async () => {
  const ends: readonly (readonly [(world: World) => void, RegExp])[] = [
    [(world) => world.become({ kind: 'stopped' }, 'stopped'), /vm1 was stopped\]\r\n$/],
    [(world) => world.delete(), /vm1 was deleted\]\r\n$/],
    [
      (world) => {
        world.silent.add(1);
        world.port(1).destroy();
        setImmediate(() => setImmediate(() => world.pass(120_000)));
      },
      /vm1 could not be reached for 120 s, so this console ended\]\r\n$/,
    ],
  ];
  for (const [end, said] of ends) {
    const world = new World();
    const read = reader(await consolesOf(world).open(world.vm as VmRecord, callOf('ann'), KEPT));
    end(world);
    await read.ended;
    assert.match(read.text(), said);
    assert.ok(world.isQuiet);
  }
});

test('a console that nobody reads does not outlive its last words for long', async () => {
  const world = new World();
  const opened = await consolesOf(world).open(world.vm as VmRecord, callOf('ann'), KEPT);
  const closed = new Promise((resolve) => void opened.once('close', resolve));
  world.delete();
  await settle();
  assert.equal(opened.destroyed, false);
  world.pass(5_000);
  await closed;
  assert.ok(world.isQuiet);
});

test('a held console is refused with its holder, or taken over: the holder is told and ends', async () => {
  const world = new World();
  const consoles = consolesOf(world);
  const vm = world.vm as VmRecord;
  const ann = reader(await consoles.open(vm, callOf('ann'), KEPT));
  await assert.rejects(consoles.open(vm, callOf('bob'), KEPT), (error: unknown) => {
    assert.ok(error instanceof CodedError && error.code === 'conflict');
    assert.match(error.message, /held by ann, since 2026-05-01T12:00:00.000Z, through c1/);
    return true;
  });
  const bob = await consoles.open(vm, callOf('bob'), { takeOver: true });
  await ann.ended;
  assert.match(ann.text(), /\[groundplane: bob took this console over\]\r\n$/);
  const read = reader(bob);
  world.port(1).push('hello bob');
  await settle();
  assert.equal(read.text(), 'hello bob');
  bob.destroy();
  await read.ended;
  // The console has no holder any more.
  const again = await consoles.open(vm, callOf('ann'), KEPT);
  again.destroy();
  await reader(again).ended;
  assert.ok(world.isQuiet);
});

test('a console that is held through another control node is found there, and taken over there', async () => {
  const world = new World();
  const vm = world.vm as VmRecord;
  const there = new Consoles({ node: 'c2', ports: world.consolePorts, askPeers: nobody });
  const here = consolesOf(world, async (id: VmId, takenBy) => there.asked(id, takenBy));
  const ann = reader(await there.open(vm, callOf('ann'), KEPT));
  await assert.rejects(here.open(vm, callOf('bob'), KEPT), /held by ann, .* through c2/);
  const bob = await here.open(vm, callOf('bob'), { takeOver: true });
  await ann.ended;
  assert.match(ann.text(), /bob took this console over/);
  assert.equal(there.asked(ID, null), null);
  assert.equal(here.asked(ID, null)?.name, 'bob');
  bob.destroy();
});

test('of two who take it over at the same time one has it, and the other is told', async () => {
  const world = new World();
  const consoles = consolesOf(world);
  const vm = world.vm as VmRecord;
  const ann = reader(await consoles.open(vm, callOf('ann'), KEPT));
  const [bob, eve] = await Promise.allSettled([
    consoles.open(vm, callOf('bob'), { takeOver: true }),
    consoles.open(vm, callOf('eve'), { takeOver: true }),
  ]);
  await ann.ended;
  assert.ok(bob.status === 'fulfilled' && eve.status === 'fulfilled');
  const told = reader(bob.value);
  await told.ended;
  assert.match(told.text(), /eve took this console over/);
  eve.value.write('mine');
  await settle();
  assert.equal(world.port(1).typed, 'mine');
  eve.value.destroy();
});

test('others read along: all see what the guest prints, one writes, and the port stays until the last has left', async () => {
  const world = new World();
  const consoles = consolesOf(world);
  const vm = world.vm as VmRecord;
  const ann = await consoles.open(vm, callOf('ann'), KEPT);
  const anns = reader(ann);
  world.port(1).push('before ');
  await settle();
  const bob = await consoles.open(vm, callOf('bob'), { readOnly: 'always' });
  const eve = await consoles.open(vm, callOf('eve'), { readOnly: 'if-held' });
  const [bobs, eves] = [reader(bob), reader(eve)];
  world.port(1).push('after');
  ann.write('a');
  bob.write('b');
  bob.write('b');
  await settle();
  assert.equal(world.port(1).typed, 'a', 'what readers type reaches nobody');
  assert.equal(anns.text(), 'before after');
  assert.match(bobs.text(), /^before \r\n\[groundplane: you read along; ann writes\]\r\n/);
  assert.match(bobs.text(), /after/);
  assert.equal(bobs.text().match(/what you type reaches nobody/g)?.length, 1, 'it is said once');
  assert.match(eves.text(), /ann writes\]\r\nafter$/);
  assert.equal(consoles.asked(ID, null)?.name, 'ann');
  ann.destroy();
  await anns.ended;
  world.port(1).push(' more');
  await settle();
  assert.match(bobs.text(), / more$/, 'the holder has left, the readers read on');
  // Nobody writes: whoever comes next does, and nobody is told to go.
  const zoe = await consoles.open(vm, callOf('zoe'), { readOnly: 'if-held' });
  zoe.write('z');
  await settle();
  assert.equal(world.port(1).typed, 'az');
  world.become({ kind: 'stopped' }, 'stopped');
  await Promise.all([bobs.ended, eves.ended]);
  assert.match(eves.text(), /vm1 was stopped\]\r\n$/);
  zoe.destroy();
  await settle();
  assert.ok(world.port(1).destroyed);
  assert.ok(world.isQuiet);
});

test('a reader who is slow misses output and is told how much; it holds nobody up', async () => {
  const world = new World();
  const consoles = consolesOf(world);
  const vm = world.vm as VmRecord;
  const ann = reader(await consoles.open(vm, callOf('ann'), KEPT));
  const bob = await consoles.open(vm, callOf('bob'), { readOnly: 'always' });
  for (let n = 0; n < 40; n++) {
    world.port(1).push('x'.repeat(10_000));
    await settle();
  }
  assert.equal(ann.text().length, 400_000);
  assert.ok(bob.readableLength <= 256 * 1_024);
  const read = reader(bob);
  await settle();
  const [, kept = '', missing = ''] =
    /writes\]\r\n(x+)\r\n\[groundplane: (\d+) bytes are missing/.exec(read.text()) ?? [];
  assert.equal(kept.length + Number(missing), 400_000);
  bob.destroy();
});

test('a holder who is slow holds the output back, as the guest’s own port does', async () => {
  const world = new World();
  const consoles = consolesOf(world);
  const ann = await consoles.open(world.vm as VmRecord, callOf('ann'), KEPT);
  for (let n = 0; n < 40; n++) {
    world.port(1).push('x'.repeat(10_000));
    await settle();
  }
  assert.ok(ann.readableLength < 200_000, String(ann.readableLength));
  const read = reader(ann);
  for (let n = 0; n < 40; n++) await settle();
  assert.equal(read.text().length, 400_000);
  ann.destroy();
});

test('people who come to read along let nothing more through to a holder who is slow', async () => {
  const world = new World();
  const consoles = consolesOf(world);
  const vm = world.vm as VmRecord;
  const ann = await consoles.open(vm, callOf('ann'), KEPT);
  for (let n = 0; n < 80; n++) {
    world.port(1).push('x'.repeat(10_000));
    await settle();
  }
  const held = ann.readableLength;
  for (let n = 0; n < 20; n++) {
    const bob = await consoles.open(vm, callOf('bob'), { readOnly: 'always' });
    await settle();
    bob.destroy();
    await settle();
  }
  assert.equal(ann.readableLength, held);
  ann.destroy();
});

test('whoever opened a console and went away meanwhile leaves no port behind, and is nobody else’s end', async () => {
  const world = new World();
  const consoles = consolesOf(world);
  const vm = world.vm as VmRecord;
  const gone = new AbortController();
  const ann = consoles.open(vm, { principal: { name: 'ann' }, signal: gone.signal }, KEPT);
  gone.abort(new CodedError('failed', 'The client went away.'));
  await assert.rejects(ann, /went away/);
  await settle();
  assert.ok(world.isQuiet);
  const bob = await consoles.open(vm, callOf('bob'), KEPT);
  bob.destroy();
  await reader(bob).ended;
  assert.ok(world.isQuiet);
});

test('reading along through another control node than the holder’s is refused with the node', async () => {
  const world = new World();
  const vm = world.vm as VmRecord;
  const there = new Consoles({ node: 'c2', ports: world.consolePorts, askPeers: nobody });
  const here = consolesOf(world, async (id: VmId, takenBy) => there.asked(id, takenBy));
  const ann = await there.open(vm, callOf('ann'), KEPT);
  await assert.rejects(here.open(vm, callOf('bob'), { readOnly: 'if-held' }), (error: unknown) => {
    assert.ok(error instanceof CodedError && error.code === 'conflict');
    assert.match(error.message, /held by ann, .* through c2/);
    assert.match(error.advice ?? '', /Reading along works through c2 alone/);
    return true;
  });
  ann.destroy();
});

test('a VM that does not run has no console', async () => {
  const world = new World();
  world.become({ kind: 'stopped' }, 'stopped');
  await assert.rejects(consolesOf(world).open(world.vm as VmRecord, callOf('ann'), KEPT), { code: 'conflict' });
});
