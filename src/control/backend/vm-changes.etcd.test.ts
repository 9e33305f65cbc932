import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseGeneration, parseHostName } from '../../base/ids.ts';
import { Housekeeping } from '../../core/loop/duties/housekeeping.ts';
import { ELECTION, keyOf } from '../../core/model/keys.ts';
import type { VmPhase, VmRecord } from '../../core/model/vm.ts';
import { campaign } from '../../etcd/election.ts';
import { leaderStore } from '../store/leader-store.ts';
import { startBackend } from '../testing/backend.ts';
import { etcdOfFile } from '../testing/etcd-of-file.ts';
import { hostRecord, networkRecord, type RunningStore, vmRecord } from '../testing/records.ts';
import type { BackendContext } from './context.ts';
import { GuestClustersBackend } from './guest-clusters.ts';
import { NetworksBackend } from './networks.ts';
import { VmsBackend } from './vms.ts';

const ALWAYS = { ifMatch: null };
const MAC = '52:54:00:00:00:77';
const etcd = etcdOfFile();
let running: RunningStore;
let vms: VmsBackend;
let networks: NetworksBackend;
let context: BackendContext;

beforeEach(async () => {
  running = await etcd.follow();
  ({ context } = await startBackend(running));
  vms = new VmsBackend(context);
  networks = new NetworksBackend(context);
  const lan = { ...networkRecord('lan'), cidr: '10.20.0.0/24', gateway: '10.20.0.1' };
  await put([keyOf.host(parseHostName('h2')), hostRecord('h2')], [keyOf.network(lan.name), lan]);
});

async function put(...records: readonly (readonly [string, object | string])[]): Promise<void> {
  await running.store.transact(
    records.map(([key, value]) => ({ key, value, expect: null })),
    null,
  );
}

const on = (host: string): VmPhase => ({
  kind: 'running',
  incarnation: { generation: parseGeneration(1), host: parseHostName(host), slot: 0 },
});
const STOPPED: VmPhase = { kind: 'stopped' };

async function have(n: number, phase: VmPhase, more: Partial<VmRecord['spec']> = {}): Promise<void> {
  const base = vmRecord(n, { generation: 1 as never, intent: phase.kind === 'stopped' ? 'stopped' : 'running', phase });
  const vm = { ...base, spec: { ...base.spec, nics: [], ...more } };
  await put([keyOf.vm(vm.id), vm], [keyOf.vmName(vm.name), vm.id]);
}
const vm = (n: number): VmRecord => running.store.vms.get(vmRecord(n).id)?.value ?? vmRecord(n);
const reserved = (): readonly string[] =>
  Object.keys(running.store.networks.get('lan')?.value.reservations ?? {}).sort();

test('a VM joins a group at once where no member is on its host, and leaves it; else both and the host are named', async () => {
  await have(1, on('h1'), { antiAffinity: 'web' });
  await have(2, on('h1'));
  await have(3, on('h2'));
  await assert.rejects(vms.patch('vm2', { antiAffinity: 'web', ...ALWAYS }), (error: unknown) => {
    assert.match(String(error), /vm2 and vm1 of group web are both on h1/);
    return true;
  });
  assert.equal(vm(2).spec.antiAffinity, null);
  assert.equal((await vms.patch('vm3', { antiAffinity: 'web', ...ALWAYS })).spec.antiAffinity, 'web');
  await vms.patch('vm1', { antiAffinity: null, ...ALWAYS });
  await assert.rejects(vms.patch('vm1', { antiAffinity: 'web', ifMatch: '1' }), { code: 'stale-revision' });
  assert.equal((await vms.patch('vm1', { antiAffinity: 'web', labels: {}, ...ALWAYS })).spec.antiAffinity, 'web');
  await vms.patch('vm2', { labels: { a: 'b' }, ...ALWAYS });
  assert.equal(vm(2).spec.antiAffinity, null, 'a change of something else leaves the group alone');
});

test('a start of a member that was decided before a VM joined the group is refused by etcd', async () => {
  await have(1, STOPPED, { antiAffinity: 'web' });
  await have(2, on('h1'));
  const decidedFrom = running.store.vms.get(vmRecord(1).id)?.revision ?? 0;
  await vms.patch('vm2', { antiAffinity: 'web', ...ALWAYS });
  const write = { key: keyOf.vm(vmRecord(1).id), value: { ...vm(1), phase: on('h1') }, expect: decidedFrom };
  assert.deepEqual(await running.store.transact([write], null), { kind: 'conflict' });
});

