import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGeneration, parseVmId, type Term, type VmId } from '../../base/ids.ts';
import { OrderMemory } from './order-memory.ts';
import { killOrder } from './testing/fake-machine.ts';

const vm = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
const run = (n: number, generation: number) => ({ vm: vm(n), generation: parseGeneration(generation) });
const stale = { code: 'stale-order' };

test('terms only grow', () => {
  const memory = new OrderMemory();
  for (const term of [3, 3, 7]) memory.takeTerm(term as Term);
  assert.throws(() => memory.takeTerm(6 as Term), stale);
  memory.takeTerm(7 as Term);
});

test('a VM’s generations only grow, whatever order the orders come in', () => {
  const memory = new OrderMemory();
  memory.launchOrdered(run(1, 5));
  memory.launchOrdered(run(1, 4));
  assert.throws(() => memory.refuseStaleLaunch(run(1, 4), []), stale);
  memory.refuseStaleLaunch(run(1, 5), []);
  memory.endOrdered(killOrder([9, 6], { vm: vm(1) }));
  memory.endOrdered(killOrder([2], { vm: vm(1) }));
  assert.throws(() => memory.refuseStaleLaunch(run(1, 9), []), stale);
  memory.refuseStaleLaunch(run(1, 10), []);
  memory.refuseStaleLaunch(run(2, 1), [run(1, 10)]);
  assert.throws(() => memory.refuseStaleLaunch(run(2, 1), [run(2, 2)]), stale);
});

test('what no order was about for longest is forgotten first', () => {
  const memory = new OrderMemory();
  for (let n = 0; n < 10_000; n++) memory.launchOrdered(run(n, 5));
  memory.launchOrdered(run(0, 6));
  memory.launchOrdered(run(10_000, 5));
  assert.throws(() => memory.refuseStaleLaunch(run(0, 5), []), stale);
  assert.throws(() => memory.refuseStaleLaunch(run(2, 4), []), stale);
  memory.refuseStaleLaunch(run(1, 4), []);
});
