import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Generation, parseVmId } from '../../../base/ids.ts';
import type { HostObservation, IncarnationObservation } from '../../model/observation.ts';
import type { VmPhase, VmRecord } from '../../model/vm.ts';
import {
  brief,
  decided,
  GONE,
  gens,
  MIGRATING,
  qmp,
  type Row,
  SENT,
  STOP,
  SWITCHING,
  stopping,
} from '../testing/decision-table.ts';
import {
  acknowledged,
  answers,
  clusterOf,
  diskRecord,
  host,
  hostRecord,
  incarnation,
  LOST,
  NOW,
  seenHost,
  situation,
  task,
  vmRecord,
} from '../testing/sample-records.ts';
import { type Decision, type DiskPath, inPhase, type VmSituation } from './decision.ts';
import type { Acknowledged, StepFailure } from './steps.ts';
import { decide } from './vm-decision.ts';

const STARTING: VmPhase = { kind: 'starting', incarnation: incarnation(1), reason: 'requested', avoid: [] };
const RUNNING: VmPhase = { kind: 'running', incarnation: incarnation(1) };
const FENCED: Partial<Acknowledged> = { fencedBelow: 1, granted: gens(1), launched: gens(1) };
const agentless = (status: string) =>
  ({ process: 'unknown', qmp: answers(status), host: seenHost(1, { agent: 'silent' }) }) as const;

function STOP_ACPI(): Partial<VmRecord> {
  return { intent: 'stopped', stopRequest: { mode: 'acpi', patienceMs: 5_000, taskId: task(9) } };
}

