import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import * as schemas from '../../api/views.ts';
import { type Generation, parseHostName, parseImageName, parseStorageName, parseVmId } from '../../base/ids.ts';
import type { Controller } from '../../core/loop/controller.ts';
import type { StorageSilence } from '../../core/loop/observe/storage-observer.ts';
import type { HostVerdict } from '../../core/maintenance/evacuability.ts';
import type { DiskRecord } from '../../core/model/cluster.ts';
import type { HostObservation, IncarnationObservation } from '../../core/model/observation.ts';
import type { Incarnation, VmPhase, VmRecord } from '../../core/model/vm.ts';
import type { StorageReport } from '../../core/ports/storage-link.ts';
import type { Etcd } from '../../etcd/api.ts';
import { ClusterStore } from '../store/cluster-store.ts';
import { diskRecord, hostRecord, networkRecord, storageRecord, vmRecord } from '../testing/records.ts';
import { clusterEvacuability } from './evacuability-views.ts';
import {
  diskView,
  hostView,
  imageView,
  networkView,
  storageView,
  type ViewContext,
  verdictOf,
  vmDetailView,
  vmView,
} from './views.ts';

const MIB = 1024 * 1024;
const at = (host: string, generation = 1): Incarnation => ({
  generation: generation as Generation,
  host: parseHostName(host),
  slot: 0,
});
const entry = <T>(value: T) => ({ value, revision: 7 });
const HERE: VmPhase = { kind: 'running', incarnation: at('h1') };
const ALIVE: HostObservation = {
  host: parseHostName('h1'),
  agent: 'alive',
  agentAgeMs: 5,
  agentError: null,
  kernel: { kind: 'reachable', via: 'direct', ageMs: 1 },
  occupiedSlots: [],
};
const SILENT: HostObservation = { ...ALIVE, agent: 'silent', agentAgeMs: 900 };
const QMP = { kind: 'answers', status: 'running', via: 'direct', ageMs: 3, migration: null, sentTo: null } as const;

interface Seen {
  readonly host?: HostObservation;
  readonly qmp?: IncarnationObservation['qmp'];
  readonly process?: IncarnationObservation['process'];
  readonly why?: string;
  readonly reports?: readonly StorageReport[];
  readonly silences?: ReadonlyMap<string, StorageSilence>;
  readonly verdicts?: Readonly<Record<string, HostVerdict>>;
}

/**
 * A leader with the observations that a test gives, over records that a test puts in; `leads: false`: a follower with
 * the same records.
 */
function setUp(seen: Seen = {}, { leads = true } = {}) {
  const store = new ClusterStore({} as Etcd, () => '');
  const {
    host = ALIVE,
    qmp = QMP,
    process = 'present',
    why = '',
    reports = [],
    silences = new Map(),
    verdicts = {},
  } = seen;
  const see = (_vm: VmRecord, incarnation: Incarnation): IncarnationObservation => ({
    incarnation,
    process,
    qmp,
    told: null,
    host: { ...host, host: incarnation.host },
  });
  const disks: DiskRecord[] = [];
  store.disksOf = () => disks;
  const controller = {
    vms: {
      see,
      whyOf: () => why,
      situation: (vm: VmRecord) => ({ vm, see: (incarnation: Incarnation) => see(vm, incarnation), disks }),
    },
    observer: { see: (name: string) => ({ ...host, host: name }) },
    pools: { levelOf: () => 'low' },
    certificateMoves: { endsAt: () => 86_400_000 },
    estate: { verdict: (name: string) => verdicts[name] ?? null },
    storageObserver: {
      answers: (name: string) => reports.some(({ node }) => node === name),
      report: (name: string) => reports.find(({ node }) => node === name) ?? null,
      see: () => ({ ageMs: reports.length > 0 ? 3 : null }),
      silences: () => silences,
    },
  } as unknown as Controller;
  const context: ViewContext = { store, leading: () => (leads ? { term: 1, controller } : null) };
  const put = (table: { note(key: string, value: unknown, revision: number): boolean }, key: string, value: object) =>
    table.note(key, value, 7);
  return { context, store, disks, put };
}

const verdict = (seen: Seen, overrides: Partial<VmRecord> = {}, options = {}) =>
  verdictOf(setUp(seen, options).context, vmRecord(1, { phase: HERE, intent: 'running', ...overrides }));

