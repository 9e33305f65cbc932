import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Estate, EstateHost, EstateVm } from '../maintenance/estate.ts';
import { modelOf } from '../maintenance/model.ts';
import type { MaintenancePlan, PlannedMove, PlannedWave } from '../maintenance/plan.ts';
import { planEvacuation } from '../maintenance/planner.ts';
import { aGuestCluster, aHost, aRule, aVm, estateOf, hostName, vmId } from '../maintenance/testing/small-estate.ts';
import { checkPlan } from './maintenance-plan.ts';

/**
 * Two members of a guest cluster on the host that is emptied and on its destination, and room that must be made first.
 */
const ESTATE = estateOf({
  hosts: [
    aHost('h1', { link: 'up', rack: 'r1' }),
    aHost('h2', { link: 'up', rack: 'r1' }),
    aHost('h3', { rack: 'r2' }),
    aHost('h4', { rack: 'r2' }),
  ],
  vms: [
    aVm('big', 'h1', { memoryMib: 12_288 }),
    aVm('s2', 'h2', { memoryMib: 8_192 }),
    aVm('s3', 'h3', { memoryMib: 8_192 }),
    aVm('t3', 'h3', { memoryMib: 2_048 }),
    aVm('u4', 'h4', { memoryMib: 8_192 }),
  ],
  guestClusters: [aGuestCluster('gc', ['big', 's2'])],
  policy: { keepRoomForLoss: false, links: [{ name: 'up', movesMax: 1, mibPerSecond: 1_000 }] },
});
const PLAN = planned(ESTATE, 'h1');

function planned(estate: Estate, ...hosts: string[]): MaintenancePlan {
  const outcome = planEvacuation(modelOf(estate), hosts.map(hostName));
  if (outcome.kind === 'refused') throw new Error(JSON.stringify(outcome));
  return outcome;
}

function withWave(plan: MaintenancePlan, change: (wave: PlannedWave) => Partial<PlannedWave>): MaintenancePlan {
  return { ...plan, waves: plan.waves.map((wave) => ({ ...wave, ...change(wave) })) };
}

function withMoves(plan: MaintenancePlan, change: (move: PlannedMove) => Partial<PlannedMove>): MaintenancePlan {
  return withWave(plan, ({ moves }) => ({ moves: moves.map((move) => ({ ...move, ...change(move) })) }));
}

function withVm(name: string, more: Partial<EstateVm>): Estate {
  return { ...ESTATE, vms: ESTATE.vms.map((vm) => (vm.name === name ? { ...vm, ...more } : vm)) };
}

function withHost(name: string, more: Partial<EstateHost>): Estate {
  return { ...ESTATE, hosts: ESTATE.hosts.map((host) => (host.name === name ? { ...host, ...more } : host)) };
}

function finds(expected: RegExp, estate: Estate, plan: MaintenancePlan): void {
  assert.match(checkPlan(estate, plan).join('\n'), expected);
}

test('the plan that the mistakes are planted in has none, and is what the mistakes need', () => {
  assert.deepEqual(checkPlan(ESTATE, PLAN), []);
  assert.deepEqual(
    PLAN.waves[0]?.moves.map(({ name, from, to, after }) => `${name}:${from}>${to} after ${after.join(',')}`),
    ['s2:h2>h4 after ', 'big:h1>h2 after 0'],
  );
});