const ROWS: readonly Row[] = [
  ['stopped as wanted: nothing', { kind: 'stopped' }, { intent: 'stopped' }, {}, {}, 'wait'],
  [
    'G1 stopped, wanted: the next generation',
    { kind: 'stopped' },
    { generation: 4 as Generation },
    {},
    {},
    '→ starting 5',
  ],
  ['T2 stopped, a stop again: answered, not started', { kind: 'stopped' }, STOP, {}, {}, '→ stopped 1, 9 succeeded'],
  [
    'stopped, deleting: its disks first',
    { kind: 'stopped' },
    { intent: 'stopped', deleting: true },
    {},
    {},
    'delete-disk',
  ],
  ['G5 starting: fence first', STARTING, {}, {}, {}, 'fence below 1'],
  ['G4 starting: grant after the fence', STARTING, {}, {}, { fencedBelow: 1 }, 'grant 1'],
  ['starting: launch after the grant', STARTING, {}, {}, { fencedBelow: 1, granted: gens(1) }, 'launch 1'],
  [
    'V3 starting: the leader before launched it, and its agent has died since: it runs (found by the simulator, seed 101566)',
    STARTING,
    {},
    { 1: agentless('running') },
    { fencedBelow: 1, granted: gens(1) },
    '→ running 1',
  ],
  [
    'starting: the leader before launched it and did not continue it',
    STARTING,
    {},
    { 1: agentless('prelaunch') },
    { fencedBelow: 1, granted: gens(1) },
    'cont 1',
  ],
  [
    'G5 starting, paused, nothing known to a new leader: fence before cont',
    STARTING,
    {},
    { 1: qmp('prelaunch') },
    {},
    'fence below 1',
  ],
  ['starting: cont when all is acknowledged', STARTING, {}, { 1: qmp('prelaunch') }, FENCED, 'cont 1'],
  [
    'starting suspended: not continued',
    STARTING,
    { intent: 'suspended' },
    { 1: qmp('prelaunch') },
    FENCED,
    '→ running 1',
  ],
  [
    'T1 starting, running: its task ends',
    STARTING,
    { startTask: task(3) },
    { 1: qmp('running') },
    FENCED,
    '→ running 1, 3 succeeded',
  ],
  ['starting, crashed: again', STARTING, {}, { 1: GONE }, FENCED, '→ starting 2'],
  ['V1 starting, host lost: elsewhere, quarantined', STARTING, {}, { 1: LOST }, FENCED, '→ starting 2, quarantine h1'],
  ['T2 starting, to be stopped: no step of the start', STARTING, STOP, {}, {}, '→ stopping 1'],
  ['running: nothing', RUNNING, {}, { 1: qmp('running') }, {}, 'wait'],
  ['running, agentless: nothing', RUNNING, {}, { 1: agentless('running') }, {}, 'wait'],
  ['running, crashed: the next generation', RUNNING, {}, { 1: GONE }, {}, '→ starting 2'],
  [
    'T1 running, crashed: a reset that waits has failed',
    RUNNING,
    { resetRequest: { taskId: task(4) } },
    { 1: GONE },
    {},
    '→ starting 2, 4 failed',
  ],
  [
    'running, lost: elsewhere, quarantined in the same transaction',
    RUNNING,
    {},
    { 1: LOST },
    {},
    '→ starting 2, quarantine h1',
  ],
  ['T2 running, lost, to be stopped: stopped', RUNNING, STOP, { 1: LOST }, {}, '→ stopping 1'],
  ['running, shut down from inside: ends', RUNNING, {}, { 1: qmp('shutdown') }, {}, '→ stopping 1'],
  ['running, panicked: the next generation', RUNNING, {}, { 1: qmp('guest-panicked') }, {}, '→ starting 2'],
  [
    'running, paused by a disk error, storage there: continued',
    RUNNING,
    {},
    { 1: qmp('io-error') },
    { granted: gens(1) },
    'cont 1',
  ],
  [
    'running, paused by a disk error, nothing known of its grant: granted first (found by the simulator, seed 31796)',
    RUNNING,
    {},
    { 1: qmp('io-error') },
    {},
    'grant 1',
  ],
  ['running, suspended: halted', RUNNING, { intent: 'suspended' }, { 1: qmp('running') }, {}, 'halt 1'],
  [
    'running, at the end of a stream that nobody wants any more: it is ended, since QEMU would refuse to continue',
    RUNNING,
    {},
    { 1: qmp('finish-migrate') },
    {},
    'cancel-send',
  ],
  ['M2 running after an undone migration: the source goes on', RUNNING, {}, { 1: qmp('postmigrate') }, {}, 'cont 1'],
  [
    'running, reset asked for: carried out',
    RUNNING,
    { resetRequest: { taskId: task(4) } },
    { 1: qmp('running') },
    {},
    'reset 1',
  ],
  [
    'T1 a reset of another task is not this one',
    RUNNING,
    { resetRequest: { taskId: task(4) } },
    { 1: qmp('running') },
    { reset: task(3) },
    'reset 1',
  ],
  [
    'T1 running, reset carried out: its task ends',
    RUNNING,
    { resetRequest: { taskId: task(4) } },
    { 1: qmp('running') },
    { reset: task(4) },
    '→ running 1, 4 succeeded',
  ],
  [
    'running, migration asked for',
    RUNNING,
    { migrationRequest: { to: null, taskId: task(5) } },
    { 1: qmp('running') },
    {},
    '→ migrating 2',
  ],
  [
    'running, paused where a move was undone at its very end: QEMU does not send it again, and its owner is told',
    RUNNING,
    { intent: 'suspended', migrationRequest: { to: null, taskId: task(5) } },
    { 1: qmp('postmigrate') },
    {},
    '→ running 1, 5 failed',
  ],
  [
    'running, to be paused: halted',
    RUNNING,
    { intent: 'suspended', pauseTask: task(6) },
    { 1: qmp('running') },
    {},
    'halt 1',
  ],
  [
    'T1 … and its owner is told when it stands still',
    RUNNING,
    { intent: 'suspended', pauseTask: task(6) },
    { 1: qmp('paused') },
    {},
    '→ running 1, 6 succeeded',
  ],
  [
    'running, to be paused, paused by a disk error: it is not continued',
    RUNNING,
    { intent: 'suspended' },
    { 1: qmp('io-error') },
    {},
    'wait',
  ],
  [
    'T1 running, resumed: its owner is told when it runs',
    RUNNING,
    { pauseTask: task(6) },
    { 1: qmp('running') },
    {},
    '→ running 1, 6 succeeded',
  ],
  ['stopping by its guest: the power button', stopping('acpi'), STOP_ACPI(), { 1: qmp('running') }, {}, 'power-down 1'],
  [
    'stopping by its guest: one that a move which was undone has left standing goes on first',
    stopping('acpi'),
    STOP_ACPI(),
    { 1: qmp('postmigrate') },
    {},
    'cont 1',
  ],
  [
    'stopping by its guest: waits for it',
    stopping('acpi'),
    STOP_ACPI(),
    { 1: qmp('running') },
    { poweredDown: new Map([[incarnation(1).generation, NOW - 1_900]]) },
    'wait',
  ],
  [
    'stopping by its guest: one that does not end may not have listened, and the button is pressed again',
    stopping('acpi'),
    STOP_ACPI(),
    { 1: qmp('running') },
    { poweredDown: new Map([[incarnation(1).generation, NOW - 2_000]]) },
    'power-down 1',
  ],
  [
    'G4 stopping, guest ended: admits nothing before the fence',
    stopping('acpi'),
    STOP_ACPI(),
    { 1: qmp('shutdown') },
    {},
    '→ stopping 1',
  ],
  ['stopping: ended by its agent', stopping('hard'), STOP, { 1: qmp('running') }, {}, 'end 1 by agent'],
  [
    'stopping on an agentless host: ended by QMP',
    stopping('hard'),
    STOP,
    { 1: agentless('running') },
    {},
    'end 1 by qmp',
  ],
  [
    'G6 stopping, ended: fenced before it is stopped',
    stopping('hard'),
    STOP,
    { 1: GONE },
    { ended: gens(1) },
    'fence below 2',
  ],
  ['G6 stopping, lost: the fence is what ends it', stopping('hard'), STOP, { 1: LOST }, {}, 'fence below 2'],
  [
    'T1 stopping, fenced: stopped',
    stopping('hard'),
    STOP,
    { 1: GONE },
    { ended: gens(1), fencedBelow: 2 },
    '→ stopped 1, 9 succeeded',
  ],
  [
    'T1 stopping with wishes: each is told',
    stopping('hard'),
    { ...STOP, startTask: task(3), resetRequest: { taskId: task(4) } },
    { 1: GONE },
    { fencedBelow: 2 },
    '→ stopped 1, 9 succeeded, 4 failed, 3 failed',
  ],
  [
    'T3 stopping, started again meanwhile: that wish stays',
    stopping('hard'),
    { ...STOP, intent: 'running', startTask: task(3) },
    { 1: GONE },
    { fencedBelow: 2 },
    '→ stopped 1, 9 succeeded',
  ],
  [
    'running, and it waits for a stream: launched by an order that came late, it is started again',
    RUNNING,
    {},
    { 1: qmp('inmigrate') },
    {},
    '→ starting 2',
  ],
];

