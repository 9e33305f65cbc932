import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Generation, type NetworkName, parseDiskId, parseDrainId, parseVmId, type Term } from '../../base/ids.ts';
import type { DrainMove } from '../model/drain.ts';
import type { VmPhase, VmRecord } from '../model/vm.ts';
import {
  diskRecord,
  guestClusterRecord,
  host,
  hostRecord,
  incarnation,
  memberRecord,
  NOW,
  node,
  sharedDiskRecord,
  task,
  VM,
  vmRecord,
} from '../plan/testing/sample-records.ts';
import type { Change } from '../ports/store.ts';
import { CHECKERS, traceJudge } from './check-trace.ts';
import { ROLL_TRACES } from './testing/roll-traces.ts';
import type { TraceEntry } from './trace.ts';

const gen = (n: number): Generation => n as Generation;
const ends = { source: incarnation(1, 1), destination: incarnation(2, 2), taskId: null };
const running = (n: number): VmPhase => ({ kind: 'running', incarnation: incarnation(n) });
const MIGRATING: VmPhase = { kind: 'migrating', deadlineAt: NOW, ...ends };
const commit = (...changes: Change[]): TraceEntry => ({ at: 1, kind: 'commit', by: 1 as Term, changes });
const vm = (phase: VmPhase, more: Partial<VmRecord> = {}): TraceEntry =>
  commit({ kind: 'vm', id: VM, value: vmRecord(phase, more) });
const wish = (state: 'running' | 'failed'): Change => ({
  kind: 'task',
  id: task(1),
  value: {
    id: task(1),
    kind: 'vm.start',
    target: { kind: 'vm', name: 'web' },
    state,
    progressPercent: null,
    message: '',
    startedAt: 0,
    endedAt: null,
  },
});
const people = (entry: TraceEntry): TraceEntry => (entry.kind === 'commit' ? { ...entry, by: 'people' } : entry);
const OTHER = parseVmId('vm-000000000077');
const STARTING: VmPhase = { kind: 'starting', incarnation: incarnation(1, 2), reason: 'requested', avoid: [] };
const stopped = (): TraceEntry => vm({ kind: 'stopped' });
const inMaintenance = (n: number): Change => {
  const maintenance = { drain: DRAIN, since: 1, reason: null };
  return { kind: 'host', id: host(n), value: hostRecord(n, { maintenance }) };
};
const otherOn = (n: number): TraceEntry =>
  commit({
    kind: 'vm',
    id: OTHER,
    value: vmRecord({ kind: 'running', incarnation: incarnation(1, n) }, { id: OTHER, name: 'other' }),
  });
