import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { HostName } from '../../base/ids.ts';
import { checkPlan } from '../check/maintenance-plan.ts';
import type { Estate } from './estate.ts';
import { modelOf } from './model.ts';
import type { MaintenancePlan, PlannedMove, Refusal } from './plan.ts';
import { planEvacuation } from './planner.ts';
import { planRoll } from './roll.ts';
import { seededEstate } from './testing/seeded-estate.ts';
import { aGuestCluster, aHost, aRule, aVm, estateOf, hostName } from './testing/small-estate.ts';

/** Plans, and lets the checker judge what comes out. */
function plan(estate: Estate, ...hosts: string[]): MaintenancePlan | Refusal {
  const outcome = planEvacuation(modelOf(estate), hosts.map(hostName));
  if (outcome.kind === 'plan') assert.deepEqual(checkPlan(estate, outcome), []);
  return outcome;
}

function movesOf(outcome: MaintenancePlan | Refusal): readonly PlannedMove[] {
  assert.equal(outcome.kind, 'plan', JSON.stringify(outcome));
  return outcome.kind === 'plan' ? outcome.waves.flatMap(({ moves }) => moves) : [];
}

/** "a:h1>h2": who goes where. */
function routes(outcome: MaintenancePlan | Refusal): string[] {
  return movesOf(outcome).map(({ name, from, to }) => `${name}:${from}>${to}`);
}

function obstacle(outcome: MaintenancePlan | Refusal): string {
  return outcome.kind === 'plan' ? 'none' : outcome.obstacle;
}

const THREE = [aHost('h1'), aHost('h2'), aHost('h3')];

describe('a destination', () => {
  test('is the host that is left with the least free memory', () => {
    const estate = estateOf({ hosts: THREE, vms: [aVm('a', 'h1'), aVm('b', 'h3')] });
    assert.deepEqual(routes(plan(estate, 'h1')), ['a:h1>h3']);
  });

  for (const state of ['cordoned', 'quarantined', 'maintenance', 'silent'] as const)
    test(`is never a host that is ${state}`, () => {
      const hosts = [aHost('h1'), aHost('h2', { state }), aHost('h3')];
      assert.deepEqual(routes(plan(estateOf({ hosts, vms: [aVm('a', 'h1'), aVm('b', 'h2')] }), 'h1')), ['a:h1>h3']);
    });

  test('is never another host that is emptied', () => {
    const estate = estateOf({ hosts: THREE, vms: [aVm('a', 'h1'), aVm('b', 'h2')] });
    assert.deepEqual(routes(plan(estate, 'h1', 'h2')).toSorted(), ['a:h1>h3', 'b:h2>h3']);
  });

  test('has the CPU model, reaches networks and storage, runs guests the same way, and is no older release', () => {
    const hosts = [
      aHost('h1', { release: 2 }),
      aHost('cpu', { release: 2, cpuModels: ['old'] }),
      aHost('net', { release: 2, cpuModels: ['new'], withoutNetworks: ['lan' as never] }),
      aHost('disk', { release: 2, cpuModels: ['new'], withoutStorage: ['s1' as never] }),
      aHost('tcg', { release: 2, cpuModels: ['new'], accelerator: 'tcg' }),
      aHost('older', { release: 1, cpuModels: ['new'] }),
      aHost('right', { release: 3, cpuModels: ['new'] }),
    ];
    const vm = aVm('a', 'h1', { cpuModel: 'new', networks: ['lan' as never], storage: ['s1' as never] });
    assert.deepEqual(routes(plan(estateOf({ hosts, vms: [vm] }), 'h1')), ['a:h1>right']);
  });

  test('may have a release of which nothing is known: to it, and from it to any', () => {
    const roads = [
      [2, 0],
      [0, 1],
    ].map(([from, to]) => [aHost('h1', { release: from ?? 0 }), aHost('h2', { release: to ?? 0 })]);
    for (const hosts of roads) {
      const estate = estateOf({ hosts, vms: [aVm('a', 'h1')] });
      assert.deepEqual(routes(plan(estate, 'h1')), ['a:h1>h2']);
    }
  });

  test('has memory that nobody else claimed, and vCPUs within the overcommit', () => {
    const hosts = [aHost('h1'), aHost('h2', { claimedMib: 14_000 }), aHost('h3', { vcpus: 1 }), aHost('h4')];
    const vms = [aVm('a', 'h1', { vcpus: 3 })];
    assert.deepEqual(routes(plan(estateOf({ hosts, vms, policy: { vcpuOvercommit: 2 } }), 'h1')), ['a:h1>h4']);
  });

  test('is one that the tie of the VM allows', () => {
    const tie = { name: 'pin', what: 'pinned', hosts: ['h1', 'h3'].map(hostName) };
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms: [aVm('a', 'h1', { tie }), aVm('b', 'h2')] }), 'h1')), [
      'a:h1>h3',
    ]);
    const only = { ...tie, hosts: [hostName('h1')] };
    assert.equal(obstacle(plan(estateOf({ hosts: THREE, vms: [aVm('a', 'h1', { tie: only })] }), 'h1')), 'no-place');
  });
});

