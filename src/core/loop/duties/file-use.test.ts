import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sha256 } from '../../../base/ids.ts';
import { ManualClock, settled } from '../../ports/testing/manual-clock.ts';
import { FileUse } from './file-use.ts';

const FILE = 'ab'.repeat(32) as Sha256;

function fileUse(): FileUse {
  return new FileUse({
    clock: new ManualClock(),
    snapshot: { images: new Map(), storage: new Map() },
    observer: { answers: () => true, report: () => null },
  });
}

test('a file that is sent while its deletion is under way is sent after the deletion, which would else take it away', async () => {
  for (const fails of [false, true]) {
    const use = fileUse();
    const deletion = Promise.withResolvers<void>();
    use.deleting(FILE, deletion.promise);
    let isBegun = false;
    const sending = use.holding([FILE], async () => {
      isBegun = true;
    });
    await settled();
    assert.deepEqual([isBegun, use.isHeld(FILE)], [false, true], 'held from the beginning: no other deletion begins');
    if (fails) deletion.reject(new Error('no answer'));
    else deletion.resolve();
    await sending;
    assert.deepEqual([isBegun, use.isHeld(FILE)], [true, false]);
  }
});

test('a file is held until everybody who needs it has ended, however they end', async () => {
  const use = fileUse();
  const first = Promise.withResolvers<void>();
  const holding = use.holding([FILE], () => first.promise);
  await assert.rejects(
    use.holding([FILE], () => Promise.reject(new Error('refused'))),
    /refused/,
  );
  assert.equal(use.isHeld(FILE), true);
  first.resolve();
  await holding;
  assert.deepEqual([use.isHeld(FILE), use.unwantedMs(FILE)], [false, 0], 'wanted just now');
});
