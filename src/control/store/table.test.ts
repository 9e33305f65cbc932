import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Table } from './table.ts';

test('an older value never replaces a newer one, and the same one changes nothing', () => {
  const table = new Table<string>('/t/');
  assert.equal(table.note('a', 'new', 5), true);
  assert.equal(table.note('a', 'old', 4), false);
  assert.equal(table.note('a', 'new', 5), false);
  assert.deepEqual(table.get('a'), { value: 'new', revision: 5 });
  assert.equal(table.size, 1);
});

test('what was deleted does not come back, before nor after the watch has passed the deletion', () => {
  const table = new Table<string>('/t/');
  table.note('a', 'one', 5);
  assert.equal(table.note('a', null, 7), true);
  assert.equal(table.note('a', 'one', 5), false);
  table.completedTo(7);
  // The answer of our own commit arrives after the watch has brought it and its deletion.
  assert.equal(table.note('a', 'one', 5), false);
  assert.equal(table.note('a', 'again', 8), true);
  assert.equal(table.note('a', null, 7), false);
});

test('a listing speaks for absent keys too', () => {
  const table = new Table<string>('/t/');
  table.completedTo(8);
  assert.equal(table.note('never-seen', 'older than the listing', 5), false);
  assert.equal(table.note('unseen', null, 9), false, 'nothing changed');
  assert.equal(table.note('unseen', 'late', 9), false);
  table.completedTo(3);
  assert.equal(table.note('never-seen', 'still older', 8), false);
});

test('whatever the order of arrival, what remains is the newest of each key', () => {
  const history = fc
    .array(fc.record({ key: fc.constantFrom('a', 'b', 'c'), deleted: fc.boolean() }), { maxLength: 30 })
    .map((changes) => changes.map((change, index) => ({ ...change, revision: index + 1 })));
  const shuffled = history.chain((changes) =>
    fc.tuple(fc.constant(changes), fc.shuffledSubarray(changes, { minLength: changes.length }), fc.nat(30)),
  );
  fc.assert(
    fc.property(shuffled, ([changes, arrivals, done]) => {
      const table = new Table<number>('/t/');
      // A prefix in order, as a watch brings it; then everything once more in any order.
      for (const { key, deleted, revision } of changes.slice(0, done))
        table.note(key, deleted ? null : revision, revision);
      table.completedTo(Math.min(done, changes.length));
      for (const { key, deleted, revision } of arrivals) table.note(key, deleted ? null : revision, revision);
      for (const key of ['a', 'b', 'c']) {
        const last = changes.findLast((change) => change.key === key);
        const expected = last === undefined || last.deleted ? undefined : last.revision;
        assert.equal(table.get(key)?.value, expected);
      }
    }),
    { seed: 1, numRuns: 500 },
  );
});

test('the order is kept through any changes, whenever it is asked for first', () => {
  const listing = {
    placeOf: (key: string, { value }: { readonly value: string }) => `${value}/${key}`,
    keyAt: (place: string) => place.slice(place.indexOf('/') + 1),
  };
  const step = fc.record({ key: fc.constantFrom('a', 'b', 'c'), value: fc.constantFrom(null, 'x', 'y') });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), fc.nat(20), (steps, askedAt) => {
      const table = new Table<string>('/t/', listing);
      steps.forEach(({ key, value }, index) => {
        if (index === askedAt) assert.ok(table.order.size <= 3);
        table.note(key, value, index + 1);
      });
      const places = Array.from({ length: table.order.size }, (_, index) => table.order.at(index) ?? '');
      assert.deepEqual(places, [...table.entries].map(([key, { value }]) => `${value}/${key}`).sort());
      for (const place of places) assert.equal(table.atPlace(place), table.get(listing.keyAt(place)));
    }),
  );
});