describe('rules', () => {
  test('hard ones keep VMs apart by host and by rack', () => {
    const hosts = [
      aHost('h1', { rack: 'r1' }),
      aHost('h2', { rack: 'r2' }),
      aHost('h3', { rack: 'r2' }),
      aHost('h4', { rack: 'r3' }),
    ];
    const vms = [aVm('a', 'h1'), aVm('b', 'h2'), aVm('x', 'h2')];
    assert.deepEqual(routes(plan(estateOf({ hosts, vms, rules: [aRule('r', ['a', 'b'])] }), 'h1')), ['a:h1>h3']);
    assert.deepEqual(routes(plan(estateOf({ hosts, vms, rules: [aRule('r', ['a', 'b'], { by: 'rack' })] }), 'h1')), [
      'a:h1>h4',
    ]);
  });

  test('soft ones are kept where that is possible, and stand in nobody’s way', () => {
    const vms = [aVm('a', 'h1'), aVm('b', 'h2')];
    const rules = [aRule('r', ['a', 'b'], { hard: false })];
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms, rules }), 'h1')), ['a:h1>h3']);
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE.slice(0, 2), vms, rules }), 'h1')), ['a:h1>h2']);
  });

  test('VMs that belong together go to one host, or stay in one rack', () => {
    const vms = [aVm('a', 'h1'), aVm('b', 'h1'), aVm('x', 'h2', { memoryMib: 12_288 })];
    const together = aRule('t', ['a', 'b'], { kind: 'together' });
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms, rules: [together] }), 'h1')), ['a:h1>h3', 'b:h1>h3']);
    const hosts = [aHost('h1', { rack: 'r1' }), aHost('h2', { rack: 'r1' }), aHost('h3', { rack: 'r2' })];
    const byRack = aRule('t', ['a', 'c'], { kind: 'together', by: 'rack' });
    const inRack = [aVm('a', 'h1'), aVm('c', 'h2'), aVm('y', 'h3')];
    assert.deepEqual(routes(plan(estateOf({ hosts, vms: inRack, rules: [byRack] }), 'h1')), ['a:h1>h2']);
    assert.deepEqual(routes(plan(estateOf({ hosts, vms: inRack, rules: [byRack] }), 'h1', 'h2')).toSorted(), [
      'a:h1>h3',
      'c:h2>h3',
    ]);
  });

  test('a member takes the place of another only when that one has gone', () => {
    const hosts = [aHost('h1'), aHost('h2', { cpuModels: ['m'] }), aHost('h3', { memoryMib: 4_096 })];
    const vms = [aVm('a', 'h1', { cpuModel: 'm' }), aVm('b', 'h2')];
    const moves = movesOf(
      plan(
        estateOf({
          hosts: [aHost('h1', { cpuModels: ['m'] }), ...hosts.slice(1)],
          vms,
          rules: [aRule('r', ['a', 'b'])],
        }),
        'h1',
      ),
    );
    assert.deepEqual(
      moves.map(({ name, after, why }) => [name, [...after], why]),
      [
        ['b', [], 'make-room'],
        ['a', [0], 'evacuate'],
      ],
    );
  });
});

