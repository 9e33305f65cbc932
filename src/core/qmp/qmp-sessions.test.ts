import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { dnsName } from '../../base/identity.ts';
import { parseDiskId } from '../../base/ids.ts';
import { SimClock } from '../../sim/time/sim-clock.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import type { MigrationTold, QmpObservation } from '../model/observation.ts';
import { incarnationOf, QmpSessions } from './qmp-sessions.ts';
import { type FakeChannel, FakeDialer, silence, targetOf } from './testing/fake-dialer.ts';

const SOURCE = targetOf(1);
const DESTINATION = targetOf(2);
const DISK = parseDiskId('disk-0123456789ab');
const LIMIT_MS = 60_000;

interface World {
  readonly clock: SimClock;
  readonly dialer: FakeDialer;
  readonly sessions: QmpSessions;
  /** The news that the listener got, with the generation. */
  readonly told: string[];
  /** Lets time pass until the promise is settled. */
  readonly done: <T>(promise: Promise<T>) => Promise<T>;
  /** Runs everything that is due now. */
  readonly settle: () => Promise<void>;
  readonly channel: (index: number) => FakeChannel;
}

function started(): World {
  const clock = new SimClock();
  const dialer = new FakeDialer(clock);
  const sessions = new QmpSessions({ dialer, clock, monitor: 0 });
  const told: string[] = [];
  const textOf = (what: MigrationTold | null): string => (what === null ? 'look' : JSON.stringify(Object.values(what)));
  sessions.onEvent(({ generation }, what) => told.push(`${generation} ${textOf(what)}`));
  const done = async <T>(promise: Promise<T>): Promise<T> => {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    promise.then(over, over);
    await clock.run(clock.monotonicMs() + LIMIT_MS, () => isOver);
    return promise;
  };
  const channel = (index: number): FakeChannel => {
    const found = dialer.channels[index];
    assert.ok(found !== undefined, `conversation ${index} was not begun`);
    return found;
  };
  return { clock, dialer, sessions, told, done, channel, settle: () => clock.run(clock.monotonicMs() + 10) };
}

function statusOf(seen: QmpObservation): string {
  return seen.kind === 'answers' ? seen.status : seen.kind;
}

test('one session per incarnation: who asks while it is dialed shares it, and it is kept', async () => {
  const { sessions, dialer, done } = started();
  const both = await done(Promise.all([sessions.observe(SOURCE), sessions.observe(SOURCE)]));
  assert.deepEqual(both.map(statusOf), ['running', 'running']);
  await done(sessions.cont(SOURCE));
  assert.deepEqual(dialer.attempts, ['direct 0']);
  await done(sessions.observe(DESTINATION));
  assert.deepEqual(dialer.attempts, ['direct 0', 'direct 0']);
});

test('a command that misses its deadline closes the session; the next order opens another one', async () => {
  const { sessions, dialer, done, channel, clock, told, settle } = started();
  dialer.answers = { ...dialer.answers, cont: () => silence };
  await assert.rejects(done(sessions.cont(SOURCE)), { code: 'deadline' });
  assert.equal(Math.round(clock.monotonicMs()), 5_001);
  assert.equal(channel(0).isClosed, true);
  await settle();
  assert.deepEqual(told, ['1 look']);
  assert.equal(statusOf(await done(sessions.observe(SOURCE))), 'running');
  assert.equal(dialer.channels.length, 2);
});

test('a QEMU that does not answer what it is asked is mute for as long as it was waited for, and is dialed again', async () => {
  const { sessions, dialer, done, channel } = started();
  dialer.answers = { 'query-status': () => silence };
  assert.deepEqual(await done(sessions.observe(SOURCE)), { kind: 'mute', via: 'direct', ageMs: 1_000 });
  assert.equal(channel(0).isClosed, true);
  dialer.answers = { 'query-status': () => ({ status: 'paused' }) };
  assert.equal(statusOf(await done(sessions.observe(SOURCE))), 'paused');
});

