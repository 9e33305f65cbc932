import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../base/errors.ts';
import type { VmPhase, VmRecord } from '../../model/vm.ts';
import { brief, gens } from '../testing/decision-table.ts';
import {
  acknowledged,
  clusterOf,
  diskRecord,
  host,
  hostRecord,
  incarnation,
  NOW,
  seenHost,
  situation,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import type { Decision } from './decision.ts';
import type { StepFailure } from './steps.ts';
import { decide } from './vm-decision.ts';

const startingOn = (generation: number, h: number, avoid: readonly number[] = []): VmPhase => ({
  kind: 'starting',
  incarnation: incarnation(generation, h),
  reason: 'requested',
  avoid: avoid.map(host),
});

/** A launch that failed once a moment ago. */
function failedLaunch(vm: VmRecord, code: ErrorCode): StepFailure {
  assert(vm.phase.kind === 'starting');
  const { incarnation: at } = vm.phase;
  return {
    step: { do: 'launch', incarnation: at, incoming: false },
    message: 'No.',
    code,
    at: NOW,
    count: 1,
    host: at.host,
  };
}

function afterLaunch(vm: VmRecord, code: ErrorCode, hosts: readonly number[] = [1, 2, 3]): Decision {
  const cluster = clusterOf({ vms: [vm], hosts: hosts.map((n) => ({ record: hostRecord(n), seen: seenHost(n) })) });
  const { generation } = vm;
  const known = { fencedBelow: generation, granted: gens(generation), failure: failedLaunch(vm, code) };
  return decide(situation(vm, {}, { cluster, acknowledged: acknowledged(known) }));
}

function recordOf(decision: Decision): VmRecord {
  assert(decision.kind === 'commit');
  return decision.vm;
}

test('a launch that one host refuses for good is tried on one other host; a second refusal ends the wish with its reason', () => {
  const first = afterLaunch(vmRecord(startingOn(1, 1), { startTask: task(7) }), 'bad-input');
  assert.equal(brief(first), '→ starting 2');
  const second = recordOf(first);
  assert.equal(second.failures?.refusedBy, 'h1');
  const ended = afterLaunch(second, 'bad-input');
  assert.equal(brief(ended), '→ stopping 2, 7 failed');
  const { intent, startTask, failures } = recordOf(ended);
  assert.deepEqual([intent, startTask, failures?.message], ['stopped', null, 'No.']);
});

test('where no other host can be asked, one refusal is enough; and a host that is down, full or old is no refusal', () => {
  const vm = vmRecord(startingOn(1, 1));
  assert.equal(brief(afterLaunch(vm, 'bad-input', [1])), '→ stopping 1');
  for (const code of [
    'failed',
    'unavailable',
    'deadline',
    'no-capacity',
    'unsupported',
    'conflict',
    'too-large',
  ] as const)
    assert.equal(brief(afterLaunch(vm, code, [1])), 'wait', code);
});

test('a second host that fails otherwise is no second refusal', () => {
  const once = recordOf(afterLaunch(vmRecord(startingOn(1, 1)), 'bad-input'));
  assert.equal(brief(afterLaunch(once, 'failed')), 'wait');
});

test('a disk that its node refuses for good ends the wish, and is asked for again only after a while', () => {
  const disks = [diskRecord({ phase: 'creating' })];
  const failure: StepFailure = {
    step: { do: 'create-disk', disk: diskRecord().id },
    message: 'Too large.',
    code: 'too-large',
    at: NOW,
    count: 1,
    host: null,
  };
  const after = (vm: VmRecord, code: ErrorCode, ms: number): string => {
    const known = acknowledged({ failure: { ...failure, code } });
    return brief(decide(situation(vm, {}, { disks, monotonicMs: NOW + ms, acknowledged: known })));
  };
  const stopped = vmRecord({ kind: 'stopped' }, { startTask: task(7) });
  assert.equal(after(stopped, 'too-large', 1_000), '→ stopped 1, 7 failed');
  assert.equal(after(vmRecord(startingOn(1, 1), { startTask: task(7) }), 'too-large', 1_000), '→ stopping 1, 7 failed');
  const given = { ...stopped, intent: 'stopped', startTask: null } as const;
  assert.equal(after(given, 'too-large', 1_000), 'wait');
  assert.equal(after(given, 'too-large', 30_000), 'create-disk');
  assert.equal(after(stopped, 'no-capacity', 1_000), 'create-disk');
});
