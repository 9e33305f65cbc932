import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CacheKeeper } from './cache-keeper.ts';
import { openLogicalUnit } from './logical-unit.ts';
import { DeviceServer } from './target.ts';
import {
  hex,
  MemoryCachedWrites,
  MemoryReservations,
  MemoryStore,
  outcomeOf,
  TestTarget,
} from './testing/memory-unit.ts';

const A = 'iqn.test:a';
const B = 'iqn.test:b';
const C = 'iqn.test:c';
const READ = '28 00 00 00 00 00 00 00 01';
const WRITE = '2a 00 00 00 00 00 00 00 01';
const BLOCK = new Uint8Array(512).fill(7);

const key = (digit: number): string => digit.toString(16).padStart(16, '0');

/** PERSISTENT RESERVE OUT by service action, with the basic 24 bytes of parameters. */
async function out(
  target: TestTarget,
  nexus: string,
  action: { sa: number; own?: number; other?: number; type?: number },
) {
  const { sa, own = 0, other = 0, type = 0 } = action;
  const cdb = `5f ${sa.toString(16).padStart(2, '0')} 0${type} 00 00 00 00 00 18`;
  return outcomeOf(await target.run(nexus, cdb, hex(`${key(own)}${key(other)}${'00'.repeat(8)}`)));
}

async function registered(...nexuses: readonly string[]): Promise<TestTarget> {
  const target = await TestTarget.open();
  await target.meet(A, B, C);
  for (const [index, nexus] of nexuses.entries())
    assert.equal(await out(target, nexus, { sa: 0, other: index + 1 }), 'good');
  return target;
}

const io = async (target: TestTarget, nexus: string): Promise<string> =>
  `${outcomeOf(await target.run(nexus, READ))} ${outcomeOf(await target.run(nexus, WRITE, BLOCK))}`;

const savedNames = (target: TestTarget): string[] =>
  (target.reservations.saved?.registrations ?? []).map((each) => each.nexus);

const text = (bytes: Uint8Array | null): string => Buffer.from(bytes ?? []).toString('hex');

