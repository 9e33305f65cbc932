import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { type Generation, parseHostName, parseTaskId } from '../../base/ids.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import type { Incarnation, VmRecord } from '../../core/model/vm.ts';
import { removeHost } from '../../core/request/hosts.ts';
import { startBackend, type TestBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { hostRecord, type RunningStore, vmRecord } from '../testing/records.ts';
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

const remove = (name: string, { isOff = false, ifMatch = null as string | null } = {}) =>
  change(backend.context, (basis) => removeHost(basis, observedBy(backend.context), { name, ifMatch, isOff }));

async function put(name: string, overrides: Partial<HostRecord> = {}): Promise<void> {
  await running.store.transact([{ key: `/gp/host/${name}`, value: hostRecord(name, overrides), expect: null }], null);
}

async function putVm(record: VmRecord): Promise<void> {
  await running.store.transact([{ key: `/gp/vm/${record.id}`, value: record, expect: null }], null);
}

function at(host: string, generation: number): Incarnation {
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

test('VMs that are there, come from there or go there keep it, and are named', async () => {
  await put('h1', { cordoned: true });
  const here: VmRecord['phase'] = { kind: 'running', incarnation: at('h1', 1) };
  const elsewhere: VmRecord['phase'] = { kind: 'running', incarnation: at('h2', 1) };
  const arriving: VmRecord['phase'] = {
    kind: 'migrating',
    source: at('h2', 1),
    destination: at('h1', 2),
    taskId: null,
    deadlineAt: 1,
  };
  const leaving: VmRecord['phase'] = { kind: 'switching', source: at('h1', 1), destination: at('h2', 2), taskId: null };
  const asked = { to: parseHostName('h1'), taskId: parseTaskId('task-000000000001') };
  await putVm(vmRecord(9, { phase: elsewhere }));
  const cases = [
    vmRecord(1, { phase: here }),
    vmRecord(2, { phase: arriving }),
    vmRecord(3, { phase: leaving }),
    vmRecord(4, { phase: elsewhere, migrationRequest: asked }),
  ];
  for (const vm of cases) {
    await putVm(vm);
    await assert.rejects(remove('h1', { isOff: true }), { code: 'conflict', message: `VMs are on h1: ${vm.name}.` });
    await putVm({ ...vm, phase: { kind: 'stopped' }, migrationRequest: null });
  }
  for (let number = 20; number < 33; number++) await putVm(vmRecord(number, { phase: here }));
  await assert.rejects(remove('h1'), /vm20, .*, vm29 and 3 more\./);
  assert.equal(running.store.hosts.size, 1);
});

test('one that may still run something goes only when somebody says that its machine is off', async () => {
  const { observer } = backend.context.leading()?.controller ?? {};
  assert.ok(observer !== undefined);
  const quarantine = { since: 1, reason: 'vm1 was lost' };
  await put('h1', { cordoned: true, quarantine });
  await assert.rejects(remove('h1'), { code: 'conflict', message: /quarantined/, advice: /gp host remove h1 --off/ });
  await put('h1', { cordoned: true });
  backend.world.hosts.delete('h1');
  await assert.rejects(remove('h1'), /agent does not answer/);
  backend.world.hosts.add('h1');
  const calm = observer.see(parseHostName('h1'));
  observer.see = () => ({ ...calm, agent: 'alive', occupiedSlots: [3] });
  await assert.rejects(remove('h1'), /processes that are being ended/);
  await put('h1', { cordoned: true, quarantine });
  await remove('h1', { isOff: true });
  assert.equal(running.store.hosts.size, 0);
});
