/** Guests that move between hosts of two releases find their machine type (docs/decisions/0020). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VERSION } from '../../base/version.ts';
import { releaseOf } from '../../core/model/cluster-release.ts';
import { MACHINE_TYPE } from './arguments.ts';

/** The machine type of each release, oldest first. A new release gets a line. */
const TYPES: ReadonlyMap<string, string> = new Map([['0.1', 'pc-q35-7.2']]);

test('this release starts guests with the machine type of the release before', () => {
  assert.equal(TYPES.get(releaseOf(VERSION) ?? ''), MACHINE_TYPE);
  const types = [...TYPES.values()];
  // A change needs a launch order that carries the type.
  assert.deepEqual(
    types,
    types.map(() => types[0]),
  );
});
