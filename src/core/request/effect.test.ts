import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GuestClusterName, parseVmId, type VmId } from '../../base/ids.ts';
import { runningOn } from '../maintenance/estate-records.ts';
import { DEBTS_MAX, type Debt, type Signature } from '../model/debt.ts';
import type { GuestClusterRecord } from '../model/guest-cluster.ts';
import type { VmRecord } from '../model/vm.ts';
import { host, hostRecord, incarnation, vmRecord } from '../plan/testing/sample-records.ts';
import { vmChange } from './basis.ts';
import { withDebts } from './debts.ts';
import { effectOf } from './effect.ts';
import { RecordWorld } from './testing/record-world.ts';

const SIGNED: Signature = { owner: 'ann', reason: 'a licence', until: 2_000_000_000_000, by: 'admin' };

function world(hosts: number, vms: readonly VmRecord[] = []): RecordWorld {
  return new RecordWorld([
    ...Array.from({ length: hosts }, (_, n) => ({ kind: 'host', id: host(n + 1), value: hostRecord(n + 1) }) as const),
    ...vms.map(vmChange),
  ]);
}

const newId = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
const running = (more: Partial<VmRecord> = {}): VmRecord =>
  vmRecord({ kind: 'running', incarnation: incarnation(1) }, more);
const stopped = (more: Partial<VmRecord> = {}): VmRecord =>
  vmRecord({ kind: 'stopped' }, { intent: 'stopped', ...more });
const withSpec = (vm: VmRecord, spec: Partial<VmRecord['spec']>): VmRecord => ({
  ...vm,
  spec: { ...vm.spec, ...spec },
});

function effect(at: RecordWorld, vm: VmRecord) {
  return effectOf(at.basis(), at.observed(), [vmChange(vm)]);
}

test('a VM that is to start counts where it would be placed; one that stays stopped does not', () => {
  const at = world(2);
  const [change] = effect(at, stopped({ intent: 'running' })).changes;
  assert.equal(change?.kind === 'vm' && change.vm.host, 'h1');
  assert.deepEqual(effect(at, stopped()).changes, []);
  const started = world(2, [stopped()]);
  assert.equal(effect(started, stopped({ intent: 'running' })).changes.length, 1, 'a start of one that was stopped');
  assert.deepEqual(effect(world(0), stopped({ intent: 'running' })).changes, [], 'no host would take it');
});

test('a stopped VM that becomes larger counts as if it ran; one that becomes smaller does not', () => {
  const at = world(2, [stopped()]);
  const { memoryBytes } = stopped().spec;
  assert.equal(effect(at, withSpec(stopped(), { memoryBytes: memoryBytes * 2 })).changes.length, 1);
  assert.deepEqual(effect(at, withSpec(stopped(), { memoryBytes: memoryBytes / 2 })).changes, []);
});

test('labels, tasks and other fields that no plan reads change nothing', () => {
  const at = world(2, [running()]);
  assert.deepEqual(effect(at, withSpec(running(), { labels: { tier: 'web' } })), { changes: [], ties: [] });
});

test('a VM that joins a group brings the group with all its members', () => {
  const other = withSpec(running({ id: 'vm-0000000000ff' as VmRecord['id'], name: 'other' }), { antiAffinity: 'web' });
  const at = world(3, [running(), other]);
  const { changes } = effect(at, withSpec(running(), { antiAffinity: 'web' }));
  const [rule] = changes;
  assert.ok(rule?.kind === 'rule');
  assert.deepEqual([rule.name, rule.rule?.vms.length, rule.rule?.most], ['web', 2, 1]);
});

test('a member starts as if the others that are stopped ran: a guest cluster is started member by member', () => {
  const name = 'sql' as GuestClusterName;
  const member = (n: number): VmRecord => withSpec(stopped({ id: newId(n), name: `sql${n}` }), { guestCluster: name });
  const [first, second] = [member(1), member(2)];
  const at = world(3, [first, second]);
  const cluster: GuestClusterRecord = {
    ...{ name, members: [first.id, second.id], disks: [], heartbeatNetworks: [], maxDisturbed: 1 },
    ...{ toleratesMs: 3_000, sharesHosts: false, createdAt: 1 },
  };
  at.take({ changes: [{ kind: 'guest-cluster', id: name, value: cluster }], result: null });
  const [change, ...rest] = effect(at, { ...first, intent: 'running' }).changes;
  assert.deepEqual(change?.kind === 'guest-cluster' && change.cluster?.disturbed, []);
  assert.deepEqual(
    rest.map(({ kind }) => kind),
    ['vm'],
  );
  assert.deepEqual(effect(at, withSpec(first, { labels: { tier: 'web' } })).changes, []);
});

