import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Generation, StorageName } from '../../../base/ids.ts';
import type { SharedDiskRecord } from '../../model/guest-cluster.ts';
import type { VmPhase, VmRecord, VmSharedDisk } from '../../model/vm.ts';
import {
  acknowledged,
  answers,
  clusterOf,
  hostRecord,
  incarnation,
  LOST,
  NOW,
  node,
  seenHost,
  sharedDiskRecord,
  silentKernel,
  situation,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import type { Decision, VmSituation } from '../vm/decision.ts';
import type { Acknowledged } from '../vm/steps.ts';
import { decide } from '../vm/vm-decision.ts';
import { sharingOf } from './sharing-decision.ts';

const RUNNING: VmPhase = { kind: 'running', incarnation: incarnation(1) };
const STARTING: VmPhase = { kind: 'starting', incarnation: incarnation(1), reason: 'requested', avoid: [] };
const DISK = sharedDiskRecord();
/** The list as text, with the node of each disk. */
const listOf = (vm: VmRecord): string => sharingOf(vm, { sharedDisk: () => DISK });
const GRANTED: Partial<Acknowledged> = { fencedBelow: 1, granted: new Set([1 as Generation]) };
const FENCED_THERE = { sharedFences: new Map([[node(2), 1]]) };

function sharing(use: Partial<VmSharedDisk>, phase: VmPhase, more: Partial<VmRecord> = {}): VmRecord {
  const record = vmRecord(phase, more);
  return { ...record, spec: { ...record.spec, sharedDisks: [{ disk: DISK.id, lun: 0, ...use }] } };
}

function decided(
  vm: VmRecord,
  known: Partial<Acknowledged> = {},
  { disk = DISK, qmp = 'running' }: { readonly disk?: SharedDiskRecord | null; readonly qmp?: string } = {},
): Decision {
  const hosts = [1, 2, 3].map((n) => ({ record: hostRecord(n), seen: seenHost(n) }));
  const cluster = clusterOf({ vms: [vm], hosts, sharedDisks: disk === null ? [] : [disk] });
  const seen = qmp === '' ? {} : { 1: { qmp: answers(qmp) } };
  return decide(situation(vm, seen, { cluster, acknowledged: acknowledged(known) }));
}

const stepOf = (decision: Decision): string => (decision.kind === 'do' ? decision.step.do : decision.kind);
const disksAfter = (decision: Decision): unknown =>
  decision.kind === 'commit' ? decision.vm.spec.sharedDisks : decision.kind;

test('GC5 a fence is known only of nodes that the VM had at the time: one that came since is fenced as well', () => {
  const vm = sharing({}, STARTING);
  assert.equal(stepOf(decided(vm, GRANTED, { qmp: '' })), 'fence');
  assert.equal(stepOf(decided(vm, { ...GRANTED, ...FENCED_THERE }, { qmp: '' })), 'launch');
  const older = { sharedFences: new Map([[node(2), 0]]) };
  assert.equal(stepOf(decided(vm, { ...GRANTED, ...older }, { qmp: '' })), 'fence');
});

const CREATING = sharedDiskRecord({ phase: 'creating' });

test('a VM whose shared disk has to be there, and is not made or not known yet, does not start', () => {
  for (const phase of [{ kind: 'stopped' } as const, STARTING])
    for (const disk of [CREATING, null]) assert.equal(decided(sharing({}, phase), GRANTED, { disk }).kind, 'wait');
  assert.equal(stepOf(decided(sharing({ leaving: true }, STARTING), {}, { disk: CREATING, qmp: '' })), 'fence');
});

test('a shared disk that is still to come and cannot be made holds nobody up: neither a start, nor what runs, nor a move', () => {
  const made = { disk: CREATING, qmp: '' };
  const joining = { joining: true } as const;
  const start = decided(sharing(joining, { kind: 'stopped' }), {}, made);
  assert.equal(start.kind === 'commit' ? start.vm.phase.kind : start.kind, 'starting');
  assert.equal(stepOf(decided(sharing(joining, STARTING), GRANTED, made)), 'launch', 'its node is not fenced either');
  const running = sharing(joining, RUNNING, { migrationRequest: { to: null, taskId: task(4) } });
  const without = sharingOf(running, { sharedDisk: () => CREATING });
  assert.equal(without, task(4));
  const looked = { shared: { generation: 1 as Generation, disks: without } };
  const moved = decided(running, looked, { disk: CREATING });
  assert.equal(moved.kind === 'commit' ? moved.vm.phase.kind : moved.kind, 'migrating');
  assert.deepEqual(disksAfter(moved), [{ disk: DISK.id, lun: 0, joining: true }], 'it is still to come');
  assert.equal(stepOf(decided(running, looked)), 'share', 'as soon as it is made');
});

test('what is settled settles beside a disk that is still to come, whose mark stays', () => {
  const other = sharedDiskRecord({ id: 'disk-0000000000a2' as typeof DISK.id, name: 'more', phase: 'creating' });
  const record = vmRecord({ kind: 'stopped' }, { intent: 'stopped' });
  const uses = [
    { disk: DISK.id, lun: 0, joining: true as const },
    { disk: other.id, lun: 1, joining: true as const },
  ];
  const vm = { ...record, spec: { ...record.spec, sharedDisks: uses } };
  const hosts = [{ record: hostRecord(1), seen: seenHost(1) }];
  const decide_ = (given: VmRecord): Decision =>
    decide(situation(given, {}, { cluster: clusterOf({ vms: [given], hosts, sharedDisks: [DISK, other] }) }));
  const settled = decide_(vm);
  assert.deepEqual(disksAfter(settled), [{ disk: DISK.id, lun: 0 }, uses[1]]);
  assert(settled.kind === 'commit');
  assert.equal(decide_(settled.vm).kind, 'wait', 'once');
});

test('GC6 a leader that knows of nothing looks at the disks of what runs, and drops a mark only after that', () => {
  const joining = sharing({ joining: true }, RUNNING);
  assert.deepEqual(decided(joining), {
    kind: 'do',
    step: { do: 'share', incarnation: incarnation(1), disks: listOf(joining) },
  });
  const known = (vm: VmRecord, generation = 1) => ({
    shared: { generation: generation as Generation, disks: listOf(vm) },
  });
  assert.deepEqual(disksAfter(decided(joining, known(joining))), [{ disk: DISK.id, lun: 0 }]);
  assert.equal(stepOf(decided(joining, known(joining, 2))), 'share', 'of another generation');
  const leaving = sharing({ leaving: true }, RUNNING);
  assert.equal(stepOf(decided(leaving, known(joining))), 'share', 'of another list');
  assert.deepEqual(disksAfter(decided(leaving, known(leaving))), []);
  assert.equal(decided(joining, {}, { qmp: '' }).kind, 'wait', 'QMP does not answer');
  assert.equal(decided(sharing({}, RUNNING), known(sharing({}, RUNNING))).kind, 'wait');
});

test('what is stopped has nothing to let go of', () => {
  const stopped = { intent: 'stopped' } as const;
  assert.deepEqual(disksAfter(decided(sharing({ leaving: true }, { kind: 'stopped' }, stopped))), []);
  assert.deepEqual(disksAfter(decided(sharing({ joining: true }, { kind: 'stopped' }, stopped))), [
    { disk: DISK.id, lun: 0 },
  ]);
});

test('GC7 a migration begins only after the source was looked at for that very request', () => {
  const request = { to: null, taskId: task(4) };
  const vm = sharing({}, RUNNING, { migrationRequest: request });
  const before = sharing({}, RUNNING);
  assert.equal(stepOf(decided(vm, { shared: { generation: 1 as Generation, disks: listOf(before) } })), 'share');
  const looked = decided(vm, { shared: { generation: 1 as Generation, disks: listOf(vm) } });
  assert.equal(looked.kind === 'commit' ? looked.vm.phase.kind : looked.kind, 'migrating');
});

test('a share that failed is tried again ever later, and stands in nobody’s way but a migration’s', () => {
  const vm = sharing({ joining: true }, RUNNING, { migrationRequest: { to: null, taskId: task(4) } });
  const step = { do: 'share', incarnation: incarnation(1), disks: '' } as const;
  const failed = (count: number, ageMs: number) => ({
    failure: { step, message: 's2 does not answer', code: null, at: NOW - ageMs, count, host: null },
  });
  assert.equal(decided(vm, failed(1, 100)).kind, 'wait');
  assert.equal(stepOf(decided(vm, failed(1, 600))), 'share');
  assert.equal(decided(vm, failed(9, 9_900)).kind, 'wait');
  assert.equal(stepOf(decided(vm, failed(9, 10_100))), 'share');
  const stop = { intent: 'stopped', stopRequest: { mode: 'hard', patienceMs: 0, taskId: task(9) } } as const;
  const stopped = decided({ ...vm, ...stop }, failed(9, 100));
  assert.equal(stopped.kind === 'commit' ? stopped.vm.phase.kind : stopped.kind, 'stopping');
});

test('V1 lost needs the silence of the storage nodes of shared disks as well, those that are leaving included', () => {
  const verdict = (vm: VmRecord, nodes: readonly StorageName[], disk: SharedDiskRecord | null = DISK): string => {
    const cluster = clusterOf({
      vms: [vm],
      hosts: [1, 2].map((n) => ({ record: hostRecord(n), seen: seenHost(n) })),
      sharedDisks: disk === null ? [] : [disk],
    });
    const silent = { ...LOST, host: seenHost(1, { agent: 'silent', kernel: silentKernel(2, nodes) }) };
    const given: Partial<VmSituation> = { cluster };
    return stepOf(decide(situation(vm, { 1: silent }, given)));
  };
  for (const vm of [sharing({}, RUNNING), sharing({ leaving: true }, RUNNING)]) {
    assert.equal(verdict(vm, [node(1)]), 'wait');
    assert.equal(verdict(vm, [node(1), node(2)]), 'commit');
    assert.equal(verdict(vm, [node(1), node(2)], null), 'wait', 'where the disk is, is not known');
  }
});
