import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockPool } from '../../iscsi/block-pool.ts';
import {
  cdb10,
  chapResponse,
  pduBytes,
  pduHeader,
  TEST_TARGET,
  TestInitiator,
  text,
} from '../../iscsi/testing/initiator.ts';
import { MemoryStore } from '../../iscsi/testing/memory-store.ts';
import { StubTarget } from '../../iscsi/testing/stub-target.ts';
import { TestTarget, MemoryStore as UnitStore } from '../scsi/testing/memory-unit.ts';
import { LIMITS } from './limits.ts';

const READ = 0xc1;
const WRITE = 0xa1;

function rig(...keys: readonly string[]): { store: MemoryStore; target: StubTarget; initiator: TestInitiator } {
  const store = new MemoryStore(4096);
  const target = new StubTarget(store);
  const initiator = new TestInitiator(target);
  const [answer] = initiator.open(...keys);
  assert.equal(answer?.header[1], 0x87, 'in full feature phase');
  return { store, target, initiator };
}

test('log-in: both stages, keys answered, then a command', () => {
  const initiator = new TestInitiator(new StubTarget(new MemoryStore(8)));
  const names = ['InitiatorName=iqn.2026-11.test:VM1', `TargetName=${TEST_TARGET}`, 'AuthMethod=CHAP,None'];
  const [first] = initiator.login(0, 1, ...names);
  assert.equal(first?.header.readUInt16BE(36), 0);
  assert.equal(first?.data.toString(), 'TargetPortalGroupTag=1\0AuthMethod=None\0');
  const [second] = initiator.login(1, 3, 'HeaderDigest=None', 'InitialR2T=No', 'MaxBurstLength=262144', 'X-odd=1');
  assert.deepEqual(second?.data.toString().split('\0'), [
    'HeaderDigest=None',
    'InitialR2T=No',
    'MaxBurstLength=262144',
    'X-odd=NotUnderstood',
    'MaxRecvDataSegmentLength=262144',
    '',
  ]);
  assert.equal(second?.header.readUInt16BE(14), 1, 'a session identifier');
  assert.equal(initiator.connection.initiator, 'iqn.2026-11.test:vm1');
  const [answer] = initiator.command(Buffer.alloc(16), { tag: 9, flags: 0x81, expected: 0 });
  assert.equal(answer?.header[0], 0x21);
});

test('log-in by CHAP, both ways, SHA-256 and MD5; a wrong secret, name or reflected challenge is refused', () => {
  const policy = {
    kind: 'chap',
    accounts: [{ name: 'vm1.7', secret: 'a secret of VM one' }],
    mutual: { name: 'storage', secret: 'the secret of storage' },
  } as const;
  const attempt = (algorithm: 'md5' | 'sha256', about: { name?: string; secret?: string; theirs?: Buffer } = {}) => {
    const initiator = new TestInitiator(new StubTarget(new MemoryStore(8)), () => policy);
    initiator.login(0, null, 'InitiatorName=iqn.2026-11.test:vm1', `TargetName=${TEST_TARGET}`, 'AuthMethod=None,CHAP');
    const [asked] = initiator.login(0, null, `CHAP_A=${algorithm === 'md5' ? '5' : '5,7'}`);
    const challenge = Buffer.alloc(algorithm === 'md5' ? 16 : 32, 7);
    assert.match(asked?.data.toString() ?? '', new RegExp(`CHAP_I=7\0CHAP_C=0x${challenge.toString('hex')}`));
    const secret = about.secret ?? 'a secret of VM one';
    const response = chapResponse(algorithm, { id: 7, secret, challenge }).toString('hex');
    const theirs = about.theirs ?? Buffer.from('a challenge of the initiator');
    const proof = [`CHAP_N=${about.name ?? 'vm1.7'}`, `CHAP_R=0x${response}`];
    const [answer] = initiator.login(0, 1, ...proof, 'CHAP_I=5', `CHAP_C=0x${theirs.toString('hex')}`);
    return { answer, ends: initiator.ends, connection: initiator.connection, initiator, theirs };
  };
  for (const algorithm of ['md5', 'sha256'] as const) {
    const { answer, initiator, connection, theirs } = attempt(algorithm);
    const proof = chapResponse(algorithm, { id: 5, secret: 'the secret of storage', challenge: theirs });
    assert.equal(answer?.data.toString(), `CHAP_N=storage\0CHAP_R=0x${proof.toString('hex')}\0`);
    initiator.login(1, 3);
    assert.equal(connection.who?.account, 'vm1.7');
  }
  const refused = [{ secret: 'a guess' }, { name: 'vm1.6' }, { theirs: Buffer.alloc(32, 7) }];
  for (const about of refused) {
    const { answer, ends } = attempt('sha256', about);
    assert.equal(answer?.header.readUInt16BE(36), 0x0201);
    assert.equal(ends.length, 1);
  }
});

