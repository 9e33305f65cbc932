import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { atOnce } from '../maintenance/in-turns.ts';
import { modelOf } from '../maintenance/model.ts';
import { planEvacuation } from '../maintenance/planner.ts';
import { seededEstate } from '../maintenance/testing/seeded-estate.ts';
import { aGuestCluster, aHost, aRule, aVm, estateOf, hostName, vmId } from '../maintenance/testing/small-estate.ts';
import { canBeEmptied, canBeLost, type Found } from './evacuation-search.ts';
import { MaintenanceWorld } from './maintenance-world.ts';

const H1 = hostName('h1');
type Parts = Parameters<typeof estateOf>[0];

/** Whether h1 can be emptied, and lost. */
function found(parts: Parts): readonly [Found, Found] {
  const world = atOnce(MaintenanceWorld.of(estateOf(parts)));
  const before = [...world.vms.keys()].map((id) => world.hostOf(id));
  const answer = [canBeEmptied(world, H1), canBeLost(world, H1)] as const;
  assert.deepEqual(
    [...world.vms.keys()].map((id) => world.hostOf(id)),
    before,
  );
  return answer;
}

describe('a search for a way to empty a host', () => {
  const hosts = ['h1', 'h2', 'h3'].map((name) => aHost(name));
  const big = { memoryMib: 14_336 };

  test('finds the only place, whichever VM is looked at first', () => {
    const small = { memoryMib: 2_048 };
    const vms = [aVm('a', 'h1', small), aVm('b', 'h1', big), aVm('c', 'h3', big)];
    assert.deepEqual(found({ hosts, vms }), ['yes', 'yes']);
    assert.deepEqual(found({ hosts, vms: [...vms, aVm('d', 'h2', { memoryMib: 3_000 })] }), ['no', 'no']);
  });

  test('lets another VM make room for a move, and none for a restart', () => {
    const vms = [aVm('a', 'h1', big), aVm('b', 'h2'), aVm('c', 'h3')];
    assert.deepEqual(found({ hosts, vms }), ['yes', 'no']);
  });

  test('keeps rules, ties, guest clusters, releases, and hosts that are not in service', () => {
    const vms = [aVm('a', 'h1'), aVm('b', 'h2'), aVm('c', 'h3')];
    assert.deepEqual(found({ hosts, vms, rules: [aRule('apart', ['a', 'b', 'c'])] }), ['no', 'no']);
    assert.deepEqual(found({ hosts, vms, rules: [aRule('apart', ['a', 'b'])] }), ['yes', 'yes']);
    assert.deepEqual(found({ hosts, vms, guestClusters: [aGuestCluster('gc', ['a', 'b', 'c'])] }), ['no', 'no']);
    const stopped = [aGuestCluster('gc', ['a', 'x'], { disturbed: [vmId('x')] })];
    assert.deepEqual(found({ hosts, vms, guestClusters: stopped }), ['no', 'yes']);
    const paused = [aGuestCluster('gc', ['a', 'x'], { disturbed: [vmId('a')] })];
    assert.deepEqual(found({ hosts, vms, guestClusters: paused }), ['yes', 'yes']);
    const hasty = [aGuestCluster('gc', ['a'], { toleratesMs: 100 })];
    assert.deepEqual(found({ hosts, vms, guestClusters: hasty }), ['no', 'yes']);
    const tie = { name: 'pin', what: 'pinned', hosts: [H1] };
    assert.deepEqual(found({ hosts, vms: [aVm('a', 'h1', { tie })] }), ['no', 'yes']);
    const newer = [aHost('h1', { release: 2 }), aHost('h2'), aHost('h3')];
    assert.deepEqual(found({ hosts: newer, vms }), ['no', 'yes']);
    const away = [aHost('h1'), aHost('h2', { state: 'cordoned' }), aHost('h3', { state: 'maintenance' })];
    assert.deepEqual(found({ hosts: away, vms }), ['no', 'no']);
    assert.deepEqual(found({ hosts, vms: [aVm('a', 'h1', { unsettled: 'it starts' })] }), ['no', 'yes']);
  });

  test('gives up where there is too much to try', () => {
    const many = Array.from({ length: 9 }, (_, n) => aHost(`h${n + 1}`, { memoryMib: n === 0 ? 36_864 : 4_096 }));
    const vms = many.map((_, n) => aVm(`v${n}`, 'h1'));
    assert.deepEqual(found({ hosts: many, vms }), ['open', 'open']);
  });

  test('never finds a way where the planner proves that there is none', () => {
    let refused = 0;
    for (let seed = 1; seed <= 40; seed += 1) {
      const estate = seededEstate({
        seed,
        hosts: 4,
        vms: 16,
        fill: 0.9,
        hostsPerRack: 2,
        guestClusters: 1,
        ruled: 0.3,
        ties: 1,
      });
      const world = atOnce(MaintenanceWorld.of({ ...estate, policy: { ...estate.policy, keepRoomForLoss: false } }));
      for (const { name } of estate.hosts) {
        const plan = planEvacuation(modelOf(world.estate), [name]);
        if (plan.kind !== 'refused' || !plan.proven) continue;
        refused += 1;
        assert.notEqual(canBeEmptied(world, name), 'yes', `seed ${seed}, ${name}`);
      }
    }
    assert.ok(refused > 5, `${refused} refusals were proven`);
  });
});