for (const row of ROWS) test(row[0], () => assert.equal(decided(row), row.at(-1)));

test('C3 a VM that no host is left for waits and says whom it stays apart from', () => {
  const grouped = (vm: ReturnType<typeof vmRecord>) => ({ ...vm, spec: { ...vm.spec, antiAffinity: 'db' } });
  const vm = grouped(vmRecord({ kind: 'stopped' }, { generation: 0 }));
  const id = parseVmId('vm-0000000000ff');
  const other = { ...grouped(vmRecord({ kind: 'running', incarnation: incarnation(1, 1) })), id, name: 'db2' };
  const cluster = clusterOf({ vms: [vm, other], hosts: [{ record: hostRecord(1), seen: seenHost(1) }] });
  const decision = decide(situation(vm, {}, { cluster }));
  assert.match(decision.kind === 'wait' ? decision.why : '', /No host can take web. h1: it has db2 of .*group db/);
});

test('a stopped VM that is deleted and has no disks leaves no record', () => {
  const vm = vmRecord({ kind: 'stopped' }, { intent: 'stopped', deleting: true });
  assert.equal(decide(situation(vm, {}, { disks: [] })).kind, 'remove');
});

test('a disk that does not exist yet is made before anything is started', () => {
  const disks = [diskRecord({ phase: 'creating' })];
  assert.equal(brief(decide(situation(vmRecord({ kind: 'stopped' }), {}, { disks }))), 'create-disk');
});