describe('persistent reservations in use', () => {
  test('a write exclusive reservation for registrants: who reads, who writes', async () => {
    const target = await registered(A, B);
    assert.equal(await out(target, A, { sa: 1, own: 1, type: 5 }), 'good');
    assert.equal(await io(target, A), 'good good');
    assert.equal(await io(target, B), 'good good');
    assert.equal(await io(target, C), 'good conflict');
    assert.equal(outcomeOf(await target.run(C, '15 10 00 00 08 00', new Uint8Array(8))), 'conflict');
    assert.equal(outcomeOf(await target.run(C, '00')), 'good');
  });

  test('who is not registered sees that there is a write cache: Linux looks before a member registers, and never again', async () => {
    const target = await registered(A, B);
    await out(target, A, { sa: 1, own: 1, type: 5 });
    for (const cdb of ['1a 08 08 00 ff', '5a 08 08 00 00 00 00 00 ff'])
      assert.equal(outcomeOf(await target.run(C, cdb)), 'good', cdb);
  });

  test('an exclusive access reservation: others do not read', async () => {
    const target = await registered(A, B);
    await out(target, A, { sa: 1, own: 1, type: 3 });
    assert.equal(await io(target, B), 'conflict conflict');
    assert.equal(outcomeOf(await target.run(B, '1b 00 00 00 01')), 'good');
    assert.equal(outcomeOf(await target.run(B, '1b 00 00 00 00')), 'conflict');
  });

  test('a preempted nexus is told once, and then cannot write', async () => {
    const target = await registered(A, B);
    await out(target, A, { sa: 1, own: 1, type: 5 });
    assert.equal(await out(target, B, { sa: 5, own: 2, other: 1, type: 5 }), 'good');
    assert.equal(outcomeOf(await target.run(A, WRITE, BLOCK)), '6/2a05');
    assert.equal(outcomeOf(await target.run(A, WRITE, BLOCK)), 'conflict');
    assert.deepEqual(target.store.log, []);
  });

  test('what is told by PERSISTENT RESERVE IN', async () => {
    const target = await registered(A, B);
    await out(target, B, { sa: 1, own: 2, type: 6 });
    const read = async (sa: number): Promise<string> =>
      text((await target.run(A, `5e 0${sa} 00 00 00 00 00 02 00`)).dataIn);
    assert.equal(await read(0), `0000000200000010${key(1)}${key(2)}`);
    assert.equal(await read(1), `0000000200000010${key(2)}0000000000060000`);
    assert.equal(await read(2), '00081d91ea010000');
    const name = (nexus: string): string => Buffer.from(nexus.padEnd(20, '\0')).toString('hex');
    assert.equal(
      await read(3),
      `0000000200000060${key(1)}0000000000000000000000010000001805000014${name(A)}` +
        `${key(2)}0000000001060000000000010000001805000014${name(B)}`,
    );
  });

  test('SPEC_I_PT registers others before they were ever seen; a wrong list registers nobody', async () => {
    const target = await registered();
    const transport = `05000014${Buffer.from('iqn.test:new\0\0\0\0\0\0\0\0').toString('hex')}`;
    const list = (ids: string): Uint8Array =>
      hex(`${key(0)}${key(5)}0000000008000000${(ids.length / 2).toString(16).padStart(8, '0')}${ids}`);
    const run = async (ids: string): Promise<string> => {
      const data = list(ids);
      return outcomeOf(await target.run(A, `5f 00 00 00 00 00 00 00 ${data.length.toString(16)}`, data));
    };
    assert.equal(await run(`${transport}06000014${'00'.repeat(20)}`), '5/2600');
    assert.deepEqual(savedNames(target), []);
    assert.equal(await run(transport), 'good');
    assert.deepEqual(savedNames(target), [A, 'iqn.test:new']);
  });

  test('a parameter list of a wrong length, a scope that is none, an unknown type', async () => {
    const target = await registered(A);
    const run = async (cdb: string, data: string): Promise<string> => outcomeOf(await target.run(A, cdb, hex(data)));
    const good = `${key(1)}${key(0)}${'00'.repeat(8)}`;
    assert.equal(await run('5f 01 05 00 00 00 00 00 17', good), '5/1a00');
    assert.equal(await run('5f 01 05 00 00 00 00 00 1c', `${good}00000000`), '5/1a00');
    assert.equal(await run('5f 01 05 00 00 00 00 00 18', good.slice(8)), '5/1a00');
    assert.equal(await run('5f 01 15 00 00 00 00 00 18', good), '5/2400');
    assert.equal(await run('5f 01 02 00 00 00 00 00 18', good), '5/2400');
  });

  test('survive the target: saved before they are acknowledged, loaded when it starts again', async () => {
    const first = await registered(A, B);
    await out(first, A, { sa: 1, own: 1, type: 5 });
    const second = await TestTarget.open(new MemoryStore(), first.reservations);
    await second.meet(A, B, C);
    assert.equal(await io(second, B), 'good good');
    assert.equal(await io(second, C), 'good conflict');
    assert.equal(await out(second, A, { sa: 2, own: 1, type: 5 }), 'good');
  });

  test('a change that could not be saved counts only if it was saved after all', async () => {
    for (const [fail, expected] of [
      ['before', 'good good'],
      ['after', 'good conflict'],
    ] as const) {
      const target = await registered(A);
      target.reservations.fail = fail;
      assert.equal(await out(target, A, { sa: 1, own: 1, type: 5 }), 'b/4400');
      assert.equal(await io(target, C), 'good good', 'not acknowledged: does not count yet');
      assert.equal(await out(target, C, { sa: 1, own: 9, type: 5 }), 'conflict');
      assert.equal(await io(target, C), expected, fail);
    }
  });

  test('REGISTER for a key of a nexus that does nothing is not saved', async () => {
    const target = await registered();
    assert.equal(await out(target, A, { sa: 0 }), 'good');
    assert.equal(target.reservations.saved, null);
  });
});

describe('commands in flight', () => {
  test('U1: a preemption is acknowledged when the writes of the preempted have ended', async () => {
    const target = await registered(A, B);
    await out(target, A, { sa: 1, own: 1, type: 5 });
    target.store.hold();
    const write = target.run(A, WRITE, BLOCK);
    let isAcknowledged = false;
    const preemption = out(target, B, { sa: 4, own: 2, other: 1, type: 5 }).then((result) => {
      isAcknowledged = true;
      return result;
    });
    while (target.reservations.saved?.registrations.length !== 1) await Promise.resolve();
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
    assert.equal(isAcknowledged, false);
    target.store.release();
    assert.equal(await preemption, 'good');
    assert.equal(outcomeOf(await write), 'good', 'it was not aborted');
  });

  test('PREEMPT AND ABORT ends them with TASK ABORTED', async () => {
    const target = await registered(A, B);
    await out(target, A, { sa: 1, own: 1, type: 5 });
    target.store.hold();
    const write = target.run(A, WRITE, BLOCK);
    const preemption = out(target, B, { sa: 5, own: 2, other: 1, type: 5 });
    while (target.reservations.saved?.registrations.length !== 1) await Promise.resolve();
    target.store.release();
    assert.equal(await preemption, 'good');
    assert.equal(outcomeOf(await write), 'aborted');
  });

  test('U3: ABORT TASK, ABORT TASK SET and LUN RESET wait for what they abort', async () => {
    const target = await registered();
    target.store.hold();
    const own = target.command(A, WRITE, BLOCK);
    const first = target.server.execute(own);
    const second = target.run(A, READ);
    const others = target.run(B, READ);
    const { server } = target;
    const base = { nexus: A, lun: 0 };
    const aborts = [
      server.manage({ ...base, function: 'abort-task', task: own }),
      server.manage({ ...base, function: 'abort-task-set' }),
    ];
    const quiet = server.nexusQuiet(B);
    assert.equal(await server.manage({ ...base, function: 'abort-task', task: { ...own } }), 'no-such-task');
    assert.equal(await server.manage({ ...base, lun: 3, function: 'abort-task-set' }), 'no-such-lun');
    target.store.release();
    assert.deepEqual(await Promise.all(aborts), ['complete', 'complete']);
    await quiet;
    assert.deepEqual([await first, await second, await others].map(outcomeOf), ['aborted', 'aborted', 'good']);
    target.store.hold();
    const last = target.run(B, READ);
    const reset = server.manage({ ...base, function: 'logical-unit-reset' });
    target.store.release();
    assert.equal(await reset, 'complete');
    assert.equal(outcomeOf(await last), 'aborted');
    assert.deepEqual(await target.attentions(B), ['6/2903']);
  });
});