test('log-in without what the policy asks for is refused', () => {
  const chap = { kind: 'chap', accounts: [], mutual: null } as const;
  const names = ['InitiatorName=iqn.2026-11.test:vm1', `TargetName=${TEST_TARGET}`];
  const cases: readonly (readonly [number, 'chap' | 'none' | 'open', number, readonly string[]])[] = [
    [0x0201, 'chap', 1, names],
    [0x0201, 'chap', 0, [...names, 'AuthMethod=None']],
    [0x0202, 'none', 1, names],
    [0x0203, 'open', 1, [names[0] ?? '', 'TargetName=iqn.2026-11.test:other']],
    [0x0207, 'open', 1, names.slice(1)],
    [0x0207, 'open', 1, names.slice(0, 1)],
    [0x0209, 'open', 1, [...names, 'SessionType=Odd']],
  ];
  for (const [status, kind, stage, keys] of cases) {
    const policy = kind === 'chap' ? chap : kind === 'none' ? null : ({ kind: 'open' } as const);
    const initiator = new TestInitiator(new StubTarget(new MemoryStore(8)), () => policy);
    const [answer] = initiator.login(stage, 3, ...keys);
    assert.equal(answer?.header.readUInt16BE(36), status, keys.join());
    assert.equal(initiator.ends.length, 1);
  }
  // An initiator that asks to go on without a proof stays in its stage.
  const initiator = new TestInitiator(new StubTarget(new MemoryStore(8)), () => chap);
  const [answer] = initiator.login(0, 3, ...names, 'AuthMethod=CHAP');
  assert.equal((answer?.header[1] ?? 0) & 0x80, 0);
});

test('a discovery session is told the target, and no command is taken from it', () => {
  const initiator = new TestInitiator(new StubTarget(new MemoryStore(8)));
  initiator.login(1, 3, 'InitiatorName=iqn.2026-11.test:vm1', 'SessionType=Discovery');
  const [answer] = initiator.send(pduHeader(0x04, 0x80, { 16: 2, 20: 0xffffffff, 24: 1 }), text('SendTargets=All'));
  assert.equal(answer?.data.toString(), `TargetName=${TEST_TARGET}\0TargetAddress=192.0.2.1:3260,1\0`);
  initiator.cmdSn = 2;
  const [rejected] = initiator.command(Buffer.alloc(16), { tag: 9, flags: 0x81, expected: 0 });
  assert.equal(rejected?.header[0], 0x3f);
});

test('a read: bursts, segments, status with the last data, residuals', () => {
  const { store, initiator } = rig('MaxRecvDataSegmentLength=1024', 'MaxBurstLength=2048');
  store.bytes.set(Array.from({ length: 4096 }, (_, at) => at % 251));
  const pdus = initiator.command(cdb10(0x28, 1, 6), { tag: 5, flags: READ, expected: 4096 });
  const seen = pdus.map(({ header, data }) => [header[0], header[1], header.readUInt32BE(40), data.length]);
  assert.deepEqual(seen, [
    [0x25, 0x00, 0, 1024],
    [0x25, 0x80, 1024, 1024],
    [0x25, 0x83, 2048, 1024],
  ]);
  assert.equal(pdus.at(-1)?.header.readUInt32BE(44), 1024, 'less than expected');
  assert.deepEqual(Buffer.concat(pdus.map(({ data }) => data)), Buffer.from(store.bytes.subarray(512, 3584)));
  const [over] = initiator.command(cdb10(0x28, 0, 2), { tag: 6, flags: READ, expected: 512 });
  assert.deepEqual([over?.header[1], over?.header.readUInt32BE(44), over?.data.length], [0x85, 512, 512]);
});