/** Room for one VM. */
const smallHost = (n: number): TraceEntry => {
  const { memoryBytes } = vmRecord({ kind: 'stopped' }).spec;
  const capacity = { ...hostRecord(n).capacity, memoryBytes: memoryBytes * 1.5 };
  return commit({ kind: 'host', id: host(n), value: hostRecord(n, { capacity }) });
};
const DRAIN = parseDrainId('drain-000000000001');
/** A drain of h1 whose second move waits for its first; the first is of another VM, to h2. */
const draining = (first: DrainMove['state'], second: DrainMove['state']): TraceEntry => {
  const move = (id: number, state: DrainMove['state'], vmId: typeof VM, after: number[]): DrainMove => ({
    ...{ id, vm: vmId, name: `vm${id}`, from: host(1), to: host(2 + id), after, why: 'evacuate', memoryMib: 1 },
    ...{ durationMs: 1, pauseMs: 1, state, taskId: null, startedAt: null, endedAt: null, measuredPauseMs: null },
    ...{ failures: 0, note: null },
  });
  return commit({
    kind: 'drain',
    id: DRAIN,
    value: {
      ...{ id: DRAIN, hosts: [host(1)], state: 'running', who: 'ops', reason: null, change: null, parallel: 2 },
      ...{ taskId: task(1), stuck: null, deviations: [], createdAt: 0, endedAt: null },
      moves: [move(0, first, OTHER, []), move(1, second, VM, [0])],
    },
  });
};
const granted = (n: number, knownAt = 1): TraceEntry => ({
  at: Math.max(1, knownAt),
  kind: 'granted',
  node: node(1),
  vm: VM,
  generation: gen(n),
  knownAt,
});
const fenced = (n: number): TraceEntry => ({ at: 1, kind: 'fenced', node: node(1), vm: VM, below: gen(n) });
const removed = (n: number): TraceEntry => commit({ kind: 'host', id: host(n), value: null });
const cont = (n: number): TraceEntry => ({ at: 1, kind: 'cont', vm: VM, generation: gen(n), stale: false });
const status = (n: number, said: string): TraceEntry => ({
  at: 1,
  kind: 'status',
  vm: VM,
  generation: gen(n),
  status: said,
});
const onDisk = (kind: 'write' | 'acknowledged', n: number, sequence: number): TraceEntry => ({
  at: 1,
  kind,
  vm: VM,
  disk: diskRecord().id,
  generation: gen(n),
  sequence,
});
const write = (n: number): TraceEntry => onDisk('write', n, 1);
const booted = (n: number, found: number): TraceEntry => ({
  at: 1,
  kind: 'booted',
  vm: VM,
  disk: diskRecord().id,
  generation: gen(n),
  found,
});
const probe = (path: string, met: boolean | null): TraceEntry => ({
  at: 1,
  kind: 'probe',
  by: 'c1',
  host: host(1),
  path,
  met,
});
const path = (since: number | null): TraceEntry => ({
  at: 4_001,
  kind: 'path',
  from: 'c1',
  host: host(1),
  path: 'via s1',
  since,
});
const LOST: TraceEntry = { at: 4_001, kind: 'gives-up', by: 'c1', host: host(1) };
const DISK = commit({ kind: 'disk', id: diskRecord().id, value: diskRecord() });
const small = commit({
  kind: 'host',
  id: host(1),
  value: hostRecord(1, { capacity: { ...hostRecord(1).capacity, memoryBytes: 1 } }),
});
const member = (n: number, phase: VmPhase): TraceEntry => {
  const record = vmRecord(phase);
  const id = parseVmId(`vm-00000000000${n}`);
  return commit({ kind: 'vm', id, value: { ...record, id, spec: { ...record.spec, antiAffinity: 'db' } } });
};
const named = (n: number, name: string, address: string | null = null): TraceEntry => {
  const record = vmRecord({ kind: 'stopped' });
  const id = parseVmId(`vm-00000000000${n}`);
  const nics = [{ network: 'lan' as NetworkName, mac: `52:54:00:00:00:0${n}`, address }];
  return people(commit({ kind: 'vm', id, value: { ...record, id, name, spec: { ...record.spec, nics } } }));
};
const otherDisk = (port: number): Change => {
  const id = parseDiskId('disk-0000000000ff');
  return { kind: 'disk', id, value: { ...diskRecord(), id, port } };
};
const on = (h: number): VmPhase => ({ kind: 'running', incarnation: incarnation(1, h) });
const far = { source: incarnation(1, 3), destination: incarnation(2, 4) };
const clustered = (n: number, phase: VmPhase): TraceEntry => {
  const value = memberRecord(n, phase);
  return commit({ kind: 'vm', id: value.id, value });
};
const guestCluster = (): TraceEntry => {
  const value = guestClusterRecord([1, 2].map((n) => memberRecord(n, { kind: 'stopped' })));
  return commit({ kind: 'guest-cluster', id: value.name, value });
};
/** A guest cluster that declares a notice of 10 s. */
const declaring = (): TraceEntry => {
  const value = guestClusterRecord([memberRecord(1, { kind: 'stopped' })], { noticeMs: 10_000 });
  return commit({ kind: 'guest-cluster', id: value.name, value });
};
const told = (state: 'scheduled' | 'started', at: number, number = 1): TraceEntry => {
  const notice = { number, state, forMs: 10_000, givenAt: 0, ended: state === 'started' ? ('time' as const) : null };
  const value = memberRecord(1, state === 'started' ? MIGRATING : on(1), { notice });
  return { ...commit({ kind: 'vm', id: value.id, value }), at };
};
/** A member that was moved, and is generation 2 now. */
const awaited = (): TraceEntry => vm(running(2), { settling: { registered: [] } });
const isReady = (n: number): TraceEntry => ({ kind: 'ready', at: 0, vm: VM, generation: gen(n) });
const settledBy = (seenHealthy: VmRecord['seenHealthy'] & string): TraceEntry => vm(running(2), { seenHealthy });
const changesOf = (entry: TraceEntry): readonly Change[] => (entry.kind === 'commit' ? entry.changes : []);
const SHARED = commit({ kind: 'shared-disk', id: sharedDiskRecord().id, value: sharedDiskRecord() });
const sharing = (): TraceEntry => {
  const record = vmRecord(running(1));
  return vm(running(1), { spec: { ...record.spec, sharedDisks: [{ disk: sharedDiskRecord().id, lun: 0 }] } });
};
const GIVEN_UP = commit({
  kind: 'host',
  id: host(2),
  value: hostRecord(2, { quarantine: { since: 0, reason: 'lost' } }),
});
const launched = (drops: readonly string[]): TraceEntry => ({
  at: 2,
  kind: 'launched',
  host: host(1),
  vm: VM,
  generation: gen(2),
  drops,
});
const restarted: VmPhase = { kind: 'starting', incarnation: incarnation(2, 2), reason: 'crashed', avoid: [] };
const later = (entry: TraceEntry): TraceEntry => ({ ...entry, at: 10_000 });
const STARTED = [vm({ kind: 'stopped' }, { generation: 0 }), vm(running(1))];