describe('unit attentions', () => {
  test('U2: the start is told once; INQUIRY and REPORT LUNS do not wait for it', async () => {
    const target = await TestTarget.open();
    assert.equal(outcomeOf(await target.run(A, '12 00 00 00 ff')), 'good');
    assert.equal(outcomeOf(await target.run(A, 'a0 00 00 00 00 00 00 00 00 ff')), 'good');
    assert.deepEqual(await target.attentions(A), ['6/2900']);
  });

  test('REQUEST SENSE takes one away and tells it as data', async () => {
    const target = await TestTarget.open();
    assert.equal(
      text((await target.run(A, '03 00 00 00 12')).dataIn),
      '70000600000000 0a00000000290000000000'.replace(' ', ''),
    );
    assert.equal(text((await target.run(A, '03 01 00 00 12')).dataIn), '7200000000000000');
    assert.deepEqual(await target.attentions(A), []);
  });

  test('a nexus that was lost is told so; persistent reservations stay, RESERVE goes', async () => {
    const target = await registered(A);
    await out(target, A, { sa: 1, own: 1, type: 5 });
    target.server.nexusLost(A);
    assert.equal(await io(target, C), 'good conflict');
    assert.deepEqual(await target.attentions(A), ['6/2907']);
  });

  test('a disk that has grown, a unit that came or went', async () => {
    const target = await registered();
    const other = await openLogicalUnit({
      identity: { uuid: '00112233-4455-4677-8899-aabbccddeef0', targetName: 'iqn.test:t' },
      backing: new MemoryStore(),
      reservations: new MemoryReservations(),
    });
    target.server.add(3, other);
    assert.deepEqual(await target.attentions(A), ['6/3f0e']);
    assert.equal(
      text((await target.run(A, 'a0 00 00 00 00 00 00 00 00 ff')).dataIn),
      `0000001000000000${'00'.repeat(8)}0003${'00'.repeat(6)}`,
    );
    assert.equal(outcomeOf(await target.run(A, 'a0 00 03 00 00 00 00 00 00 ff')), '5/2400');
    await target.server.execute({ ...target.command(A, '00'), lun: 3 });
    other.capacityChanged();
    assert.equal(outcomeOf(await target.server.execute({ ...target.command(A, '00'), lun: 3 })), '6/2a09');
    await target.server.remove(3);
    assert.deepEqual(await target.attentions(A), ['6/3f0e']);
    assert.equal(outcomeOf(await target.server.execute({ ...target.command(A, '00'), lun: 3 })), '5/2500');
  });

  test('U4: more nexuses than fit are busy until one is lost', async () => {
    const target = await TestTarget.open();
    for (let index = 0; index < 1024; index++) await target.run(`iqn.test:n${index}`, '00');
    assert.equal(outcomeOf(await target.run(A, '00')), 'busy');
    target.server.nexusLost('iqn.test:n7');
    assert.equal(outcomeOf(await target.run(A, '00')), '6/2900');
  });
});

