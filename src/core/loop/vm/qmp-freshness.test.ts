import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Generation } from '../../../base/ids.ts';
import type { QmpObservation } from '../../model/observation.ts';
import { COMPLETED, gens, MIGRATING, SWITCHING } from '../../plan/testing/decision-table.ts';
import { answers, incarnation } from '../../plan/testing/sample-records.ts';
import { hasNothingToAsk, keepsMs } from './qmp-freshness.ts';

const SOURCE = 1 as Generation;
const DESTINATION = 2 as Generation;
const NOTHING = { granted: gens(), listening: gens(), sent: gens(), fencedBelow: 0 };
const GRANTED = { ...NOTHING, granted: gens(2) };
const LISTENS = { ...GRANTED, listening: gens(2) };
const SENT = { ...LISTENS, sent: gens(2) };

function keeps(seen: QmpObservation, generation: Generation, acknowledged: typeof NOTHING, phase = MIGRATING): number {
  return keepsMs(seen, generation, { phase, acknowledged, intervalMs: 5_000 });
}

test('an answer counts for a quarter of a second, except where it is known that nothing can have changed untold', () => {
  const running = { kind: 'running', incarnation: incarnation(1) } as const;
  assert.equal(
    keepsMs(answers('running'), SOURCE, { phase: running, acknowledged: NOTHING, intervalMs: 5_000 }),
    2_250,
  );
  assert.equal(keeps(answers('running'), SOURCE, NOTHING), 10_000);
  // Effects that an earlier leader may have caused are asked about.
  for (const status of ['postmigrate', 'finish-migrate', 'paused', 'inmigrate'])
    assert.equal(keeps(answers(status), SOURCE, NOTHING), 250, status);
  assert.equal(keeps({ kind: 'mute', via: 'direct', ageMs: 0 }, SOURCE, NOTHING), 250);
  assert.equal(keeps(answers('running'), SOURCE, GRANTED), 250);
  assert.equal(keeps(answers('inmigrate'), DESTINATION, LISTENS), 250);
  assert.equal(keeps(answers('inmigrate'), DESTINATION, SENT), 2_000);
  assert.equal(keeps(answers('paused'), DESTINATION, SENT), 250);
  assert.equal(keeps(answers('running'), SOURCE, SENT), 250);
  const ending = {
    kind: 'answers',
    status: 'finish-migrate',
    via: 'direct',
    ageMs: 0,
    migration: COMPLETED,
    sentTo: DESTINATION,
  };
  assert.equal(keeps(ending as QmpObservation, SOURCE, SENT), 0);
});

test('nobody is asked while a destination waits to be sent to, while an end is being told, and before the fence', () => {
  const ofSource = { generation: SOURCE, isStale: false };
  const asksNobody = (acknowledged: typeof NOTHING, toldMsAgo: number | null = null, of = ofSource): boolean =>
    hasNothingToAsk(MIGRATING, {
      ...of,
      acknowledged,
      lastToldAt: toldMsAgo === null ? null : 10_000 - toldMsAgo,
      now: 10_000,
    });
  assert.deepEqual(
    [NOTHING, GRANTED, LISTENS, SENT].map((acknowledged) => asksNobody(acknowledged)),
    [false, false, true, false],
  );
  // A source whose guest was halted is asked whether it is stopped; a destination that was launched just now is known
  // to wait.
  assert.equal(asksNobody(LISTENS, null, { generation: SOURCE, isStale: true }), false);
  assert.equal(asksNobody(LISTENS, null, { generation: DESTINATION, isStale: true }), true);
  assert.equal(asksNobody(SENT, 20), true);
  assert.equal(asksNobody(SENT, 400), false);
  const switching = (fencedBelow: number): boolean =>
    hasNothingToAsk(SWITCHING, { ...ofSource, acknowledged: { ...SENT, fencedBelow }, lastToldAt: null, now: 0 });
  assert.deepEqual([1, 2].map(switching), [true, false]);
  assert.equal(
    hasNothingToAsk(
      { kind: 'running', incarnation: incarnation(1) },
      { ...ofSource, acknowledged: LISTENS, lastToldAt: null, now: 0 },
    ),
    false,
  );
});