test('what QEMU refuses leaves the session open', async () => {
  const { sessions, dialer, done, channel } = started();
  dialer.answers = {
    cont: () => {
      throw new QmpError('cont', { errorClass: 'GenericError', description: 'Migration is not finalized yet' });
    },
  };
  await assert.rejects(done(sessions.cont(SOURCE)), { code: 'failed' });
  assert.equal(channel(0).isClosed, false);
});

test('an order to nobody is refused and says that nothing was ordered; to quit a process that is gone is done', async () => {
  const { sessions, dialer, done } = started();
  dialer.meets = () => 'refused';
  const isAdvised = (error: unknown): boolean => error instanceof CodedError && error.advice === 'Nothing was ordered.';
  await assert.rejects(done(sessions.cont(SOURCE)), isAdvised);
  await done(sessions.quit(SOURCE));
  dialer.meets = () => 'silent';
  await assert.rejects(done(sessions.quit(SOURCE)), { code: 'unavailable' });
});

test('an incarnation that is forgotten while it is dialed keeps no session; one that is forgotten later tells nothing more', async () => {
  const { sessions, done, channel, told, settle } = started();
  const observing = sessions.observe(SOURCE);
  sessions.forget(SOURCE.vm, SOURCE.generation);
  assert.equal((await done(observing)).kind, 'unknown');
  assert.equal(channel(0).isClosed, true);
  await done(sessions.observe(SOURCE));
  sessions.forget(SOURCE.vm, SOURCE.generation);
  await settle();
  assert.equal(channel(1).isClosed, true);
  assert.deepEqual(told, []);
});

test('events that may change a decision wake the listener, others do not; so does the end of a session', async () => {
  const { sessions, done, channel, told, settle } = started();
  await done(sessions.observe(SOURCE));
  for (const name of ['SHUTDOWN', 'STOP', 'RESUME', 'RESET', 'GUEST_PANICKED', 'BLOCK_IO_ERROR']) channel(0).emit(name);
  assert.deepEqual(
    told.splice(0),
    Array.from({ length: 6 }, () => '1 look'),
  );
  for (const status of ['setup', 'active', 'device']) channel(0).emit('MIGRATION', { status });
  channel(0).emit('RTC_CHANGE');
  assert.deepEqual(told, []);
  for (const status of ['completed', 'failed', 'cancelled']) channel(0).emit('MIGRATION', { status });
  assert.deepEqual(
    told.splice(0),
    Array.from({ length: 3 }, () => '1 look'),
  );
  channel(0).close();
  await settle();
  assert.deepEqual(told, ['1 look']);
});

/** A world in which the source was told to send to the destination. */
async function sending(): Promise<World> {
  const world = started();
  await world.done(world.sessions.observe(SOURCE));
  await world.done(world.sessions.observe(DESTINATION));
  world.channel(0).commands.length = 0;
  await world.done(world.sessions.send(SOURCE, DESTINATION, { slowDown: true }));
  return world;
}

test('the orders to send: what is under way is asked first, and the receiver is named as its certificate names it', async () => {
  const { channel, clock, done, dialer } = await sending();
  assert.deepEqual(
    channel(0).commands.map((command) => command.split(' ')[0]),
    ['query-migrate', 'query-status', 'migrate-set-capabilities', 'migrate-set-parameters', 'migrate'],
  );
  const [parameters, migrate] = channel(0).commands.slice(-2);
  assert.match(parameters ?? '', new RegExp(`"tls-hostname":"${dnsName(incarnationOf(DESTINATION))}"`));
  assert.equal(migrate, 'migrate {"uri":"tcp:10.1.0.7:21004"}');
  for (const [status, migration] of [
    ['running', 'active'],
    ['postmigrate', 'completed'],
  ] as const) {
    dialer.answers = { 'query-status': () => ({ status }), 'query-migrate': () => ({ status: migration }) };
    const another = new QmpSessions({ dialer, clock, monitor: 1 });
    await done(another.send(SOURCE, DESTINATION, { slowDown: true }));
    assert.equal(
      dialer.channels.at(-1)?.commands.some((command) => command.startsWith('migrate ')),
      false,
    );
  }
});

