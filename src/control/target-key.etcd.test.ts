import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { TARGET_SECRET_KEY } from '../core/model/keys.ts';
import { EtcdClient } from '../etcd/client.ts';
import { TargetAccounts } from './target-key.ts';
import { etcdOfFile } from './testing/etcd-of-file.ts';

const etcd = etcdOfFile();
let client: EtcdClient;
beforeEach(() => {
  client = new EtcdClient(etcd.clientOptions());
});
afterEach(() => client.close());

test('control nodes that come at once make one key, and the secrets follow from it', async () => {
  const secrets = await Promise.all([1, 2, 3].map(() => new TargetAccounts(client).secretOf('vm-000000000001:g1')));
  assert.equal(new Set(secrets).size, 1);
  assert.match(secrets[0] ?? '', /^[\w-]{43}$/);
  const again = new TargetAccounts(client);
  assert.equal(await again.secretOf('vm-000000000001:g1'), secrets[0]);
  assert.notEqual(await again.secretOf('vm-000000000001:g2'), secrets[0]);
});

test('what is no key of ours is refused and left as it is', async () => {
  for (const value of ['{}', 'no JSON', '{"key":"AAAA"}', '{"key":7}']) {
    await client.txn({ compare: [], success: [{ put: TARGET_SECRET_KEY, value }], failure: [] });
    await assert.rejects(new TargetAccounts(client).secretOf('x'), { code: 'failed' });
    assert.equal((await client.get(TARGET_SECRET_KEY))?.value, value);
  }
});