test('a write: immediate, unsolicited and solicited data in bursts', () => {
  const { store, initiator } = rig(
    'InitialR2T=No',
    'FirstBurstLength=1024',
    'MaxBurstLength=1024',
    'MaxOutstandingR2T=2',
  );
  const data = Buffer.from(Array.from({ length: 4096 }, (_, at) => at % 253));
  const part = (from: number, to: number): Buffer => data.subarray(from, to);
  assert.deepEqual(
    initiator.command(cdb10(0x2a, 2, 8), { tag: 5, flags: 0x21, expected: 4096, data: part(0, 512) }),
    [],
  );
  const out = (about: { sn: number; offset: number; ttt: number; flags: number }, bytes: Buffer) =>
    initiator.send(pduHeader(0x05, about.flags, { 16: 5, 20: about.ttt, 36: about.sn, 40: about.offset }), bytes);
  const asked = out({ sn: 0, offset: 512, ttt: 0xffffffff, flags: 0x80 }, part(512, 1024));
  assert.deepEqual(
    asked.map(({ header }) => [header[0], header.readUInt32BE(36), header.readUInt32BE(40), header.readUInt32BE(44)]),
    [
      [0x31, 0, 1024, 1024],
      [0x31, 1, 2048, 1024],
    ],
  );
  const ttt = asked.map(({ header }) => header.readUInt32BE(20));
  assert.deepEqual(out({ sn: 0, offset: 1024, ttt: ttt[0] ?? 0, flags: 0 }, part(1024, 1536)), []);
  const [third] = out({ sn: 1, offset: 1536, ttt: ttt[0] ?? 0, flags: 0x80 }, part(1536, 2048));
  assert.equal(third?.header.readUInt32BE(40), 3072);
  assert.deepEqual(out({ sn: 0, offset: 2048, ttt: ttt[1] ?? 0, flags: 0x80 }, part(2048, 3072)), []);
  const last = third?.header.readUInt32BE(20) ?? 0;
  const [done] = out({ sn: 0, offset: 3072, ttt: last, flags: 0x80 }, part(3072, 4096));
  assert.deepEqual([done?.header[0], done?.header[3], done?.header.readUInt32BE(44)], [0x21, 0, 0]);
  assert.deepEqual(Buffer.from(store.bytes.subarray(1024, 5120)), data);
});

test('a lost Data-Out ends its command with a check condition; one beyond what was asked for ends the connection', () => {
  const { initiator, target } = rig('ImmediateData=No');
  const [asked] = initiator.command(cdb10(0x2a, 0, 2), { tag: 5, flags: WRITE, expected: 1024 });
  const ttt = asked?.header.readUInt32BE(20) ?? 0;
  const [lost] = initiator.send(pduHeader(0x05, 0, { 16: 5, 20: ttt, 36: 3, 40: 0 }), Buffer.alloc(512));
  assert.deepEqual([lost?.header[3], lost?.data[4], lost?.data[14]], [2, 0x0b, 0x47]);
  assert.equal(target.executed, 0);
  const [again] = initiator.command(cdb10(0x2a, 0, 2), { tag: 6, flags: WRITE, expected: 1024 });
  const second = again?.header.readUInt32BE(20) ?? 0;
  const [rejected] = initiator.send(pduHeader(0x05, 0x80, { 16: 6, 20: second, 40: 0 }), Buffer.alloc(2048));
  assert.equal(rejected?.header[0], 0x3f);
  assert.equal(initiator.ends.length, 1);
});