test('a migration is refused only by a leader that has asked every host', () => {
  const vm = vmRecord(RUNNING, { migrationRequest: { to: null, taskId: task(5) } });
  const given = situation(vm, { 1: qmp('running') });
  const hosts = (agent: 'unknown' | 'silent'): VmSituation['cluster'] =>
    clusterOf({
      vms: [vm],
      hosts: [1, 2, 3].map((n) => ({ record: hostRecord(n), seen: seenHost(n, n === 1 ? {} : { agent }) })),
    });
  assert.equal(brief(decide({ ...given, cluster: hosts('unknown') })), 'wait');
  assert.equal(brief(decide({ ...given, cluster: hosts('silent') })), '→ running 1, 5 failed');
});

function cutFromFirst(given: VmSituation): VmSituation['cluster'] {
  const nodes = given.disks.map((disk) => disk.node);
  return {
    ...given.cluster,
    storageCutFrom: (name) => (name === host(1) ? nodes : []),
    hostsWithStorageCut: () => [host(1)],
  };
}

test('a guest that only its own host keeps from its storage is restarted elsewhere after a while, a cluster-wide failure is waited out', () => {
  const vm = vmRecord(RUNNING, { phaseSince: NOW - 10_000 });
  const given = situation(vm, { 1: qmp('io-error') });
  const [s1] = given.disks.map((disk) => disk.node);
  const erredSince = (since: number, continuedAt: number | null = null): VmSituation['acknowledged'] => ({
    ...given.acknowledged,
    granted: gens(1),
    diskError: { since, continuedAt },
  });
  const cutFrom = (...hosts: number[]): Decision =>
    decide({
      ...given,
      acknowledged: erredSince(NOW - 4_000),
      cluster: {
        ...given.cluster,
        storageCutFrom: (name) => (hosts.map(host).includes(name) && s1 !== undefined ? [s1] : []),
        hostsWithStorageCut: () => hosts.map(host),
      },
    });
  assert.equal(brief(cutFrom(1)), '→ starting 2');
  assert.equal(brief(cutFrom(1, 2, 3)), 'wait');
  // If all other hosts are quarantined, the reason names the guest's path to its disk, not a lack of room.
  const quarantine = { since: 0, reason: 'lost with another' };
  const hosts = [1, 2, 3].map((n) => ({ record: hostRecord(n, n === 1 ? {} : { quarantine }), seen: seenHost(n) }));
  const alone = cutFromFirst({ ...given, cluster: clusterOf({ vms: [vm], hosts }) });
  const waits = decide({ ...given, acknowledged: erredSince(NOW - 4_000), cluster: alone });
  assert.match(waits.kind === 'wait' ? waits.why : '', /paused by a disk error: h1 cannot reach s1/);
  // A pool that is full is named, between the times that the guest is continued.
  const report = { totalBytes: 2 ** 30, freeBytes: 0 };
  const full = { ...given.cluster, pool: () => ({ report, level: 'full' as const }) };
  const acknowledged = erredSince(NOW - 9_000, NOW - 1_000);
  const held = decide({ ...given, acknowledged, cluster: full });
  assert.match(held.kind === 'wait' ? held.why : '', /the pool of storage node s1 is full \(0 MiB of 1024 MiB free\)/);
  // Its own host is never taken again for lack of another: that would only lose the guest's memory.
  assert.equal(brief(cutFrom(1, 2)), '→ starting 2');
  assert.equal(brief(decide({ ...given, acknowledged: erredSince(NOW), cluster: cutFromFirst(given) })), 'wait');
  // A fault that affects every host leads to repeated attempts, but not endless ones.
  assert.equal(brief(decide({ ...given, acknowledged: erredSince(NOW - 9_000) })), 'cont 1');
  assert.equal(brief(decide({ ...given, acknowledged: erredSince(NOW - 9_000, NOW - 1_000) })), 'wait');
  assert.equal(brief(decide({ ...given, cluster: { ...given.cluster, storageAnswers: () => false } })), 'wait');
});

