import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { HostName } from '../../base/ids.ts';
import { keyOf } from './constraint.ts';
import type { Estate } from './estate.ts';
import { type Explanation, evacuationOf, explain, type RefusedRequest } from './explain.ts';
import { atOnce } from './in-turns.ts';
import { modelOf } from './model.ts';
import type { Refusal } from './plan.ts';
import { planEvacuation, WAVE_STEPS } from './planner.ts';
import { type Relaxation, relax, relaxedPolicy } from './relax.ts';
import { seededEstate } from './testing/seeded-estate.ts';
import { aGuestCluster, aHost, aRule, aVm, estateOf, hostName, vmId } from './testing/small-estate.ts';

function explained(estate: Estate, ...hosts: string[]): Explanation {
  const names = hosts.map(hostName);
  const refusal = planEvacuation(modelOf(estate), names);
  if (refusal.kind === 'plan') throw new Error('There is a plan.');
  return atOnce(explain(refusedDrain(estate, names, refusal)));
}

function refusedDrain(estate: Estate, hosts: readonly HostName[], refusal: Refusal): RefusedRequest {
  return { model: modelOf(estate), hosts, question: 'drain', refusal, plan: evacuationOf(hosts, WAVE_STEPS) };
}

/** Plans in another model that is relaxed in the same way. */
function planRelaxed(estate: Estate, hosts: readonly HostName[], relaxation: Relaxation): string {
  const model = modelOf(estate);
  relax(model, relaxation);
  const nothing = { hosts: [], vms: [], lost: [], absent: [] };
  return planEvacuation(model.under(relaxedPolicy(model.policy, relaxation), nothing), hosts).kind;
}

function conflict(explanation: Explanation): string[] {
  return explanation.conflict.map(keyOf);
}

function words({ relaxation }: { readonly relaxation: Relaxation }): string {
  switch (relaxation.kind) {
    case 'without':
      return `without ${relaxation.constraints.map(keyOf).join(' and ')}`;
    case 'memory':
      return `${relaxation.mib} MiB more on ${relaxation.host}`;
    case 'stopped':
      return `${relaxation.vms.join(', ')} stopped`;
  }
}

describe('a VM without a place', () => {
  const hosts = [
    aHost('h1', { rack: 'r1' }),
    aHost('h2', { state: 'cordoned' }),
    aHost('h3', { memoryMib: 2_048 }),
    aHost('h4'),
    aHost('h5', { rack: 'r5' }),
    aHost('h6', { cpuModels: [] }),
  ];
  const vms = [aVm('a', 'h1', { cpuModel: 'm' }), aVm('b', 'h4'), aVm('c', 'h5', { memoryMib: 1_024 })];
  const estate = estateOf({
    hosts: hosts.map((host) => (host.name === 'h6' ? host : { ...host, cpuModels: ['m'] })),
    vms: vms.map((vm) =>
      vm.name === 'a' ? vm : { ...vm, tie: { name: `pin-${vm.name}`, what: 'pinned', hosts: [vm.host] } },
    ),
    rules: [aRule('ab', ['a', 'b']), aRule('ac', ['a', 'c'], { by: 'rack' })],
  });
  const explanation = explained(estate, 'h1');

  test('is named with every host and the constraint that excludes it', () => {
    assert.deepEqual(
      explanation.vms[0]?.hosts.map(({ host, constraint, words: why }) => `${host}: ${keyOf(constraint)}: ${why}`),
      [
        'h1: emptied h1: it is being emptied',
        'h2: host-state h2: cordoned',
        'h3: memory: 2048 MiB free, 4096 MiB needed: no VM there can make room',
        'h4: rule ab: it has b of rule ab',
        'h5: rule ac: its rack has c of rule ac',
        'h6: cpu-model m: its CPUs cannot be m',
      ],
    );
  });

  test('has a conflict of which no member can be left out', () => {
    assert.deepEqual(conflict(explanation), ['host-state h2', 'rule ab', 'rule ac', 'cpu-model m', 'memory']);
  });

  test('has a place with each relaxation that is named', () => {
    assert.deepEqual(explanation.relaxations.map(words), [
      'without host-state h2',
      'without rule ab',
      'without rule ac',
      '2048 MiB more on h3',
      'vm-a stopped',
    ]);
    for (const { relaxation } of explanation.relaxations)
      assert.equal(planRelaxed(estate, [hostName('h1')], relaxation), 'plan');
  });
});

describe('a conflict', () => {
  test('is the tie alone, and ending the tie is what helps', () => {
    const tie = { name: 'dongle', what: 'USB device', hosts: [hostName('h1')] };
    const explanation = explained(
      estateOf({ hosts: [aHost('h1'), aHost('h2')], vms: [aVm('a', 'h1', { tie })] }),
      'h1',
    );
    assert.deepEqual(conflict(explanation), ['tie dongle']);
    assert.ok(explanation.isSmallest);
    assert.deepEqual(explanation.relaxations.map(words), ['without tie dongle', 'vm-a stopped']);
  });

  test('is the room for a loss where only that is short', () => {
    const vms = ['a', 'b', 'c'].map((name, number) => aVm(name, `h${number + 1}`, { memoryMib: 8_192 }));
    const estate = estateOf({
      hosts: ['h1', 'h2', 'h3'].map((name) => aHost(name)),
      vms,
      policy: { keepRoomForLoss: true },
    });
    const refusal = planEvacuation(modelOf(estate), [hostName('h1')]);
    assert.equal(refusal.kind === 'refused' && refusal.proven, true);
    const explanation = explained(estate, 'h1');
    assert.deepEqual(conflict(explanation), ['memory', 'room-for-loss']);
    assert.ok(explanation.relaxations.map(words).includes('without room-for-loss'));
  });

  test('is what holds the VM: a guest cluster that bears no disturbance', () => {
    const cluster = aGuestCluster('gc', ['a', 'b'], { disturbed: [vmId('b')] });
    const estate = estateOf({ hosts: [aHost('h1'), aHost('h2')], vms: [aVm('a', 'h1')], guestClusters: [cluster] });
    const explanation = explained(estate, 'h1');
    assert.match(explanation.vms[0]?.held?.words ?? '', /1 other members of guest cluster gc are stopped or paused/);
    assert.deepEqual(conflict(explanation), ['disturbed gc']);
  });
});

test('whatever the estate: each conflict needs all of its constraints, and each relaxation gives a plan', () => {
  const options = fc.record({
    seed: fc.integer({ min: 1, max: 100_000 }),
    hosts: fc.integer({ min: 3, max: 6 }),
    fill: fc.constantFrom(0.8, 0.9),
    ruled: fc.constantFrom(0.3, 0.8),
  });
  let refused = 0;
  fc.assert(
    fc.property(options, (option) => {
      const estate = seededEstate({ ...option, vms: option.hosts * 5, hostsPerRack: 2, guestClusters: 2, ties: 1 });
      const first = estate.hosts[0]?.name ?? hostName('h1');
      const refusal = planEvacuation(modelOf(estate), [first]);
      if (refusal.kind === 'plan') return;
      refused += 1;
      const found = atOnce(explain(refusedDrain(estate, [first], refusal)));
      assert.ok(found.conflict.length > 0);
      for (const { relaxation } of found.relaxations) assert.equal(planRelaxed(estate, [first], relaxation), 'plan');
      assert.ok(found.relaxations.length > 0);
    }),
    { seed: 17, numRuns: 40 },
  );
  assert.ok(refused > 10, `${refused} of 40 were refused`);
});