test('unsolicited data of commands that wait is held up to a bound; the rest is discarded, asked for later, and written once', async () => {
  const { initiator, store, target } = rig('InitialR2T=No', 'FirstBurstLength=262144');
  const bytes = 256 * 1024;
  const held = LIMITS.waitingBytes / bytes;
  // A reader that takes nothing: no command starts.
  initiator.unsentBytes = LIMITS.unsentBytes + 1;
  for (let tag = 0; tag <= held; tag++) {
    const half = Buffer.alloc(bytes / 2, tag + 1);
    const [blocks, expected] = [bytes / 512, bytes];
    assert.deepEqual(initiator.command(cdb10(0x2a, 0, blocks), { tag, flags: 0x21, expected, data: half }), []);
    const rest = pduHeader(0x05, 0x80, { 16: tag, 20: 0xffffffff, 40: bytes / 2 });
    assert.deepEqual(initiator.send(rest, half), []);
  }
  assert.equal(target.executed, 0);
  initiator.unsentBytes = 0;
  initiator.connection.sent();
  const answers = initiator.answers();
  assert.equal(target.executed, held);
  const [asked, ...others] = answers.filter(({ header }) => header[0] === 0x31);
  assert.equal(others.length, 0);
  const fields = [16, 40, 44].map((at) => asked?.header.readUInt32BE(at));
  assert.deepEqual(fields, [held, 0, bytes], 'all of the last one');
  const again = pduHeader(0x05, 0x80, { 16: held, 20: asked?.header.readUInt32BE(20) ?? 0 });
  const [done] = initiator.send(again, Buffer.alloc(bytes, 0x77));
  assert.deepEqual([done?.header[0], done?.header[3], target.executed], [0x21, 0, held + 1]);
  assert.ok(store.bytes.subarray(0, bytes).every((byte) => byte === 0x77));
  // The bound is free again.
  initiator.unsentBytes = LIMITS.unsentBytes + 1;
  const data = Buffer.alloc(bytes, 3);
  initiator.command(cdb10(0x2a, 0, bytes / 512), { tag: 99, flags: WRITE, expected: bytes, data });
  initiator.unsentBytes = 0;
  initiator.connection.sent();
  assert.equal(initiator.answers()[0]?.header[0], 0x21);
});

test('memory that data still comes into is given to nobody else, though its command has ended', async () => {
  const store = new MemoryStore(4096);
  const target = new StubTarget(store);
  const pool = new BlockPool();
  const bytes = 128 * 1024;
  const begin = (): { initiator: TestInitiator; out: (data: Buffer) => Buffer } => {
    const initiator = new TestInitiator(target, undefined, pool);
    initiator.open('ImmediateData=No');
    const [asked] = initiator.command(cdb10(0x2a, 0, 256), { tag: 5, flags: WRITE, expected: bytes });
    const ttt = asked?.header.readUInt32BE(20) ?? 0;
    return { initiator, out: (data) => pduBytes(pduHeader(0x05, 0x80, { 16: 5, 20: ttt }), data) };
  };
  const first = begin();
  const sent = first.out(Buffer.alloc(bytes, 0xff));
  first.initiator.connection.receive(sent.subarray(0, 1_000));
  first.initiator.connection.session?.abortedElsewhere(target.units());
  assert.equal(first.initiator.answers()[0]?.header[3], 0x40, 'aborted');
  store.hold = true;
  const second = begin();
  second.initiator.connection.receive(second.out(Buffer.alloc(bytes, 7)));
  first.initiator.connection.receive(sent.subarray(1_000));
  assert.deepEqual(first.initiator.ends, []);
  store.release();
  await new Promise(setImmediate);
  assert.equal(second.initiator.answers()[0]?.header[3], 0);
  assert.ok(store.bytes.subarray(0, bytes).every((byte) => byte === 7));
});

