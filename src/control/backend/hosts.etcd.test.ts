import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { type Generation, parseHostName } from '../../base/ids.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import type { Incarnation, VmRecord } from '../../core/model/vm.ts';
import { removeHost } from '../../core/request/host-removal.ts';
import { startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { hostRecord, type RunningStore } from '../testing/records.ts';
import { AccessBackend } from './access.ts';
import { change } from './changes.ts';
import { observedBy } from './context.ts';

const etcd = etcdOfFile();
let running: RunningStore;
let backend: TestBackend;

beforeEach(async () => {
  running = await etcd.follow();
  backend = await startBackend(running);
});

const remove = (name: string, { ifMatch = null as string | null } = {}) =>
  change(backend.context, (basis) =>
    removeHost(basis, observedBy(backend.context), {
      ...{ name, ifMatch, by: 'ann' },
      ...{ isLost: false, isConfirmed: false },
    }),
  );

async function put(name: string, overrides: Partial<HostRecord> = {}): Promise<void> {
  await running.store.transact([{ key: `/gp/host/${name}`, value: hostRecord(name, overrides), expect: null }], null);
}

async function _putVm(record: VmRecord): Promise<void> {
  await running.store.transact([{ key: `/gp/vm/${record.id}`, value: record, expect: null }], null);
}

function _at(host: string, generation: number): Incarnation {
  return { generation: generation as Generation, host: parseHostName(host), slot: 0 };
}

test('a host without VMs goes once it is cordoned, and what it could join with goes too', async () => {
  await assert.rejects(remove('h1'), { code: 'conflict', message: /not cordoned/, advice: /gp host cordon h1/ });
  await put('h1', { cordoned: true });
  const access = new AccessBackend(backend.context);
  await access.createJoinToken({ role: 'host', name: 'h1' });
  await access.createJoinToken({ role: 'host', name: 'h2' });
  await access.createJoinToken({ role: 'storage', name: 'h1' });
  await assert.rejects(remove('h1', { ifMatch: '1' }), { code: 'stale-revision' });
  await remove('h1');
  assert.equal(running.store.hosts.size, 0);
  const left = [...running.store.tokens.values()].map(({ value: { role, name } }) => `${role} ${name}`);
  assert.deepEqual(left.sort(), ['host h2', 'storage h1']);
  await assert.rejects(remove('h1'), { code: 'not-found' });
});
