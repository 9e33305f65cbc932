import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { WatchEvent } from './records.ts';
import { RevisionAssembler } from './revisions.ts';

const SEED = 20261121;
const at = (modRevision: number, key = 'k'): WatchEvent => ({ type: 'delete', key, modRevision });

test('a revision cut between two fragments is delivered whole after the restart', () => {
  const assembler = new RevisionAssembler(5);
  assert.deepEqual(assembler.push([at(5), at(6, 'a')], true), [at(5)]);
  assert.equal(assembler.next, 6);
  assembler.restart();
  assert.deepEqual(assembler.push([at(6, 'a'), at(6, 'b')], false), [at(6, 'a'), at(6, 'b')]);
  assert.equal(assembler.next, 7);
});

test('progress moves the start on, but not past what is held back, and never back', () => {
  const assembler = new RevisionAssembler(5);
  assert.equal(assembler.progress(9), true);
  assert.equal(assembler.next, 10);
  assert.equal(assembler.progress(9), false);
  assembler.push([at(12)], true);
  assert.equal(assembler.progress(20), false);
  assert.equal(assembler.next, 10);
});

test('a watch cannot start at revision 0, and revisions cannot go back', () => {
  assert.throws(() => new RevisionAssembler(0), { name: 'AssertionFailed' });
  const assembler = new RevisionAssembler(1);
  assert.throws(() => assembler.push([at(4), at(3)], false), { name: 'AssertionFailed' });
});

/** A server's replay from `from`: messages of whole revisions, some split into fragments. */
function replay(
  log: readonly WatchEvent[],
  from: number,
  sizes: readonly number[],
): { events: WatchEvent[]; fragment: boolean }[] {
  const rest = log.filter((event) => event.modRevision >= from);
  const out: { events: WatchEvent[]; fragment: boolean }[] = [];
  for (let i = 0, turn = 0; i < rest.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    const events = rest.slice(i, i + size);
    i += size;
    out.push({ events, fragment: events.at(-1)?.modRevision === rest[i]?.modRevision });
  }
  return out;
}

test('over any cuts every event is delivered once, in order, its revision together', () => {
  const model = fc.record({
    perRevision: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 20 }),
    sizes: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 }),
    cuts: fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 8 }),
  });
  fc.assert(
    fc.property(model, ({ perRevision, sizes, cuts }) => {
      const log = perRevision.flatMap((count, i) => Array.from({ length: count }, (_, j) => at(i + 3, `k${j}`)));
      const assembler = new RevisionAssembler(3);
      const delivered: WatchEvent[] = [];
      for (const cut of [...cuts, Number.POSITIVE_INFINITY]) {
        assembler.restart();
        for (const message of replay(log, assembler.next, sizes).slice(0, cut)) {
          const batch = assembler.push(message.events, message.fragment);
          delivered.push(...batch);
          const last = batch.at(-1)?.modRevision;
          if (last !== undefined) {
            const isWhole = (event: WatchEvent): boolean => event.modRevision === last;
            assert.equal(batch.filter(isWhole).length, log.filter(isWhole).length);
          }
        }
      }
      assert.deepEqual(delivered, log);
    }),
    { seed: SEED, numRuns: 1_000 },
  );
});