test('digests are checked and written', () => {
  const { initiator, store } = rig('HeaderDigest=CRC32C', 'DataDigest=CRC32C');
  initiator.digests = true;
  const data = Buffer.alloc(512, 0x5a);
  const [done] = initiator.command(cdb10(0x2a, 0, 1), { tag: 5, flags: WRITE, expected: 512, data });
  assert.equal(done?.header[3], 0);
  const [read] = initiator.command(cdb10(0x28, 0, 1), { tag: 6, flags: READ, expected: 512 });
  assert.deepEqual(read?.data, Buffer.from(store.bytes.subarray(0, 512)));
  initiator.digests = false;
  initiator.command(cdb10(0x28, 0, 1), { tag: 7, flags: READ, expected: 512 });
  initiator.connection.receive(new Uint8Array(64));
  assert.deepEqual(initiator.ends, ['a header digest is wrong']);
});

test('the window: what is outside it is ignored, a gap ends the connection, a full one opens again', async () => {
  const { initiator, store } = rig();
  store.hold = true;
  let answers = 0;
  for (let tag = 0; tag < 130; tag++) {
    answers += initiator.command(cdb10(0x28, 0, 1), { tag, flags: READ, expected: 512 }).length;
  }
  assert.equal(answers, 0);
  assert.equal(store.held, 128, 'two were beyond the window');
  store.release();
  await new Promise(setImmediate);
  const last = initiator.answers().at(-1)?.header;
  assert.equal(last?.readUInt32BE(28), 129);
  assert.equal(last?.readUInt32BE(32), 129 + 127);
  initiator.cmdSn = 133;
  initiator.command(cdb10(0x28, 0, 1), { tag: 200, flags: READ, expected: 512 });
  assert.equal(initiator.ends.length, 1);
});

test('task management: what runs is left to the device server, what waits is dropped, nothing aborted is answered', async () => {
  const { initiator, store, target } = rig();
  store.hold = true;
  initiator.command(cdb10(0x28, 0, 1), { tag: 5, flags: READ, expected: 512 });
  initiator.command(cdb10(0x2a, 0, 2), { tag: 6, flags: WRITE, expected: 1024 });
  const tmf = (code: number, about: Record<number, number>) => initiator.send(pduHeader(0x42, 0x80 | code, about));
  const [gone] = tmf(1, { 16: 7, 20: 6, 24: 3 });
  assert.deepEqual([gone?.header[0], gone?.header[2]], [0x22, 0]);
  tmf(1, { 16: 8, 20: 5, 24: 3 });
  await new Promise(setImmediate);
  assert.equal(initiator.answers()[0]?.header[0], 0x22);
  assert.equal(target.managed[0]?.task?.cdb[0], 0x28);
  store.release();
  await new Promise(setImmediate);
  assert.deepEqual(initiator.answers(), []);
  tmf(5, { 16: 9, 24: 3 });
  assert.deepEqual(initiator.abortsElsewhere, [0]);
  const [unsupported] = tmf(8, { 16: 10, 24: 3 });
  assert.equal(unsupported?.header[2], 5);
});

test('closing: nothing is written any more, and quiet waits for what runs', async () => {
  const { initiator, store } = rig();
  store.hold = true;
  initiator.command(cdb10(0x2a, 0, 1), { tag: 5, flags: WRITE, expected: 512, data: Buffer.alloc(512, 1) });
  initiator.connection.close();
  let isQuiet = false;
  const quiet = initiator.connection.quiet().then(() => {
    isQuiet = true;
  });
  await new Promise(setImmediate);
  assert.equal(isQuiet, false);
  store.release();
  await quiet;
  assert.deepEqual(initiator.answers(), []);
});

