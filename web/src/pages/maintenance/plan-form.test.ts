import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { MaintenancePlan } from '../../api/types.ts';
import { NEW_PLAN, NEW_ROLL, planCommand, planRequest, resumeCommand, rollCommand, rollRequest } from './plan-form.ts';

test('hosts are named as gp names them; what is empty is left to the API', () => {
  const form = { hosts: 'h1, h2 rack=r3', maxUnavailable: '2', perRack: '', parallel: '' };
  assert.deepEqual(planRequest(form), { hosts: ['h1', 'h2', 'rack=r3'], maxUnavailable: 2 });
  assert.equal(planCommand(form), 'gp maintenance plan --hosts h1,h2,rack=r3 --max-unavailable 2');
  assert.deepEqual(planRequest(NEW_PLAN), { hosts: ['all'], maxUnavailable: 1, parallel: 2 });
});

const plan: MaintenancePlan = {
  ...{ hash: '0'.repeat(64), madeAt: '', maxUnavailable: 1, perRack: null, parallel: 2, durationMs: 5, movedBytes: 0 },
  waves: [{ hosts: ['h1'], durationMs: 5, moves: [] }],
};

test('a roll carries the plan in the form that is hashed, and its windows line by line', () => {
  const form = { ...NEW_ROLL, change: 'CHG1', windows: 'Sat 22:00-04:00 UTC\n\n Sun 22:00-04:00 UTC ' };
  const { plan: text, ...rest } = rollRequest(plan, form);
  assert.deepEqual(rest, {
    ...{ hash: plan.hash, change: 'CHG1', windows: ['Sat 22:00-04:00 UTC', 'Sun 22:00-04:00 UTC'] },
  });
  assert.match(createHash('sha256').update(text).digest('hex'), /^[0-9a-f]{64}$/);
  assert.equal((JSON.parse(text) as { waves: { hosts: string[] }[] }).waves[0]?.hosts[0], 'h1');
  assert.equal(
    rollCommand(form),
    "gp maintenance roll --plan plan.json --change CHG1 --window 'Sat 22:00-04:00 UTC' --window 'Sun 22:00-04:00 UTC'",
  );
});

test('work takes time only where there is some, and its commands reach gp as they are', () => {
  const form = { ...NEW_ROLL, run: './patch {host}', workMinutes: '20', goesOn: true };
  assert.deepEqual([rollRequest(plan, form).workMs, rollRequest(plan, form).onFailure], [1_200_000, 'continue']);
  assert.equal(
    rollCommand(form),
    "gp maintenance roll --plan plan.json --run './patch {host}' --work-time 20m --on-failure continue --no-wait",
  );
  assert.equal(rollRequest(plan, NEW_ROLL).workMs, undefined);
  assert.equal(
    resumeCommand('roll-1', { pre: null, run: './patch {host}', verify: null }),
    "gp maintenance roll --resume roll-1 --run './patch {host}'",
  );
});
