/** Long work lets others work: how many pieces it has, and how many of them make one turn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPlanInTurns } from '../check/maintenance-plan.ts';
import type { Clock } from '../ports/clock.ts';
import { EXPLAIN_PLANS, evacuationOf, explain } from './explain.ts';
import { inTurns } from './in-turns.ts';
import { modelOf } from './model.ts';
import { planEvacuationInTurns } from './planner.ts';
import { seededEstate } from './testing/seeded-estate.ts';

/** Drives work to its end; returns its outcome and the number of its pieces. */
function counted<T>(work: Generator<void, T>): { readonly outcome: T; readonly pieces: number } {
  for (let pieces = 1; ; pieces += 1) {
    const piece = work.next();
    if (piece.done === true) return { outcome: piece.value, pieces };
  }
}

test('a plan for many hosts, a refusal, its explanation and the check have a piece for each VM or attempt', () => {
  const options = { hosts: 60, vms: 1_200, hostsPerRack: 20, guestClusters: 30, ruled: 0.2, ties: 0 };
  const full = seededEstate({ ...options, seed: 3, fill: 0.97 });
  const hosts = full.hosts.slice(0, 20).map(({ name }) => name);
  const model = modelOf(full);
  const refused = counted(planEvacuationInTurns(model, hosts));
  assert(refused.outcome.kind === 'refused');
  assert.ok(refused.pieces > 200, `${refused.pieces} pieces`);
  const plan = evacuationOf(hosts, 100);
  const request = { model, hosts, question: 'drain', refusal: refused.outcome, plan } as const;
  const explained = counted(explain(request, { plans: 20 }));
  assert.ok(explained.pieces > 10 * refused.pieces, `${explained.pieces} pieces`);
  assert.ok(EXPLAIN_PLANS >= 20);

  const roomy = seededEstate({ ...options, seed: 3, fill: 0.5 });
  const planned = counted(planEvacuationInTurns(modelOf(roomy), hosts.slice(0, 5)));
  assert(planned.outcome.kind === 'plan');
  const moves = planned.outcome.waves.flatMap((wave) => wave.moves).length;
  assert.ok(planned.pieces > moves, `${planned.pieces} pieces`);
  const checked = counted(checkPlanInTurns(roomy, planned.outcome));
  assert.deepEqual(checked.outcome, []);
  assert.ok(checked.pieces > 20, `${checked.pieces} pieces`);
});

test('many pieces are one turn where time stands still, and others have the next one', async () => {
  const ends: number[] = [];
  let pieces = 0;
  const clock: Clock = {
    wallMs: () => 1,
    monotonicMs: () => 1,
    after: (_, callback) => {
      ends.push(pieces);
      queueMicrotask(callback);
      return () => undefined;
    },
  };
  const work = function* (): Generator<void, string> {
    for (; pieces < 600; pieces += 1) yield;
    return 'done';
  };
  assert.equal(await inTurns(work(), clock, () => false), 'done');
  assert.deepEqual(ends, [255, 511]);
  assert.equal(await inTurns(work(), clock, () => true), null);
});