test('what decides is whether the disks’ own ports take connections from the host, not whether another port answers', () => {
  const vm = vmRecord(RUNNING, { phaseSince: NOW - 10_000 });
  const given = situation(vm, { 1: qmp('io-error') });
  const erred = { ...given.acknowledged, diskError: { since: NOW - 4_000, continuedAt: NOW - 3_000 } };
  const paths = (byHost: Readonly<Record<number, DiskPath>>, more: Partial<VmSituation> = {}): Decision =>
    decide({
      ...given,
      acknowledged: erred,
      diskPath: (name) => byHost[Number(name.slice(1))] ?? 'unknown',
      ...more,
    });
  // Its storage node reaches every host at another port, and the guest was continued in vain.
  assert.equal(brief(paths({ 1: 'closed', 3: 'open' })), '→ starting 2');
  const moved = paths({ 1: 'closed', 3: 'open' });
  assert.equal(
    moved.kind === 'commit' && moved.vm.phase.kind === 'starting' ? moved.vm.phase.incarnation.host : '',
    host(3),
  );
  assert.match(
    moved.kind === 'commit' ? moved.event.message : '',
    /h1 gets no connection to its disks on s1, and h3 would/,
  );
  // The disk error has just begun; no agent can connect; an old agent gives no result.
  const young = { ...given.acknowledged, diskError: { since: NOW - 1_000, continuedAt: null } };
  assert.equal(brief(paths({ 1: 'closed', 3: 'open' }, { acknowledged: young })), 'wait');
  const granted = { ...given.acknowledged, granted: gens(1) };
  const late = { ...granted, diskError: { since: NOW - 9_000, continuedAt: NOW - 6_000 } };
  for (const byHost of [{ 1: 'closed', 2: 'closed', 3: 'closed' }, {}, { 1: 'unknown', 3: 'open' }] as const)
    assert.equal(brief(paths(byHost, { acknowledged: late })), 'cont 1');
  // The disk is reached, though the storage node cannot reach the host at another port: the guest is continued where it
  // is.
  const cut = { ...cutFromFirst(given), hostsWithStorageCut: () => [host(1)] };
  assert.equal(brief(paths({ 1: 'open' }, { acknowledged: late, cluster: cut })), 'cont 1');
  // A VM that is never restarted waits for its own host.
  const never = { ...vm, spec: { ...vm.spec, restartPolicy: 'never' as const } };
  assert.equal(brief(paths({ 1: 'closed', 3: 'open' }, { vm: never })), 'wait');
  // A storage node that does not answer is waited for.
  const down = { ...given.cluster, storageAnswers: () => false };
  assert.equal(brief(paths({ 1: 'closed', 3: 'open' }, { cluster: down })), 'wait');
});

test('how long a phase lasts is measured by the leader that carries it out: records of a clock an hour ahead or behind change nothing', () => {
  const lasting = { acknowledged: acknowledged({ poweredDown: new Map([[incarnation(1).generation, NOW]]), ...SENT }) };
  const fenced = { acknowledged: acknowledged({ fencedBelow: 2 }) };
  for (const phaseSince of [NOW - 3_600_000, NOW, NOW + 3_600_000]) {
    const decideAfter = (phase: VmPhase, phaseForMs: number, seen: Parameters<typeof situation>[1]): string =>
      brief(decide(situation(vmRecord(phase, { phaseSince, ...STOP_ACPI() }), seen, { ...lasting, phaseForMs })));
    const stop = { ...stopping('acpi'), deadlineAt: phaseSince + 5_000 } as VmPhase;
    assert.equal(decideAfter(stop, 4_900, { 1: qmp('running') }), 'wait');
    assert.equal(decideAfter(stop, 5_000, { 1: qmp('running') }), '→ stopping 1');
    const migrating = (phaseForMs: number): Decision => {
      const vm = vmRecord({ ...MIGRATING, deadlineAt: phaseSince + 60_000 } as VmPhase, { phaseSince });
      return decide(situation(vm, { 1: qmp('running'), 2: qmp('inmigrate') }, { ...lasting, phaseForMs }));
    };
    assert.equal(brief(migrating(59_000)), 'wait');
    assert.equal(brief(migrating(60_000)), '→ unwinding 2');
    const doubted = (phaseForMs: number): Decision =>
      decide(situation(vmRecord(SWITCHING, { phaseSince }), { 1: {}, 2: qmp('paused') }, { ...fenced, phaseForMs }));
    assert.equal(brief(doubted(4_000)), 'wait');
    assert.equal(brief(doubted(5_000)), '→ starting 3, 1 failed');
  }
});

