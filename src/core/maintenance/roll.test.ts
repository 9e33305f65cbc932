import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { checkPlan } from '../check/maintenance-plan.ts';
import type { Estate } from './estate.ts';
import { modelOf } from './model.ts';
import type { MaintenancePlan, Refusal } from './plan.ts';
import { planRoll, type RollOptions } from './roll.ts';
import { seededEstate } from './testing/seeded-estate.ts';
import { aHost, aRule, aVm, estateOf, hostName } from './testing/small-estate.ts';

function roll(estate: Estate, more: Partial<RollOptions> = {}): MaintenancePlan | Refusal {
  const hosts = estate.hosts.map(({ name }) => name);
  const outcome = planRoll(modelOf(estate), { hosts, maxUnavailable: 1, perRack: null, releaseAfter: null, ...more });
  if (outcome.kind === 'plan') assert.deepEqual(checkPlan(estate, outcome), []);
  return outcome;
}

function wavesOf(outcome: MaintenancePlan | Refusal): string[] {
  assert.equal(outcome.kind, 'plan', JSON.stringify(outcome));
  return outcome.kind === 'plan' ? outcome.waves.map(({ hosts }) => hosts.join('+')) : [];
}

describe('a roll', () => {
  test('empties every host once, onto hosts that are done', () => {
    const estate = estateOf({
      hosts: ['h1', 'h2', 'h3'].map((name) => aHost(name)),
      vms: [aVm('a', 'h1'), aVm('b', 'h2'), aVm('c', 'h2'), aVm('d', 'h3'), aVm('e', 'h3'), aVm('f', 'h3')],
    });
    const outcome = roll(estate);
    assert.deepEqual(wavesOf(outcome), ['h1', 'h2', 'h3']);
    const moves = outcome.kind === 'plan' ? outcome.waves.flatMap(({ moves: all }) => all) : [];
    // Only VMs that the first wave moves may have to move again.
    assert.deepEqual(
      moves.map(({ name, from, to }) => `${name}:${from}>${to}`),
      ['a:h1>h3', 'b:h2>h1', 'c:h2>h1', 'a:h3>h1', 'd:h3>h1', 'e:h3>h2', 'f:h3>h2'],
    );
  });

  test('takes as many hosts at once as may be away, and as many of a rack', () => {
    const estate = estateOf({
      hosts: ['r1', 'r1', 'r2', 'r2'].map((rack, number) => aHost(`h${number + 1}`, { rack })),
      vms: [aVm('a', 'h1'), aVm('b', 'h3')],
    });
    assert.deepEqual(wavesOf(roll(estate, { maxUnavailable: 2 })), ['h2+h4', 'h1+h3']);
    assert.deepEqual(wavesOf(roll(estate, { maxUnavailable: 3, perRack: 1 })), ['h2+h4', 'h1+h3']);
    assert.equal(wavesOf(roll(estate, { maxUnavailable: 3 })).length, 2);
  });

  test('takes fewer hosts where the room is for fewer', () => {
    const estate = estateOf({
      hosts: ['h1', 'h2', 'h3', 'h4'].map((name) => aHost(name)),
      vms: ['h1', 'h2', 'h3'].map((host) => aVm(`on-${host}`, host, { memoryMib: 12_288 })),
    });
    assert.deepEqual(wavesOf(roll(estate, { maxUnavailable: 2 })), ['h4', 'h1', 'h2', 'h3']);
  });

  test('never moves a VM back to an older release', () => {
    const estate = estateOf({
      hosts: ['h1', 'h2', 'h3'].map((name) => aHost(name)),
      vms: [aVm('a', 'h1'), aVm('b', 'h2'), aVm('c', 'h3')],
    });
    assert.equal(wavesOf(roll(estate, { releaseAfter: 2 })).length, 3);
    // Releases of a plan are checked: as if hosts came back older than they are predicted to.
    const outcome = roll(estate, { releaseAfter: 2 });
    const newer = {
      ...estate,
      hosts: estate.hosts.map((host) => (host.name === 'h3' ? { ...host, release: 3 } : host)),
    };
    assert.match(outcome.kind === 'plan' ? checkPlan(newer, outcome).join() : '', /older release/);
  });

  test('is refused with the wave that has no plan, and says how many came before', () => {
    const estate = estateOf({
      hosts: [aHost('h1'), aHost('h2')],
      vms: [aVm('a', 'h2'), aVm('b', 'h2')],
      rules: [aRule('t', ['a', 'b'])],
    });
    const tied = {
      ...estate,
      vms: estate.vms.map((vm) => ({ ...vm, tie: { name: 'pin', what: 'pinned', hosts: [hostName('h2')] } })),
    };
    assert.deepEqual(roll(tied), {
      kind: 'refused',
      vms: ['vm-a', 'vm-b'],
      obstacle: 'no-place',
      proven: true,
      wavesDone: 1,
    });
  });
});

test('whatever the estate: a roll passes the checker, with few moves', () => {
  const options = fc.record({
    seed: fc.integer({ min: 1, max: 100_000 }),
    hosts: fc.integer({ min: 6, max: 20 }),
    fill: fc.constantFrom(0.6, 0.75),
    maxUnavailable: fc.integer({ min: 1, max: 3 }),
    releaseAfter: fc.constantFrom(null, 2),
    keepRoomForLoss: fc.boolean(),
  });
  let rolls = 0;
  fc.assert(
    fc.property(options, ({ maxUnavailable, releaseAfter, keepRoomForLoss, ...rest }) => {
      const policy = { keepRoomForLoss };
      const estate = seededEstate({
        ...rest,
        vms: rest.hosts * 8,
        hostsPerRack: 3,
        guestClusters: 3,
        ruled: 0.2,
        policy,
      });
      const outcome = roll(estate, { maxUnavailable, releaseAfter, perRack: 1 });
      if (outcome.kind === 'refused') return;
      rolls += 1;
      const hosts = outcome.waves.flatMap((wave) => wave.hosts);
      assert.deepEqual(hosts.toSorted(), estate.hosts.map(({ name }) => name).toSorted());
      assert.ok(outcome.waves.every((wave) => wave.hosts.length <= maxUnavailable));
    }),
    { seed: 17, numRuns: 60 },
  );
  assert.ok(rolls > 40, `${rolls} of 60 have a plan`);
});