test('who waits for a move, or for a shared disk, is told what for', () => {
  const why = 'Guest cluster sql allows 1 disturbed member at once: sql2 is stopped.';
  const { spec } = vmRecord(1);
  const sharedDisks = [{ disk: 'disk-000000000001' as DiskRecord['id'], lun: 0 }];
  const said = (overrides: Partial<VmRecord>) => verdict({ why }, overrides).because.includes(why);
  assert.equal(said({}), false);
  assert.equal(said({ migrationRequest: { to: null, taskId: 'task-000000000001' as never } }), true);
  assert.equal(said({ spec: { ...spec, sharedDisks } }), false);
  assert.equal(said({ spec: { ...spec, sharedDisks: sharedDisks.map((use) => ({ ...use, joining: true })) } }), true);
});

test('of a VM that runs and depends on a value in etcd that is no record it is said why nothing is done with it', () => {
  const why = 'Nothing is decided: what etcd holds at /gp/host/h1 is not JSON.';
  const { context, store } = setUp({ why });
  const running = vmRecord(1, { phase: HERE, intent: 'running' });
  assert.equal(verdictOf(context, running).because.includes(why), false, 'over by now');
  const unreadable = new Map([[`/gp/host/${HERE.incarnation.host}`, 'is not JSON']]);
  Object.defineProperty(store, 'unreadable', { get: () => unreadable });
  assert.equal(verdictOf(context, running).because.includes(why), true);
});

test('the verdict on a VM that runs is what its incarnation is seen to do', () => {
  const answers = (status: string): Seen => ({ qmp: { ...QMP, status } });
  const cut: HostObservation = {
    ...SILENT,
    kernel: { kind: 'silent', rounds: 2, paths: ['direct', 's1'], nodes: [parseStorageName('s1')] },
  };
  const cases: readonly (readonly [string, Seen, string])[] = [
    ['it runs', {}, 'running'],
    ['nobody looked yet', { qmp: { kind: 'unknown' }, process: 'unknown' }, 'unknown'],
    ['a person paused it', answers('paused'), 'paused'],
    ['its guest panicked', answers('guest-panicked'), 'crashed'],
    ['its disk failed', answers('io-error'), 'storage-trouble'],
    ['its guest switched off', answers('shutdown'), 'guest-shutdown'],
    ['it moved out', answers('postmigrate'), 'migrating'],
    ['its process is gone', { process: 'absent', qmp: { kind: 'refused', via: 'direct', ageMs: 1 } }, 'crashed'],
    ['QEMU does not speak', { qmp: { kind: 'mute', via: 'direct', ageMs: 1 } }, 'unresponsive'],
    ['its host is gone', { host: cut, qmp: { kind: 'silent', paths: ['direct'], ageMs: 0 } }, 'lost'],
  ];
  for (const [what, seen, expected] of cases) {
    const { verdict: found, because } = verdict(seen);
    assert.equal(found, expected, what);
    assert.ok(because.length >= 2 && because.every((reason) => reason.endsWith('.')), `${what}: ${because.join(' ')}`);
    assert.ok(Value.Check(schemas.VmSchema.properties.verdict, found), found);
  }
});

test('suspended is paused by intent, and agentless says that nothing is restarted', () => {
  const paused: Seen = { qmp: { ...QMP, status: 'paused' } };
  assert.equal(verdict(paused, { intent: 'suspended' }).verdict, 'suspended');
  assert.equal(verdict({}, { intent: 'suspended' }).verdict, 'running', 'what is seen, not what is wanted');
  const agentless = verdict({ host: SILENT });
  assert.equal(agentless.verdict, 'running');
  assert.match(agentless.because.join('\n'), /h1 is agentless: its VMs are not restarted/);
  assert.doesNotMatch(verdict({}).because.join('\n'), /agentless/);
});