describe('RESERVE and RELEASE of SPC-2', () => {
  const RESERVE = '16';
  const RELEASE = '17';

  test('one nexus holds the unit, others conflict and release without effect', async () => {
    const target = await registered();
    assert.equal(outcomeOf(await target.run(A, RESERVE)), 'good');
    assert.equal(outcomeOf(await target.run(A, RESERVE)), 'good');
    assert.equal(outcomeOf(await target.run(B, RESERVE)), 'conflict');
    assert.equal(outcomeOf(await target.run(B, '00')), 'conflict');
    assert.equal(outcomeOf(await target.run(B, '12 00 00 00 ff')), 'good');
    assert.equal(outcomeOf(await target.run(B, RELEASE)), 'good');
    assert.equal(outcomeOf(await target.run(B, READ)), 'conflict');
    assert.equal(await out(target, A, { sa: 0, other: 1 }), 'conflict');
    assert.equal(outcomeOf(await target.run(A, RELEASE)), 'good');
    assert.equal(outcomeOf(await target.run(B, READ)), 'good');
  });

  test('ends with the nexus, a LUN reset or a target reset', async () => {
    const target = await registered();
    const base = { nexus: B, lun: 0 };
    for (const end of [
      async () => target.server.nexusLost(A),
      () => target.server.manage({ ...base, function: 'logical-unit-reset' }),
      () => target.server.manage({ ...base, function: 'target-warm-reset' }),
    ]) {
      await target.meet(A, B);
      assert.equal(outcomeOf(await target.run(A, RESERVE)), 'good');
      await end();
      await target.meet(B);
      assert.equal(outcomeOf(await target.run(B, RESERVE)), 'good');
      assert.equal(outcomeOf(await target.run(B, RELEASE)), 'good');
    }
  });

  test('beside persistent reservations it is answered without effect (CRH)', async () => {
    const target = await registered(A, B);
    assert.equal(outcomeOf(await target.run(A, RESERVE)), 'conflict');
    await out(target, A, { sa: 1, own: 1, type: 5 });
    assert.equal(outcomeOf(await target.run(B, RESERVE)), 'good');
    assert.equal(outcomeOf(await target.run(C, RESERVE)), 'conflict');
    assert.equal(await io(target, A), 'good good');
  });
});

describe('cached writes', () => {
  const FILLING = [
    '0a 00 00 00 01',
    WRITE,
    'aa 00 00 00 00 00 00 00 00 01',
    '8a 00 00 00 00 00 00 00 00 00 00 00 00 01',
    '8b 00 00 00 00 00 00 00 00 00 00 00 00 01',
    '41 00 00 00 00 00 00 00 01',
    '93 00 00 00 00 00 00 00 00 00 00 00 00 01',
  ];
  const SAFE = [
    READ,
    '2a 08 00 00 00 00 00 00 01',
    '8a 08 00 00 00 00 00 00 00 00 00 00 00 01',
    '2e 00 00 00 00 00 00 00 01',
    '35',
  ];

  async function recorded() {
    const store = new MemoryStore();
    const records = new MemoryCachedWrites();
    const unit = await openLogicalUnit({
      identity: { uuid: '00112233-4455-4677-8899-aabbccddeeff', targetName: 'iqn.2026-11.test:disk' },
      backing: store,
      reservations: new MemoryReservations(),
      cached: await CacheKeeper.open(records, 'a boot'),
    });
    const target = new TestTarget({
      store,
      reservations: new MemoryReservations(),
      server: new DeviceServer(new Map([[0, unit]])),
    });
    await target.meet(A);
    return { target, records, store };
  }

  test('U5: every command that fills the cache is recorded before it is answered, and refused where it cannot be; others are not', async () => {
    for (const cdb of FILLING) {
      const { target, records, store } = await recorded();
      records.fails = true;
      assert.equal(outcomeOf(await target.run(A, cdb, BLOCK)), '3/0c00', cdb);
      assert.deepEqual(store.log, [], 'nothing was written');
      records.fails = false;
      assert.equal(outcomeOf(await target.run(A, cdb, BLOCK)), 'good', cdb);
      assert.deepEqual(records.saved.writers, [{ nexus: A, generations: [1], bootId: 'a boot' }], cdb);
    }
    for (const cdb of SAFE) {
      const { target, records } = await recorded();
      assert.equal(outcomeOf(await target.run(A, cdb, cdb === READ || cdb === '35' ? null : BLOCK)), 'good', cdb);
      assert.equal(records.saves, 0, cdb);
    }
  });

  test('U5: UNMAP and COMPARE AND WRITE as well; a write that is recorded already is answered without waiting', async () => {
    const { target, records } = await recorded();
    const list = hex(`0016 0010 0000 0000 ${'00'.repeat(8)} 0000 0001 0000 0000`);
    assert.equal(outcomeOf(await target.run(A, '42 00 00 00 00 00 00 00 18', list)), 'good');
    assert.equal(records.saves, 1);
    assert.ok(!(target.server.execute(target.command(A, WRITE, BLOCK)) instanceof Promise));
    const other = await recorded();
    const pair = new Uint8Array(1024);
    assert.equal(outcomeOf(await other.target.run(A, '89 00 00 00 00 00 00 00 00 00 00 00 00 01', pair)), 'good');
    assert.equal(other.records.saves, 1);
  });
});
