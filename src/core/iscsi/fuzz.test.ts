import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { pduBytes, pduHeader, TestInitiator } from '../../iscsi/testing/initiator.ts';
import { MemoryStore } from '../../iscsi/testing/memory-store.ts';
import { StubTarget } from '../../iscsi/testing/stub-target.ts';
import { LIMITS } from './limits.ts';

// Longer: GP_FUZZ_RUNS=200000 GP_FUZZ_SEED=… node --test src/core/iscsi/fuzz.test.ts
const numRuns = Number(process.env['GP_FUZZ_RUNS'] ?? 1_500);
const seed = Number(process.env['GP_FUZZ_SEED'] ?? 12);

/** One thing that a peer does. Numbers are mostly what would be right, or next to it. */
type Act = (peer: TestInitiator, store: MemoryStore) => void;

const near = fc.constantFrom(0, 0, 0, 0, 1, -1, 2, 200, 0x7fffffff);
const tag = fc.nat(6);
const length = fc.constantFrom(0, 0, 1, 4, 511, 512, 512, 1024, 2048, 65_536);

const command: fc.Arbitrary<Act> = fc
  .record({ tag, off: near, flags: fc.nat(255), opcode: fc.constantFrom(0x28, 0x2a, 0x2a, 0x12, 0x00, 0x9e), length })
  .chain((about) => fc.record({ about: fc.constant(about), expected: fc.constantFrom(0, 512, 1024, 4096, 0xffffffff) }))
  .map(({ about, expected }) => (peer) => {
    const fields = { 16: about.tag, 20: expected, 24: peer.cmdSn + about.off };
    const header = pduHeader(0x01, about.flags, fields);
    header[32] = about.opcode;
    header.writeUInt16BE(Math.ceil(expected / 512) & 0xff, 39);
    if (about.off === 0) peer.cmdSn += 1;
    peer.connection.receive(pduBytes(header, Buffer.alloc(about.length)));
  });

const dataOut: fc.Arbitrary<Act> = fc
  .record({ tag, ttt: fc.constantFrom(0xffffffff, 1, 2, 3), sn: near, offset: length, length, final: fc.boolean() })
  .map((about) => (peer) => {
    const fields = { 16: about.tag, 20: about.ttt, 36: about.sn, 40: about.offset };
    peer.connection.receive(pduBytes(pduHeader(0x05, about.final ? 0x80 : 0, fields), Buffer.alloc(about.length)));
  });

const other: fc.Arbitrary<Act> = fc
  .record({ opcode: fc.nat(63), immediate: fc.boolean(), flags: fc.nat(255), tag, off: near, length: fc.nat(600) })
  .map((about) => (peer) => {
    const header = pduHeader(about.opcode | (about.immediate ? 0x40 : 0), about.flags, {
      16: about.tag,
      20: about.tag,
      24: peer.cmdSn + about.off,
    });
    if (about.off === 0 && !about.immediate) peer.cmdSn += 1;
    peer.connection.receive(pduBytes(header, Buffer.alloc(about.length, 0x41)));
  });

const noise: fc.Arbitrary<Act> = fc
  .uint8Array({ maxLength: 300 })
  .map((bytes) => (peer) => peer.connection.receive(bytes));
const hold: fc.Arbitrary<Act> = fc.boolean().map((value) => (_peer, store) => {
  store.hold = value;
});
const slow: fc.Arbitrary<Act> = fc.boolean().map((value) => (peer) => {
  peer.unsentBytes = value ? 2 ** 30 : 0;
});
const act = fc.oneof(
  { weight: 6, arbitrary: command },
  { weight: 5, arbitrary: dataOut },
  { weight: 2, arbitrary: other },
  { weight: 1, arbitrary: noise },
  { weight: 1, arbitrary: hold },
  { weight: 1, arbitrary: slow },
);

/** A residual is an overflow or an underflow, not both, and there is one where a flag says so (11.4.5). */
function checkResidual(header: Buffer): void {
  const opcode = (header[0] ?? 0) & 0x3f;
  const flags = header[1] ?? 0;
  if (opcode !== 0x21 && (opcode !== 0x25 || (flags & 0x01) === 0)) return;
  assert.notEqual(flags & 0x06, 0x06);
  assert.equal((flags & 0x06) !== 0, header.readUInt32BE(44) !== 0);
}

async function settle(store: MemoryStore): Promise<void> {
  store.hold = false;
  for (let round = 0; round < 300 && store.held > 0; round++) {
    store.release();
    await new Promise(setImmediate);
  }
  await new Promise(setImmediate);
}

test('fuzz: whatever a peer does in a session ends in answers or a closed connection; nothing throws, nothing is left', async () => {
  const logins = [[], ['ImmediateData=No'], ['InitialR2T=No', 'FirstBurstLength=1024', 'MaxBurstLength=1024']];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...logins), fc.array(act, { maxLength: 40 }), async (keys, acts) => {
      const store = new MemoryStore(4096);
      const peer = new TestInitiator(new StubTarget(store));
      peer.open(...keys);
      for (const one of acts) {
        one(peer, store);
        for (const { header } of peer.answers()) checkResidual(header);
        assert.ok(store.held <= LIMITS.commandWindow + LIMITS.immediateMax);
      }
      for (const reason of peer.ends) assert.doesNotMatch(reason, /a bug/);
      peer.connection.close();
      await settle(store);
      await peer.connection.quiet();
      assert.deepEqual(peer.answers().length <= 1, true, 'at most the reject that was written before the end');
    }),
    { seed, numRuns },
  );
});

test('fuzz: log-in with any keys, in any order, any number of times', () => {
  const key = fc.constantFrom(
    'InitiatorName',
    'TargetName',
    'SessionType',
    'AuthMethod',
    'CHAP_A',
    'CHAP_N',
    'CHAP_R',
    'X',
  );
  const value = fc.oneof(
    fc.constantFrom(
      'iqn.2026-11.test:vm1',
      'iqn.2026-11.test:target',
      'Normal',
      'Discovery',
      'CHAP',
      'None',
      '5',
      '0x12',
    ),
    fc.string({ maxLength: 40 }),
  );
  const step = fc.record({
    stage: fc.nat(3),
    next: fc.option(fc.nat(3), { nil: null }),
    pairs: fc.array(fc.tuple(key, value), { maxLength: 5 }),
  });
  const policy = { kind: 'chap', accounts: [{ name: 'vm1', secret: 'never said' }], mutual: null } as const;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const peer = new TestInitiator(new StubTarget(new MemoryStore(8)), () => policy);
      for (const { stage, next, pairs } of steps) {
        peer.login(stage, next, ...pairs.map(([name, said]) => `${name}=${said.replaceAll('\0', '')}`));
      }
      assert.equal(peer.connection.who, null, 'nobody gets in without the secret');
      for (const reason of peer.ends) assert.doesNotMatch(reason, /a bug/);
    }),
    { seed, numRuns },
  );
});
