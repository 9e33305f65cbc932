import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyChanges, collectionOf, isOlder, type Shape } from './collection.ts';

interface Thing {
  readonly id: string;
  readonly revision: string;
  readonly text: string;
}

const SHAPE: Shape<Thing> = { keyOf: ({ id }) => id, revisionOf: ({ revision }) => revision };
const thing = (id: string, revision: string, text = ''): Thing => ({ id, revision, text });
const change = (revision: string, object: Thing) => ({ revision, kind: 'vm', name: object.id, object });
const THREE = collectionOf([thing('a', '5'), thing('b', '6'), thing('c', '7')], SHAPE);

test('revisions are compared as numbers of any length', () => {
  assert.equal(isOlder('9', '10'), true);
  assert.equal(isOlder('10', '9'), false);
  assert.equal(isOlder('10', '10'), false);
  assert.equal(isOlder('9007199254740993', '9007199254740994'), true);
});

test('a change replaces its object in its place, and an unknown one comes last', () => {
  const after = applyChanges(THREE, [change('8', thing('b', '8', 'new')), change('9', thing('d', '9'))], SHAPE);
  assert.deepEqual(
    after.items.map(({ id, text }) => id + text),
    ['a', 'bnew', 'c', 'd'],
  );
  assert.equal(after.places.get('d'), 3);
  assert.equal(THREE.items[1]?.text, '', 'the collection before is untouched');
});

test('what is older than the list changes nothing, and the same collection comes back', () => {
  const old = [change('5', thing('b', '5', 'old')), { revision: '6', kind: 'vm', name: 'c', object: null }];
  assert.equal(applyChanges(THREE, old, SHAPE), THREE);
});

test('a deleted object leaves no gap, and one that comes back is there', () => {
  const gone = { revision: '8', kind: 'vm', name: 'a', object: null };
  const after = applyChanges(THREE, [gone], SHAPE);
  assert.deepEqual(
    [...after.places],
    [
      ['b', 0],
      ['c', 1],
    ],
  );
  const back = applyChanges(THREE, [gone, change('9', thing('a', '9', 'again'))], SHAPE);
  assert.equal(back.items.find(({ id }) => id === 'a')?.text, 'again');
});
