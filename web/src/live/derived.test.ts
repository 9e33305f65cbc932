import assert from 'node:assert/strict';
import { test } from 'node:test';
import { affectedQueries } from './derived.ts';

const change = (kind: string, name: string, object: unknown) => ({ revision: '1', kind, name, object });

test('a VM is read again under the name by which pages ask for it', () => {
  assert.deepEqual(affectedQueries([change('vm', 'web1', { name: 'web1' })]), [['vm', 'web1'], ['overview']]);
});

test('an event is about the host that it names, and a forgotten one about nothing', () => {
  const events = [
    change('event', 'e1', { host: 'h1' }),
    change('event', 'e2', { host: null }),
    change('event', 'e0', null),
  ];
  assert.deepEqual(affectedQueries(events), [
    ['list', 'host-row'],
    ['list', 'vm-row'],
    ['host', 'h1'],
  ]);
});

test('what may change ties reads them again, and an ordinary event does not', () => {
  const ofTies = (kind: string, object: unknown) =>
    affectedQueries([change(kind, 'x', object)]).some(([first]) => first === 'ties');
  assert.ok(ofTies('event', { kind: 'debt-due', vm: 'web1', host: null }));
  assert.ok(ofTies('guest-cluster', {}));
  assert.ok(ofTies('host', {}));
  assert.ok(!ofTies('event', { kind: 'vm-started', vm: 'web1', host: 'h1' }));
  assert.ok(!ofTies('event', null));
  assert.ok(!ofTies('vm', { name: 'web1' }));
  assert.ok(ofTies('vm', null), 'debts go with their VM');
});

test('many hosts at once are read as one list', () => {
  const events = Array.from({ length: 21 }, (_, n) => change('event', `e${n}`, { host: `h${n}` }));
  assert.deepEqual(affectedQueries(events), [
    ['list', 'host-row'],
    ['list', 'vm-row'],
    ['list', 'host'],
  ]);
});

test('a drain and a roll are read again when they change, and the summary is not', () => {
  const changes = [change('drain', 'drain-1', {}), change('roll', 'roll-1', {}), change('task', 't1', null)];
  assert.deepEqual(affectedQueries(changes), [
    ['drain', 'drain-1'],
    ['roll', 'roll-1'],
  ]);
});
