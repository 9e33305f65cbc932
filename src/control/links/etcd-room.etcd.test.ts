import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import type { CreateVm } from '../../api/requests.ts';
import { present } from '../../base/assert.ts';
import { parseStorageName } from '../../base/ids.ts';
import { EtcdSpaceKeeper } from '../../core/loop/lead/etcd-space-keeper.ts';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import { filledShare } from '../../core/plan/lead/etcd-space.ts';
import { ensureAuthorization } from '../../etcd/authorization.ts';
import { EtcdClient } from '../../etcd/client.ts';
import { AlarmRequest_AlarmAction, AlarmRequestSchema, AlarmType, Maintenance } from '../../etcd/generated/rpc_pb.js';
import { type IdentityCluster, startIdentityCluster } from '../../etcd/testing/identity-cluster.ts';
import { until } from '../../os/testing/until.ts';
import { Artifacts } from '../backend/artifacts.ts';
import type { BackendContext } from '../backend/context.ts';
import type { Signed } from '../backend/guarded.ts';
import { VmsBackend } from '../backend/vms.ts';
import { startBackend } from '../testing/backend.ts';
import { type RunningStore, startStore } from '../testing/records.ts';
import { etcdRoom } from './etcd-room.ts';

const MIB = 1024 * 1024;
const QUOTA = 16 * MIB;
const USER_DATA = `#cloud-config\n${'#'.repeat(64 * 1024 - 16)}\n`;
const log = { info: () => undefined, warn: () => undefined };

/** A cluster with a small quota, and a keeper of its space that leads or does not. */
async function smallEtcd(size: 1 | 3, leads: boolean | null) {
  const etcd: IdentityCluster = await startIdentityCluster(size, { quotaBytes: QUOTA });
  const client = new EtcdClient(etcd.clientOptions());
  const space = new EtcdSpaceKeeper({
    clock: client.clock,
    room: etcdRoom(client),
    quotaBytes: QUOTA,
    log,
    lookMs: 300,
    leads: () => leads,
  });
  const end = async (): Promise<void> => {
    space.stop();
    client.close();
    await etcd.stop();
  };
  return { etcd, client, space, end };
}

/** Writes history until etcd refuses. */
async function fill(client: EtcdClient): Promise<void> {
  for (let n = 0; n < 1_000; n++) {
    const value = JSON.stringify({ n, text: 'x'.repeat(200 * 1024) });
    try {
      await client.txn({ compare: [], success: [{ put: '/gp/event/big', value }] });
    } catch (error) {
      assert.match(String(error), /database space exceeded/);
      return;
    }
  }
  assert.fail('it was never full');
}

let running: RunningStore;
let small: Awaited<ReturnType<typeof smallEtcd>>;
before(async () => {
  small = await smallEtcd(1, true);
  running = await startStore(small.etcd.clientOptions());
});
after(async () => {
  await running.close();
  await small.end();
});

test('VMs with large cloud-init are created and deleted until etcd would have been full: it is not', async () => {
  const { context, world, files } = await startBackend(running);
  world.nowMs = 0;
  const vms = new VmsBackend(context);
  const request = (name: string): Signed<CreateVm> => ({
    name,
    start: false,
    disks: [{ sizeBytes: MIB }],
    cloudInit: { userData: USER_DATA },
  });
  small.space.start();
  let written = 0;
  for (let n = 0; written < 2 * QUOTA; n++) {
    const { id } = await vms.create(request(`vm${n}`));
    const stored = present(running.store.vms.get(id), id).value;
    for (const { disk } of stored.spec.disks) {
      const record = present(running.store.disks.get(disk), disk);
      assert.ok(JSON.stringify(record.value).length < 1_000);
      // As the leader does it: made with its VM, and deleted with it.
      await running.store.transact(
        [{ key: keyOf.disk(disk), value: { ...record.value, phase: 'ready' }, expect: null }],
        null,
      );
      await running.store.transact([{ key: keyOf.disk(disk), value: null, expect: null }], null);
    }
    const gone = [keyOf.vm(stored.id), keyOf.vmName(stored.name)].map((key) => ({ key, value: null, expect: null }));
    await running.store.transact(gone, null);
    written += USER_DATA.length;
  }
  assert.equal(world.storage.get('s1')?.artifacts.size, Math.ceil((2 * QUOTA) / USER_DATA.length));
  assert.ok(filledShare({ members: small.space.members, quotaBytes: QUOTA }) < 0.6);
  // Files that no VM needs any more are deleted after a while.
  await files().round();
  world.nowMs += 600_001;
  while ((await files().round()).deleted.length > 0);
  assert.equal(world.storage.get('s1')?.artifacts.size, 0);
});

