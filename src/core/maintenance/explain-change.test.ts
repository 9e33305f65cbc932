/** What would let a change be made that is refused: every way that is named is tried out by planning anew. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { wayWords } from '../../base/problem.ts';
import type { Estate } from './estate.ts';
import type { EstateChange } from './estate-change.ts';
import { type Asked, evacuabilityOf } from './evacuability.ts';
import { explainChange } from './explain-change.ts';
import { explainedOf } from './explained.ts';
import { atOnce } from './in-turns.ts';
import { modelOf } from './model.ts';
import { relax } from './relax.ts';
import { seededEstate } from './testing/seeded-estate.ts';
import { aHost, aRule, aVm, estateOf, hostName } from './testing/small-estate.ts';

const NO_BOUND = (): { plans: number } => ({ plans: 0 });

/** What the leader's judgement says that a change breaks. */
function brokenBy(estate: Estate, changes: readonly EstateChange[]): readonly Asked[] {
  const index = evacuabilityOf(estate);
  while (!index.isSettled) index.settle(100);
  return index.judge(changes, index.mayBreak(changes), () => false).broken;
}

function waysOf(estate: Estate, changes: readonly EstateChange[]): readonly string[] {
  const model = modelOf(estate);
  const found = atOnce(explainChange(model, { changes, asked: brokenBy(estate, changes) }, NO_BOUND()));
  if (found === null) throw new Error('Nothing is broken.');
  return explainedOf(model, 'x', found.explanation).ways.map(({ what }) => what);
}

describe('a VM that leaves no room for the loss of a host', () => {
  // Two hosts of 16 GiB with 8 GiB of guests each: each can be emptied into the other. h3 is cordoned.
  const estate = estateOf({
    hosts: [
      ...['h1', 'h2'].map((name) => aHost(name, { memoryMib: 16_384 })),
      aHost('h3', { memoryMib: 16_384, state: 'cordoned' }),
    ],
    vms: ['a', 'b'].map((name, number) => aVm(name, `h${number + 1}`, { memoryMib: 8_192 })),
  });
  const change: EstateChange = { kind: 'vm', vm: aVm('new', 'h1', { memoryMib: 4_096 }) };

  test('breaks all questions, and is possible in the ways that are named', () => {
    assert.deepEqual(
      brokenBy(estate, [change]).map(({ host, question }) => `${question} ${host}`),
      ['drain h1', 'drain h2', 'loss h1', 'loss h2'],
    );
    assert.deepEqual(waysOf(estate, [change]), ['if h3 is in service again', 'if new is stopped']);
  });

  test('says of each VM what excludes every host, and which constraints conflict', () => {
    const model = modelOf(estate);
    const refused = { changes: [change], asked: brokenBy(estate, [change]) };
    const found = atOnce(explainChange(model, refused, NO_BOUND()));
    assert(found !== null);
    assert.deepEqual(found.about.host, hostName('h1'));
    const explained = explainedOf(model, 'h1 could not be drained any more', found.explanation);
    assert.deepEqual(
      explained.vms.at(-1)?.hosts.map(({ why, hosts }) => `${hosts.join()}: ${why}`),
      ['h1: it is being emptied', 'h2: 8192 MiB free, 4096 MiB needed: others that must move need it', 'h3: cordoned'],
    );
    assert.deepEqual(explained.conflict, ['h3 is not in service', 'memory']);
    assert.equal(explained.isComplete, true);
  });

  test('is said to be not looked through where time was up first', () => {
    const model = modelOf(estate);
    const refused = { changes: [change], asked: brokenBy(estate, [change]) };
    const found = atOnce(explainChange(model, refused, { plans: 0, isOver: true }));
    assert(found !== null);
    const explained = explainedOf(model, 'x', found.explanation);
    assert.deepEqual([explained.isComplete, explained.ways, explained.conflict], [false, [], []]);
    assert.match(wayWords(explained), /was not found in the time/);
  });
});

test('a rule that would keep VMs on their hosts is possible without the rule, or with a host more', () => {
  const estate = estateOf({
    hosts: ['h1', 'h2', 'h3'].map((name) => aHost(name, name === 'h3' ? { state: 'quarantined' } : {})),
    vms: [aVm('a', 'h1', { memoryMib: 512 }), aVm('b', 'h2', { memoryMib: 512 })],
  });
  const change: EstateChange = { kind: 'rule', name: 'ab', rule: aRule('ab', ['a', 'b']) };
  assert.deepEqual(waysOf(estate, [change]), [
    'if rule ab does not hold meanwhile',
    'if h3 is in service again',
    'if a is stopped',
  ]);
});

test('a pinned VM is possible when its pin ends', () => {
  const estate = estateOf({
    hosts: ['h1', 'h2'].map((name) => aHost(name)),
    vms: [aVm('b', 'h2', { memoryMib: 512 })],
  });
  const tie = { name: 'pin of a', what: 'a is pinned to h1', hosts: [hostName('h1')] };
  const change: EstateChange = { kind: 'vm', vm: aVm('a', 'h1', { memoryMib: 512, tie }) };
  assert.deepEqual(waysOf(estate, [change]), ['if the tie "pin of a" ends', 'if a is stopped']);
});

test('whatever the estate: with each way that is named, all that was broken is possible', () => {
  let [refused, ways] = [0, 0];
  for (let seed = 1; seed <= 40; seed += 1) {
    const estate = seededEstate({ seed, hosts: 5, vms: 30, fill: 0.72, hostsPerRack: 2, guestClusters: 2, ruled: 0.3 });
    const memoryMib = 16_384;
    const change: EstateChange = { kind: 'vm', vm: aVm('new', estate.hosts[seed % 5]?.name ?? 'h1', { memoryMib }) };
    const asked = brokenBy(estate, [change]);
    if (asked.length === 0) continue;
    refused += 1;
    const found = atOnce(explainChange(modelOf(estate), { changes: [change], asked }, NO_BOUND()));
    for (const { relaxation } of found?.explanation.relaxations ?? []) {
      ways += 1;
      const model = modelOf({ ...estate, vms: [...estate.vms, change.vm] });
      relax(model, relaxation);
      const { hosts, rules, clusters: guestClusters } = model;
      const vms = model.vms.flatMap((vm) => vm ?? []);
      const after = evacuabilityOf({ ...estate, hosts, rules, vms, guestClusters });
      while (!after.isSettled) after.settle(100);
      for (const { host, question } of asked)
        assert.equal(after.verdict(host)?.[question].kind, 'can', `seed ${seed}: ${question} of ${host}`);
    }
  }
  assert.ok(refused >= 10 && ways >= 10, `${refused} refused, ${ways} ways`);
});