test('a VM on its way says so, and what it waits for', () => {
  const migration = { source: at('h1'), destination: at('h2', 2), taskId: null };
  const phases: readonly (readonly [VmPhase, string])[] = [
    [{ kind: 'starting', incarnation: at('h1'), reason: 'requested', avoid: [] }, 'starting'],
    [{ kind: 'stopping', incarnation: at('h1'), mode: 'acpi', deadlineAt: 1, reason: 'requested' }, 'stopping'],
    [{ kind: 'migrating', ...migration, deadlineAt: 1 }, 'migrating'],
    [{ kind: 'switching', ...migration }, 'migrating'],
    [{ kind: 'unwinding', ...migration, reason: 'late' }, 'migrating'],
  ];
  for (const [phase, expected] of phases) {
    const { verdict: found, because } = verdict({ why: 'Waiting for s1.' }, { phase });
    assert.equal(found, expected, phase.kind);
    assert.ok(because.includes('Waiting for s1.'), phase.kind);
  }
  const stopped: Partial<VmRecord> = { phase: { kind: 'stopped' } };
  assert.deepEqual(verdict({ why: 'No room.' }, stopped).because.at(-1), 'No room.');
  assert.equal(
    verdict({ why: 'No room.' }, { ...stopped, intent: 'stopped' }).because.length,
    1,
    'it is as it should be',
  );
  const refused = { count: 1, lastAt: 1, message: 'No kernel.' };
  assert.deepEqual(verdict({}, { ...stopped, intent: 'stopped', failures: refused }).because.slice(1), [
    'Its last start failed: No kernel.',
  ]);
});

test('what keeps a guest paused by a disk error is said', () => {
  const why = 'vm1 is paused by a disk error: the pool of storage node s1 is full.';
  assert.ok(verdict({ why, qmp: { ...QMP, status: 'io-error' } }).because.includes(why));
  assert.ok(!verdict({ why }).because.includes(why));
});

test('a follower says what is recorded and that it sees nothing', () => {
  const follower = { leads: false };
  assert.deepEqual(verdict({}, {}, follower), {
    verdict: 'unknown',
    because: ['This control node does not lead, so it observes nothing.'],
  });
  assert.equal(verdict({}, { phase: { kind: 'stopped' } }, follower).verdict, 'stopped');
  const { context } = setUp({}, follower);
  const host = hostView(context, entry(hostRecord('h1')));
  const { drain, loss } = host.evacuability;
  assert.deepEqual([drain.possible, loss.possible, host.agent], ['unknown', 'unknown', 'dead']);
  const node = storageView(context, entry(storageRecord('s1')));
  assert.deepEqual([node.state, node.ageMs, node.usedBytes, node.totalBytes], ['dead', null, null, null]);
});

test('a VM shows its incarnation, its destination and what storage admits and sees connected', () => {
  const vm = vmRecord(1, {
    phase: { kind: 'migrating', source: at('h1', 4), destination: at('h2', 5), taskId: null, deadlineAt: 1 },
    generation: 5 as Generation,
    failures: { count: 2, lastAt: 1_000, message: 'no' },
  });
  const disk = diskRecord(1, vm);
  const grant = (generation: number, connections: number) => ({
    vm: vm.id,
    generation: generation as Generation,
    connections: Array.from({ length: connections }, () => ({ address: '10.0.0.1', idleMs: 1 })),
  });
  const report: StorageReport = {
    node: disk.node,
    pool: { totalBytes: 10, freeBytes: 4 },
    artifacts: [],
    disks: [{ disk: disk.id, grants: [grant(4, 1), grant(5, 0)] }],
  };
  const { context, store, disks, put } = setUp({
    process: 'absent',
    qmp: { kind: 'mute', via: 's1', ageMs: 8 },
    reports: [report],
  });
  disks.push(disk);
  put(store.disks, disk.id, disk);
  const spec = { ...vm.spec, disks: [{ disk: disk.id, role: 'data', bus: 'virtio' }] } as const;
  const shown = vmDetailView(context, entry({ ...vm, spec }), null);
  assert.ok(Value.Check(schemas.VmDetailSchema, shown));
  assert.deepEqual([shown.host, shown.generation, shown.destination], ['h1', 4, 'h2']);
  assert.deepEqual(shown.failure, { count: 2, lastAt: '1970-01-01T00:00:01.000Z', message: 'no' });
  assert.deepEqual(
    shown.disks.map(({ sizeBytes, node }) => [sizeBytes, node]),
    [[MIB, 's1']],
  );
  const { agent, qmp, storage } = shown.observations;
  assert.deepEqual([agent.process, agent.state, qmp.state, qmp.ageMs], ['gone', 'alive', 'silent', 8]);
  assert.equal(qmp.certificateEndsAt, '1970-01-02T00:00:00.000Z');
  assert.deepEqual(
    storage.map(({ admitted, connected }) => [admitted, connected]),
    [[[4, 5], [4]]],
  );
  const stopped = vmDetailView(setUp().context, entry(vmRecord(2, { generation: 3 as Generation })), null);
  assert.deepEqual([stopped.host, stopped.generation, stopped.observations.agent.state], [null, 3, 'unknown']);
});

