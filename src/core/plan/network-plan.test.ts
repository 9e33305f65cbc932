import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HostName, type NetworkName, parseVmId } from '../../base/ids.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import { indexOf } from '../model/cluster-index.ts';
import { noticeEventId } from '../model/move-notice.ts';
import type { VmPhase, VmRecord } from '../model/vm.ts';
import type { NetworkPlan } from '../ports/host-link.ts';
import { NetworkPlanner } from './network-plan.ts';
import { host, hostRecord, incarnation, vmRecord } from './testing/sample-records.ts';

const NET = 'blue' as NetworkName;
const blue: NetworkRecord = {
  name: NET,
  vni: 100,
  cidr: '10.9.0.0/24',
  gateway: '10.9.0.1',
  dhcp: true,
  nat: false,
  reservations: {},
  createdAt: 0,
};
const MEMBERS = { controls: ['10.0.0.1'], storage: ['10.0.1.1'], hosts: ['10.0.2.1'] };
/** Overlay addresses of hosts that were declared lost: one of nobody now, one that a member has. */
const LOST = new Set(['10.2.0.9', '10.2.0.2']);
const on = (phase: VmPhase): VmRecord => {
  const vm = vmRecord(phase);
  return { ...vm, spec: { ...vm.spec, nics: [{ network: NET, mac: '52:54:00:00:00:01', address: null }] } };
};
const plan = (vms: readonly VmRecord[], quarantined: readonly number[] = []): Map<HostName, NetworkPlan> => {
  const hosts = [1, 2, 3].map((n) =>
    hostRecord(n, quarantined.includes(n) ? { quarantine: { since: 0, reason: 'lost' } } : {}),
  );
  const each = vms.map((vm, i) => ({ ...vm, id: parseVmId(`vm-00000000000${i}`) }));
  const index = indexOf({ vms: each, hosts });
  const network = (name: NetworkName) => (name === NET ? blue : undefined);
  const planner = new NetworkPlanner(index, { network, members: () => MEMBERS, tunnelsOfLost: () => LOST });
  return new Map(hosts.map(({ name }) => [name, planner.planFor(name, 7)]));
};

test('a host has a network exactly while one of its incarnations may run there; peers are the other members', () => {
  const plans = plan([
    on({ kind: 'running', incarnation: incarnation(1, 1) }),
    on({ kind: 'running', incarnation: incarnation(1, 2) }),
  ]);
  assert.deepEqual(plans.get(host(1))?.networks[0]?.peers, ['10.2.0.2']);
  assert.deepEqual(plans.get(host(2))?.networks[0]?.peers, ['10.2.0.1']);
  assert.deepEqual(plans.get(host(3))?.networks, []);
  assert.deepEqual(plans.get(host(1))?.networks[0]?.gateway, { address: '10.9.0.1', prefixLength: 24 });
});

test('both ends of a migration are members until it is over', () => {
  const migrating = { source: incarnation(1, 1), destination: incarnation(2, 3), taskId: null };
  for (const phase of [
    { kind: 'migrating', deadlineAt: 0, ...migrating },
    { kind: 'switching', ...migrating },
  ] as const)
    assert.deepEqual(plan([on(phase)]).get(host(1))?.networks[0]?.peers, ['10.2.0.3']);
});

test('P1 a quarantined host is dropped by all others and is in no flood list', () => {
  const plans = plan(
    [on({ kind: 'running', incarnation: incarnation(1, 1) }), on({ kind: 'running', incarnation: incarnation(1, 2) })],
    [1],
  );
  for (const n of [2, 3]) {
    assert.deepEqual(plans.get(host(n))?.drop, ['10.2.0.1', '10.2.0.9']);
    for (const network of plans.get(host(n))?.networks ?? []) assert.ok(!network.peers.includes('10.2.0.1'));
  }
  assert.deepEqual(plans.get(host(2))?.networks[0]?.peers, []);
  assert.deepEqual(plans.get(host(1))?.drop, ['10.2.0.9']);
});

test('a host is told of its guests in networks with the metadata service: who has which address, and what is to come', () => {
  const notice = { number: 2, state: 'scheduled', forMs: 60_000, givenAt: 1_000, ended: null } as const;
  const vm = on({ kind: 'running', incarnation: incarnation(1, 1) });
  const nics = [{ network: NET, mac: '52:54:00:00:00:01', address: '10.9.0.10' }];
  const told = { ...vm, spec: { ...vm.spec, nics }, notice };
  const silent = { ...vm, id: parseVmId('vm-0000000000c1') };
  const index = indexOf({ vms: [told, silent], hosts: [hostRecord(1), hostRecord(2)] });
  const guests = (metadata: boolean, h: number) =>
    new NetworkPlanner(index, {
      network: () => ({ ...blue, metadata }),
      members: () => MEMBERS,
      tunnelsOfLost: () => LOST,
    }).planFor(host(h), 7).guests;
  assert.deepEqual(guests(true, 1), [
    {
      vm: told.id,
      name: 'web',
      vni: 100,
      address: '10.9.0.10',
      incarnation: 5,
      event: { id: noticeEventId(told.id, notice), state: 'scheduled', notBefore: 61_000 },
    },
  ]);
  assert.equal(guests(false, 1), undefined);
  assert.equal(guests(true, 2), undefined);
});

test('P1 the tunnel of a host that was declared lost and removed stays dropped by all, unless a member has its address', () => {
  for (const [, { drop }] of plan([])) assert.deepEqual(drop, ['10.2.0.9']);
  // A member that is quarantined itself does not drop its own tunnel.
  assert.deepEqual(plan([], [2]).get(host(2))?.drop, ['10.2.0.9']);
  assert.deepEqual(plan([], [2]).get(host(1))?.drop, ['10.2.0.2', '10.2.0.9']);
});