/** Each rule with a trace that breaks it in its last entry and a trace, as similar as possible, that does not. */
/** A host that its drain left empty. */
const drained = (n: number) => {
  const maintenance = { drain: parseDrainId('drain-000000000001'), since: 0, reason: null, isEmpty: true } as const;
  return { kind: 'host', id: host(n), value: hostRecord(n, { maintenance }) } as const;
};

const TABLE: Readonly<
  Record<string, { readonly broken: readonly TraceEntry[]; readonly kept: readonly TraceEntry[] }>
> = {
  'G1-generations-grow': { broken: [...STARTED, vm(running(3))], kept: [...STARTED, vm(running(2))] },
  'G3-one-current': {
    broken: [...STARTED, vm(running(2)), vm(running(1), { generation: gen(2) })],
    kept: [...STARTED, vm(MIGRATING), vm(running(1), { generation: gen(2) })],
  },
  'G4-grants-admitted': {
    broken: [vm(running(1)), fenced(2), granted(1)],
    kept: [vm(running(1)), fenced(1), granted(1)],
  },
  'G5-cont-current-and-fenced': {
    broken: [DISK, vm(running(1)), cont(1)],
    kept: [DISK, vm(running(1)), fenced(1), cont(1)],
  },
  'G6-nothing-else-granted': {
    broken: [DISK, vm(MIGRATING), granted(2), vm(running(1), { generation: gen(2) })],
    kept: [
      DISK,
      vm(MIGRATING),
      granted(2),
      { at: 1, kind: 'revoked', node: node(1), vm: VM, generation: gen(2) },
      vm(running(1), { generation: gen(2) }),
    ],
  },
  'G10-removed-hosts-are-fenced': {
    broken: [DISK, vm(running(1)), granted(1), vm({ kind: 'stopped' }), removed(1)],
    kept: [DISK, vm(running(1)), granted(1), fenced(2), vm({ kind: 'stopped' }), removed(1)],
  },
  'M1-switch-when-both-paused': {
    broken: [vm(MIGRATING), status(1, 'running'), status(2, 'paused'), vm({ kind: 'switching', ...ends })],
    kept: [
      vm(MIGRATING),
      status(1, 'completed'),
      status(2, 'paused'),
      // By an order that was on its way for a long time.
      status(1, 'running'),
      vm({ kind: 'switching', ...ends }),
    ],
  },
  'M3-no-order-aborts-a-qemu': {
    broken: [vm(running(1)), status(1, 'paused'), status(1, 'aborted')],
    kept: [vm(running(1)), status(1, 'paused'), status(1, 'ended')],
  },
  'C1-hosts-have-room': {
    broken: [small, vm(running(1))],
    kept: [commit({ kind: 'host', id: host(1), value: hostRecord(1) }), vm(running(1))],
  },
  'C3-groups-stay-apart': {
    broken: [member(1, MIGRATING), member(2, { kind: 'running', incarnation: incarnation(1, 2) })],
    kept: [member(1, MIGRATING), member(2, { kind: 'running', incarnation: incarnation(1, 3) })],
  },
  'MN5-drained-is-empty': {
    broken: [commit(drained(2)), vm(running(1)), commit(drained(1))],
    kept: [commit(drained(2)), vm(running(1)), commit({ ...drained(1), value: hostRecord(1) })],
  },
  'MN2-none-into-maintenance': {
    broken: [vm(running(1)), commit(inMaintenance(2)), later(vm(MIGRATING))],
    kept: [vm(running(1)), commit(inMaintenance(2)), vm(MIGRATING)],
  },
  'MN3-drains-keep-their-plan': {
    broken: [draining('waiting', 'waiting'), draining('moving', 'moving')],
    kept: [draining('waiting', 'waiting'), draining('moving', 'waiting'), draining('moved', 'moving')],
  },
  'MN4-claims-kept': {
    broken: [smallHost(2), otherOn(1), stopped(), draining('waiting', 'gone'), later(vm(STARTING))],
    kept: [
      smallHost(2),
      otherOn(1),
      stopped(),
      draining('waiting', 'gone'),
      later(vm({ ...STARTING, reason: 'lost' })),
    ],
  },
  ...ROLL_TRACES,
  'GC1-members-stay-apart': {
    broken: [guestCluster(), clustered(1, on(1)), clustered(2, MIGRATING)],
    kept: [guestCluster(), clustered(1, on(3)), clustered(2, MIGRATING)],
  },
  'GC2-few-members-move': {
    broken: [guestCluster(), clustered(1, MIGRATING), clustered(2, on(3)), clustered(2, { ...MIGRATING, ...far })],
    kept: [guestCluster(), clustered(1, on(1)), clustered(2, on(3)), clustered(2, { ...MIGRATING, ...far })],
  },
  'GC10-notice-before-move': {
    broken: [declaring(), told('scheduled', 5_000), told('started', 8_000)],
    kept: [declaring(), told('scheduled', 5_000), told('started', 15_100)],
  },
  'GC14-ready-before-settled': {
    broken: [awaited(), isReady(1), settledBy('by-check')],
    kept: [awaited(), isReady(2), settledBy('by-check')],
  },
  'GC4-membership-agrees': {
    broken: [commit(...changesOf(guestCluster()), ...changesOf(clustered(1, on(1))))],
    kept: [commit(...changesOf(guestCluster()), ...changesOf(clustered(1, on(1))), ...changesOf(clustered(2, on(2))))],
  },
  'GC8-disks-outlive-their-users': {
    broken: [SHARED, sharing(), commit({ kind: 'shared-disk', id: sharedDiskRecord().id, value: null })],
    kept: [SHARED, sharing(), vm(running(1)), commit({ kind: 'shared-disk', id: sharedDiskRecord().id, value: null })],
  },
  'R1-names-once': {
    broken: [named(1, 'web'), named(2, 'web')],
    kept: [named(1, 'web'), named(2, 'db'), named(1, 'old'), named(2, 'web')],
  },
  'R2-ports-once': {
    broken: [DISK, commit(otherDisk(diskRecord().port))],
    kept: [DISK, commit({ kind: 'disk', id: diskRecord().id, value: null }, otherDisk(diskRecord().port))],
  },
  'R3-addresses-once': {
    broken: [named(1, 'web', '10.0.0.7'), named(2, 'db', '10.0.0.7')],
    kept: [named(1, 'web', '10.0.0.7'), named(1, 'web', '10.0.0.8'), named(2, 'db', '10.0.0.7')],
  },
  'E1-only-leaders-decide': {
    broken: [...STARTED, people(vm(running(2)))],
    kept: [...STARTED, people(vm(running(1), { intent: 'stopped' }))],
  },
  'T1-tasks-end-once': {
    broken: [commit(wish('failed')), commit(wish('running'))],
    kept: [commit(wish('running')), commit(wish('failed'))],
  },
  'T2-stops-last': {
    broken: [people(vm(running(1), { intent: 'stopped' })), vm(running(1))],
    kept: [people(vm(running(1), { intent: 'stopped' })), people(vm(running(1)))],
  },
  'T3-wishes-kept': {
    broken: [people(commit(wish('running'))), people(vm(running(1), { startTask: task(1) })), vm(running(1))],
    kept: [
      people(commit(wish('running'))),
      people(vm(running(1), { startTask: task(1) })),
      commit(wish('failed'), { kind: 'vm', id: VM, value: vmRecord(running(1)) }),
    ],
  },
  'T4-nothing-forgotten': {
    broken: [vm({ kind: 'stopped' }), commit({ kind: 'vm', id: VM, value: null })],
    kept: [people(vm({ kind: 'stopped' }, { deleting: true })), commit({ kind: 'vm', id: VM, value: null })],
  },
  'V3-what-runs-stays': {
    broken: [vm(running(1)), status(1, 'running'), later(vm(restarted))],
    kept: [vm(running(1)), status(1, 'running'), { ...status(1, 'ended'), at: 9_000 }, later(vm(restarted))],
  },
  'P1-lost-tunnels-dropped': {
    broken: [GIVEN_UP, vm(running(2)), launched([])],
    kept: [GIVEN_UP, vm(running(2)), launched(['10.2.0.2'])],
  },
  'V1-lost-when-unreached': {
    broken: [probe('direct', false), probe('via s1', true), LOST],
    kept: [probe('direct', false), probe('via s1', null), LOST],
  },
  'V2-lost-when-out-of-reach': {
    broken: [path(1), LOST],
    kept: [path(1), path(3), LOST],
  },
  'W1-writes-follow-generations': { broken: [write(1), write(2), write(1)], kept: [write(1), write(1), write(2)] },
  'W2-one-writer': { broken: [cont(1), write(1), cont(2), write(1)], kept: [cont(1), write(1), cont(2), write(2)] },
  'D1-acknowledged-writes-survive': {
    broken: [onDisk('acknowledged', 1, 1), onDisk('acknowledged', 1, 2), booted(2, 1)],
    kept: [onDisk('acknowledged', 1, 1), onDisk('acknowledged', 1, 2), booted(2, 2)],
  },
};

