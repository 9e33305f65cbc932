import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmId } from '../../../base/ids.ts';
import { FIRST_EPOCH } from '../../model/record-shapes.ts';
import type { VmPhase } from '../../model/vm.ts';
import type { HostReport, RunningIncarnation } from '../../ports/host-link.ts';
import { host, hostRecord, incarnation, VM, vmRecord } from '../testing/sample-records.ts';
import { decideHost } from './host-decision.ts';

const running = (generation: number): RunningIncarnation => ({
  ...incarnation(generation),
  vm: VM,
  pid: 1,
  startTicks: '1',
  incoming: false,
});
const report = (...generations: number[]): HostReport => ({
  host: host(1),
  bootId: 'b',
  agentVersion: '0',
  capacity: hostRecord(1).capacity,
  incarnations: generations.map(running),
  networkRevision: 1,
});
const only = (phase: VmPhase) => (id: VmId) => (id === VM ? vmRecord(phase) : undefined);
const no = () => false;
const quarantined = hostRecord(1, { quarantine: { since: 0, reason: 'lost with web' } });

test('P2 what a record expects on this host is left alone, both ends of a migration included', () => {
  const ends = { source: incarnation(1, 2), destination: incarnation(2, 1), taskId: null };
  for (const phase of [
    { kind: 'running', incarnation: incarnation(2, 1) },
    { kind: 'stopping', incarnation: incarnation(2, 1), mode: 'hard', deadlineAt: 0, reason: 'requested' },
    { kind: 'migrating', deadlineAt: 0, ...ends },
    { kind: 'switching', ...ends },
    { kind: 'unwinding', reason: '', ...ends },
  ] as const)
    assert.deepEqual(
      decideHost({ host: hostRecord(1), report: report(2), vm: only(phase), isUnreadable: no, epoch: FIRST_EPOCH }),
      [],
    );
});

test('P2 another generation, the right one on the wrong host, and what has no record are ended', () => {
  const stale = (phase: VmPhase | null, generation: number) =>
    decideHost({
      host: hostRecord(1),
      report: report(generation),
      vm: phase === null ? () => undefined : only(phase),
      isUnreadable: no,
      epoch: FIRST_EPOCH,
    });
  for (const steps of [
    stale({ kind: 'running', incarnation: incarnation(2, 1) }, 1),
    stale({ kind: 'running', incarnation: incarnation(1, 2) }, 1),
    stale({ kind: 'stopped' }, 1),
    stale(null, 1),
  ])
    assert.deepEqual(
      steps.map((step) => [step.do, 'generations' in step ? step.generations : []]),
      [['kill-stale', [1]]],
    );
});

test('P1 a quarantine is lifted only by a report without anything stale', () => {
  const here = only({ kind: 'running', incarnation: incarnation(2, 2) });
  assert.deepEqual(
    decideHost({ host: quarantined, report: report(1), vm: here, isUnreadable: no, epoch: FIRST_EPOCH }).map(
      (step) => step.do,
    ),
    ['kill-stale'],
  );
  assert.deepEqual(
    decideHost({ host: quarantined, report: report(), vm: here, isUnreadable: no, epoch: FIRST_EPOCH }),
    [{ do: 'lift-quarantine' }],
  );
  assert.deepEqual(
    decideHost({ host: hostRecord(1), report: report(), vm: here, isUnreadable: no, epoch: FIRST_EPOCH }),
    [],
  );
});

test('P2 the processes of a VM whose record cannot be read are left alone, and their host stays quarantined', () => {
  const situation = {
    report: report(1),
    vm: () => undefined,
    isUnreadable: (id: VmId) => id === VM,
    epoch: FIRST_EPOCH,
  };
  assert.deepEqual(decideHost({ host: hostRecord(1), ...situation }), []);
  assert.deepEqual(decideHost({ host: quarantined, ...situation }), []);
});

test('a host that was declared lost is given no order, and its quarantine is not lifted', () => {
  const lost = { ...quarantined, lost: { at: 1, by: 'ann' } };
  for (const seen of [report(), report(1)])
    assert.deepEqual(
      decideHost({ host: lost, report: seen, vm: () => undefined, isUnreadable: no, epoch: FIRST_EPOCH }),
      [],
    );
});