test('events tell of the migration that was ordered: its end begins, it has left and it has arrived, with the time that the guest stood still', async () => {
  const { channel, told } = await sending();
  channel(0).emit('MIGRATION', { status: 'active' });
  channel(0).emit('STOP', {}, 1_000);
  channel(1).emit('MIGRATION', { status: 'completed' });
  channel(0).emit('MIGRATION', { status: 'completed' }, 1_012);
  assert.deepEqual(told, ['1 ["ending"]', '2 ["arrived"]', '1 ["left",2,12]']);
});

test('a source that told its end is not asked about its migration again', async () => {
  const { channel, sessions, done, dialer } = await sending();
  channel(0).emit('STOP', {}, 1_000);
  channel(0).emit('MIGRATION', { status: 'completed' }, 990);
  const parameters = { 'tls-hostname': dnsName(incarnationOf(DESTINATION)), 'downtime-limit': 50 };
  channel(0).commands.length = 0;
  dialer.answers['query-status'] = () => ({ status: 'postmigrate' });
  dialer.answers['query-migrate-parameters'] = () => parameters;
  const seen = await done(sessions.observe(SOURCE));
  assert.deepEqual(channel(0).commands, ['query-status', 'query-migrate-parameters']);
  assert.ok(seen.kind === 'answers');
  // The host's wall clock was set back in the meantime.
  assert.deepEqual([seen.migration?.status, seen.migration?.downtimeMs, seen.sentTo], ['completed', 0, 2]);
});

test('a halt that was ordered here is not the end of a migration; a guest that goes on has ended what was ordered', async () => {
  const halted = await sending();
  await halted.done(halted.sessions.halt(SOURCE));
  halted.channel(0).emit('STOP');
  assert.deepEqual(halted.told, ['1 look']);
  const over = await sending();
  over.channel(0).emit('RESUME');
  over.channel(0).emit('STOP');
  over.channel(0).emit('MIGRATION', { status: 'completed' });
  assert.deepEqual(over.told, ['1 look', '1 look', '1 look']);
  const failed = await sending();
  failed.channel(0).emit('MIGRATION', { status: 'failed' });
  failed.channel(0).emit('STOP');
  assert.deepEqual(failed.told, ['1 look', '1 look']);
});

test('what was ordered is not remembered across a reconnect; that it was told to send is', async () => {
  const { channel, sessions, done, told, settle } = await sending();
  channel(0).close();
  await settle();
  told.length = 0;
  const seen = await done(sessions.observe(SOURCE));
  assert.deepEqual(channel(2).commands, ['query-status', 'query-migrate', 'query-migrate-parameters']);
  assert.equal(seen.kind === 'answers' ? seen.migration?.status : seen.kind, 'none');
  channel(2).emit('STOP');
  channel(2).emit('MIGRATION', { status: 'completed' });
  assert.deepEqual(told, ['1 look', '1 look']);
});

test('an order to send that QEMU refuses is not remembered', async () => {
  const { sessions, dialer, done, channel, told } = started();
  dialer.answers = {
    'query-status': () => ({ status: 'running' }),
    migrate: () => {
      throw new QmpError('migrate', { errorClass: 'GenericError', description: 'invalid' });
    },
  };
  await assert.rejects(done(sessions.send(SOURCE, DESTINATION, { slowDown: true })), { code: 'failed' });
  const source = dialer.channels.findIndex(({ commands }) => commands.includes('query-migrate'));
  channel(source).emit('STOP');
  assert.deepEqual(told, ['1 look']);
});

test('a control node that has sent nothing asks a guest that was moved out where it went, and no other guest', async () => {
  const { sessions, dialer, done, channel } = started();
  await done(sessions.observe(SOURCE));
  assert.deepEqual(channel(0).commands, ['query-status']);
  let receiver = dnsName(incarnationOf(DESTINATION));
  dialer.answers['query-status'] = () => ({ status: 'postmigrate' });
  dialer.answers['query-migrate-parameters'] = () => ({ 'tls-hostname': receiver });
  const seen = await done(sessions.observe(SOURCE));
  assert.equal(seen.kind === 'answers' ? seen.sentTo : null, 2);
  receiver = 'elsewhere';
  const other = await done(sessions.observe(SOURCE));
  assert.equal(other.kind === 'answers' ? other.sentTo : 0, null);
});

