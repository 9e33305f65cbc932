import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type AnsweringMember,
  decideEtcdSpace,
  type EtcdMember,
  type EtcdSituation,
  etcdAlarms,
  filledShare,
} from './etcd-space.ts';

const MIB = 1024 * 1024;
const QUOTA = 1024 * MIB;
const member = (n: number, more: Partial<AnsweringMember> = {}): AnsweringMember => ({
  endpoint: `c${n}`,
  isLeader: n === 1,
  sizeBytes: 100 * MIB,
  inUseBytes: 90 * MIB,
  isFull: false,
  isCorrupt: false,
  version: '3.5.0',
  revision: 1_000,
  ...more,
});
const three = (more: Partial<AnsweringMember> = {}): AnsweringMember[] => [1, 2, 3].map((n) => member(n, more));
const at = (more: Partial<EtcdSituation> = {}): EtcdSituation => ({
  members: three(),
  quotaBytes: QUOTA,
  seen: [
    { revision: 500, at: 0 },
    { revision: 900, at: 35_000 },
  ],
  compacted: { revision: 100, inUseBytes: 80 * MIB },
  now: 60_000,
  ...more,
});

test('history is compacted by bytes, and what is newer than a minute is kept', () => {
  assert.equal(decideEtcdSpace(at()), null, 'ten MiB more are none');
  const grown = three({ inUseBytes: 95 * MIB, sizeBytes: 100 * MIB });
  const compacted = { revision: 100, inUseBytes: 30 * MIB };
  assert.deepEqual(decideEtcdSpace(at({ members: grown, compacted })), { do: 'compact', revision: 500 });
  assert.equal(decideEtcdSpace(at({ members: grown, compacted, now: 59_000 })), null);
  assert.equal(decideEtcdSpace(at({ members: grown, compacted: { ...compacted, revision: 500 } })), null, 'once');
  const filling = three({ sizeBytes: 650 * MIB, inUseBytes: 640 * MIB });
  assert.deepEqual(decideEtcdSpace(at({ members: filling, compacted: { revision: 100, inUseBytes: 640 * MIB } })), {
    do: 'compact',
    revision: 900,
  });
  assert.deepEqual(
    decideEtcdSpace(at({ members: three({ inUseBytes: 70 * MIB, sizeBytes: 80 * MIB }), compacted: null })),
    {
      do: 'compact',
      revision: 500,
    },
  );
});

test('a member is defragmented when it pays, the leader of etcd last, and none while another is away', () => {
  const free = { sizeBytes: 400 * MIB, inUseBytes: 90 * MIB };
  assert.deepEqual(decideEtcdSpace(at({ members: [member(1, free), member(2, free), member(3)] })), {
    do: 'defragment',
    endpoint: 'c2',
  });
  assert.deepEqual(decideEtcdSpace(at({ members: [member(1, free), member(2), member(3)] })), {
    do: 'defragment',
    endpoint: 'c1',
  });
  const away: EtcdMember = { endpoint: 'c3', unreachable: 'no answer' };
  assert.equal(decideEtcdSpace(at({ members: [member(1, free), member(2, free), away] })), null);
  const leaderless = [1, 2, 3].map((n) => member(n, { ...free, isLeader: false }));
  assert.equal(decideEtcdSpace(at({ members: leaderless })), null);
  assert.equal(decideEtcdSpace(at({ members: three({ sizeBytes: 115 * MIB, inUseBytes: 90 * MIB }) })), null);
});

test('a full etcd is compacted to the last revision, defragmented, and disarmed, in this order', () => {
  const full = { isFull: true, sizeBytes: QUOTA, inUseBytes: 1_000 * MIB };
  assert.deepEqual(decideEtcdSpace(at({ members: three(full) })), { do: 'compact', revision: 1_000 });
  const compacted = { revision: 1_000, inUseBytes: 50 * MIB };
  const empty = { ...full, inUseBytes: 50 * MIB };
  assert.deepEqual(decideEtcdSpace(at({ members: three(empty), compacted })), { do: 'defragment', endpoint: 'c2' });
  const done = { ...empty, sizeBytes: 60 * MIB };
  assert.deepEqual(decideEtcdSpace(at({ members: [member(1, empty), member(2, done), member(3, done)], compacted })), {
    do: 'defragment',
    endpoint: 'c1',
  });
  assert.deepEqual(decideEtcdSpace(at({ members: three(done), compacted })), { do: 'disarm' });
  assert.equal(decideEtcdSpace(at({ members: three(full), compacted })), null, 'it would be raised again at once');
});

test('an alarm that was raised without need is taken back, and costs no history', () => {
  assert.deepEqual(decideEtcdSpace(at({ members: three({ isFull: true }) })), { do: 'disarm' });
});

test('whatever the members say, every step brings them nearer to having room, and there is an end', () => {
  const size = fc.integer({ min: 1, max: 1_100 });
  const drawn = fc.record({
    sizes: fc.tuple(size, size, size),
    history: fc.integer({ min: 0, max: 100 }),
    isFull: fc.boolean(),
    leader: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(drawn, ({ sizes, history, isFull, leader }) => {
      let members = sizes.map((mib, i) =>
        member(i + 1, { sizeBytes: mib * MIB, inUseBytes: mib * MIB, isFull, isLeader: i + 1 === leader }),
      );
      let compacted: EtcdSituation['compacted'] = null;
      for (let steps = 0; ; steps++) {
        assert.ok(steps < 10, 'no end');
        const situation = at({ members, compacted });
        const step = decideEtcdSpace(situation);
        if (step === null) break;
        if (step.do === 'compact') {
          members = members.map((each) => ({ ...each, inUseBytes: (each.inUseBytes * (100 - history)) / 100 }));
          compacted = { revision: step.revision, inUseBytes: Math.max(...members.map((each) => each.inUseBytes)) };
        } else if (step.do === 'defragment')
          members = members.map((each) =>
            each.endpoint === step.endpoint ? { ...each, sizeBytes: each.inUseBytes } : each,
          );
        else members = members.map((each) => ({ ...each, isFull: false }));
      }
      const hasRoom = filledShare({ members, quotaBytes: QUOTA }) < 0.95;
      if (hasRoom) assert.ok(members.every((each) => !each.isFull));
    }),
    { seed: 7, numRuns: 500 },
  );
});

test('alarms name the member: away, filling from 60 %, full, corrupt', () => {
  const kinds = (members: readonly EtcdMember[]) =>
    etcdAlarms({ members, quotaBytes: QUOTA }).map(({ kind, about }) => `${kind} ${about}`);
  assert.deepEqual(kinds(three()), []);
  assert.deepEqual(
    kinds([
      member(1, { sizeBytes: 615 * MIB }),
      { endpoint: 'c2', unreachable: 'no answer' },
      member(3, { isFull: true, isCorrupt: true }),
    ]),
    ['etcd-space c1', 'etcd-member c2', 'etcd-corrupt c3', 'etcd-full c3'],
  );
});