describe('guest clusters', () => {
  test('at most the allowed number of members moves at once', () => {
    const vms = [aVm('a', 'h1'), aVm('b', 'h2'), aVm('c', 'h1')];
    const hosts = [...THREE, aHost('h4')];
    const cluster = aGuestCluster('gc', ['a', 'b']);
    const moves = movesOf(plan(estateOf({ hosts, vms, guestClusters: [cluster] }), 'h1', 'h2'));
    const of = (name: string): PlannedMove | undefined => moves.find((move) => move.name === name);
    const [first, second] = [of('a'), of('b')].toSorted((x, y) => (x?.id ?? 0) - (y?.id ?? 0));
    assert.ok(second?.after.includes(first?.id ?? -1));
    assert.ok((second?.startsAtMs ?? 0) >= (first?.durationMs ?? 0));
  });

  test('no member moves whose pause is too long, or while others are down', () => {
    const vms = [aVm('a', 'h1'), aVm('b', 'h2')];
    const tolerant = aGuestCluster('gc', ['a', 'b'], { toleratesMs: 300 });
    assert.equal(obstacle(plan(estateOf({ hosts: THREE, vms, guestClusters: [tolerant] }), 'h1')), 'no-place');
    const down = aGuestCluster('gc', ['a', 'b'], { disturbed: [vms[1]?.id ?? ('' as never)] });
    assert.equal(obstacle(plan(estateOf({ hosts: THREE, vms, guestClusters: [down] }), 'h1')), 'no-place');
    const itself = aGuestCluster('gc', ['a', 'b'], { disturbed: [vms[0]?.id ?? ('' as never)] });
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms, guestClusters: [itself] }), 'h1')), ['a:h1>h3']);
  });
});

describe('room', () => {
  test('is made by displacing others, before it is needed', () => {
    const vms = [
      aVm('big', 'h1', { memoryMib: 12_288 }),
      aVm('s2', 'h2', { memoryMib: 8_192 }),
      aVm('s3', 'h3', { memoryMib: 8_192 }),
    ];
    const moves = movesOf(plan(estateOf({ hosts: THREE, vms }), 'h1'));
    assert.deepEqual(
      moves.map(({ name, why }) => [name, why]),
      [
        ['s2', 'make-room'],
        ['big', 'evacuate'],
      ],
    );
    assert.deepEqual(moves[1]?.after, [0]);
  });

  test('is found by way of a third host where VMs wait for each other', () => {
    // a can go to h2 alone and b to h3 alone: b and c change places, which neither can begin.
    const gib = (memory: number): { memoryMib: number } => ({ memoryMib: memory * 1_024 });
    const hosts = [
      aHost('h1', { cpuModels: ['m'] }),
      aHost('h2', { ...gib(8), cpuModels: ['m', 'k'] }),
      aHost('h3', { ...gib(8), cpuModels: ['k'] }),
      aHost('h4', gib(5)),
    ];
    const vms = [
      aVm('a', 'h1', { ...gib(4), cpuModel: 'm' }),
      aVm('b', 'h2', { ...gib(6), cpuModel: 'k' }),
      aVm('c', 'h3', gib(4)),
    ];
    const outcome = plan(estateOf({ hosts, vms }), 'h1');
    assert.deepEqual(routes(outcome), ['c:h3>h4', 'b:h2>h3', 'c:h4>h2', 'a:h1>h2']);
    assert.equal(movesOf(outcome)[0]?.why, 'by-way');
  });

  test('is kept for the loss of the fullest host, and proven by a placement', () => {
    const vms = [aVm('a', 'h1'), aVm('b', 'h2', { memoryMib: 8_192 }), aVm('c', 'h3', { memoryMib: 8_192 })];
    const policy = { keepRoomForLoss: true };
    assert.equal(obstacle(plan(estateOf({ hosts: THREE, vms, policy }), 'h1')), 'no-room-for-loss');
    const outcome = plan(estateOf({ hosts: [...THREE, aHost('h4')], vms, policy }), 'h1');
    assert.equal(outcome.kind === 'plan' && outcome.waves[0]?.room?.restarts.length, 2);
  });
});

