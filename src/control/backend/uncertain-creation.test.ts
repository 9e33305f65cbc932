import assert from 'node:assert/strict';
import { test } from 'node:test';
import { present } from '../../base/assert.ts';
import { replace, type TestApi, testApi } from '../testing/api-cluster.ts';

/** The answer to the next transaction is lost, and no trace of the transaction is found. */
function loseNextAnswer({ cluster }: TestApi): void {
  const store = present(cluster.leader.store, 'the store of the leader');
  const transact = store.transact.bind(store);
  replace(store, 'transact', async () => {
    replace(store, 'transact', transact as () => unknown);
    return { kind: 'conflict', isUncertain: true };
  });
}

test('a new VM whose creation may have been made and undone since is not created again under its id (found by the simulator)', async (t) => {
  const api = await testApi(t);
  loseNextAnswer(api);
  const created = api.backend.vms.create({ name: 'web1', image: 'tiny', start: false });
  await assert.rejects(created, { code: 'deadline', message: /Whether VM web1 was created is not known/ });
  assert.equal(api.cluster.vms.size, 0);
});

test('a change of a VM that exists is decided again', async (t) => {
  const api = await testApi(t);
  await api.backend.vms.create({ name: 'web1', image: 'tiny', start: false });
  loseNextAnswer(api);
  const changed = await api.backend.vms.patch('web1', { labels: { tier: 'web' }, ifMatch: null });
  assert.deepEqual(changed.labels, { tier: 'web' });
});
