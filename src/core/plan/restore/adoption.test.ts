import assert from 'node:assert/strict';
import { test } from 'node:test';
import { floorOfEpoch } from '../../../base/epoch.ts';
import type { Generation } from '../../../base/ids.ts';
import type { VmPhase, VmRecord } from '../../model/vm.ts';
import { diskRecord, host, incarnation, NOW, node, task, vmRecord } from '../testing/sample-records.ts';
import { type Adoption, type AdoptionSituation, decideAdoption, type SeenDisk } from './adoption.ts';

const FLOOR = floorOfEpoch(1) as Generation;
const restored = (phase: VmPhase, more: Partial<VmRecord> = {}): VmRecord =>
  vmRecord(phase, { generation: FLOOR, restored: 1, ...more });

function situation(
  vm: VmRecord,
  grants: readonly number[],
  more: Partial<AdoptionSituation> & { readonly state?: SeenDisk['state'] } = {},
): AdoptionSituation {
  const record = diskRecord();
  const seen: SeenDisk = {
    disk: record.id,
    node: record.node,
    state: more.state ?? 'there',
    grants: grants as readonly Generation[],
  };
  return {
    vm,
    disks: [{ record, seen }],
    unheardShared: [],
    processes: [],
    unheardHosts: [],
    silentHosts: [],
    now: NOW,
    ...more,
  };
}

const onHost = (generation: number, h: number, slot = 3) => ({
  generation: generation as Generation,
  host: host(h),
  slot,
});

function settled(adoption: Adoption): Extract<Adoption, { kind: 'settle' }> {
  assert.ok(adoption.kind === 'settle', JSON.stringify(adoption));
  return adoption;
}

test('G8 what storage serves and a host reports is adopted where it is, whatever the record says', () => {
  const vm = restored({ kind: 'running', incarnation: incarnation(5, 1) });
  const { commit, fenceBelow, revoke } = settled(decideAdoption(situation(vm, [7], { processes: [onHost(7, 2)] })));
  assert.deepEqual(commit.vm.phase, { kind: 'running', incarnation: { generation: 7, host: 'h2', slot: 3 } });
  assert.deepEqual([commit.vm.generation, commit.vm.restored, fenceBelow, revoke], [FLOOR, undefined, 7, []]);
});

test('G8 of two that are served the lower one is adopted, and the other one revoked: it was never continued', () => {
  const vm = restored({ kind: 'stopped' });
  const processes = [onHost(8, 2), onHost(7, 1)];
  const { commit, fenceBelow, revoke } = settled(decideAdoption(situation(vm, [8, 7], { processes })));
  assert.deepEqual([commit.vm.phase.kind, fenceBelow, revoke], ['running', 7, [8]]);
  assert.equal(commit.vm.intent, 'running', 'it was started after the snapshot');
});

test('G8 what storage does not serve is never adopted, although its process is there: all of it is fenced', () => {
  const vm = restored({ kind: 'running', incarnation: incarnation(5, 1) });
  const { commit, fenceBelow } = settled(decideAdoption(situation(vm, [], { processes: [onHost(5, 1)] })));
  assert.deepEqual([commit.vm.phase.kind, fenceBelow, commit.vm.intent], ['stopped', FLOOR + 1, vm.intent]);
});

test('G8 nothing is decided before each storage node of the VM follows the epoch', () => {
  const vm = restored({ kind: 'running', incarnation: incarnation(5, 1) });
  assert.equal(decideAdoption(situation(vm, [], { state: 'unheard' })).kind, 'wait');
  assert.equal(decideAdoption(situation(vm, [5], { unheardShared: [node(2)] })).kind, 'wait');
});

test('G8 while a host is not heard, what is served may run there; what the record puts there is adopted', () => {
  const vm = restored({ kind: 'running', incarnation: incarnation(5, 1) });
  assert.equal(decideAdoption(situation(vm, [6], { unheardHosts: [host(1)] })).kind, 'wait');
  const recorded = settled(decideAdoption(situation(vm, [5], { unheardHosts: [host(1)] })));
  assert.deepEqual(recorded.commit.vm.phase, vm.phase);
  const silent = { unheardHosts: [host(1)], silentHosts: [host(1)] };
  assert.equal(settled(decideAdoption(situation(vm, [6], silent))).commit.vm.phase.kind, 'stopped');
});

test('G8 a host that claims what another one runs ends nothing: the record decides, or nobody is believed', () => {
  const claims = { processes: [onHost(5, 2), onHost(5, 1, 4)] };
  const known = restored({ kind: 'running', incarnation: incarnation(5, 1) });
  const { commit } = settled(decideAdoption(situation(known, [5], claims)));
  assert.deepEqual(commit.vm.phase, { kind: 'running', incarnation: { generation: 5, host: 'h1', slot: 4 } });
  const unknown = decideAdoption(situation(restored({ kind: 'stopped' }), [5], claims));
  assert.ok(unknown.kind === 'wait' && /h1|h2/.test(unknown.why), JSON.stringify(unknown));
  // The host in the record is not heard from, and another host says that it has the VM.
  const away = { processes: [onHost(5, 2)], unheardHosts: [host(1)] };
  assert.deepEqual(settled(decideAdoption(situation(known, [5], away))).commit.vm.phase, known.phase);
});

test('G8 without a disk to tell by, a newer generation that one host claims does not end what another one runs', () => {
  const disks: AdoptionSituation['disks'] = [];
  const known = restored({ kind: 'running', incarnation: incarnation(5, 1) });
  const claims = { disks, processes: [onHost(9, 2), onHost(5, 1)] };
  const { commit, fenceBelow } = settled(decideAdoption(situation(known, [], claims)));
  assert.deepEqual([commit.vm.phase.kind, fenceBelow], ['running', 5]);
  assert.equal(decideAdoption(situation(restored({ kind: 'stopped' }), [], claims)).kind, 'wait');
  const never = { disks, processes: [onHost(FLOOR + 7, 2), onHost(6, 1)] };
  const phase = { kind: 'running', incarnation: { generation: 6, host: 'h1', slot: 3 } };
  assert.deepEqual(settled(decideAdoption(situation(restored({ kind: 'stopped' }), [], never))).commit.vm.phase, phase);
  const unheard = { disks, unheardHosts: [host(1)] };
  assert.equal(decideAdoption(situation(known, [], unheard)).kind, 'wait');
});

test('a VM whose disk was deleted after the snapshot is not started, and says why', () => {
  const vm = restored({ kind: 'running', incarnation: incarnation(5, 1) }, { startTask: task(1) });
  const { commit, corrected } = settled(decideAdoption(situation(vm, [], { state: 'missing' })));
  assert.equal(commit.vm.intent, 'stopped');
  assert.deepEqual(
    corrected.map(({ missing }) => missing),
    [true],
  );
  assert.deepEqual(
    commit.tasks?.map(({ id, state }) => [id, state]),
    [[task(1), 'failed']],
  );
  assert.match(commit.event.message, /was deleted after the snapshot/);
});

test('a disk that was made after the snapshot is not made again', () => {
  const vm = restored({ kind: 'stopped' });
  const plain = situation(vm, [7], { processes: [onHost(7, 1)] });
  const disks = plain.disks.map(({ record, seen }) => ({ record: { ...record, phase: 'creating' as const }, seen }));
  assert.deepEqual(
    settled(decideAdoption({ ...plain, disks })).corrected.map(({ phase }) => phase),
    ['ready'],
  );
});
