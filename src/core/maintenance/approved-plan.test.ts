import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { counted } from '../../base/counted.ts';
import { checkPlan } from '../check/maintenance-plan.ts';
import { differencesOf, parseApproved, planApproved, type WavesNow } from './approved-plan.ts';
import { type ApprovedPlan, approvedText, approvedWave } from './approved-text.ts';
import type { Estate } from './estate.ts';
import { modelOf } from './model.ts';
import type { MaintenancePlan } from './plan.ts';
import { planRoll } from './roll.ts';
import { seededEstate } from './testing/seeded-estate.ts';
import { aHost, aVm, estateOf, hostName } from './testing/small-estate.ts';

const THREE = estateOf({
  hosts: ['h1', 'h2', 'h3', 'h4'].map((name) => aHost(name)),
  vms: [aVm('a', 'h1'), aVm('b', 'h2'), aVm('c', 'h2'), aVm('d', 'h3')].map((vm, n) => ({
    ...vm,
    id: `vm-00000000000${n}` as typeof vm.id,
  })),
});

function planOf(estate: Estate, maxUnavailable = 1): MaintenancePlan {
  const hosts = estate.hosts.map(({ name }) => name);
  const outcome = planRoll(modelOf(estate), { hosts, maxUnavailable, perRack: null, releaseAfter: null });
  return outcome.kind === 'plan' ? outcome : assert.fail(JSON.stringify(outcome));
}

function approvedOf(plan: MaintenancePlan, maxUnavailable = 1): ApprovedPlan {
  return { maxUnavailable, perRack: null, parallel: 2, waves: plan.waves.map(approvedWave) };
}

function now(estate: Estate, waves: ApprovedPlan['waves'], done: readonly string[] = []): WavesNow {
  const planning = planApproved(modelOf(estate), waves, done.map(hostName));
  for (;;) {
    const turn = planning.next();
    if (turn.done === true) return turn.value;
  }
}

describe('the text of an approved plan', () => {
  test('is read as it was written', () => {
    const plan = approvedOf(planOf(THREE));
    assert.deepEqual(parseApproved(approvedText(plan)), plan);
  });

  const text = approvedText(approvedOf(planOf(THREE)));
  const refusals: readonly (readonly [what: string, text: string, why: RegExp])[] = [
    ['no JSON', '{', /not JSON/],
    ['another thing', '[]', /an object is missing/],
    ['another format', text.replace('groundplane-roll-1', 'groundplane-roll-2'), /format/],
    ['a field more', text.replace('"parallel"', '"more":1,"parallel"'), /not in the form/],
    ['spaces', text.replace('":', '": '), /not in the form/],
    ['no limit', text.replace('"maxUnavailable":1', '"maxUnavailable":0'), /from 1 to 50/],
    ['a limit without end', text.replace('"maxUnavailable":1', '"maxUnavailable":51'), /from 1 to 50/],
    ['a host that is none', text.replace('"h1"', '"h 1"'), /not a valid host name/],
    ['a host twice', text.replace('"h1"', '"h2"'), /names a host twice/],
    ['a wave that is too wide', text.replace('["h1"]', '["h1","h9"]'), /more hosts than may be away/],
    ['a VM that is none', text.replace('vm-00000000000', 'xx-00000000000'), /not a valid VM id/],
    ['no host', approvedText({ ...approvedOf(planOf(THREE)), waves: [] }), /has no host/],
  ];
  for (const [what, wrong, why] of refusals)
    test(`refuses ${what}`, () => {
      assert.notEqual(wrong, text);
      assert.throws(() => parseApproved(wrong), { code: 'bad-input', message: why });
    });

  test('says whatever else a plan says: another plan has another text', () => {
    const plan = approvedOf(planOf(THREE));
    const [wave] = plan.waves;
    if (wave === undefined) assert.fail('no wave');
    const others: readonly ApprovedPlan[] = [
      { ...plan, maxUnavailable: 2 },
      { ...plan, perRack: 1 },
      { ...plan, parallel: 1 },
      { ...plan, waves: plan.waves.toReversed() },
      { ...plan, waves: [{ ...wave, durationMs: wave.durationMs + 1 }, ...plan.waves.slice(1)] },
      { ...plan, waves: [{ ...wave, pauseMs: wave.pauseMs + 1 }, ...plan.waves.slice(1)] },
    ];
    assert.equal(new Set([plan, ...others].map(approvedText)).size, others.length + 1);
  });
});