describe('a planted mistake is found:', () => {
  test('a claim was forgotten', () => {
    finds(/h4 may be short of memory/, withHost('h4', { claimedMib: 4_096 }), PLAN);
  });

  test('memory is right at the end only', () => {
    const estate = { ...ESTATE, guestClusters: [], policy: { ...ESTATE.policy, links: [] } };
    finds(
      /h2 may be short of memory at some step/,
      estate,
      withMoves(PLAN, () => ({ after: [] })),
    );
  });

  test('vCPUs are not counted', () => {
    finds(/h4 may be short of vCPUs/, withHost('h4', { vcpus: 0.25 }), PLAN);
  });

  test('a guest cluster’s limit holds at the end only', () => {
    finds(
      /guest cluster gc may have more than 1 disturbed/,
      ESTATE,
      withMoves(PLAN, () => ({ after: [] })),
    );
  });

  test('a member that people stopped was not counted', () => {
    const cluster = aGuestCluster('gc', ['big', 's2', 'gone'], { disturbed: [vmId('gone')] });
    finds(/guest cluster gc may have more than 1/, { ...ESTATE, guestClusters: [cluster] }, PLAN);
  });

  for (const state of ['cordoned', 'quarantined', 'maintenance', 'silent'] as const)
    test(`a destination is ${state}`, () => finds(new RegExp(`h4 is ${state}`), withHost('h4', { state }), PLAN));

  test('a destination is emptied by the same wave', () => {
    finds(
      /h4 is maintenance/,
      ESTATE,
      withWave(PLAN, ({ hosts }) => ({ hosts: [...hosts, hostName('h4')] })),
    );
  });

  test('a VM may not be on its destination, or not be moved', () => {
    const tie = { name: 'pin', what: 'pinned', hosts: [hostName('h2')] };
    finds(/tie pin keeps s2 from h4/, withVm('s2', { tie }), PLAN);
    finds(/h4 has no new/, withVm('s2', { cpuModel: 'new' }), PLAN);
    finds(
      /does not reach network lan/,
      {
        ...withVm('s2', { networks: ['lan' as never] }),
        hosts: withHost('h4', { withoutNetworks: ['lan' as never] }).hosts,
      },
      PLAN,
    );
    finds(
      /does not reach storage node s1/,
      {
        ...withVm('s2', { storage: ['s1' as never] }),
        hosts: withHost('h4', { withoutStorage: ['s1' as never] }).hosts,
      },
      PLAN,
    );
    finds(/cannot go from kvm to tcg/, withHost('h4', { accelerator: 'tcg' }), PLAN);
    finds(/older release on h4/, withHost('h2', { release: 2 }), PLAN);
    finds(/s2 is starting/, withVm('s2', { unsettled: 's2 is starting' }), PLAN);
    finds(/s2 is moving to h3/, withVm('s2', { movingTo: hostName('h3') }), PLAN);
    finds(/would pause for longer/, withVm('s2', { pauseMs: 5_000 }), PLAN);
    finds(/s2 is on h3, not on h2/, withVm('s2', { host: hostName('h3') }), PLAN);
  });

  test('rules are broken on the way, or at the end', () => {
    const apart = { ...ESTATE, rules: [aRule('r', ['s2', 'u4'])] };
    finds(/rule r is broken on host h4/, apart, PLAN);
    finds(/rule r is broken on rack r2/, { ...ESTATE, rules: [aRule('r', ['s2', 's3'], { by: 'rack' })] }, PLAN);
    const together = aRule('t', ['s2', 'x2'], { kind: 'together' });
    const estate = { ...ESTATE, rules: [together], vms: [...ESTATE.vms, aVm('x2', 'h2', { memoryMib: 1_024 })] };
    finds(/VMs of rule t end apart/, estate, PLAN);
  });

  test('more moves at once than a host or a link bears', () => {
    const alone = { ...ESTATE, guestClusters: [], policy: { ...ESTATE.policy, movesPerHost: 1 } };
    const hurried = withMoves(PLAN, () => ({ after: [] }));
    finds(/h2 may have more than 1 move at once/, alone, hurried);
    finds(/link up may have more than 1 move at once/, alone, hurried);
  });

  test('a VM is left, or a VM of the wave is on its way back', () => {
    finds(
      /big is left on h1/,
      ESTATE,
      withWave(PLAN, ({ moves }) => ({ moves: moves.slice(0, 1) })),
    );
    finds(/s3 is left on h1/, withVm('s3', { movingTo: hostName('h1') }), PLAN);
  });

  test('peaks and times are not what the moves make of them', () => {
    finds(
      /h4 holds 16384 MiB at 0 ms, not 1/,
      ESTATE,
      withWave(PLAN, ({ steps }) => ({
        steps: steps.map((step) => ({ ...step, memory: step.memory.map((peak) => ({ ...peak, heldMib: 1 })) })),
      })),
    );
    finds(
      /does not begin at/,
      ESTATE,
      withMoves(PLAN, ({ startsAtMs }) => ({ startsAtMs: startsAtMs + 1 })),
    );
    finds(
      /foretold to begin before move 0 has ended/,
      ESTATE,
      withMoves(PLAN, () => ({ startsAtMs: 0 })),
    );
  });

  test('moves of one VM do not wait for each other', () => {
    const twice = withWave(PLAN, ({ moves }) => {
      const [first, second] = moves;
      if (first === undefined || second === undefined) throw new Error('The plan has two moves.');
      const further = { ...first, id: 2, from: first.to, to: hostName('h3'), after: [] };
      return { moves: [first, second, further] };
    });
    finds(/move 2 of vm-s2 does not wait/, ESTATE, twice);
  });
});

describe('room for a loss', () => {
  const roomy = estateOf({
    hosts: ['h1', 'h2', 'h3', 'h4'].map((name) => aHost(name)),
    vms: [aVm('a', 'h1'), aVm('b', 'h2', { memoryMib: 8_192 }), aVm('c', 'h3', { memoryMib: 8_192 })],
    policy: { keepRoomForLoss: true },
  });
  const plan = planned(roomy, 'h1');
  const room = plan.waves[0]?.room ?? null;
  const withRoom = (change: Partial<NonNullable<typeof room>>): MaintenancePlan =>
    withWave(plan, () => ({ room: room === null ? null : { ...room, ...change } }));

  test('the witness holds, and each mistake in it is found', () => {
    assert.deepEqual(checkPlan(roomy, plan), []);
    assert.equal(room?.host, 'h2');
    finds(
      /no room is kept/,
      roomy,
      withWave(plan, () => ({ room: null })),
    );
    finds(/another host has more/, roomy, withRoom({ host: hostName('h4'), restarts: [] }));
    finds(/restarts nowhere/, roomy, withRoom({ restarts: (room?.restarts ?? []).slice(1) }));
    finds(/is not tied to h2/, roomy, withRoom({ restarts: [], tied: [vmId('a'), vmId('b')] }));
    finds(
      /cannot restart on h1: h1 is maintenance/,
      roomy,
      withRoom({ restarts: (room?.restarts ?? []).map(({ vm }) => ({ vm, to: hostName('h1') })) }),
    );
    finds(
      /h3 has no room/,
      roomy,
      withRoom({ restarts: (room?.restarts ?? []).map(({ vm }) => ({ vm, to: hostName('h3') })) }),
    );
  });
});

describe('what is left of a plan', () => {
  test('is judged against the estate as it is now', () => {
    const moving = withVm('s2', { movingTo: hostName('h4') });
    assert.deepEqual(checkPlan(moving, PLAN, { ended: new Set(), begun: new Set([0]) }), []);
    const arrived = withVm('s2', { host: hostName('h4') });
    assert.deepEqual(checkPlan(arrived, PLAN, { ended: new Set([0]), begun: new Set() }), []);
    const filled = { ...arrived, vms: [...arrived.vms, aVm('new', 'h2', { memoryMib: 8_192 })] };
    assert.match(
      checkPlan(filled, PLAN, { ended: new Set([0]), begun: new Set() }).join(),
      /h2 may be short of memory/,
    );
  });
});
