import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MigrationPolicy } from '../model/vm.ts';
import { incarnation, vmRecord } from '../plan/testing/sample-records.ts';
import { remedyOf, withWriting } from './fast-writers.ts';
import { aVm, estateOf } from './testing/small-estate.ts';

const { policy } = estateOf({ policy: { hostMibPerSecond: 100, movesPerHost: 2 } });
const vm = (migrationPolicy?: Partial<MigrationPolicy>) => {
  const record = vmRecord({ kind: 'running', incarnation: incarnation(1, 1) });
  if (migrationPolicy === undefined) return record;
  const full = { slowDown: false, pauseMsMax: null, stop: false, ...migrationPolicy };
  return { ...record, spec: { ...record.spec, migrationPolicy: full } };
};
const writer = (dirtyMibPerSecond: number | null, toleratesMs: number | null = null) => ({
  ...{ dirtyMibPerSecond, policy, toleratesMs },
});

test('nothing is done about a guest that is copied faster than it writes, or was not measured', () => {
  for (const rate of [null, 0, 44]) assert.equal(remedyOf(vm({ stop: true }), writer(rate)), null, `${rate} MiB/s`);
});

test('what is done about a fast writer is what its owner allows, the gentlest first', () => {
  assert.equal(remedyOf(vm(), writer(45)), 'slow-down', 'as long as its owner said nothing');
  assert.equal(remedyOf(vm({ slowDown: true, pauseMsMax: 2_000 }), writer(60)), 'longer-pause');
  assert.equal(remedyOf(vm({ slowDown: true, pauseMsMax: 1_000 }), writer(60)), 'slow-down', '1.3 s are needed');
  assert.equal(remedyOf(vm({ pauseMsMax: 8_000, stop: true }), writer(60, 1_000)), 'stop', 'its guest cluster');
  assert.equal(remedyOf(vm({}), writer(60)), 'nothing-allowed');
});

test('a fast writer whose owner allows nothing is named, with what may be allowed; another has its pause foretold', () => {
  const record = vm({});
  const held = withWriting(aVm('web1', 'h1'), record, writer(60));
  assert.match(held.unsettled ?? '', /^web writes 60 MiB a second and a move copies 50;/);
  assert.match(held.unsettled ?? '', /gp vm set web --migration-policy slow-down, longer-pause=2s or stop/);
  const paused = withWriting(aVm('web1', 'h1'), vm({ pauseMsMax: 2_000 }), writer(60));
  assert.deepEqual([paused.unsettled, paused.pauseMs, paused.dirtyMibPerSecond], [null, 1_300, 60]);
});