test('cards of a stopped VM come and go at once, with their addresses', async () => {
  await have(1, STOPPED);
  const { nics } = await vms.addNic('vm1', { network: 'lan', mac: MAC, address: '10.20.0.50', ...ALWAYS });
  assert.deepEqual(nics, [{ network: 'lan', mac: MAC, address: '10.20.0.50', state: 'attached' }]);
  assert.deepEqual(reserved(), [MAC]);
  await assert.rejects(vms.addNic('vm1', { network: 'lan', mac: MAC, ...ALWAYS }), { code: 'conflict' });
  await assert.rejects(vms.addNic('vm1', { network: 'none', ...ALWAYS }), { code: 'not-found' });
  await assert.rejects(vms.addNic('vm1', { network: 'lan', ifMatch: '1' }), { code: 'stale-revision' });
  assert.deepEqual((await vms.removeNic('vm1', { mac: MAC, ...ALWAYS })).nics, []);
  assert.deepEqual(reserved(), []);
  await assert.rejects(vms.removeNic('vm1', { mac: MAC, ...ALWAYS }), { code: 'not-found' });
});

test('a VM has 8 cards at most, those that come included', async () => {
  await have(1, on('h1'));
  for (let n = 0; n < 8; n++) await vms.addNic('vm1', { network: 'lan', ...ALWAYS });
  await assert.rejects(vms.addNic('vm1', { network: 'lan', ...ALWAYS }), { code: 'bad-input' });
  assert.equal(reserved().length, 8);
});

test('a VM that runs keeps its cards; their network and address stay taken until they are gone', async () => {
  await have(1, STOPPED);
  await vms.addNic('vm1', { network: 'lan', mac: MAC, address: '10.20.0.50', ...ALWAYS });
  await put([keyOf.vm(vm(1).id), { ...vm(1), intent: 'running', phase: on('h1') }]);
  const added = await vms.addNic('vm1', { network: 'lan', address: '10.20.0.51', ...ALWAYS });
  assert.deepEqual(
    added.nics.map(({ address, state }) => [address, state]),
    [
      ['10.20.0.50', 'attached'],
      ['10.20.0.51', 'attaching'],
    ],
  );
  const removed = await vms.removeNic('vm1', { mac: MAC, ...ALWAYS });
  assert.equal(removed.nics[0]?.state, 'detaching');
  assert.deepEqual(
    vm(1).spec.nics.map(({ mac }) => mac),
    [MAC],
    'its machine has what it had',
  );
  await have(2, STOPPED);
  await assert.rejects(vms.addNic('vm2', { network: 'lan', address: '10.20.0.50', ...ALWAYS }), { code: 'conflict' });
  await assert.rejects(networks.delete('lan', ALWAYS), /used by vm1/);
  // Changed one's mind: the card stays as it is, and the other one goes before it came.
  assert.equal((await vms.addNic('vm1', { network: 'lan', mac: MAC, ...ALWAYS })).nics[0]?.state, 'attached');
  await vms.removeNic('vm1', { mac: added.nics[1]?.mac ?? '', ...ALWAYS });
  assert.equal(vm(1).nextNics, undefined);
  assert.deepEqual(reserved(), [MAC]);
});

test('the last card of a member in a heartbeat network stays; another one in that network may go', async () => {
  await have(1, STOPPED);
  const clusters = new GuestClustersBackend(context);
  await clusters.create({ name: 'sql', members: ['vm1'], heartbeatNetworks: ['lan'] });
  const [heartbeat] = vm(1).spec.nics;
  await assert.rejects(vms.removeNic('vm1', { mac: heartbeat?.mac ?? '', ...ALWAYS }), /heartbeat network of sql/);
  await vms.addNic('vm1', { network: 'lan', mac: MAC, ...ALWAYS });
  await vms.removeNic('vm1', { mac: heartbeat?.mac ?? '', ...ALWAYS });
  assert.deepEqual(reserved(), [MAC]);
});

test('the address of a card that went with its machine is freed by the leader', async () => {
  await have(1, STOPPED);
  await vms.addNic('vm1', { network: 'lan', mac: MAC, ...ALWAYS });
  await put([keyOf.vm(vm(1).id), { ...vm(1), intent: 'running', phase: on('h1') }]);
  await vms.removeNic('vm1', { mac: MAC, ...ALWAYS });
  const { nextNics = [], ...rest } = vm(1);
  const leadership = await campaign(running.client, { prefix: ELECTION, value: '{}', ttlSeconds: 2 });
  let tidy: () => void = () => undefined;
  const clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after: (_ms: number, act: () => void) => {
      tidy = act;
      return () => undefined;
    },
  };
  const log = { info: () => undefined, warn: (text: string) => assert.fail(text) };
  const store = leaderStore(running.store, { ...leadership, epoch: 0 }, (why) => assert.fail(why));
  const house = new Housekeeping({ store, clock, log });
  const round = async (): Promise<void> => {
    const before = tidy;
    tidy();
    // The next round is set when this one is over.
    while (tidy === before) await new Promise((resolve) => void setImmediate(resolve));
  };
  house.start();
  await round();
  assert.deepEqual(reserved(), [MAC], 'the machine is there still');
  await put([keyOf.vm(rest.id), { ...rest, spec: { ...rest.spec, nics: nextNics } }]);
  await round();
  assert.deepEqual(reserved(), []);
  house.stop();
  await leadership.resign();
});
