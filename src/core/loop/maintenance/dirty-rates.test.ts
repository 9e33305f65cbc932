import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseVmId } from '../../../base/ids.ts';
import { incarnation, vmRecord } from '../../plan/testing/sample-records.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { targetOf } from '../../qmp/testing/fake-dialer.ts';
import { DirtyRates } from './dirty-rates.ts';

const vm = (n: number, generation = 1) =>
  vmRecord(
    { kind: 'running', incarnation: incarnation(generation, 1, n) },
    { id: parseVmId(`vm-${n.toString(16).padStart(12, '0')}`), name: `vm${n}` },
  );

function world(answer: (vm: string) => Promise<number>) {
  const clock = new ManualClock();
  const asked: string[] = [];
  const rates = new DirtyRates({
    clock,
    log: { info: () => undefined, warn: () => undefined },
    qmp: {
      dirtyRate: (target) => {
        asked.push(target.vm);
        return answer(target.vm);
      },
    },
    target: (record) =>
      record.phase.kind === 'running' ? { ...targetOf(record.phase.incarnation.generation), vm: record.id } : null,
  });
  return { clock, asked, rates };
}

test('what was measured counts for the present incarnation, for a while, and is not measured again meanwhile', async () => {
  const { clock, asked, rates } = world(async () => 12);
  await rates.measure([vm(1)]);
  await rates.measure([vm(1)]);
  assert.deepEqual([rates.of(vm(1)), rates.of(vm(1, 2)), rates.of(vm(2)), asked.length], [12, null, null, 1]);
  await clock.advance(60_001);
  assert.equal(rates.of(vm(1)), null);
  await rates.measure([vm(1)]);
  assert.equal(asked.length, 2);
});

test('a guest that stands still is not measured, and a failure is no measurement', async () => {
  const { asked, rates } = world(() => Promise.reject(new Error('no answer')));
  await rates.measure([{ ...vm(1), intent: 'suspended' }, vmRecord({ kind: 'stopped' })]);
  assert.deepEqual(asked, []);
  await rates.measure([vm(1)]);
  assert.deepEqual([asked.length, rates.of(vm(1))], [1, null]);
});

test('measuring ends in time although some QEMUs never answer; few are asked at once, and none twice', async () => {
  const { clock, asked, rates } = world(() => new Promise(() => undefined));
  const many = Array.from({ length: 200 }, (_, n) => vm(n + 1));
  let isOver = false;
  const measuring = Promise.all([rates.measure(many), rates.measure(many)]).then(() => {
    isOver = true;
  });
  await settled();
  assert.equal(asked.length, 64);
  await clock.advance(5_999);
  assert.ok(!isOver);
  await clock.advance(1);
  await measuring;
  assert.equal(asked.length, 64, 'nothing begins after the end');
});
