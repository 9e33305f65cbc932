import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALL, testApi } from '../testing/api-cluster.ts';
import { powerOff } from '../testing/arranged.ts';

test('a cluster is finalized only while all of it answers: a silent machine may run anything, and is named', async (t) => {
  const { cluster, backend } = await testApi(t);
  const { release } = await backend.cluster.finalize(CALL);
  assert.match(release ?? '', /^\d+\.\d+$/);
  await powerOff(cluster, 'h3');
  await assert.rejects(backend.cluster.finalize(CALL), { code: 'conflict', message: /: host h3 \(unknown\)\.$/ });
  await powerOff(cluster, 's1');
  await assert.rejects(backend.cluster.finalize(CALL), {
    message: /: host h3 \(unknown\), storage node s1 \(unknown\)\.$/,
  });
});