/** A start on host 1 whose QEMU was not launched, and the host's agent has been silent for that long. */
function silentStart(silentMs: number, known: Partial<Acknowledged>, hosts: readonly number[] = [1, 2]): Decision {
  const vm = vmRecord(STARTING);
  const agent = (n: number): HostObservation =>
    n === 1 ? seenHost(1, { agent: 'silent', agentAgeMs: silentMs }) : seenHost(n);
  const cluster = clusterOf({ vms: [vm], hosts: hosts.map((n) => ({ record: hostRecord(n), seen: agent(n) })) });
  const seen = { 1: { process: 'unknown', host: agent(1) } } as const;
  const ledger = acknowledged({ fencedBelow: 1, granted: gens(1), ...known });
  return decide(situation(vm, seen, { cluster, acknowledged: ledger, phaseForMs: silentMs }));
}

test('a start whose agent is silent goes elsewhere after a while, where its guest cannot have run and another host has room', () => {
  const begun = { neverContinued: new Map([[incarnation(1).generation, null]]) };
  assert.equal(brief(silentStart(4_000, begun)), 'wait');
  const next = silentStart(5_000, begun);
  assert.equal(brief(next), '→ starting 2');
  const phase = next.kind === 'commit' ? next.vm.phase : null;
  assert.deepEqual(phase?.kind === 'starting' ? [phase.incarnation.host, phase.reason] : null, ['h2', 'launch-failed']);
  // Another leader may have told it to run: this is unknown before QMP answers, or before its kernel says that no
  // process is there.
  assert.equal(brief(silentStart(60_000, {})), 'wait');
  assert.equal(brief(silentStart(60_000, begun, [1])), 'wait');
});

test('a QEMU whose launch was waited for in vain is not continued while another host can take it: its agent may end it yet', () => {
  const late = (hosts: readonly number[], known: Partial<Acknowledged>): string => {
    const vm = vmRecord(STARTING);
    const silent = seenHost(1, { agent: 'silent', agentAgeMs: 6_000 });
    const cluster = clusterOf({
      vms: [vm],
      hosts: hosts.map((n) => ({ record: hostRecord(n), seen: n === 1 ? silent : seenHost(n) })),
    });
    const step = { do: 'launch', incarnation: incarnation(1), incoming: false } as const;
    const failure = { step, message: 'silence', code: 'deadline', at: NOW - 600, count: 1, host: host(1) } as const;
    const ledger = acknowledged({ fencedBelow: 1, granted: gens(1), failure, ...known });
    const seen = { 1: { process: 'unknown', qmp: answers('prelaunch'), host: silent } } as const;
    return brief(decide(situation(vm, seen, { cluster, acknowledged: ledger, phaseForMs: 6_000 })));
  };
  const begun = { neverContinued: new Map([[incarnation(1).generation, null]]) };
  assert.equal(late([1, 2], begun), '→ starting 2');
  assert.equal(late([1], begun), 'cont 1', 'it is better than nothing');
  assert.equal(late([1, 2], {}), 'cont 1', 'the leader before may have told it to run');
});

test('a QEMU that was launched, never told to run and does not answer is left for another host; one that was told to run is not', () => {
  const vm = vmRecord(STARTING);
  const mute = { 1: { qmp: { kind: 'mute', via: 'direct', ageMs: 0 } } } as const;
  const after = (ms: number, isKnown: boolean): string => {
    const neverContinued = isKnown ? new Map([[incarnation(1).generation, NOW - ms]]) : new Map();
    return brief(decide(situation(vm, mute, { acknowledged: acknowledged({ ...FENCED, neverContinued }) })));
  };
  assert.deepEqual([after(9_900, true), after(10_000, true), after(60_000, false)], ['wait', '→ starting 2', 'wait']);
});

test('a process that does not end is fenced all the same', () => {
  const resisted = { resisted: gens(1) };
  const row = (known: Partial<Acknowledged>): Row => ['', stopping('hard'), STOP, { 1: qmp('running') }, known, ''];
  assert.equal(decided(row({})), 'end 1 by agent');
  assert.equal(decided(row(resisted)), 'fence below 2');
  assert.equal(decided(row({ ...resisted, fencedBelow: 2 })), '→ stopped 1, 9 succeeded');
});

