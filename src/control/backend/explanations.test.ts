import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modelOf } from '../../core/maintenance/model.ts';
import { aHost, aVm, estateOf, hostName } from '../../core/maintenance/testing/small-estate.ts';
import { systemClock } from '../../os/clock.ts';
import type { BackendContext } from './context.ts';
import { explainedChange } from './explanations.ts';

test('the estate is copied for each explanation that is made, not for each refusal', async () => {
  const model = modelOf(estateOf({ hosts: [aHost('h1'), aHost('h2')], vms: [aVm('a', 'h1')] }));
  let copies = 0;
  const estate = {
    copy: () => {
      copies += 1;
      return model.copy();
    },
  };
  const context = { store: {}, clock: systemClock, leading: () => ({ controller: { estate } }) };
  const refused = { changes: [], asked: [{ host: hostName('h1'), question: 'drain' }] } as const;
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => explainedChange(context as unknown as BackendContext, refused, null)),
  );
  assert.deepEqual(new Set(answers), new Set([null]), 'h1 can be drained: there is nothing to explain');
  assert.equal(copies, 4, 'as many as may wait');
});
