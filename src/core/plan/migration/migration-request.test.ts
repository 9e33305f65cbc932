/** Notices: a member moves once its guest acknowledged, or the time is over; nothing else delays it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestClusterRecord } from '../../model/guest-cluster.ts';
import type { MoveNotice } from '../../model/move-notice.ts';
import type { VmPhase, VmRecord } from '../../model/vm.ts';
import { moveObstacle } from '../guest-clusters/guest-cluster-limits.ts';
import {
  answers,
  clusterOf,
  guestClusterRecord,
  hostRecord,
  incarnation,
  memberRecord,
  NOW,
  seenHost,
  sharedDiskRecord,
  situation,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import type { ClusterSituation, Decision, VmSituation } from '../vm/decision.ts';
import { decide } from '../vm/vm-decision.ts';

const on = (h: number): VmPhase => ({ kind: 'running', incarnation: incarnation(1, h) });
const REQUEST = { to: null, taskId: task(4), askedAt: NOW };
const GIVEN: MoveNotice = { number: 1, state: 'scheduled', forMs: 60_000, givenAt: NOW, ended: null };

function seeing(vms: readonly VmRecord[], more: Partial<GuestClusterRecord> = {}): ClusterSituation {
  const hosts = [1, 2, 3, 4].map((n) => ({ record: hostRecord(n), seen: seenHost(n) }));
  return clusterOf({
    ...{ vms, hosts },
    guestClusters: [guestClusterRecord(vms, { noticeMs: 60_000, ...more })],
    sharedDisks: [sharedDiskRecord()],
  });
}

/** The decision for the first of some members, whose QEMU runs. */
function decided(vms: readonly VmRecord[], more: Partial<VmSituation> = {}): Decision {
  const [first] = vms;
  assert(first !== undefined);
  return decide(situation(first, { 1: { qmp: answers('running') } }, { cluster: seeing(vms), ...more }));
}

const asked = (more: Partial<VmRecord> = {}): VmRecord =>
  memberRecord(1, on(1), { migrationRequest: REQUEST, ...more });
const committed = (decision: Decision): VmRecord => {
  assert(decision.kind === 'commit', JSON.stringify(decision));
  return decision.vm;
};

test('GC10 a member whose guest cluster declared a notice is told first, and does not move by that', () => {
  const told = committed(decided([asked()]));
  assert.equal(told.phase.kind, 'running');
  assert.deepEqual(told.migrationRequest, REQUEST);
  assert.deepEqual(told.notice, GIVEN);
  const second = committed(decided([asked({ notice: { ...GIVEN, number: 7, state: 'over', ended: 'time' } })]));
  assert.equal(second.notice?.number, 8);
});

test('GC10 without a declared notice, or without a guest cluster, a move begins at once', () => {
  const { noticeMs: _, ...silent } = guestClusterRecord([asked()], { noticeMs: 1 });
  const hosts = [1, 2, 3].map((n) => ({ record: hostRecord(n), seen: seenHost(n) }));
  const cluster = clusterOf({ vms: [asked()], hosts, guestClusters: [silent] });
  assert.equal(committed(decided([asked()], { cluster })).phase.kind, 'migrating');
  const alone = vmRecord(on(1), { migrationRequest: REQUEST });
  const moved = committed(decide(situation(alone, { 1: { qmp: answers('running') } })));
  assert.equal(moved.phase.kind, 'migrating');
  assert.equal(moved.notice, undefined);
  assert.equal(moved.settling, undefined);
});

test('GC10 the move waits for as long as this leader has to, whatever the wall clock says', () => {
  const waiting = [asked({ notice: { ...GIVEN, givenAt: NOW - 3_600_000 } })];
  const waits = decided(waiting, { notice: { knownForMs: 59_000, isAcknowledged: false } });
  assert(waits.kind === 'wait');
  assert.equal(waits.againInMs, 1_000);
  assert.match(waits.why, /has notice of its move/);
  const moved = committed(decided(waiting, { notice: { knownForMs: 60_000, isAcknowledged: false } }));
  assert.equal(moved.phase.kind, 'migrating');
  assert.deepEqual([moved.notice?.state, moved.notice?.ended], ['started', 'time']);
});

