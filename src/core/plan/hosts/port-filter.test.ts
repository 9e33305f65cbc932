import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StorageRecord } from '../../model/cluster.ts';
import { keyOf } from '../../model/keys.ts';
import { hostRecord, node } from '../testing/sample-records.ts';
import {
  controlPortFilter,
  hostPortFilter,
  membersForHosts,
  membersOf,
  storagePortFilter,
  TUNNEL_MARK,
} from './port-filter.ts';

const MEMBERS = {
  controls: ['10.77.0.11'],
  storage: ['10.77.1.1', '10.78.1.1'],
  hosts: ['10.77.2.1', '10.78.2.1', '10.79.2.1'],
};
const SLOT = { uid: 600_001, disks: [{ address: '10.78.1.1', port: 30_007 }], sharesDisks: true };
const USERS = { first: 600_000, last: 600_999 };

test('every filter is one transaction that replaces one table, and names the port of the verdict nowhere', () => {
  for (const [table, script] of [
    ['groundplane_ports', hostPortFilter({ members: MEMBERS, slots: [SLOT], slotUsers: USERS })],
    ['groundplane_storage_ports', storagePortFilter(MEMBERS)],
    ['groundplane_control_ports', controlPortFilter(MEMBERS)],
  ] as const) {
    assert.match(script, new RegExp(`^table inet ${table}\ndelete table inet ${table}\ntable inet ${table} \\{`));
    assert.doesNotMatch(script, /7449/);
    assert.match(script, /tcp flags & \(syn \| ack\) != syn accept/);
  }
});

test('what guests send through a tunnel is not taken for what their QEMU sends: it is marked, and the mark passes first', () => {
  const script = hostPortFilter({ members: MEMBERS, slots: [SLOT], slotUsers: USERS });
  assert.match(script, new RegExp(`chain slot \\{\\s+udp dport 4789 meta mark ${TUNNEL_MARK} accept`));
});

const entry = <T>(value: T) => ({ value, revision: 1 });
const HOST = hostRecord(1, { addresses: { control: '10.77.2.1', storage: '10.78.2.1', overlay: '10.79.2.1' } });
const S1: StorageRecord = {
  name: node(1),
  addresses: { control: '10.77.1.1', storage: '10.78.1.1' },
  joinedAt: 0,
};

/** Records of c1, s1 and h1, but for what is given. */
const records = (given: Partial<Parameters<typeof membersOf>[0]> = {}) => ({
  controls: new Map([['c1', entry({ name: 'c1', address: '10.77.0.11', startedAt: 0 })]]),
  storage: new Map([[S1.name, entry(S1)]]),
  hosts: new Map([[HOST.name, entry(HOST)]]),
  unreadable: new Map<string, string>(),
  lastReadable: new Map<string, unknown>(),
  ...given,
});

test('hosts are told where migrations come from, and no more of other hosts', () => {
  assert.deepEqual(membersForHosts(records()), { ...MEMBERS, hosts: ['10.78.2.1'] });
});

test('a storage node that was declared lost is no member', () => {
  const lost = { ...S1, lost: { at: 1, by: 'anna' } };
  assert.deepEqual(membersOf(records({ storage: new Map([[S1.name, entry(lost)]]) })).storage, []);
});

test('a machine whose record became invalid keeps the addresses of its last valid record', () => {
  const unreadable = new Map([keyOf.host(HOST.name), keyOf.storage(S1.name), '/gp/control/c1'].map((key) => [key, '']));
  const tables = { controls: new Map(), storage: new Map(), hosts: new Map(), unreadable };
  const lastReadable = new Map<string, unknown>([
    [keyOf.host(HOST.name), HOST],
    [keyOf.storage(S1.name), S1],
    ['/gp/control/c1', { name: 'c1', address: '10.77.0.11' }],
  ]);
  assert.deepEqual(membersOf(records({ ...tables, lastReadable })), MEMBERS);
  assert.deepEqual(membersForHosts(records({ ...tables, lastReadable })).hosts, ['10.78.2.1']);
  // A record that was invalid when it was first read names no member.
  assert.deepEqual(membersOf(records(tables)), { controls: [], storage: [], hosts: [] });
});

test('while nobody said who the members are, only slots are filtered', () => {
  const script = hostPortFilter({ members: null, slots: [SLOT], slotUsers: USERS });
  assert.doesNotMatch(script, /21000-28999 drop|dport 7443 update/);
  assert.match(script, /meta skuid 600000-600999 jump slot/);
  assert.match(script, /elements = \{ 600001 \. 10\.78\.1\.1 \. 30007 \}/);
  const shared = hostPortFilter({ members: MEMBERS, slots: [SLOT], slotUsers: null });
  assert.doesNotMatch(shared, /jump slot/, 'where all QEMUs have one user there is nothing to tell them apart by');
});

test('what is no IPv4 address is left out: it must not break the whole filter', () => {
  const odd = { ...MEMBERS, hosts: ['h1.example', '10.77.2.1', '10.77.2.1', '', '10.77.2.256', '999.1.1.1'] };
  assert.match(storagePortFilter(odd), /set hosts \{ type ipv4_addr; elements = \{ 10\.77\.2\.1 \}; \}/);
  // Arguments of a process are anybody's, who names it like a QEMU of ours.
  const disks = [
    { address: 's1.example', port: 1 },
    { address: '300.1.1.1', port: 1 },
    { address: '10.78.1.1', port: 65_536 },
  ];
  const slots = [{ ...SLOT, disks }];
  assert.match(hostPortFilter({ members: odd, slots, slotUsers: USERS }), /set disks \{ typeof [^;]+; \}/);
});

test('members are all addresses of all records', () => {
  assert.deepEqual(membersOf(records()), MEMBERS);
});
