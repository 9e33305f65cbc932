import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Intent, VmPhase, VmRecord } from '../../model/vm.ts';
import { brief, gens, MIGRATING, STOP } from '../testing/decision-table.ts';
import {
  acknowledged,
  answers,
  clusterOf,
  hostRecord,
  incarnation,
  LOST,
  node,
  seenHost,
  sharedDiskRecord,
  silentKernel,
  situation,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import type { Decision, VmSituation } from '../vm/decision.ts';
import { decide } from '../vm/vm-decision.ts';

const RUNNING: VmPhase = { kind: 'running', incarnation: incarnation(1) };
const STARTING: VmPhase = { kind: 'starting', incarnation: incarnation(1), reason: 'requested', avoid: [] };
const GRANTED = acknowledged({ fencedBelow: 1, granted: gens(1) });

/** Returns the decision about a VM while s1, which has its disk, is lost. */
function decided(phase: VmPhase, more: Partial<VmRecord> = {}, given: Partial<VmSituation> = {}): Decision {
  const before = situation(
    vmRecord(phase, more),
    { 1: { qmp: answers('io-error') } },
    { acknowledged: GRANTED, ...given },
  );
  return decide({
    ...before,
    cluster: { ...before.cluster, isLost: (name) => name === node(1), storageAnswers: () => false },
  });
}

test('a VM whose own disk is lost is ended, wherever it stands, and says what to do', () => {
  for (const phase of [RUNNING, STARTING]) {
    const ended = decided(phase);
    assert(ended.kind === 'commit' && ended.vm.phase.kind === 'stopping');
    assert.deepEqual([ended.vm.phase.mode, ended.vm.intent, ended.event.kind], ['hard', 'stopped', 'disk-lost']);
    assert.match(
      ended.event.message,
      /disk-000000000001 of web was on storage node s1, which is lost.*gp vm delete web/,
    );
  }
  // An action in progress that ends the VM goes on, and so does a migration, which ends by itself.
  assert.equal(brief(decided(RUNNING, STOP)), '→ stopping 1');
  assert.notEqual(brief(decided(MIGRATING)), '→ stopping 1');
});

test('it never starts again: a start that was asked for fails, with the reason, and what is stopped waits', () => {
  const wish = { intent: 'running' as Intent, startTask: task(3) };
  const refused = decided({ kind: 'stopped' }, wish);
  assert(refused.kind === 'commit');
  assert.deepEqual([refused.vm.phase.kind, refused.vm.intent, refused.vm.startTask], ['stopped', 'stopped', null]);
  assert.deepEqual(
    refused.tasks?.map(({ id, state }) => [id, state]),
    [[task(3), 'failed']],
  );
  const waits = decided({ kind: 'stopped' }, { intent: 'stopped' });
  assert.match(waits.kind === 'wait' ? waits.why : '', /never starts with it again/);
});

test('it can be deleted', () => {
  assert.equal(brief(decided(RUNNING, { deleting: true })), '→ stopping 1');
  const gone = decided({ kind: 'stopped' }, { deleting: true, intent: 'stopped' });
  assert.deepEqual(gone.kind === 'do' ? gone.step.do : gone.kind, 'delete-disk');
});

test('a node that is lost is needed by no verdict and no fence: a VM that shares a disk there is given up and started as ever', () => {
  const disk = sharedDiskRecord();
  const record = vmRecord(RUNNING);
  const vm = { ...record, spec: { ...record.spec, sharedDisks: [{ disk: disk.id, lun: 0 }] } };
  const hosts = [1, 2].map((n) => ({ record: hostRecord(n), seen: seenHost(n) }));
  const silent = { ...LOST, host: seenHost(1, { agent: 'silent', kernel: silentKernel(2, [node(1)]) }) };
  const cluster = (isLost: boolean) => ({
    ...clusterOf({ vms: [vm], hosts, sharedDisks: [disk] }),
    isLost: (name: string) => isLost && name === disk.node,
  });
  const judged = (isLost: boolean): string => brief(decide(situation(vm, { 1: silent }, { cluster: cluster(isLost) })));
  assert.deepEqual([judged(false), judged(true)], ['wait', '→ starting 2, quarantine h1']);
  const starting = { ...vm, phase: STARTING };
  const fenced = (isLost: boolean): string =>
    brief(decide(situation(starting, {}, { cluster: cluster(isLost), acknowledged: GRANTED })));
  assert.deepEqual([fenced(false), fenced(true)], ['fence below 1', 'launch 1']);
});