test('D1: memory that is older than the disk shows when it writes what was acknowledged before', () => {
  const judge = traceJudge();
  const trace = [cont(1), onDisk('acknowledged', 1, 2), cont(2), onDisk('write', 2, 2)];
  assert.deepEqual(
    trace.flatMap((entry) => judge(entry)).map(({ rule }) => rule),
    ['G5-cont-current-and-fenced', 'G5-cont-current-and-fenced', 'D1-acknowledged-writes-survive'],
  );
});

const timesBroken = (name: string, trace: readonly TraceEntry[]): number => {
  const judge = traceJudge();
  return trace.flatMap((entry) => judge(entry)).filter(({ rule }) => rule.startsWith(`${name}-`)).length;
};

test('G5: what is continued is fenced on the storage nodes of its shared disks as well', () => {
  const fencedAt = (n: number): TraceEntry => ({ at: 1, kind: 'fenced', node: node(n), vm: VM, below: gen(1) });
  assert.equal(timesBroken('G5', [DISK, SHARED, sharing(), fencedAt(1), cont(1)]), 1);
  assert.equal(timesBroken('G5', [DISK, SHARED, sharing(), fencedAt(1), fencedAt(2), cont(1)]), 0);
});

test('G6: a node that was granted a list without any disk of a VM serves it no more; anything else leaves a grant as it is', () => {
  const revoked: TraceEntry = { at: 1, kind: 'let-go', node: node(1), vm: VM };
  const brokenBy = (between: TraceEntry): number =>
    timesBroken('G6', [DISK, vm(MIGRATING), granted(2), between, vm(running(1), { generation: gen(2) })]);
  assert.equal(brokenBy(revoked), 0);
  assert.equal(brokenBy({ ...revoked, node: node(2) }), 1);
});