test('V2 a stop whose process did not end says so, and gives up no host that is there', () => {
  const stopped = (known: Partial<Acknowledged>, seen: Partial<IncarnationObservation> = qmp('running')) => {
    const vm = vmRecord(stopping('hard'), STOP);
    const decision = decide(situation(vm, { 1: seen }, { acknowledged: acknowledged({ fencedBelow: 2, ...known }) }));
    assert.equal(decision.kind, 'commit');
    return [decision.event.message, decision.quarantine?.host ?? null];
  };
  const [message, host1] = stopped({ resisted: gens(1) });
  assert.match(message ?? '', /disks are cut off.*process on h1 did not end/);
  assert.equal(host1, null);
  assert.deepEqual(stopped({ ended: gens(1) }), ['web is stopped.', null]);
  assert.deepEqual(stopped({}, GONE), ['web is stopped.', null]);
  // Nobody reaches it, and its host is lost: every other host drops its tunnel.
  assert.deepEqual(stopped({}, LOST), ['web is stopped.', 'h1']);
  // Its agent is silent and its QEMU does not answer, on a host that is up.
  const mute = { ...LOST, host: seenHost(1, { agent: 'silent' }) };
  assert.match(stopped({}, mute)[0] ?? '', /did not end/);
});

test('a launch whose deadline passed is tried on another host at once where its guest cannot have run, and again where there is none', () => {
  const late = (hosts: readonly number[], known: Partial<Acknowledged>, more: Partial<StepFailure> = {}): string => {
    const vm = vmRecord(STARTING);
    const cluster = clusterOf({ vms: [vm], hosts: hosts.map((n) => ({ record: hostRecord(n), seen: seenHost(n) })) });
    const step = { do: 'launch', incarnation: incarnation(1), incoming: false } as const;
    const failure = { step, message: 'no answer', code: 'deadline', at: NOW - 1_000, count: 1, host: host(1) } as const;
    const ledger = acknowledged({ fencedBelow: 1, granted: gens(1), failure: { ...failure, ...more }, ...known });
    return brief(decide(situation(vm, {}, { cluster, acknowledged: ledger })));
  };
  const begun = { neverContinued: new Map([[incarnation(1).generation, null]]) };
  assert.deepEqual([late([1, 2], begun), late([1], begun)], ['→ starting 2', 'launch 1']);
  // The leader before may have told it to run, however often the host is asked in vain; an answer proves that it does
  // not run.
  for (const code of ['deadline', 'unavailable', null] as const)
    assert.equal(late([1, 2], {}, { code, count: 5 }), 'launch 1', String(code));
  assert.equal(late([1, 2], {}, { code: 'failed', count: 2 }), '→ starting 2');
});

test('G10 a record names the hosts of earlier incarnations until a phase confirms that they are fenced', () => {
  const before = vmRecord({ kind: 'running', incarnation: incarnation(1) });
  const starting = (n: number, h: number): VmPhase => ({
    ...{ kind: 'starting', incarnation: incarnation(n, h), reason: 'lost', avoid: [] },
  });
  const first = inPhase(before, starting(2, 2), NOW);
  assert.deepEqual(first.unfenced, [host(1)]);
  const second = inPhase(first, starting(3, 3), NOW);
  assert.deepEqual(second.unfenced, [host(1), host(2)]);
  const stopping = { kind: 'stopping', incarnation: incarnation(3, 3), mode: 'hard', deadlineAt: 0 } as const;
  assert.deepEqual(inPhase(second, { ...stopping, reason: 'requested' }, NOW).unfenced, [host(1), host(2)]);
  for (const confirmed of [{ kind: 'stopped' }, { kind: 'running', incarnation: incarnation(3, 3) }] as const)
    assert.ok(!('unfenced' in inPhase(second, confirmed, NOW)));
  // Both ends of a migration are named for as long as it lasts; what is lost with both leaves both behind.
  const ends = { source: incarnation(1), destination: incarnation(2, 2), taskId: null };
  const migrating = inPhase(before, { kind: 'migrating', deadlineAt: 0, ...ends }, NOW);
  assert.ok(!('unfenced' in migrating));
  assert.deepEqual(inPhase(migrating, starting(3, 3), NOW).unfenced, [host(1), host(2)]);
});
