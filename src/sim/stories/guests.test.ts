import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDiskId, parseGeneration, parseVmId } from '../../base/ids.ts';
import { Guests } from './guests.ts';

const vm = parseVmId('vm-000000000001');
const disk = parseDiskId('disk-000000000001');

/** Guests that wrote `lines` (sequence, generation), the acknowledged ones with a number of ms. */
function guestsThat(lines: readonly (readonly [sequence: number, generation: number, at?: number])[]): Guests {
  const guests = new Guests();
  for (const [sequence, g, at] of lines) {
    const generation = parseGeneration(g);
    guests.note({ at: at ?? 0, kind: 'write', vm, disk, generation, sequence });
    if (at !== undefined) guests.note({ at, kind: 'acknowledged', vm, disk, generation, sequence });
  }
  return guests;
}

const wrong = (lines: Parameters<typeof guestsThat>[0], content: readonly number[]): string[] =>
  guestsThat(lines).wrongWith(vm, disk, new Set(content));

test('a disk that is as acknowledged has nothing wrong with it', () => {
  assert.deepEqual(
    wrong(
      [
        [1, 1, 10],
        [2, 1],
        [3, 2, 30],
      ],
      [1, 2, 3],
    ),
    [],
  );
});

test('a gap, a line that is lost, one that was overwritten and one of an older generation after a newer are found', () => {
  assert.deepEqual(
    wrong(
      [
        [1, 1, 10],
        [2, 1, 20],
        [3, 1, 30],
      ],
      [1, 3],
    ),
    ['line 2 of 2 is not there', 'line 2 was acknowledged to generation 1; the disk has nothing'],
  );
  assert.deepEqual(
    wrong(
      [
        [1, 1, 10],
        [1, 2, 20],
      ],
      [1],
    ),
    [],
  );
  assert.deepEqual(
    wrong(
      [
        [1, 1, 10],
        [1, 2],
      ],
      [1],
    ),
    ['line 1 was acknowledged to generation 1; the disk has 2'],
  );
  assert.deepEqual(
    wrong(
      [
        [1, 2, 10],
        [2, 1],
      ],
      [1, 2],
    ),
    ['line 2 is of generation 1, after one of 2'],
  );
});

test('a disk to which nobody wrote is no evidence', () => {
  assert.deepEqual(wrong([], []), ['no guest ever wrote to it']);
  assert.deepEqual(wrong([[1, 1]], [1]), ['no guest ever wrote to it']);
});

test('the console says how far it came and for how long it has been silent', () => {
  const guests = guestsThat([
    [1, 1, 10],
    [2, 1, 20],
    [3, 1],
  ]);
  assert.equal(guests.acknowledged(vm), 2);
  assert.equal(guests.silentMs(vm, 120), 100);
  assert.deepEqual(guests.troubles(vm), []);
  assert.equal(guests.acknowledged(parseVmId('vm-000000000002')), 0);
});
