import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { REACH_TARGETS_MAX, type ReachTarget } from '../../ports/reach.ts';
import { keptMs, sampleOf, seesMore, streaksAfter, successorOf, whyGivenAway } from './lead-decision.ts';

const hosts = (count: number): ReachTarget[] =>
  Array.from({ length: count }, (_, i) => ({ kind: 'host', name: `h${i}` }));
const nodes = (count: number): ReachTarget[] =>
  Array.from({ length: count }, (_, i) => ({ kind: 'storage', name: `s${i}` }));

test('a leader that reaches nothing is bettered by whoever reaches anything, and by nobody who reaches nothing', () => {
  const machines = [...nodes(2), ...hosts(3)];
  const sample = sampleOf({ silent: machines, answering: [] }, 0);
  assert.equal(seesMore(sample, new Set(), new Set(machines)), true);
  assert.equal(seesMore(sample, new Set(), new Set(machines.slice(4))), true);
  assert.equal(seesMore(sample, new Set(), new Set()), false);
  assert.equal(seesMore(sample, new Set(machines), new Set(machines)), false);
});

test('all storage nodes weigh as much as all hosts, however many there are', () => {
  const [s, h] = [nodes(1), hosts(40)];
  const sample = sampleOf({ silent: h, answering: s }, 0);
  assert.equal(seesMore(sample, new Set(s), new Set(h)), false, 'as much is not more');
  assert.equal(seesMore(sample, new Set(s), new Set(h.slice(1))), false);
  assert.equal(seesMore(sample, new Set(h.slice(1)), new Set(s)), true);
});

test('of two control nodes whose sights stay as they are, at most one gives the lead to the other', () => {
  const machines = [...nodes(3), ...hosts(9)];
  const sight = fc.subarray(machines);
  fc.assert(
    fc.property(sight, sight, sight, (one, other, frozen) => {
      // TCP reach and answers to requests are different: an agent may be frozen.
      const gives = (mine: readonly ReachTarget[], theirs: readonly ReachTarget[]): boolean => {
        const answering = mine.filter((target) => !frozen.includes(target));
        const silent = machines.filter((target) => !answering.includes(target));
        return seesMore(sampleOf({ silent, answering }, 0), new Set(mine), new Set(theirs));
      };
      assert.ok(!(gives(one, other) && gives(other, one)));
    }),
  );
});

test('a round tries a bounded number of machines, and rounds one after the other try all of them', () => {
  const machines = {
    silent: [...nodes(60), ...hosts(700)],
    answering: hosts(300).map((t) => ({ ...t, name: `a${t.name}` })),
  };
  const tried = new Set<ReachTarget>();
  for (let round = 0; round < 15; round++) {
    const { silent, answering, weight } = sampleOf(machines, round);
    assert.ok(silent.length + answering.length <= REACH_TARGETS_MAX);
    assert.ok(Math.abs([...weight.values()].reduce((sum, each) => sum + each, 0) - 2) < 1e-6, 'shares add up');
    for (const target of [...silent, ...answering]) tried.add(target);
  }
  assert.equal(tried.size, 1_060);
});

test('the same control node must see more three times in a row', () => {
  let streaks = streaksAfter(new Map(), ['c2']);
  streaks = streaksAfter(streaks, ['c2', 'c3']);
  assert.equal(successorOf(streaks), null);
  streaks = streaksAfter(streaks, ['c3']);
  streaks = streaksAfter(streaks, ['c2', 'c3']);
  assert.equal(successorOf(streaks), 'c3');
  assert.equal(successorOf(streaksAfter(streaks, [])), null);
});

test('the reason names a few machines, and how many more', () => {
  const [some, many] = [new Set(hosts(2)), new Set(hosts(9))];
  assert.equal(
    whyGivenAway('c1', 'c2', new Set(), some),
    'c1 gives the lead away: c2 reaches h0, h1, which c1 does not reach itself.',
  );
  assert.match(whyGivenAway('c1', 'c2', new Set(), many), /c2 reaches h0, h1, h2, h3, h4 and 4 more, which/);
});

test('who gave the lead away keeps it for a while, and for long who did so often', () => {
  assert.equal(keptMs([], 1_000), 0);
  assert.equal(keptMs([1_000], 6_000), 10_000);
  assert.equal(keptMs([1_000], 60_000), 0);
  assert.equal(keptMs([1_000, 21_000, 41_000], 45_000), 11_000);
  assert.equal(keptMs([1_000, 21_000, 41_000, 61_000], 65_000), 236_000);
  assert.equal(keptMs([1_000, 301_000, 541_000, 781_000], 785_000), 11_000, 'those were some time apart');
  assert.equal(keptMs([1_000, 21_000, 41_000, 61_000], 400_000), 0);
});
