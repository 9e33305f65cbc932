import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fits, follows, releaseOf } from './cluster-release.ts';

test('a release is the first two numbers of a version', () => {
  assert.deepEqual(['0.1.0', '0.1', '12.30.4~rc1', 'unknown', '1', '1.2beta', ''].map(releaseOf), [
    '0.1',
    '0.1',
    '12.30',
    null,
    null,
    null,
    null,
  ]);
});

test('no release is skipped, and none goes back', () => {
  const cases: readonly (readonly [next: string, release: string, follows: boolean])[] = [
    ['0.2', '0.1', true],
    ['0.10', '0.9', true],
    ['1.0', '0.9', true],
    ['0.3', '0.1', false],
    ['1.1', '0.9', false],
    ['2.0', '0.9', false],
    ['0.1', '0.1', false],
    ['0.1', '0.2', false],
    ['0.9', '1.0', false],
  ];
  for (const [next, release, expected] of cases)
    assert.equal(follows(next, release), expected, `${release} to ${next}`);
  assert.deepEqual([fits('0.1', '0.1'), fits('0.2', '0.1'), fits('0.1', '0.2')], [true, true, false]);
});