test('an admission that fails leaves no seed behind, and a refusal stores none', async () => {
  const { context, world } = await startBackend(running);
  const vms = new VmsBackend(context);
  const request = { name: 'taken', start: false, disks: [{ sizeBytes: MIB }], cloudInit: { userData: USER_DATA } };
  await vms.create(request);
  const before = world.storage.get('s1')?.artifacts.size;
  await assert.rejects(vms.create(request), { code: 'exists' });
  assert.equal(world.storage.get('s1')?.artifacts.size, before);
  // The name is taken while the seed is on its way.
  const racing: BackendContext = {
    ...context,
    storage: {
      ...context.storage,
      putArtifact: async (...wish) => {
        const info = await context.storage.putArtifact(...wish);
        await running.store.transact([{ key: keyOf.vmName('raced'), value: 'vm-000000000999', expect: null }], null);
        return info;
      },
    },
  };
  await assert.rejects(new VmsBackend(racing, new Artifacts(racing)).create({ ...request, name: 'raced' }));
  assert.equal(world.storage.get('s1')?.artifacts.size, before);
});

test('a full etcd gets out of it by itself, whoever leads or nobody, and takes writes again', {
  timeout: 120_000,
}, async () => {
  for (const [size, leads] of [
    [1, null],
    [3, true],
  ] as const) {
    const { client, space, end } = await smallEtcd(size, leads);
    try {
      await fill(client);
      await assert.rejects(client.leaseGrant(5), /database space exceeded/);
      space.start();
      await until('room', async () => {
        const [write] = await Promise.allSettled([
          client.txn({ compare: [], success: [{ put: `${PREFIX.event}after`, value: '{}' }] }),
        ]);
        return write.status === 'fulfilled';
      });
      const members = await client.status();
      for (const member of members)
        assert.ok('dbSizeBytes' in member && member.dbSizeBytes < QUOTA / 2, JSON.stringify(member));
      await until('no alarm', () => space.members.every((member) => !('unreachable' in member) && !member.isFull));
    } finally {
      await end();
    }
  }
});

test('an alarm that somebody with a storage node’s certificate raises is taken back, and costs no history', async () => {
  const { etcd, client, space, end } = await smallEtcd(1, true);
  const storage = new EtcdClient(await etcd.optionsOf({ kind: 'storage', name: parseStorageName('s1') }));
  try {
    await ensureAuthorization(client, { controls: ['control:c1'], readers: ['storage:s1'], readPrefixes: ['/gp/vm/'] });
    const { revision } = await client.txn({ compare: [], success: [{ put: `${PREFIX.event}1`, value: '{}' }] });
    const raise = create(AlarmRequestSchema, { action: AlarmRequest_AlarmAction.ACTIVATE, alarm: AlarmType.NOSPACE });
    await storage.manage(Maintenance.method.alarm, raise, {});
    await assert.rejects(client.leaseGrant(5), /database space exceeded/);
    space.start();
    await until('writes', async () => {
      const [granted] = await Promise.allSettled([client.leaseGrant(5)]);
      return granted.status === 'fulfilled';
    });
    const seen: number[] = [];
    const over = new AbortController();
    await client.txn({ compare: [], success: [{ put: `${PREFIX.event}2`, value: '{}' }] });
    await client.watch(PREFIX.event, {
      fromRevision: revision,
      signal: AbortSignal.any([over.signal, AbortSignal.timeout(20_000)]),
      onEvents: (events) => {
        for (const event of events) seen.push(event.modRevision);
        if (seen.length > 1) over.abort();
      },
    });
    assert.equal(seen[0], revision, 'history is still there');
  } finally {
    storage.close();
    await end();
  }
});

test('a follower leaves a full etcd to its leader', async () => {
  const { client, space, end } = await smallEtcd(1, false);
  try {
    await fill(client);
    space.start();
    await until('a look', () => space.members.some((member) => !('unreachable' in member) && member.isFull));
    assert.throws(() => space.demandRoom(), { code: 'no-capacity' });
    await assert.rejects(client.leaseGrant(5), /database space exceeded/);
  } finally {
    await end();
  }
});