test('T4: a disk of a VM is forgotten like the VM itself', () => {
  const trace = [DISK, vm(running(1)), commit({ kind: 'disk', id: diskRecord().id, value: null })];
  assert.equal(timesBroken('T4', trace), 1);
});

test('T1: a task is deleted only after it ended', () => {
  const gone = commit({ kind: 'task', id: task(1), value: null });
  assert.equal(timesBroken('T1', [commit(wish('running')), gone]), 1);
  assert.equal(timesBroken('T1', [commit(wish('running')), commit(wish('failed')), gone]), 0);
});

test('T2: a drain that stopped a VM for its move starts it again once', () => {
  const stopped = people(vm(running(1), { intent: 'stopped' }));
  const runs = changesOf(vm(running(1)));
  const drain = (over: Partial<DrainMove>): readonly Change[] =>
    changesOf(draining('moved', 'moving')).map((change) =>
      change.kind === 'drain' && change.value !== null
        ? { ...change, value: { ...change.value, moves: change.value.moves.map((move) => ({ ...move, ...over })) } }
        : change,
    );
  const asked = drain({ remedy: 'stop' });
  const restart = drain({ remedy: 'stop', restarted: true });
  assert.equal(timesBroken('T2', [stopped, commit(...asked), commit(...runs, ...restart)]), 0);
  assert.equal(timesBroken('T2', [stopped, commit(...asked), commit(...runs, ...asked)]), 1);
  assert.equal(timesBroken('T2', [stopped, commit(...asked), commit(...runs, ...drain({ restarted: true }))]), 1);
  const again = [commit(...asked), commit(...runs, ...restart), stopped, commit(...runs, ...restart)];
  assert.equal(timesBroken('T2', [stopped, ...again]), 1);
});

