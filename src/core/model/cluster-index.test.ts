import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NetworkName, StorageName, VmId } from '../../base/ids.ts';
import { parseDiskId, parseGuestClusterName, parseVmId } from '../../base/ids.ts';
import {
  diskRecord,
  guestClusterRecord,
  host,
  hostRecord,
  incarnation,
  node,
  sharedDiskRecord,
  vmRecord,
} from '../plan/testing/sample-records.ts';
import type { DiskRecord, HostRecord } from './cluster.ts';
import { ClusterIndex, footprintBytes, indexOf } from './cluster-index.ts';
import type { GuestClusterRecord, SharedDiskRecord } from './guest-cluster.ts';
import { keyOf } from './keys.ts';
import { expectedIncarnations, type VmPhase, type VmRecord } from './vm.ts';

const HOSTS = 4;
const VMS = 5;
const NETWORKS = ['blue', 'red'] as NetworkName[];
const GROUPS = ['db', 'web'];
const CLUSTERS = ['sql', 'web'].map(parseGuestClusterName);
const sharedId = (n: number) => parseDiskId(`disk-0000000000a${n}`);
const vmId = (n: number): VmId => parseVmId(`vm-00000000000${n}`);

const place = fc.record({ h: fc.integer({ min: 1, max: HOSTS }), slot: fc.nat({ max: 3 }) });
const phase: fc.Arbitrary<VmPhase> = fc.oneof(
  fc.constant({ kind: 'stopped' } as const),
  place.map(({ h, slot }) => ({ kind: 'running', incarnation: incarnation(1, h, slot) }) as const),
  fc.tuple(place, place).map(
    ([from, to]) =>
      ({
        kind: 'switching',
        source: incarnation(1, from.h, from.slot),
        destination: incarnation(2, to.h, to.slot),
        taskId: null,
      }) as const,
  ),
);
const vm = fc
  .record({
    n: fc.nat({ max: VMS - 1 }),
    phase,
    memoryBytes: fc.integer({ min: 1, max: 4 }),
    antiAffinity: fc.constantFrom(null, ...GROUPS),
    nics: fc.array(fc.constantFrom(...NETWORKS), { maxLength: 3 }),
    shared: fc.uniqueArray(fc.nat({ max: 2 }), { maxLength: 2 }),
    guestCluster: fc.constantFrom(null, ...CLUSTERS),
    unfenced: fc.uniqueArray(fc.integer({ min: 1, max: HOSTS }), { maxLength: 2 }),
  })
  .map(({ n, phase: now, memoryBytes, antiAffinity, nics, shared, guestCluster, unfenced }): VmRecord => {
    const record = vmRecord(now, { id: vmId(n), name: `vm${n}`, unfenced: unfenced.map((h) => host(h)) });
    const asNic = (network: NetworkName) => ({ network, mac: MACS[n % 2] ?? '', address: null });
    const sharedDisks = shared.map((d) => ({ disk: sharedId(d), lun: d }));
    const more = { memoryBytes, antiAffinity, nics: nics.map(asNic), sharedDisks, guestCluster };
    return { ...record, spec: { ...record.spec, ...more } };
  });