const CAN: HostVerdict = {
  drain: { kind: 'can', wave: { hosts: [], moves: [], steps: [], durationMs: 0, room: null } },
  loss: { kind: 'can', witness: { host: parseHostName('h1'), restarts: [], tied: [] } },
};

/** Hosts h1 to h3 with 1 GiB each; `verdicts`: what the leader keeps of some. */
function threeHosts(
  overrides: Parameters<typeof hostRecord>[1] = {},
  verdicts: Readonly<Record<string, HostVerdict>> = {},
) {
  const set = setUp({ verdicts });
  for (const name of ['h1', 'h2', 'h3'])
    set.put(set.store.hosts, name, hostRecord(name, name === 'h3' ? overrides : {}));
  const run = (number: number, host: string, memoryMib: number): void => {
    const spec = { ...vmRecord(number).spec, memoryBytes: memoryMib * MIB };
    const vm = vmRecord(number, { phase: { kind: 'running', incarnation: { ...at(host), slot: number } }, spec });
    set.put(set.store.vms, vm.id, vm);
  };
  const view = (name: string) => {
    const found = set.store.hosts.get(name);
    assert.ok(found !== undefined);
    return hostView(set.context, found);
  };
  return { ...set, run, view };
}

test('a host shows what the leader keeps of it: can it be drained, can it be lost, and why not', () => {
  const move = { vm: vmRecord(1).id, memoryMib: 3 };
  const wave = { durationMs: 1_000.4, moves: [move, { ...move, memoryMib: 5 }] };
  const can = {
    drain: { kind: 'can', wave },
    loss: { kind: 'can', witness: { host: 'h1', restarts: [], tied: [vmRecord(1).id] } },
  } as unknown as HostVerdict;
  const cannot: HostVerdict = {
    drain: { kind: 'cannot', vms: [], obstacle: 'no-place', proof: null, because: ['vm1: h2: full'] },
    loss: { kind: 'cannot', vms: [], because: ['vm2: h2: full'] },
  };
  const { run, view } = threeHosts({}, { h1: can, h2: cannot });
  run(1, 'h1', 400);
  const shown = view('h1');
  assert.ok(Value.Check(schemas.HostSchema, shown));
  assert.deepEqual(shown.evacuability, {
    drain: { possible: 'yes', foretoldMs: 1_001, moves: 2, movedBytes: 8 * MIB, because: [] },
    loss: { possible: 'yes', tied: ['vm1'], because: [] },
  });
  const { drain, loss } = view('h2').evacuability;
  assert.deepEqual([drain.possible, drain.foretoldMs, drain.because], ['no', null, ['vm1: h2: full']]);
  assert.deepEqual([loss.possible, loss.because], ['no', ['vm2: h2: full']]);
  assert.equal(view('h3').evacuability.drain.possible, 'unknown', 'a host that nobody has looked at yet');
});

test('the cluster can be drained when every host can; one that cannot is named with its reason', () => {
  const { context } = threeHosts({}, { h1: CAN, h2: CAN, h3: CAN });
  const yes = clusterEvacuability(context);
  assert.deepEqual(yes.drain, { possible: 'yes', hosts: 3, refused: 0, because: [] });
  const loss = { kind: 'cannot', vms: [], because: ['vm1: h2: full'] } as const;
  const no = clusterEvacuability(threeHosts({}, { h1: CAN, h2: { ...CAN, loss } }).context);
  assert.equal(no.drain.possible, 'unknown', 'of h3 nothing is known');
  assert.deepEqual(no.loss, { possible: 'no', hosts: 1, refused: 1, because: ['h2: vm1: h2: full'] });
});

test('a host counts what may run there, names what is current there, and says why it is quarantined', () => {
  const { store, put, run, view } = threeHosts({ quarantine: { since: 1, reason: 'lost with vm9' } });
  run(1, 'h1', 100);
  const phase: VmPhase = {
    kind: 'migrating',
    source: at('h2', 4),
    destination: at('h1', 5),
    taskId: null,
    deadlineAt: 1,
  };
  const arriving = vmRecord(2, { phase });
  put(store.vms, arriving.id, arriving);
  const [h1, h2, h3] = [view('h1'), view('h2'), view('h3')];
  assert.deepEqual([h1.vms, h2.vms], [['vm1'], ['vm2']]);
  assert.ok(h1.memoryUsedBytes >= 228 * MIB && h2.memoryUsedBytes >= 128 * MIB);
  assert.deepEqual([h1.quarantined, h1.quarantineReason], [false, null]);
  assert.deepEqual([h3.quarantined, h3.quarantineReason], [true, 'lost with vm9']);
});

