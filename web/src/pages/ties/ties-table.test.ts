import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tie } from '../../api/types.ts';
import { byName } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { byUrgency, countDebts, keyOf, pageOf, renewCommand, STATES, stateOf } from './ties-table.ts';

const tie = (debt: string | null, until: string | null, isDue = false): Tie => ({
  ...{ debt, kind: 'pin', about: { kind: 'vm', name: 'db1' }, what: 'db1 is pinned to h1', isDue },
  ...{ owner: null, reason: null, by: null, since: null, until },
  costs: { undrainable: [], unlosable: [], vms: [] },
});
const TIES = [
  tie('debt-c', '2100-01-01T00:00:00Z'),
  tie(null, null),
  tie('debt-b', '2030-01-01T00:00:00Z'),
  tie('debt-a', '2020-01-01T00:00:00Z', true),
];

test('what is due comes first, then what nobody signed for, then by date', () => {
  assert.deepEqual(
    byUrgency(TIES).map(({ debt }) => debt),
    ['debt-a', null, 'debt-b', 'debt-c'],
  );
  assert.deepEqual(TIES.map(stateOf), ['signed', 'unsigned', 'signed', 'due']);
});

test('the table is ordered by the words for the states, which are in the same order', () => {
  const words = STATES.map((state) => TEXTS.ties.states[state]);
  assert.deepEqual([...words].sort(byName), words);
});

test('a tie without a signature is no debt', () => {
  assert.deepEqual(countDebts(TIES), { debts: 3, due: 1 });
  assert.equal(new Set(TIES.map(keyOf)).size, TIES.length);
});

test('a tie leads to what it is about, and a debt is renewed by a command', () => {
  assert.equal(pageOf({ kind: 'guest-cluster', name: 'sql' }), '/guest-clusters/sql');
  const signing = { owner: 'ann', reason: 'to June', until: '2027-06-30' };
  const command = "gp ties renew debt-a --owner ann --reason 'to June' --until 2027-06-30";
  assert.equal(renewCommand('debt-a', signing), command);
});