describe('moves under way', () => {
  test('away from the host need nothing; to the host go on from there', () => {
    const away = [aVm('a', 'h1', { movingTo: hostName('h2') }), aVm('b', 'h1')];
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms: away }), 'h1')), ['b:h1>h2']);
    const coming = [aVm('a', 'h2', { movingTo: hostName('h1') }), aVm('b', 'h1')];
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms: coming }), 'h1')), ['a:h1>h2', 'b:h1>h2']);
    const both = [aVm('a', 'h1', { movingTo: hostName('h2') }), aVm('b', 'h2', { movingTo: hostName('h1') })];
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms: both }), 'h1', 'h2')), ['a:h2>h3', 'b:h1>h3']);
  });

  test('to the host hold their room where they come from, too', () => {
    const coming = [aVm('a', 'h2', { movingTo: hostName('h1'), memoryMib: 9_000 })];
    const hosts = [aHost('h1'), aHost('h2'), aHost('h3', { state: 'cordoned' })];
    assert.equal(obstacle(plan(estateOf({ hosts, vms: coming }), 'h1')), 'no-place');
    assert.deepEqual(routes(plan(estateOf({ hosts: THREE, vms: coming }), 'h1')), ['a:h1>h3']);
    const apart = [aVm('a', 'h2', { movingTo: hostName('h1') }), aVm('b', 'h1')];
    const ruled = estateOf({ hosts, vms: apart, rules: [aRule('r', ['a', 'b'])] });
    assert.equal(obstacle(plan(ruled, 'h1')), 'no-place');
  });

  test('to the host of VMs that must stay together stand in the way until both are there', () => {
    const vms = ['a', 'b'].map((name) => aVm(name, 'h2', { movingTo: hostName('h1') }));
    const rules = [aRule('r', ['a', 'b'], { kind: 'together' })];
    assert.equal(obstacle(plan(estateOf({ hosts: THREE, vms, rules }), 'h1')), 'no-place');
  });

  test('a plan that forgets what is coming, or the room that it still has, is not accepted', () => {
    const vms = [aVm('a', 'h2', { movingTo: hostName('h1'), memoryMib: 9_000 }), aVm('b', 'h1')];
    const estate = estateOf({ hosts: THREE, vms });
    const outcome = plan(estate, 'h1');
    const wave = outcome.kind === 'plan' ? outcome.waves[0] : undefined;
    if (outcome.kind !== 'plan' || wave === undefined) assert.fail('no plan');
    const [first] = wave.moves;
    if (first === undefined) assert.fail('no move');
    const onlyB = wave.moves.filter(({ name }) => name === 'b').map((move) => ({ ...move, id: 0, after: [] }));
    const progress = { ended: new Set<number>(), begun: new Set<number>(), isRest: true } as const;
    const judge = (moves: readonly PlannedMove[]): readonly string[] =>
      checkPlan(estate, { ...outcome, waves: [{ ...wave, moves }] }, progress);
    assert.deepEqual(judge(onlyB), ['wave 1: a is left on h1']);
    assert.deepEqual(judge([{ ...first, to: hostName('h2') }, ...onlyB.map((move) => ({ ...move, id: 1 }))]), [
      'wave 1: h2 may be short of memory at some step',
    ]);
  });
});

describe('foretold', () => {
  test('two moves at once share the host’s rate; the third waits', () => {
    const vms = ['a', 'b', 'c'].map((name) => aVm(name, 'h1', { memoryMib: 4_000 }));
    const policy = { hostMibPerSecond: 1_000, moveOverheadMs: 500, movesPerHost: 2 };
    const outcome = plan(estateOf({ hosts: THREE, vms, policy }), 'h1');
    assert.deepEqual(
      movesOf(outcome).map(({ startsAtMs, durationMs }) => [startsAtMs, durationMs]),
      [
        [0, 8_500],
        [0, 8_500],
        [8_500, 8_500],
      ],
    );
    assert.deepEqual(
      outcome.kind === 'plan' && outcome.waves[0]?.steps[0]?.memory.map(({ heldMib }) => heldMib),
      [12_000, 8_000],
    );
  });

  test('a guest that writes faster than the link copies is named', () => {
    const vms = [aVm('a', 'h1', { dirtyMibPerSecond: 600 }), aVm('b', 'h1', { dirtyMibPerSecond: 100 })];
    const moves = movesOf(plan(estateOf({ hosts: THREE, vms }), 'h1'));
    assert.deepEqual(
      moves.map(({ name, converges }) => [name, converges]),
      [
        ['a', false],
        ['b', true],
      ],
    );
  });

  test('moves on one link are as many as it bears', () => {
    const hosts = THREE.map((host) => ({ ...host, link: 'up' }));
    const policy = { links: [{ name: 'up', movesMax: 1, mibPerSecond: 100 }] };
    const moves = movesOf(plan(estateOf({ hosts, vms: [aVm('a', 'h1'), aVm('b', 'h1')], policy }), 'h1'));
    assert.deepEqual(moves[1]?.after, [0]);
  });
});