const change = fc.oneof(
  { weight: 6, arbitrary: vm.map((value) => ({ kind: 'vm' as const, value })) },
  { weight: 1, arbitrary: fc.nat({ max: VMS - 1 }).map((n) => ({ kind: 'no-vm' as const, id: vmId(n) })) },
  {
    weight: 2,
    arbitrary: fc
      .record({ n: fc.integer({ min: 1, max: HOSTS }), isLost: fc.boolean(), memoryBytes: fc.nat({ max: 9 }) })
      .map(({ n, isLost, memoryBytes }) => {
        const quarantine = isLost ? { since: 0, reason: '' } : null;
        const capacity = { ...hostRecord(n).capacity, memoryBytes: memoryBytes * 2 ** 27 };
        return { kind: 'host' as const, value: hostRecord(n, { quarantine, capacity }) };
      }),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: HOSTS }).map((n) => ({ kind: 'no-host' as const, name: host(n) })),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({
        d: fc.nat({ max: 5 }),
        n: fc.nat({ max: VMS - 1 }),
        s: fc.integer({ min: 1, max: 2 }),
        gone: fc.boolean(),
      })
      .map(({ d, n, s, gone }) => {
        const value = diskRecord({ id: parseDiskId(`disk-00000000000${d}`), vm: vmId(n), node: node(s) });
        return { kind: 'disk' as const, value, gone };
      }),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ d: fc.nat({ max: 2 }), s: fc.integer({ min: 1, max: 2 }), gone: fc.boolean() })
      .map(({ d, s, gone }) => {
        const value = sharedDiskRecord({ id: sharedId(d), node: node(s) });
        return { kind: 'shared' as const, value, gone };
      }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ name: fc.constantFrom(...CLUSTERS), gone: fc.boolean() }).map(({ name, gone }) => {
      return { kind: 'cluster' as const, value: guestClusterRecord([], { name }), gone };
    }),
  },
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

/** The same answers from the records, found by reading all of them, without the index. */
class Slow {
  readonly vms = new Map<string, VmRecord>();
  readonly hosts = new Map<string, HostRecord>();
  readonly disks = new Map<string, DiskRecord>();
  readonly shared = new Map<string, SharedDiskRecord>();
  readonly clusters = new Map<string, GuestClusterRecord>();

  apply(index: ClusterIndex, given: Change): void {
    if (given.kind === 'vm') {
      this.vms.set(given.value.id, given.value);
      index.setVm(given.value.id, given.value);
    } else if (given.kind === 'no-vm') {
      this.vms.delete(given.id);
      index.setVm(given.id, null);
    } else if (given.kind === 'host') {
      this.hosts.set(given.value.name, given.value);
      index.setHost(given.value.name, given.value);
    } else if (given.kind === 'no-host') {
      this.hosts.delete(given.name);
      index.setHost(given.name, null);
    } else if (given.kind === 'shared') {
      if (given.gone) this.shared.delete(given.value.id);
      else this.shared.set(given.value.id, given.value);
      index.setSharedDisk(given.value.id, given.gone ? null : given.value);
    } else if (given.kind === 'cluster') {
      if (given.gone) this.clusters.delete(given.value.name);
      else this.clusters.set(given.value.name, given.value);
      index.setGuestCluster(given.value.name, given.gone ? null : given.value);
    } else {
      if (given.gone) this.disks.delete(given.value.id);
      else this.disks.set(given.value.id, given.value);
      index.setDisk(given.value.id, given.gone ? null : given.value);
    }
  }