describe('an approved plan at the time of its waves', () => {
  test('where nothing has changed, every VM goes where it was approved', () => {
    const approved = approvedOf(planOf(THREE));
    const { waves, refusal } = now(THREE, approved.waves);
    assert.equal(refusal, null);
    for (const [index, wave] of approved.waves.entries())
      assert.deepEqual(differencesOf(wave, waves[index]?.moves ?? []), []);
  });

  test('a VM that came since is placed, a full host is replaced, one that left needs nothing: all is said', () => {
    const [first, second] = approvedOf(planOf(THREE)).waves;
    if (first === undefined || second === undefined) assert.fail('no wave');
    const target = second.moves[0]?.to ?? assert.fail('no move');
    const host = String(second.hosts[0]);
    const more = { ...aVm('new', host), id: 'vm-0000000000ff' as never };
    const big = { ...aVm('big', target, { memoryMib: 16_384 - 1_024 }), id: 'vm-0000000000fe' as never };
    const { waves } = now({ ...THREE, vms: [...THREE.vms, more, big] }, [second], first.hosts);
    const said = differencesOf(second, waves[0]?.moves ?? assert.fail('no plan'));
    assert.equal(said.length, 2, said.join('; '));
    assert.match(said.join('; '), /a goes to h\d instead of h4/);
    assert.match(said.join('; '), /new goes from h1 to h\d, which the approved plan does not have/);
    const needsNone = counted(second.moves.length, 'VM of the approved plan needs', 'VMs of the approved plan need');
    assert.deepEqual(differencesOf(second, []), [`${needsNone} no move`]);
  });

  test('a wave that has no plan any more ends the list, with the VMs that stand in the way', () => {
    const approved = approvedOf(planOf(THREE));
    const full = {
      ...THREE,
      hosts: THREE.hosts.map((host) => (host.name === 'h4' ? { ...host, state: 'silent' as const } : host)),
      vms: THREE.vms.map((vm) => ({ ...vm, memoryMib: 12_000 })),
    };
    const { waves, refusal } = now(full, approved.waves);
    assert.equal(waves.length + 1 <= approved.waves.length, true);
    assert.equal(refusal?.kind, 'refused');
  });
});

test('whatever the estate and whatever was approved: each wave passes the checker, and what can be kept is kept', () => {
  const options = fc.record({
    seed: fc.integer({ min: 1, max: 100_000 }),
    hosts: fc.integer({ min: 6, max: 16 }),
    fill: fc.constantFrom(0.5, 0.7),
    maxUnavailable: fc.integer({ min: 1, max: 3 }),
    leaves: fc.integer({ min: 0, max: 4 }),
  });
  let [waves, kept] = [0, 0];
  fc.assert(
    fc.property(options, ({ maxUnavailable, leaves, ...rest }) => {
      const policy = { keepRoomForLoss: false };
      const estate = seededEstate({
        ...rest,
        vms: rest.hosts * 6,
        hostsPerRack: 3,
        guestClusters: 2,
        ruled: 0.2,
        policy,
      });
      const hosts = estate.hosts.map(({ name }) => name);
      const plan = planRoll(modelOf(estate), { hosts, maxUnavailable, perRack: null, releaseAfter: null });
      if (plan.kind === 'refused') return;
      const ways = (wave: MaintenancePlan['waves'][number]) => ({
        hosts: wave.hosts,
        durationMs: 0,
        pauseMs: 0,
        moves: wave.moves.map(({ vm, from, to }) => ({ vm, from, to })),
      });
      const [first] = plan.waves;
      if (first === undefined) return;
      // Some of the VMs are gone by then.
      const gone = new Set(first.moves.slice(0, leaves).map(({ vm }) => vm));
      const changed = { ...estate, vms: estate.vms.filter(({ id }) => !gone.has(id)) };
      const outcome = now(changed, [ways(first)]);
      assert.equal(outcome.refusal, null);
      const one = { kind: 'plan', after: 'away', releaseAfter: null, waves: outcome.waves, movedMib: 0 } as const;
      assert.deepEqual(checkPlan(changed, one), []);
      waves += 1;
      const approved = new Map(ways(first).moves.map(({ vm, to }) => [vm, to]));
      const final = new Map(outcome.waves[0]?.moves.map(({ vm, to }) => [vm, to]));
      if ([...final].every(([vm, to]) => approved.get(vm) === to)) kept += 1;
    }),
    { seed: 17, numRuns: 60 },
  );
  assert.ok(waves > 45, `${waves} waves`);
  assert.ok(kept / waves > 0.9, `${kept} of ${waves} waves as approved`);
});