describe('whatever the estate', () => {
  const estates = fc
    .record({
      seed: fc.integer({ min: 1, max: 1_000_000 }),
      hosts: fc.integer({ min: 3, max: 16 }),
      perHost: fc.integer({ min: 2, max: 10 }),
      fill: fc.constantFrom(0.5, 0.7, 0.85, 0.92),
      guestClusters: fc.integer({ min: 0, max: 6 }),
      ruled: fc.constantFrom(0, 0.2, 0.6),
      ties: fc.integer({ min: 0, max: 2 }),
      keepRoomForLoss: fc.boolean(),
      movesPerHost: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ perHost, keepRoomForLoss, movesPerHost, ...options }) => {
      const links = [{ name: 'up', movesMax: 2, mibPerSecond: 2_000 }];
      const policy = { keepRoomForLoss, movesPerHost, links };
      const estate = seededEstate({ ...options, vms: perHost * options.hosts, hostsPerRack: 4, policy });
      const hosts = estate.hosts.map((host, number) => ({ ...host, link: number % 3 === 0 ? 'up' : null }));
      return { ...estate, hosts };
    });
  const chosen = (estate: Estate, count: number): HostName[] => estate.hosts.slice(0, count).map(({ name }) => name);

  test('every plan passes the checker, and the same input gives the same plan', () => {
    let plans = 0;
    fc.assert(
      fc.property(estates, fc.integer({ min: 1, max: 3 }), (estate, count) => {
        const outcome = planEvacuation(modelOf(estate), chosen(estate, count));
        assert.deepEqual(planEvacuation(modelOf(estate), chosen(estate, count)), outcome);
        if (outcome.kind === 'plan') {
          plans += 1;
          assert.deepEqual(checkPlan(estate, outcome), []);
        }
      }),
      { seed: 17, numRuns: 300 },
    );
    assert.ok(plans > 100, `${plans} of 300 have a plan`);
  });

  test('VMs that are moving when it is made stand in the way of no plan, and each plan passes the checker', () => {
    let plans = 0;
    let arrivals = 0;
    fc.assert(
      fc.property(estates, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 2, max: 9 }), (still, count, every) => {
        const { hosts } = still;
        const vms = still.vms.map((vm, number) => {
          const to = hosts[number % (count + 1)]?.name;
          const moves = number % every === 0 && vm.tie === null && to !== undefined && to !== vm.host;
          return moves ? { ...vm, movingTo: to } : vm;
        });
        const estate = { ...still, vms };
        const names = chosen(estate, count);
        const outcome = planEvacuation(modelOf(estate), names);
        if (outcome.kind === 'plan') {
          plans += 1;
          arrivals += vms.filter(({ movingTo }) => movingTo !== null && names.includes(movingTo)).length;
          assert.deepEqual(checkPlan(estate, outcome), []);
        }
        const all = hosts.map(({ name }) => name);
        const roll = planRoll(modelOf(estate), { hosts: all, maxUnavailable: 2, perRack: 1, releaseAfter: null });
        if (roll.kind === 'plan') assert.deepEqual(checkPlan(estate, roll), []);
      }),
      { seed: 17, numRuns: 200 },
    );
    assert.ok(plans > 40 && arrivals > 40, `${plans} plans, ${arrivals} VMs that were arriving`);
  });
});
