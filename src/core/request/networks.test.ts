import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkName } from '../../base/ids.ts';
import { hostRecord, vmRecord } from '../plan/testing/sample-records.ts';
import { vmChange } from './basis.ts';
import { createNetwork, deleteNetwork, patchNetwork } from './networks.ts';
import { RecordWorld } from './testing/record-world.ts';

const ANY = { ifMatch: null };
const LAN = { name: 'lan', cidr: '10.20.0.0/24', dhcp: true };

test('a network has an identifier of its own and the first address as its gateway', () => {
  const world = new RecordWorld();
  world.take(createNetwork(world.basis(), LAN));
  world.take(createNetwork(world.basis(), { name: 'bare' }));
  const [lan, bare] = [...world.basis().records.networks.values()].map(({ value }) => value);
  assert.ok(lan !== undefined && bare !== undefined);
  assert.deepEqual([lan.gateway, lan.dhcp, lan.nat, bare.cidr, bare.gateway], ['10.20.0.1', true, false, null, null]);
  assert.notEqual(lan.vni, bare.vni);
  assert.ok([lan, bare].every(({ vni }) => vni >= 4_096 && vni < 2 ** 24));
});

test('an identifier that is taken is drawn again, and a generator that gives no other one ends in a refusal', () => {
  const world = new RecordWorld();
  world.take(createNetwork({ ...world.basis(), randomHex: () => '000000000000' }, { name: 'first' }));
  const draws = ['000000000000', '000000000005'];
  const randomHex = (): string => draws.shift() ?? '';
  world.take(createNetwork({ ...world.basis(), randomHex }, { name: 'second' }));
  assert.equal(world.basis().records.networks.get('second' as NetworkName)?.value.vni, 4_101);
  const stuck = { ...world.basis(), randomHex: () => '000000000000' };
  assert.throws(() => createNetwork(stuck, { name: 'third' }), { code: 'no-capacity' });
});

test('a range of others, of the machines of the cluster, or of no use to guests is refused', () => {
  const world = new RecordWorld([{ kind: 'host', id: hostRecord(1).name, value: hostRecord(1) }]);
  world.take(createNetwork(world.basis(), LAN));
  for (const [request, code, message] of [
    [LAN, 'exists', /named lan exists/],
    [{ name: 'b', cidr: '10.20.0.128/25' }, 'conflict', /overlaps that of network lan/],
    [{ name: 'b', cidr: '10.16.0.0/12' }, 'conflict', /overlaps that of network lan/],
    [{ name: 'b', cidr: '10.1.0.0/24' }, 'conflict', /10\.1\.0\.1 is h1’s/],
    [{ name: 'b', cidr: '127.0.0.0/24' }, 'bad-input', /loopback/],
    [{ name: 'b', cidr: '10.30.0.0/30' }, 'bad-input', /prefix length/],
    [{ name: 'b', dhcp: true }, 'bad-input', /needs a range for DHCP/],
    [{ name: 'b', nat: true }, 'bad-input', /needs a range for NAT/],
    [{ name: 'B_' }, 'bad-input', /not a valid network name/],
  ] as const)
    assert.throws(() => createNetwork(world.basis(), request), { code, message });
});

test('a network that a VM has a card in, now or from its next start on, is not deleted', () => {
  const world = new RecordWorld();
  const name = world.take(createNetwork(world.basis(), LAN));
  const card = { network: name, mac: '52:54:00:00:00:01', address: null };
  const vm = vmRecord({ kind: 'stopped' });
  world.apply([vmChange({ ...vm, spec: { ...vm.spec, nics: [card] } })]);
  assert.throws(() => deleteNetwork(world.basis(), 'lan', ANY), { code: 'conflict', message: /is used by web/ });
  world.apply([vmChange({ ...vm, nextNics: [card] })]);
  assert.throws(() => deleteNetwork(world.basis(), 'lan', ANY), { code: 'conflict' });
  world.apply([vmChange(vm)]);
  assert.throws(() => deleteNetwork(world.basis(), 'lan', { ifMatch: '77' }), { code: 'stale-revision' });
  world.take(deleteNetwork(world.basis(), 'lan', ANY));
  assert.throws(() => deleteNetwork(world.basis(), 'lan', ANY), { code: 'not-found' });
});

test('the metadata service needs DHCP, and is turned on and off again', () => {
  const world = new RecordWorld();
  const bare = { name: 'bare', cidr: '10.30.0.0/24' };
  assert.throws(() => createNetwork(world.basis(), { ...bare, metadata: true }), {
    code: 'bad-input',
    message: /DHCP/,
  });
  world.take(createNetwork(world.basis(), { ...LAN, metadata: true }));
  world.take(createNetwork(world.basis(), bare));
  const lan = (): boolean | undefined => world.basis().records.networks.get('lan' as NetworkName)?.value.metadata;
  assert.equal(lan(), true);
  world.take(patchNetwork(world.basis(), 'lan', { ...ANY, metadata: false }));
  assert.equal(lan(), undefined);
  world.take(patchNetwork(world.basis(), 'lan', { ...ANY, metadata: true }));
  assert.equal(lan(), true);
  assert.deepEqual(patchNetwork(world.basis(), 'lan', { ...ANY, metadata: true }).changes, []);
  for (const [name, ifMatch, code] of [
    ['bare', null, 'conflict'],
    ['none', null, 'not-found'],
    ['lan', '"1"', 'stale-revision'],
  ] as const)
    assert.throws(() => patchNetwork(world.basis(), name, { ifMatch, metadata: true }), { code });
});