test('memory: commands beyond the bound of a connection wait, and an ordered one waits for those before it', async () => {
  const { initiator, store } = rig();
  store.hold = true;
  for (let tag = 1; tag <= 3; tag++) {
    initiator.command(cdb10(0x28, 0, 1), { tag, flags: READ, expected: 16 * 1024 * 1024 });
  }
  assert.equal(store.held, 2);
  store.release();
  await new Promise(setImmediate);
  assert.equal(store.held, 1);
  initiator.command(cdb10(0x28, 0, 1), { tag: 9, flags: 0xc2, expected: 512 });
  initiator.command(cdb10(0x28, 0, 1), { tag: 10, flags: READ, expected: 512 });
  assert.equal(store.held, 1);
  store.release();
  await new Promise(setImmediate);
  assert.equal(store.held, 1, 'the ordered one alone');
  store.release();
  await new Promise(setImmediate);
  assert.equal(store.held, 1);
  initiator.unsentBytes = 64 * 1024 * 1024;
  initiator.command(cdb10(0x28, 0, 1), { tag: 11, flags: READ, expected: 512 });
  assert.equal(store.held, 1, 'a reader that takes nothing gets nothing more');
});

const [O, U] = [0x04, 0x02];
const VM1 = 'iqn.2026-11.test:vm1';

/** A real device server over 16 blocks of zeroes, and its initiator in full feature phase without unit attentions. */
async function device(): Promise<{ initiator: TestInitiator; isWritten: () => boolean }> {
  const target = await TestTarget.open(new UnitStore(16));
  await target.meet(VM1);
  const initiator = new TestInitiator(target.server);
  initiator.open('InitialR2T=No', 'ImmediateData=Yes');
  const isWritten = (): boolean => target.store.log.some((line) => line.startsWith('write'));
  return { initiator, isWritten };
}

/** The answer to one command: status, additional sense, flags and residual; data is sent and asked for as it comes. */
async function answered(
  initiator: TestInitiator,
  cdb: Buffer,
  about: { flags: number; expected: number; sends: number },
) {
  const { flags, expected, sends } = about;
  const data = Buffer.alloc(sends, 0x5a);
  const atOnce = initiator.command(cdb, { tag: 5, flags, expected, ...(sends === 0 ? {} : { data }) });
  await new Promise(setImmediate);
  const pdus = [...atOnce, ...initiator.answers()];
  const last = pdus.at(-1);
  assert.ok(last !== undefined, 'an answer');
  assert.deepEqual(initiator.ends, []);
  return {
    status: last.header[3],
    sense: last.header[3] === 2 ? last.data.readUInt16BE(2 + 12) : 0,
    residual: [last.header[1] ?? 0, last.header.readUInt32BE(44)].map((value, i) =>
      i === 0 ? value & (O | U) : value,
    ),
    received: pdus.filter(({ header }) => header[0] === 0x25).reduce((sum, each) => sum + each.data.length, 0),
  };
}

const [NEITHER, R, W, BOTH] = [0x81, 0xc1, 0xa1, 0xe1];
const write = cdb10(0x2a, 0, 2);
const read = cdb10(0x28, 0, 2);
const ready = Buffer.alloc(16);
/** UNMAP with a parameter list of 24 bytes, MODE SELECT(6) of 12. */
const unmap = Buffer.from('42000000000000001800000000000000', 'hex');
const modeSelect = Buffer.from('15100000180000000000000000000000', 'hex');
/** VERIFY(10) of two blocks: by reading, and by comparing with what is sent. */
const verify = Buffer.from('2f000000000000000200000000000000', 'hex');
const compare = Buffer.from(verify);
compare[1] = 0x02;
const reportLuns = Buffer.from('a0000000000000000010000000000000', 'hex');
const WRONG = 0x0e03;