test('a storage service that stands still beside its disks is told of: what is known, what goes on, and what waits', () => {
  const silence = { error: 'Storage node s1 did not answer within 1500 ms.', served: true, ageMs: 12_400 };
  const { context, store, disks, put } = setUp({ silences: new Map([['s1', silence]]) });
  const vm = vmRecord(1, { phase: HERE, intent: 'running' });
  put(store.vms, vm.id, vm);
  const because = (): string => vmView(context, entry(vm), null).because.join('\n');
  assert.doesNotMatch(because(), /storage service/, 'it has no disk there');
  disks.push(diskRecord(1, vm));
  assert.match(
    because(),
    /The storage service of s1 does not answer \(its last report is 12 s old; Storage node s1 did not answer within 1500 ms\)\. Its disks are still served: running guests continue\. Starting, stopping, moving and deleting vm1 wait until it answers\./,
  );
  const node = storageView(context, entry(storageRecord('s1')));
  assert.deepEqual([node.state, node.served], ['dead', true]);
  assert.match(node.because.join(), /Its disks are still served.*Fences wait for it/);
  const other = storageView(context, entry(storageRecord('s2')));
  assert.deepEqual([other.served, other.because], [null, []]);
  for (const [served, said] of [
    [false, /Its disks are not served either/],
    [null, /\)\. Fences wait/],
  ] as const) {
    const unserved = setUp({ silences: new Map([['s1', { ...silence, served, ageMs: null }]]) });
    const shown = storageView(unserved.context, entry(storageRecord('s1')));
    assert.match(shown.because.join(), said);
    assert.match(shown.because.join(), /it has not answered this leader yet/);
  }
});

test('storage nodes, disks, networks and images', () => {
  const vm = vmRecord(1);
  const nvram = diskRecord(1, vm, { source: { kind: 'nvram' } });
  const report: StorageReport = { node: nvram.node, pool: { totalBytes: 10, freeBytes: 4 }, artifacts: [], disks: [] };
  const { context, store, put } = setUp({ reports: [report] });
  const spec = { ...vm.spec, disks: [{ disk: nvram.id, role: 'nvram', bus: 'virtio' }] };
  put(store.vms, vm.id, { ...vm, spec });
  put(store.disks, nvram.id, nvram);
  const node = storageView(context, entry(storageRecord('s1')));
  assert.deepEqual([node.state, node.ageMs, node.disks, node.usedBytes], ['alive', 3, 1, 6]);
  assert.equal(storageView(context, entry(storageRecord('s2'))).state, 'dead');
  assert.deepEqual([diskView(context, entry(nvram)).vm, diskView(context, entry(nvram)).role], ['vm1', 'nvram']);
  const orphan = diskView(context, entry({ ...nvram, vm: parseVmId('vm-ffffffffffff') }));
  assert.deepEqual([orphan.vm, orphan.role], ['vm-ffffffffffff', 'data']);
  const reserved = (id: VmRecord['id']) => ({ address: '10.9.0.2', vm: id, hostname: 'a' });
  const reservations = {
    '52:54:00:00:00:01': reserved(vm.id),
    '52:54:00:00:00:02': reserved(parseVmId('vm-ffffffffffff')),
  };
  const network = networkView(context, entry(networkRecord('lan', { reservations })));
  assert.deepEqual(
    network.reservations.map((reservation) => reservation.vm),
    ['vm1', 'vm-ffffffffffff'],
  );
  const image = {
    name: parseImageName('old'),
    disk: null,
    direct: null,
    defaults: { memoryBytes: MIB, vcpus: 1, blankDiskBytes: null },
    nodes: [],
    createdAt: 0,
  };
  assert.equal(imageView(entry(image)).minMemoryBytes, null, 'a record from before images had it');
  assert.ok(Value.Check(schemas.ImageSchema, imageView(entry({ ...image, minMemoryBytes: MIB }))));
});
