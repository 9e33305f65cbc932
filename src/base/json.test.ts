import assert from 'node:assert/strict';
import { test } from 'node:test';
import { excessOf, jsonOf } from './json.ts';

const LIMITS = { valuesMax: 6, depthMax: 2 };

test('a text that is no JSON has no value', () => {
  assert.equal(jsonOf('{'), undefined);
  assert.deepEqual(jsonOf('{"a":1}'), { a: 1 });
});

test('values and depth are counted, whatever strings hold', () => {
  const fitting = [
    '',
    '0',
    '""',
    '{"a":[1,2]}',
    '"[[[[[[,,,,,,{{{{"',
    '"\\"[[[[,,,,,,,"',
    '{"[[[,,,,,,\\\\":[""]}',
    '"\\',
    '[]]]]',
  ];
  for (const text of fitting) assert.equal(excessOf(text, LIMITS), null, text);
  for (const text of [
    '[1,2,3,4,5,6]',
    '[[],[],[]]',
    '{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}',
    '[,,,,,,,,',
    '["\\\\",1,2,3,4,5,6]',
  ])
    assert.equal(excessOf(text, LIMITS), 'values', text);
  for (const text of ['[[[]]]', '{"a":{"b":{}}}', '[[[', '["]",[[]]]'])
    assert.equal(excessOf(text, LIMITS), 'depth', text);
});
