import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { GuestClusterRecord } from '../../model/guest-cluster.ts';
import type { VmPhase, VmRecord } from '../../model/vm.ts';
import { place } from '../placement/placement.ts';
import {
  answers,
  clusterOf,
  guestClusterRecord,
  hostRecord,
  incarnation,
  memberRecord,
  NOW,
  seenHost,
  situation,
  task,
} from '../testing/sample-records.ts';
import type { ClusterSituation, Decision } from '../vm/decision.ts';
import { decide } from '../vm/vm-decision.ts';
import { disturbedMembers, moveObstacle } from './guest-cluster-limits.ts';

const on = (h: number): VmPhase => ({ kind: 'running', incarnation: incarnation(1, h) });
const ends = { source: incarnation(1, 2), destination: incarnation(2, 3), taskId: null };
const MIGRATING: VmPhase = { kind: 'migrating', deadlineAt: NOW, ...ends };

function clusterWith(vms: readonly VmRecord[], more: Partial<GuestClusterRecord> = {}): ClusterSituation {
  const hosts = [1, 2, 3, 4].map((n) => ({ record: hostRecord(n), seen: seenHost(n) }));
  return clusterOf({ vms, hosts, guestClusters: [guestClusterRecord(vms, more)] });
}

test('GC2 another member that moves, starts, is undone or is not seen running holds a move back until it is over', () => {
  const mover = memberRecord(1, on(1));
  const rows: readonly (readonly [VmPhase, Partial<VmRecord>, RegExp | null, boolean])[] = [
    [on(2), {}, null, true],
    [MIGRATING, {}, /sql2 moves from h2 to h3/, true],
    [{ kind: 'switching', ...ends }, {}, /sql2 moves/, true],
    [{ kind: 'unwinding', reason: '', ...ends }, {}, /the move of sql2 to h3 is being undone/, true],
    [{ kind: 'starting', incarnation: incarnation(1, 2), reason: 'lost', avoid: [] }, {}, /sql2 starts on h2/, true],
    [{ kind: 'stopped' }, {}, /sql2 does not run yet/, true],
    [{ kind: 'stopped' }, { intent: 'stopped' }, /sql2 is stopped/, false],
    [on(2), { intent: 'stopped' }, /sql2 is stopped/, false],
    [on(2), { intent: 'suspended' }, /sql2 is paused/, false],
  ];
  for (const [phase, more, why, passes] of rows) {
    const obstacle = moveObstacle(mover, clusterWith([mover, memberRecord(2, phase, more)]));
    if (why === null) assert.equal(obstacle, null);
    else {
      assert.match(obstacle?.why ?? '', why);
      assert.equal(obstacle?.passes, passes);
    }
  }
  const seen = { ...clusterWith([mover, memberRecord(2, on(2))]), seesRunning: () => false };
  assert.match(moveObstacle(mover, seen)?.why ?? '', /sql2 has not been seen running yet/);
});

test('GC2 the limit is the number that was declared, and a VM in no guest cluster has none', () => {
  const members = [memberRecord(1, on(1)), memberRecord(2, MIGRATING), memberRecord(3, { kind: 'stopped' })];
  const [mover] = members;
  assert(mover !== undefined);
  assert.match(moveObstacle(mover, clusterWith(members, { maxDisturbed: 2 }))?.why ?? '', /allows 2 disturbed members/);
  assert.equal(moveObstacle(mover, clusterWith(members, { maxDisturbed: 3 })), null);
  const alone = { ...mover, spec: { ...mover.spec, guestCluster: null } };
  assert.equal(moveObstacle(alone, clusterWith(members)), null);
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(on(2), MIGRATING), { maxLength: 8 }),
      fc.integer({ min: 1, max: 8 }),
      (phases, max) => {
        const others = phases.map((phase, i) => memberRecord(i + 2, phase));
        const seen = clusterWith([mover, ...others], { maxDisturbed: max });
        const disturbed = disturbedMembers(guestClusterRecord([mover, ...others]), seen).length;
        assert.equal(moveObstacle(mover, seen) === null, disturbed + 1 <= max);
      },
    ),
    { seed: 20_261_125, numRuns: 200 },
  );
});

test('GC3 a pause that is predicted to be longer than the heartbeat bears is refused, with the numbers', () => {
  const slow = memberRecord(1, on(1), { pausesMs: [900, 2_600] });
  const obstacle = moveObstacle(slow, clusterWith([slow]));
  assert.equal(obstacle?.passes, false);
  assert.match(
    obstacle?.why ?? '',
    /about 3120 ms \(the longest pause of its last 2 moves was 2600 ms.*tolerates 3000 ms/,
  );
  assert.equal(moveObstacle(slow, clusterWith([slow], { toleratesMs: 3_120 })), null);
  const fresh = memberRecord(1, on(1));
  assert.match(
    moveObstacle(fresh, clusterWith([fresh], { toleratesMs: 400 }))?.why ?? '',
    /it was never moved: 300 ms/,
  );
});

function migrating(vms: readonly VmRecord[], askedAt: number, more: Partial<GuestClusterRecord> = {}): Decision {
  const [first] = vms;
  assert(first !== undefined);
  const vm = { ...first, migrationRequest: { to: null, taskId: task(4), askedAt } };
  const cluster = clusterWith([vm, ...vms.slice(1)], more);
  return decide(situation(vm, { 1: { qmp: answers('running') } }, { cluster }));
}

test('GC2 a migration waits for what passes, is refused for what does not, and does not wait for ever', () => {
  const mover = memberRecord(1, on(1));
  const moves = memberRecord(2, MIGRATING);
  const waits = migrating([mover, moves], NOW - 1_000);
  assert(waits.kind === 'wait');
  assert.match(waits.why, /sql2 moves from h2 to h3\. sql1 is moved after that\./);
  for (const [others, askedAt] of [
    [[moves], NOW - 600_000],
    [[memberRecord(2, { kind: 'stopped' }, { intent: 'stopped' })], NOW],
  ] as const) {
    const refused = migrating([mover, ...others], askedAt);
    assert(refused.kind === 'commit');
    assert.deepEqual(
      [refused.vm.phase.kind, refused.vm.migrationRequest, refused.tasks?.[0]?.state],
      ['running', null, 'failed'],
    );
  }
  const begun = migrating([mover, memberRecord(2, on(2))], NOW);
  assert.equal(begun.kind === 'commit' ? begun.vm.phase.kind : begun.kind, 'migrating');
});

test('GC1 members never share a host, unless somebody consented and there is no other', () => {
  const members = [memberRecord(1, { kind: 'stopped' }), memberRecord(2, on(1)), memberRecord(3, MIGRATING)];
  const [vm] = members;
  assert(vm !== undefined);
  const placed = (more: Partial<GuestClusterRecord>, exclude: readonly number[] = []) => {
    const { index, seeHost } = clusterWith(members, more);
    const hosts = exclude.map((n) => hostRecord(n).name);
    return place({ vm, index, seeHost, exclude: hosts, only: null, isOver: true });
  };
  const apart = placed({});
  assert.equal(apart.kind === 'placed' ? apart.host : '', 'h4');
  const nowhere = placed({}, [4]);
  assert.match(nowhere.kind === 'nowhere' ? nowhere.reasons.join() : '', /h1: it has sql2 of guest cluster sql/);
  const rather = placed({ sharesHosts: true });
  assert.equal(rather.kind === 'placed' ? rather.host : '', 'h4');
  assert.equal(placed({ sharesHosts: true }, [4]).kind, 'placed');
});
