/**
 * The planner beside HiGHS on small instances: the same answer, and little more memory moved than the least there is to
 * move.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadSolver } from '../../bench/lib/plan/assignment.ts';
import { smallInstance } from '../../bench/lib/plan/small-instances.ts';
import { checkPlan } from '../../src/core/check/maintenance-plan.ts';
import { modelOf } from '../../src/core/maintenance/model.ts';
import { planEvacuation } from '../../src/core/maintenance/planner.ts';

/** The first instances of `npm run bench -- plan`. */
const INSTANCES = Array.from({ length: 45 }, (_, number) => number);
/** Each is settled in well under a second; a busy machine takes longer. */
const SECONDS = 60;
const MOVED_MAX = 1.5;

test('a plan is found where HiGHS finds an assignment, and nowhere else', async () => {
  const solve = await loadSolver();
  const counts = { possible: 0, impossible: 0 };
  for (const number of INSTANCES) {
    const { estate, hosts } = smallInstance(number);
    const outcome = planEvacuation(modelOf(estate), hosts);
    const assignment = solve(estate, hosts, SECONDS);
    assert.notEqual(assignment.kind, 'unknown', `instance ${number} takes HiGHS too long`);
    assert.equal(outcome.kind === 'plan', assignment.kind === 'possible', `instance ${number}`);
    if (outcome.kind === 'plan') assert.deepEqual(checkPlan(estate, outcome), []);
    if (outcome.kind === 'plan' && assignment.kind === 'possible') {
      counts.possible += 1;
      assert.ok(
        outcome.movedMib <= assignment.movedMib * MOVED_MAX,
        `instance ${number} moves ${outcome.movedMib} MiB`,
      );
    } else counts.impossible += 1;
  }
  assert.ok(counts.possible >= 10 && counts.impossible >= 10, JSON.stringify(counts));
});