  /** Everything an index can be asked, by asking the records. */
  view(): unknown {
    const vms = [...this.vms.values()];
    const usersOf = (disk: string) =>
      vms.filter(({ spec }) => spec.sharedDisks?.some((use) => use.disk === disk)).map(({ id }) => id);
    const on = (name: string) =>
      vms.flatMap((record) =>
        expectedIncarnations(record.phase).flatMap((where) => (where.host === name ? [{ record, where }] : [])),
      );
    const free = (record: HostRecord) =>
      record.capacity.memoryBytes - on(record.name).reduce((sum, each) => sum + footprintBytes(each.record), 0);
    return {
      ranking: [...this.hosts.values()]
        .filter(({ quarantine }) => quarantine === null)
        .map((record) => ({ host: record.name, freeBytes: free(record) }))
        .sort((a, b) => b.freeBytes - a.freeBytes || (a.host < b.host ? -1 : 1)),
      quarantined: names(
        [...this.hosts.values()].filter(({ quarantine }) => quarantine !== null).map(({ name }) => name),
      ),
      hosts: HOST_NAMES.map((name) => ({
        vms: names(on(name).map(({ record }) => record.id)),
        unfenced: names(vms.filter(({ unfenced }) => unfenced?.includes(name)).map(({ id }) => id)),
        bytes: on(name).reduce((sum, each) => sum + footprintBytes(each.record), 0),
        slots: [0, 1, 2, 3].map((slot) => on(name).filter(({ where }) => where.slot === slot).length),
        networks: names(on(name).flatMap(({ record }) => record.spec.nics.map(({ network }) => network))),
      })),
      groups: GROUPS.map((group) => names(vms.filter(({ spec }) => spec.antiAffinity === group).map(({ id }) => id))),
      members: NETWORKS.map((network) =>
        HOST_NAMES.filter((name) =>
          on(name).some(({ record }) => record.spec.nics.some((nic) => nic.network === network)),
        ),
      ),
      macs: NETWORKS.map((network) =>
        MACS.map((mac) => vms.some(({ spec }) => spec.nics.some((nic) => nic.network === network && nic.mac === mac))),
      ),
      nodes: NODES.map((name) =>
        names([
          ...[...this.disks.values()].filter((disk) => disk.node === name).map((disk) => disk.vm),
          ...[...this.shared.values()].filter((disk) => disk.node === name).flatMap(({ id }) => usersOf(id)),
        ]),
      ),
      users: SHARED.map((disk) => names(usersOf(disk))),
      sharedOf: vms.map(({ id, spec }) => [
        id,
        names((spec.sharedDisks ?? []).filter((use) => this.shared.has(use.disk)).map((use) => use.disk)),
      ]),
      clusterOf: vms.map(({ id, spec }) => [id, this.clusters.get(spec.guestCluster ?? '')?.name ?? null]),
    };
  }
}

const MACS = ['52:54:00:00:00:01', '52:54:00:00:00:02'];
const HOST_NAMES = Array.from({ length: HOSTS }, (_, i) => host(i + 1));
const NODES: StorageName[] = [node(1), node(2)];
const SHARED = [0, 1, 2].map(sharedId);
const names = (list: Iterable<string>): string[] => [...new Set(list)].sort();

function viewOf(index: ClusterIndex, vms: readonly VmRecord[]): unknown {
  return {
    ranking: index.byFreeMemory().map((ranked) => ({ ...ranked })),
    quarantined: names([...index.quarantined()].map(({ name }) => name)),
    hosts: HOST_NAMES.map((name) => ({
      vms: names(index.vmsOn(name)),
      unfenced: names(index.unfencedOn(name)),
      bytes: index.committedBytes(name),
      slots: [0, 1, 2, 3].map((slot) => index.slotsOn(name).get(slot) ?? 0),
      networks: names(index.networksOn(name)),
    })),
    groups: GROUPS.map((group) => names([...index.groupMembers(group)].map(({ id }) => id))),
    members: NETWORKS.map((network) => names(index.membersOf(network))),
    macs: NETWORKS.map((network) => MACS.map((mac) => index.isMacUsed(network, mac))),
    nodes: NODES.map((name) => names(index.vmsWithDisksOn(name))),
    users: SHARED.map((disk) => names(index.usersOf(disk))),
    sharedOf: vms.map((vm) => [vm.id, names(index.sharedDisksOf(vm).map(({ id }) => id))]),
    clusterOf: vms.map((vm) => [vm.id, index.guestClusterOf(vm)?.name ?? null]),
  };
}

test('after any changes the index says what the records say', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const index = new ClusterIndex();
      const slow = new Slow();
      for (const each of changes) {
        // A tentative change leaves nothing behind.
        if (each.kind === 'vm') index.meanwhile([each.value, each.value], () => index.byFreeMemory());
        slow.apply(index, each);
        assert.deepEqual(viewOf(index, [...slow.vms.values()]), slow.view());
      }
      const { vms, hosts } = slow;
      const fresh = indexOf({ vms: vms.values(), hosts: hosts.values() });
      for (const disk of slow.disks.values()) fresh.setDisk(disk.id, disk);
      for (const disk of slow.shared.values()) fresh.setSharedDisk(disk.id, disk);
      for (const cluster of slow.clusters.values()) fresh.setGuestCluster(cluster.name, cluster);
      assert.deepEqual(viewOf(fresh, [...vms.values()]), viewOf(index, [...vms.values()]));
    }),
    { seed: 20_261_121, numRuns: 400 },
  );
});