test('V3: where its host is given up in the same transaction, or was before, a VM may be started anew while it runs', () => {
  const value = hostRecord(1, { quarantine: { since: 0, reason: 'lost' } });
  const givenUp: Change = { kind: 'host', id: host(1), value };
  const begun = [vm(running(1)), status(1, 'running')];
  assert.equal(timesBroken('V3', [...begun, later(commit(...changesOf(vm(restarted)), givenUp))]), 0);
  assert.equal(timesBroken('V3', [...begun, commit(givenUp), later(vm(restarted))]), 0);
  assert.equal(timesBroken('V3', [...begun, later(vm(restarted))]), 1);
});

test('every checker has a trace that breaks its rule', () => {
  assert.deepEqual(Object.keys(TABLE).sort(), Object.keys(CHECKERS).sort());
});

for (const [rule, { broken, kept }] of Object.entries(TABLE)) {
  test(`${rule}: notices a trace that breaks it, and no other`, () => {
    const rulesBroken = (trace: readonly TraceEntry[]): string[] => {
      const judge = traceJudge();
      return trace.flatMap((entry) => judge(entry)).flatMap((found) => (found.rule === rule ? [found.what] : []));
    };
    assert.equal(rulesBroken(broken).length, 1, rulesBroken(broken).join('; '));
    assert.deepEqual(rulesBroken(kept), []);
  });
}