test('GC10 a guest that acknowledges moves at once', () => {
  const moved = committed(decided([asked({ notice: GIVEN })], { notice: { knownForMs: 0, isAcknowledged: true } }));
  assert.equal(moved.phase.kind, 'migrating');
  assert.deepEqual([moved.notice?.state, moved.notice?.ended], ['started', 'acknowledged']);
});

test('GC11 a notice delays for no longer than is declared by now', () => {
  const waiting = [asked({ notice: GIVEN })];
  const notice = { knownForMs: 5_000, isAcknowledged: false };
  const shorter = decided(waiting, { notice, cluster: seeing(waiting, { noticeMs: 5_000 }) });
  assert.equal(committed(shorter).phase.kind, 'migrating');
  const longer = decided(waiting, { notice, cluster: seeing(waiting, { noticeMs: 600_000 }) });
  assert.equal(longer.kind === 'wait' ? longer.againInMs : null, 55_000);
  const { guestCluster: _, ...spec } = asked().spec;
  const left = decided([{ ...asked({ notice: GIVEN }), spec }], { notice: { knownForMs: 0, isAcknowledged: false } });
  assert.equal(committed(left).phase.kind, 'migrating');
});

test('GC11 the time of the notice does not count as time for which the move was held up', () => {
  const late = { ...REQUEST, askedAt: NOW - 640_000 };
  const members = [
    asked({ migrationRequest: late, notice: GIVEN }),
    memberRecord(2, on(2), { settling: { registered: [] } }),
  ];
  assert.equal(decided(members).kind, 'wait');
  const [first, second] = members;
  assert(first !== undefined && second !== undefined);
  const tooLate = { ...first, migrationRequest: { ...REQUEST, askedAt: NOW - 661_000 } };
  const refused = committed(decided([tooLate, second]));
  assert.equal(refused.migrationRequest, null);
  assert.deepEqual([refused.notice?.state, refused.notice?.ended], ['over', 'withdrawn']);
});

test('GC10 a move that nobody wants any more takes its notice back, and a stop ends it', () => {
  const withdrawn = committed(decided([memberRecord(1, on(1), { notice: GIVEN })]));
  assert.deepEqual([withdrawn.notice?.state, withdrawn.notice?.ended], ['over', 'withdrawn']);
  const stopping = committed(decided([asked({ notice: GIVEN, intent: 'stopped' })]));
  assert.deepEqual([stopping.phase.kind, stopping.notice?.state], ['stopping', 'over']);
});

test('GC2 a member whose guest is told counts as disturbed, but does not hold up another one that is told as well', () => {
  const told = memberRecord(2, on(2), { notice: GIVEN });
  const other = memberRecord(1, on(1));
  assert.match(moveObstacle(other, seeing([other, told]))?.why ?? '', /sql2 has been told that it is about to move/);
  const both = memberRecord(1, on(1), { notice: GIVEN });
  assert.equal(moveObstacle(both, seeing([both, told])), null);
});

const DISK = sharedDiskRecord().id;

test('GC12 what is awaited of a member is what its guest had registered when its move began', () => {
  const vms = [asked({ notice: GIVEN })];
  const cluster = { ...seeing(vms), registeredOn: () => [DISK] };
  const moved = committed(decided(vms, { cluster, notice: { knownForMs: 0, isAcknowledged: true } }));
  assert.deepEqual(moved.settling, { registered: [DISK] });
});

test('GC2 a moved member that has not been seen healthy yet holds the next one up', () => {
  const moved = memberRecord(1, on(1), { settling: { registered: [DISK] } });
  const next = memberRecord(2, on(2));
  const obstacle = moveObstacle(next, seeing([moved, next]));
  assert.match(obstacle?.why ?? '', /sql1 has not been seen healthy yet after its move/);
  assert.equal(obstacle?.passes, true);
});
