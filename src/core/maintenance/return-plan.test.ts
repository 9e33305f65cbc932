import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPlan } from '../check/maintenance-plan.ts';
import { modelOf } from './model.ts';
import { planReturn } from './return-plan.ts';
import { aGuestCluster, aHost, aRule, aVm, estateOf, hostName, vmId } from './testing/small-estate.ts';

const HOSTS = [aHost('h1', { memoryMib: 100 }), aHost('h2', { memoryMib: 400 }), aHost('h3', { memoryMib: 400 })];
const ids = (...names: string[]) => names.map(vmId);

test('what fits goes back, the largest first, and the others are named with the reason', () => {
  const vms = [
    aVm('a', 'h2', { memoryMib: 60 }),
    aVm('b', 'h2', { memoryMib: 50 }),
    aVm('c', 'h3', { memoryMib: 30 }),
    aVm('d', 'h1', { memoryMib: 10 }),
    aVm('e', 'h3', { memoryMib: 5, unsettled: 'e is being stopped' }),
  ];
  const estate = estateOf({ hosts: HOSTS, vms });
  const { plan, stays } = planReturn(modelOf(estate), hostName('h1'), ids('a', 'b', 'c', 'd', 'e', 'gone'));
  assert.deepEqual(
    plan.waves[0]?.moves.map(({ name, to, why }) => `${name} to ${to}: ${why}`),
    ['a to h1: return', 'c to h1: return'],
  );
  assert.deepEqual(stays, [
    { vm: vmId('b'), why: 'h1 has no room for it' },
    { vm: vmId('e'), why: 'e is being stopped' },
  ]);
  assert.deepEqual(checkPlan(estate, plan), []);
});

test('rules and the limits of guest clusters hold on the way back', () => {
  const vms = [aVm('a', 'h2'), aVm('b', 'h3'), aVm('c', 'h2'), aVm('d', 'h3')];
  const hosts = HOSTS.map((host) => ({ ...host, memoryMib: 100_000 }));
  const rules = [aRule('r', ['a', 'b'])];
  const guestClusters = [aGuestCluster('sql', ['c', 'd'], { sharesHosts: true })];
  const estate = estateOf({ hosts, vms, rules, guestClusters });
  const { plan, stays } = planReturn(modelOf(estate), hostName('h1'), ids('a', 'b', 'c', 'd'));
  assert.deepEqual(stays, [{ vm: vmId('b'), why: 'a rule keeps it from h1' }]);
  assert.deepEqual(checkPlan(estate, plan), []);
});

test('a host that takes no VM gets none back, and no plan has no wave', () => {
  const estate = estateOf({ hosts: [aHost('h1', { state: 'cordoned' }), aHost('h2')], vms: [aVm('a', 'h2')] });
  const { plan, stays } = planReturn(modelOf(estate), hostName('h1'), ids('a'));
  assert.deepEqual([plan.waves, stays.length], [[], 1]);
});
