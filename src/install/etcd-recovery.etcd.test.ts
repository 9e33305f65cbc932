import assert from 'node:assert/strict';
import { test } from 'node:test';
import { etcdRoom } from '../control/links/etcd-room.ts';
import { EtcdClient } from '../etcd/client.ts';
import { startIdentityCluster } from '../etcd/testing/identity-cluster.ts';
import { makeRoom } from './etcd-recovery.ts';

const QUOTA = 16 * 1024 * 1024;
const VALUE = 'x'.repeat(200 * 1024);

/** Writes history until etcd refuses. */
async function fill(etcd: EtcdClient): Promise<void> {
  for (let n = 0; n < 1_000; n++)
    try {
      await etcd.txn({ compare: [], success: [{ put: '/gp/event/big', value: VALUE }] });
    } catch (error) {
      assert.match(String(error), /database space exceeded/);
      return;
    }
  assert.fail('it was never full');
}

test('an etcd of three members that is full takes writes again, without any server', async (t) => {
  const cluster = await startIdentityCluster(3, { quotaBytes: QUOTA });
  t.after(() => cluster.stop());
  const etcd = new EtcdClient(cluster.clientOptions());
  t.after(() => etcd.close());
  await etcd.txn({ compare: [], success: [{ put: '/gp/vm/kept', value: '{}' }] });
  await fill(etcd);
  const put = () => etcd.txn({ compare: [], success: [{ put: '/gp/vm/new', value: '{}' }] });
  await assert.rejects(put(), /space exceeded/);
  const said: string[] = [];
  await makeRoom(etcdRoom(etcd), (line) => said.push(line));
  assert.equal((await put()).succeeded, true);
  assert.equal((await etcd.get('/gp/vm/kept'))?.value, '{}', 'records stay');
  assert.equal(said.filter((line) => /free pages back/.test(line)).length, 3);
  await makeRoom(etcdRoom(etcd), () => undefined);
});

test('where the records alone fill it, that is said, with what to do', async () => {
  const member = { endpoint: 'e1', isLeader: true, isCorrupt: false, version: '3.4.23', revision: 7 };
  const full = { ...member, sizeBytes: QUOTA, inUseBytes: QUOTA, isFull: true };
  const nothing = async (): Promise<void> => undefined;
  const room = { members: async () => [full], compact: nothing, defragment: nothing, disarm: nothing };
  await assert.rejects(
    makeRoom(room, () => undefined),
    { code: 'no-capacity', message: /fill the quota/ },
  );
});

test('where nobody answers, nothing is changed', async () => {
  const silent = {
    members: async () => [{ endpoint: 'e1', unreachable: 'refused' }],
    compact: assert.fail,
    defragment: assert.fail,
    disarm: assert.fail,
  };
  await assert.rejects(
    makeRoom(silent, () => undefined),
    { code: 'unavailable' },
  );
});