test('two control nodes each keep a session of their own; a monitor that one holds sends the other to a spare one', async () => {
  const clock = new SimClock();
  const dialer = new FakeDialer(clock);
  const first = new QmpSessions({ dialer, clock, monitor: 0 });
  const second = new QmpSessions({ dialer, clock, monitor: 1 });
  const third = new QmpSessions({ dialer, clock, monitor: 3 });
  const held = new Set<number>();
  dialer.meets = (_path, monitor) => (held.has(monitor) ? 'accepted-but-silent' : 'qemu');
  for (const [sessions, monitor] of [
    [first, 0],
    [second, 1],
    [third, 2],
  ] as const) {
    const observing = sessions.observe(SOURCE);
    await clock.run(clock.monotonicMs() + LIMIT_MS);
    assert.equal(statusOf(await observing), 'running');
    held.add(monitor);
  }
  assert.deepEqual(dialer.attempts, ['direct 0', 'direct 1', 'direct 0', 'direct 1', 'direct 2']);
  // A control node that leads no more closes the sessions that it holds.
  second.close();
  assert.deepEqual(
    dialer.channels.map(({ isClosed }) => isClosed),
    [false, true, false],
  );
});

test('a disk that the guest does not give back is waited for as long as a guest gets, or until the session ends', async () => {
  const device = { name: 'shared-disk-0123456789ab', type: 'child<scsi-block>' };
  const { sessions, dialer, done, clock, channel, settle } = started();
  dialer.answers = { 'qom-list': ({ path }) => (path === '/machine/peripheral' ? [device] : []) };
  await assert.rejects(done(sessions.unplug(SOURCE, DISK)), { code: 'deadline' });
  assert.equal(Math.round(clock.monotonicMs()), 3_001);
  const unplugging = sessions.unplug(SOURCE, DISK);
  unplugging.catch(() => undefined);
  await settle();
  channel(0).close();
  const before = clock.monotonicMs();
  await assert.rejects(done(unplugging));
  assert.ok(clock.monotonicMs() - before < 100);
});

test('how fast a guest writes is measured by sampling pages, never in a mode that ends QEMU 7.2', async () => {
  const { sessions, dialer, done, channel } = started();
  let asked = 0;
  dialer.answers = {
    'query-dirty-rate': () => (++asked < 3 ? { status: 'measuring' } : { status: 'measured', 'dirty-rate': 42 }),
  };
  assert.equal(await done(sessions.dirtyRate(SOURCE)), 42);
  assert.deepEqual(channel(0).commands, [
    'calc-dirty-rate {"calc-time":1,"sample-pages":1024}',
    ...Array.from({ length: 3 }, () => 'query-dirty-rate'),
  ]);
});

test('a QEMU that never has measured, or claims nonsense, is given up', async () => {
  for (const answer of [
    { status: 'measuring' },
    { status: 'measured' },
    { status: 'measured', 'dirty-rate': 'much' },
  ]) {
    const { sessions, dialer, done } = started();
    dialer.answers = { 'query-dirty-rate': () => answer };
    await assert.rejects(done(sessions.dirtyRate(SOURCE)), { code: 'deadline' });
  }
  const { sessions, dialer, done } = started();
  dialer.answers = {
    'calc-dirty-rate': () => {
      throw new QmpError('calc-dirty-rate', { errorClass: 'GenericError', description: "it's still in progress" });
    },
    'query-dirty-rate': () => ({ status: 'measured', 'dirty-rate': 1e30 }),
  };
  assert.equal(await done(sessions.dirtyRate(SOURCE)), 2 ** 20, 'what another control node measures is as good');
});