test('a change tells whom it touches: the hosts named before and now, and whether one has more room', () => {
  const index = indexOf({ vms: [], hosts: [hostRecord(1), hostRecord(2)] });
  const blue = (now: VmPhase): VmRecord => {
    const record = vmRecord(now);
    const nics = [{ network: 'blue' as NetworkName, mac: '52:54:00:00:00:01', address: null }];
    return { ...record, spec: { ...record.spec, nics } };
  };
  const { id } = vmRecord({ kind: 'stopped' });
  const first = index.setVm(id, blue({ kind: 'running', incarnation: incarnation(1, 1) }));
  assert.deepEqual(first, { hosts: [host(1)], networks: ['blue'], isRoomLeft: false });
  const moved = index.setVm(id, blue({ kind: 'running', incarnation: incarnation(2, 2) }));
  assert.deepEqual(moved, { hosts: [host(1), host(2)], networks: ['blue'], isRoomLeft: true });
  assert.deepEqual(index.setVm(id, null), { hosts: [host(2)], networks: ['blue'], isRoomLeft: true });
});

test('what leaves a quarantined host leaves no room for others', () => {
  const lost = hostRecord(1, { quarantine: { since: 0, reason: 'lost' } });
  const vm = vmRecord({ kind: 'running', incarnation: incarnation(1, 1) });
  const index = indexOf({ vms: [vm], hosts: [lost, hostRecord(2)] });
  const { isRoomLeft } = index.setVm(vm.id, vmRecord({ kind: 'running', incarnation: incarnation(2, 2) }));
  assert.equal(isRoomLeft, false);
  assert.deepEqual(
    index.byFreeMemory().map((ranked) => ranked.host),
    [host(2)],
  );
});

test('a large cluster is taken in piece by piece', () => {
  const vms = new Map(
    Array.from({ length: 1_000 }, (_, number) => {
      const id = parseVmId(`vm-${number.toString(16).padStart(12, '0')}`);
      return [
        id,
        { value: vmRecord({ kind: 'running', incarnation: incarnation(1, 1, number) }, { id }), revision: 1 },
      ];
    }),
  );
  const nothing = { disks: new Map(), sharedDisks: new Map(), guestClusters: new Map(), drains: new Map() };
  const hosts = new Map([[host(1), { value: hostRecord(1), revision: 1 }]]);
  const index = new ClusterIndex();
  const loading = index.loadInTurns({ ...nothing, vms, hosts, lastReadable: new Map() });
  const taken: number[] = [];
  while (loading.next().done !== true) taken.push([...index.vmsOn(host(1))].length);
  assert.equal([...index.vmsOn(host(1))].length, 1_000);
  assert.ok(
    taken.every((count, piece) => count - (taken[piece - 1] ?? 0) <= 100),
    taken.join(),
  );
});

test('C1 C2 a VM whose record became unreadable counts for a new leader with the last state that was read', () => {
  const index = new ClusterIndex();
  const last = vmRecord({ kind: 'running', incarnation: incarnation(3, 2, 1) });
  index.load({
    vms: new Map(),
    hosts: new Map([[host(2), { value: hostRecord(2), revision: 1 }]]),
    disks: new Map(),
    sharedDisks: new Map(),
    guestClusters: new Map(),
    drains: new Map(),
    lastReadable: new Map<string, unknown>([
      [keyOf.vm(last.id), last],
      [keyOf.disk(diskRecord().id), diskRecord()],
    ]),
  });
  assert.equal(index.committedBytes(host(2)), footprintBytes(last));
  assert.deepEqual([...index.slotsOn(host(2))], [[1, 1]]);
  assert.deepEqual(index.vm(last.id), last);
});