test('a pin, a CPU model that some hosts lack, and a guest cluster that needs every host are ties', () => {
  const at = world(2, [running()]);
  const pinned = withSpec(running(), { pin: host(2) });
  assert.deepEqual(
    effect(at, pinned).ties.map(({ kind }) => kind),
    ['pin'],
  );
  assert.deepEqual(effect(world(2, [pinned]), { ...pinned, intent: 'suspended' }).ties, [], 'it was pinned before');
  const model = withSpec(running(), { cpuModel: 'Skylake-Server' });
  assert.deepEqual(
    effect(at, model).ties.map(({ kind }) => kind),
    ['cpu-model'],
  );
  const cluster: GuestClusterRecord = {
    ...{ name: 'sql' as GuestClusterName, members: [running().id, 'vm-0000000000ff' as VmRecord['id']], disks: [] },
    ...{ heartbeatNetworks: [], maxDisturbed: 1, toleratesMs: 3_000, sharesHosts: false, createdAt: 1 },
  };
  const ties = (hosts: number, more: Partial<GuestClusterRecord> = {}) =>
    effectOf(world(hosts, [running()]).basis(), at.observed(), [
      { kind: 'guest-cluster', id: cluster.name, value: { ...cluster, ...more } },
    ]).ties.map(({ kind }) => kind);
  assert.deepEqual(ties(2), ['guest-cluster']);
  assert.deepEqual(ties(3), []);
  assert.deepEqual(ties(2, { sharesHosts: true }), []);
});

test('what is signed for is written into the record that it is about, and said', () => {
  const at = world(2, [running()]);
  const pinned = withSpec(running(), { pin: host(2) });
  const { ties } = effect(at, pinned);
  const broken = [{ host: host(1), question: 'drain', vms: [], because: [] }] as const;
  const price = { ties, broken };
  const admitted = withDebts(
    at.basis(),
    { changes: [vmChange(pinned)], result: null },
    { price, signature: SIGNED, what: 'change of web' },
  );
  at.take(admitted);
  const debts = at.basis().records.vms.get(pinned.id)?.value.debts ?? [];
  assert.deepEqual(
    debts.map(({ kind, owner, broke }) => [kind, owner, broke.length]),
    [
      ['pin', 'ann', 0],
      ['room', 'ann', 1],
    ],
  );
  assert.deepEqual(at.unreadableRecords(), []);
  assert.deepEqual(
    admitted.events?.map(({ kind }) => kind),
    ['debt-accepted', 'debt-accepted'],
  );
});

/** The debts of a VM after a change that turns the verdicts of these hosts is signed for. */
function debtsAfter(vm: VmRecord, hosts: readonly number[]): readonly Debt[] {
  const price = {
    ties: [],
    broken: hosts.map((n) => ({ host: host(n), question: 'loss', vms: [], because: [] }) as const),
  };
  const at = world(2, [vm]);
  at.take(
    withDebts(
      at.basis(),
      { changes: [vmChange(vm)], result: null },
      { price, signature: SIGNED, what: 'change of web' },
    ),
  );
  return at.basis().records.vms.get(vm.id)?.value.debts ?? [];
}

test('a debt takes the place of one whose hosts it names again; one more than the most is refused, and none is dropped', () => {
  let vm = running();
  for (let n = 1; n <= DEBTS_MAX; n += 1) vm = { ...vm, debts: debtsAfter(vm, [n]) };
  assert.equal(vm.debts?.length, DEBTS_MAX);
  assert.throws(() => debtsAfter(vm, [DEBTS_MAX + 1]), { code: 'conflict', message: /has 8 debts/ });
  const again = debtsAfter(vm, [1, 2, DEBTS_MAX + 1]);
  assert.deepEqual(
    again.map(({ broke }) => broke.map(({ host: name }) => name).join()),
    [...Array.from({ length: DEBTS_MAX - 2 }, (_, n) => `h${n + 3}`), 'h1,h2,h9'],
  );
});

test('VMs that start together are placed one after the other, beside those that are expected already', () => {
  const at = world(3);
  const vms = [1, 2].map((n) =>
    withSpec(stopped({ id: newId(n), name: `web${n}`, intent: 'running' }), { antiAffinity: 'web' }),
  );
  const first = withSpec(stopped({ id: newId(3), name: 'web3', intent: 'running' }), { antiAffinity: 'web' });
  const sight = { ...at.observed(), estate: { expected: () => [runningOn(first, host(1))] } };
  const { changes } = effectOf(at.basis(), sight, vms.map(vmChange));
  assert.deepEqual(
    changes.flatMap((change) => (change.kind === 'vm' ? [change.vm.host] : [])),
    ['h2', 'h3'],
  );
});
