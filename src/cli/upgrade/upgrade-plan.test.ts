import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchOf, demandAlive, planUpgrade, type UpgradeFacts } from './upgrade-plan.ts';

const address = (name: string) => ({ control: `10.0.0.${name.slice(1)}`, storage: '10.1.0.1', overlay: '10.2.0.1' });
const host = (name: string, agent: string | null, state: 'alive' | 'dead' = 'alive') => ({
  ...{ name, agent: state, addresses: address(name), release: { agent, qemu: '7.2.22' } },
});
const storage = (name: string, version: string | null, state: 'alive' | 'dead' | 'lost' = 'alive') => ({
  ...{ name, state, version, addresses: address(name) },
});
const control = (name: string, version: string | null, leader = false) => ({
  ...{ name, version, leader, state: 'alive' as const, address: address(name).control },
});
const facts = (over: Partial<UpgradeFacts> = {}): UpgradeFacts => ({
  cluster: { release: '0.1' },
  hosts: [host('h7', '0.1.0'), host('m4', '0.1.0')],
  storage: [storage('s8', '0.1.0'), storage('m4', '0.1.0'), storage('s9', null, 'lost')],
  controls: [control('m4', '0.1.0', true), control('c5', '0.1.0'), control('c6', '0.1.0')],
  ...over,
});
const names = (of: UpgradeFacts, to: string): readonly string[] => planUpgrade(of, to).machines.map(({ name }) => name);

test('storage nodes and hosts come first, then control nodes, and the machine of the leader last', () => {
  const plan = planUpgrade(facts(), '0.2.0');
  assert.deepEqual(
    plan.machines.map(({ name }) => name),
    ['s8', 'h7', 'c5', 'c6', 'm4'],
  );
  const last = plan.machines.at(-1);
  assert.deepEqual([last?.address, last?.leads, last?.isDone], ['10.0.0.4', true, false]);
  assert.deepEqual(
    last?.roles.map(({ role }) => role),
    ['storage', 'host', 'control'],
  );
});

test('the way back is the way there, reversed, also from the middle', () => {
  const half = facts({ hosts: [host('h7', '0.2.0'), host('m4', '0.1.0')] });
  assert.deepEqual(names(half, '0.1.0'), ['m4', 'c6', 'c5', 'h7', 's8']);
  assert.deepEqual(names(half, '0.2.0'), ['s8', 'h7', 'c5', 'c6', 'm4']);
});

test('one roll takes hosts that follow each other; a control node, and what is no host, goes alone', () => {
  const batches = (of: UpgradeFacts, to = '0.2.0') => batchOf(planUpgrade(of, to)).map(({ name }) => name);
  assert.deepEqual(batches(facts()), [], 's8 is no host');
  const hosts = [host('h7', '0.1.0'), host('h9', '0.1.0'), host('m4', '0.1.0')];
  const afterStorage = facts({ hosts, storage: [storage('s8', '0.2.0'), storage('m4', '0.1.0')] });
  assert.deepEqual(batches(afterStorage), ['h7', 'h9']);
  const done = [host('h7', '0.2.0'), host('h9', '0.2.0'), host('m4', '0.1.0')];
  assert.deepEqual(batches({ ...afterStorage, hosts: done }), [], 'c5 is no host');
  const last = { ...afterStorage, hosts: done, controls: [control('m4', '0.1.0', true), control('c5', '0.2.0')] };
  assert.deepEqual(batches(last), ['m4']);
  assert.deepEqual(batches(last, '0.1.0').slice(0, 1), [], 'back: c5 first');
});

test('no release is skipped, and what was finalized is for good', () => {
  for (const to of ['0.3.0', '0.0.9', '2.0.0']) assert.throws(() => planUpgrade(facts(), to), { code: 'conflict' }, to);
  for (const to of ['0.1.5', '0.2.3', '1.0.0']) assert.equal(planUpgrade(facts(), to).to, to);
  assert.throws(() => planUpgrade(facts(), 'newest'), { code: 'bad-input' });
  assert.equal(planUpgrade(facts({ cluster: { release: null } }), '0.9.0').release, null);
});

test('a machine is done when each of its roles answers with the version', () => {
  const isDone = (of: UpgradeFacts) => planUpgrade(of, '0.1.0').machines.map(({ name, isDone: done }) => [name, done]);
  assert.ok(isDone(facts()).every(([, done]) => done));
  const dead = facts({ hosts: [host('h7', '0.1.0', 'dead'), host('m4', null)] });
  assert.deepEqual(
    isDone(dead).flatMap(([name, done]) => (done === true ? [] : [name])),
    ['h7', 'm4'],
  );
  assert.throws(() => demandAlive(planUpgrade(dead, '0.1.0')), { code: 'unavailable', message: /on h7\.$/ });
  demandAlive(planUpgrade(facts(), '0.2.0'));
});
