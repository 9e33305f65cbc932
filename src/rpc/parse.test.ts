import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodedError } from '../base/errors.ts';
import { parseVmId } from '../base/ids.ts';
import {
  added,
  arrayOf,
  byKind,
  idOf,
  integer,
  integerParameter,
  nullable,
  object,
  oneOf,
  openObject,
  optional,
  order,
  parseJson,
  text,
} from './parse.ts';

const parseOrder = object({
  vm: idOf(parseVmId),
  port: integer({ min: 1, max: 10 }),
  tags: arrayOf(text({ charsMax: 3 }), { itemsMax: 2 }),
  mode: nullable(oneOf('a', 'b')),
  note: optional(text({ charsMax: 5 })),
  source: byKind({ blank: {}, content: { base64: text({ charsMax: 4 }) } }),
});
const good = { vm: 'vm-0123456789ab', port: 3, tags: ['x'], mode: null, source: { kind: 'content', base64: 'AA==' } };

const badInput = (pattern: RegExp) => (error: unknown) =>
  error instanceof CodedError && error.code === 'bad-input' && pattern.test(error.message);

test('a value of the declared shape comes back as it was', () => {
  assert.deepEqual(parseOrder(good, ''), { ...good, note: undefined });
});

test('each kind of mistake is refused, naming its place', () => {
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ port: 0 }, /^port must be an integer/],
    [{ port: 1.5 }, /^port/],
    [{ port: '3' }, /^port/],
    [{ vm: 'disk' }, /^vm: /],
    [{ vm: undefined }, /^vm/],
    [{ tags: ['x', 'long'] }, /^tags\[1\]/],
    [{ tags: ['a', 'b', 'c'] }, /^tags/],
    [{ tags: { length: 0 } }, /^tags/],
    [{ mode: 'c' }, /^mode/],
    [{ more: 1 }, /^more must be absent/],
    [{ source: { kind: 'content' } }, /^source.base64/],
    [{ source: { kind: 'toString' } }, /^source.kind/],
    [{ source: null }, /^source/],
  ];
  for (const [change, pattern] of cases) assert.throws(() => parseOrder({ ...good, ...change }, ''), badInput(pattern));
});

const port = integer({ min: 1, max: 10 });

test('an open object leaves out what it does not know, and an added field has its default', () => {
  const parse = openObject({ port, tags: added(arrayOf(text({ charsMax: 3 }), { itemsMax: 2 }), []) });
  assert.deepEqual(parse({ port: 3, more: { port: 99 } }, ''), { port: 3, tags: [] });
  assert.deepEqual(parse({ port: 3, tags: ['x'] }, ''), { port: 3, tags: ['x'] });
  // Absent is one thing, wrong another.
  assert.throws(() => parse({ port: 3, tags: null }, ''), badInput(/^tags/));
  assert.throws(() => parse({}, ''), badInput(/^port/));
  assert.throws(() => parse([], ''), badInput(/^The value must be an object/));
});

test('an order that needs what is not there is refused before anything else of it is looked at', () => {
  const parse = order({ port }, { features: ['tape', 'drum'] });
  assert.deepEqual(parse({ port: 3, more: 1 }, ''), { port: 3 });
  assert.deepEqual(parse({ port: 3, needs: ['drum'] }, ''), { port: 3 });
  const lacking = { code: 'unsupported', message: 'The order needs disk, card, which this version does not have.' };
  assert.throws(() => parse({ port: 'of another kind', needs: ['disk', 'tape', 'card'] }, ''), lacking);
  for (const needs of ['disk', [1], [''], { disk: true }, Array.from({ length: 101 }, () => 'tape')])
    assert.throws(() => parse({ port: 3, needs }, ''), badInput(/^needs/));
});

test('whatever JSON comes, the outcome is a value or CodedError bad-input', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      try {
        parseOrder(value, '');
      } catch (error) {
        assert.ok(error instanceof CodedError && error.code === 'bad-input');
      }
    }),
    { seed: 7, numRuns: 2000 },
  );
});

test('a query parameter that is no integer is refused', () => {
  assert.equal(integerParameter(new URLSearchParams('term=12'), 'term'), 12);
  for (const query of ['', 'term=', 'term=-1', 'term=1e3', 'term=0x10', 'term=1.0'])
    assert.throws(() => integerParameter(new URLSearchParams(query), 'term'), badInput(/term/));
});

test('JSON of too many values or levels is refused before it is read', () => {
  assert.deepEqual(parseJson('[[1, 2]]', 'It'), [[1, 2]]);
  assert.throws(() => parseJson(`[${'0,'.repeat(400_000)}0]`, 'It'), badInput(/^It has more than 300000 values/));
  assert.throws(() => parseJson('['.repeat(1_000_000), 'It'), badInput(/^It has more than 32 levels/));
});