const EXPECTATIONS: readonly (readonly [
  string,
  Buffer,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  boolean,
])[] = [
  // what, CDB, flags, expected, sent, -> additional sense, flag O or U, residual, received, written
  ['a write as it should be', write, W, 1024, 1024, 0, 0, 0, 0, true],
  ['a write that sends less', write, W, 512, 512, 0, O, 512, 0, true],
  ['a write that sends more', write, W, 2048, 2048, 0, U, 1024, 0, true],
  ['a write that sends nothing', write, W, 0, 0, 0, O, 1024, 0, false],
  ['a write without W', write, NEITHER, 0, 0, WRONG, O, 1024, 0, false],
  ['a write without W that names a length', write, NEITHER, 1024, 0, WRONG, O, 1024, 0, false],
  ['a write with R', write, R, 1024, 0, WRONG, U, 1024, 0, false],
  ['a write with both', write, BOTH, 1024, 1024, WRONG, U, 1024, 0, false],
  ['a read as it should be', read, R, 1024, 0, 0, 0, 0, 1024, false],
  ['a read with less room', read, R, 512, 0, 0, O, 512, 512, false],
  ['a read with more room', read, R, 4096, 0, 0, U, 3072, 1024, false],
  ['a read with no room', read, R, 0, 0, 0, O, 1024, 0, false],
  ['a read without R', read, NEITHER, 0, 0, 0, O, 1024, 0, false],
  ['a read with W', read, W, 1024, 1024, 0, O, 1024, 0, false],
  ['a read with both', read, BOTH, 1024, 1024, WRONG, U, 1024, 0, false],
  ['TEST UNIT READY', ready, NEITHER, 0, 0, 0, 0, 0, 0, false],
  ['TEST UNIT READY with room', ready, R, 512, 0, 0, U, 512, 0, false],
  ['TEST UNIT READY with data', ready, W, 512, 512, 0, U, 512, 0, false],
  ['TEST UNIT READY with both', ready, BOTH, 512, 512, WRONG, U, 512, 0, false],
  ['UNMAP with R', unmap, R, 24, 0, WRONG, U, 24, 0, false],
  ['UNMAP without W', unmap, NEITHER, 0, 0, 0x1a00, 0, 0, 0, false],
  ['MODE SELECT with R', modeSelect, R, 24, 0, WRONG, U, 24, 0, false],
  ['VERIFY by reading, with room', verify, R, 512, 0, 0, U, 512, 0, false],
  ['VERIFY by comparing, with R', compare, R, 1024, 0, WRONG, U, 1024, 0, false],
  ['VERIFY by comparing, without W', compare, NEITHER, 0, 0, WRONG, O, 1024, 0, false],
  ['REPORT LUNS with W', reportLuns, W, 16, 16, 0, O, 16, 0, false],
  ['REPORT LUNS with both', reportLuns, BOTH, 16, 16, WRONG, U, 16, 0, false],
];

test('flags and expected length against the CDB, in every direction: what is done, and the residual that is told', async () => {
  for (const [what, cdb, flags, expected, sends, sense, flag, residual, received, written] of EXPECTATIONS) {
    const { initiator, isWritten } = await device();
    const answer = await answered(initiator, cdb, { flags, expected, sends });
    const told = { status: sense === 0 ? 0 : 2, sense, residual: [flag, residual], received };
    assert.deepEqual(answer, told, what);
    assert.equal(isWritten(), written, `${what}: written`);
    // The session goes on.
    assert.equal((await answered(initiator, ready, { flags: NEITHER, expected: 0, sends: 0 })).status, 0, what);
  }
});

test('a bidirectional command is refused with both residuals', async () => {
  const { initiator } = await device();
  const header = pduHeader(0x01, BOTH, { 16: 5, 20: 512, 24: initiator.cmdSn++ });
  write.copy(header, 32);
  header[4] = 2;
  // Bidirectional Read Expected Data Transfer Length: length 5, type 2, reserved, 4,096 bytes.
  const segment = Buffer.from('0005020000001000', 'hex');
  const [answer] = initiator.send(Buffer.concat([header, segment]), Buffer.alloc(512));
  assert.ok(answer);
  assert.deepEqual([answer.header[3], answer.data.readUInt16BE(14)], [2, WRONG]);
  assert.equal((answer.header[1] ?? 0) & 0x1e, 0x08 | U);
  assert.deepEqual([answer.header.readUInt32BE(40), answer.header.readUInt32BE(44)], [4096, 512]);
});
