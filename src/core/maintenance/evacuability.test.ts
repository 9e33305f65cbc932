import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkWitness } from '../check/loss-witness.ts';
import { checkPlan } from '../check/maintenance-plan.ts';
import { MaintenanceWorld } from '../check/maintenance-world.ts';
import type { Estate } from './estate.ts';
import { type Evacuability, evacuabilityOf, type HostVerdict } from './evacuability.ts';
import { atOnce } from './in-turns.ts';
import { modelOf } from './model.ts';
import { planEvacuation } from './planner.ts';
import { LiveEstate } from './testing/live-estate.ts';
import { seededEstate } from './testing/seeded-estate.ts';
import { aGuestCluster, aHost, aVm, estateOf, hostName, vmId } from './testing/small-estate.ts';

const TURN = 10;

function settle(index: Evacuability): void {
  for (let turns = 0; !index.isSettled; turns += 1) {
    assert.ok(index.settle(TURN).length <= TURN);
    assert.ok(turns < 1_000, 'It settles.');
  }
}

function verdictOf(index: Evacuability, host: string): HostVerdict {
  settle(index);
  const verdict = index.verdict(hostName(host));
  if (verdict === null) throw new Error(`${host} has no verdict.`);
  return verdict;
}

/** Asserts that every witness holds in the estate, by code that is not the planner's. */
function checkVerdicts(index: Evacuability, estate: Estate): void {
  const bare = { ...estate, policy: { ...estate.policy, keepRoomForLoss: false } };
  for (const { name } of estate.hosts) {
    const { drain, loss } = verdictOf(index, name);
    if (drain.kind === 'can') {
      // Hosts may hold something else by now: the wave's timetable is of the moment when it was planned.
      const plan = { kind: 'plan', after: 'away', releaseAfter: null, waves: [drain.wave], movedMib: 0 } as const;
      const progress = { ended: new Set<number>(), begun: new Set<number>(), isRest: true } as const;
      assert.deepEqual(checkPlan(bare, plan, progress), [], `${name}: drain`);
    }
    if (loss.kind === 'can')
      assert.deepEqual(checkWitness(atOnce(MaintenanceWorld.of(bare)), loss.witness), [], `${name}: loss`);
    const fresh = planEvacuation(modelOf(bare), [name]);
    assert.equal(drain.kind === 'can', fresh.kind === 'plan', `${name}: drain, planned from scratch`);
  }
}

describe('evacuability', () => {
  test('says of each host whether it can be drained, and whether it can be lost', () => {
    const tie = { name: 'pin', what: 'pinned', hosts: [hostName('h2')] };
    const estate = estateOf({
      hosts: ['h1', 'h2', 'h3'].map((name) => aHost(name)),
      vms: [aVm('a', 'h1'), aVm('b', 'h2', { tie }), aVm('big', 'h3', { memoryMib: 14_336 })],
    });
    const index = evacuabilityOf(estate);
    const kinds = ['h1', 'h2', 'h3']
      .map((host) => verdictOf(index, host))
      .map(({ drain, loss }) => [drain.kind, loss.kind]);
    // A tied VM is lost with its host. For the big one another VM makes way, but only while its host still runs.
    assert.deepEqual(kinds, [
      ['can', 'can'],
      ['cannot', 'can'],
      ['can', 'cannot'],
    ]);
  });

  test('a change that breaks a witness changes the verdict, and so does one that makes room', () => {
    const estate = estateOf({ hosts: [aHost('h1'), aHost('h2')], vms: [aVm('a', 'h1')] });
    const index = evacuabilityOf(estate);
    assert.equal(verdictOf(index, 'h1').drain.kind, 'can');
    index.apply({ kind: 'vm', vm: aVm('new', 'h2', { memoryMib: 14_336 }) });
    assert.equal(index.isSettled, false);
    assert.equal(index.verdict(hostName('h1')), null);
    assert.equal(verdictOf(index, 'h1').drain.kind, 'cannot');
    index.apply({ kind: 'vm-gone', vm: vmId('new') });
    assert.equal(verdictOf(index, 'h1').drain.kind, 'can');
    index.apply({ kind: 'host', host: aHost('h2', { state: 'cordoned' }) });
    assert.equal(verdictOf(index, 'h1').loss.kind, 'cannot');
    index.apply({ kind: 'host', host: aHost('h2') });
    const cluster = aGuestCluster('gc', ['a', 'x'], { disturbed: [vmId('x')] });
    index.apply({ kind: 'guest-cluster', name: 'gc', cluster });
    assert.equal(verdictOf(index, 'h1').drain.kind, 'cannot');
    assert.equal(verdictOf(index, 'h1').loss.kind, 'can');
  });

  test('a change that no witness uses is looked at for its own host alone', () => {
    const hosts = Array.from({ length: 60 }, (_, number) => aHost(`h${number}`));
    const vms = hosts.map(({ name }, number) => aVm(`v${number}`, name));
    const index = evacuabilityOf(estateOf({ hosts, vms }));
    settle(index);
    index.apply({ kind: 'vm', vm: aVm('v59', 'h59', { memoryMib: 4_097 }) });
    let looked = 0;
    while (!index.isSettled) looked += index.settle(TURN).length;
    assert.ok(looked < 60, `${looked} verdicts were looked at`);
  });

  test('after every change each witness holds, and each verdict is that of planning from scratch', () => {
    for (const seed of [1, 2, 3]) {
      const estate = seededEstate({
        seed,
        hosts: 10,
        vms: 80,
        fill: 0.75,
        hostsPerRack: 3,
        guestClusters: 4,
        ruled: 0.3,
        ties: 1,
      });
      const live = new LiveEstate(estate, seed);
      const index = evacuabilityOf(estate);
      for (let change = 0; change < 40; change += 1) {
        index.apply(live.next());
        checkVerdicts(index, live.estate);
      }
      for (const change of live.loseRack('r2')) index.apply(change);
      checkVerdicts(index, live.estate);
    }
  });
});
