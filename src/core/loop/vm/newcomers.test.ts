import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseVmId, type VmId } from '../../../base/ids.ts';
import type { EventRecord } from '../../model/cluster.ts';
import { ClusterIndex, footprintBytes } from '../../model/cluster-index.ts';
import { expectedIncarnations, type Incarnation, type VmPhase, type VmRecord } from '../../model/vm.ts';
import { place } from '../../plan/placement/placement.ts';
import { host, hostRecord, incarnation, seenHost, vmRecord } from '../../plan/testing/sample-records.ts';
import type { Change, Commit, LeaderStore } from '../../ports/store.ts';
import { type Draft, Newcomers, type Outcome } from './newcomers.ts';

const VMS = 60;
const vmId = (n: number): VmId => parseVmId(`vm-${n.toString(16).padStart(12, '0')}`);
const stopped = (n: number): VmRecord => vmRecord({ kind: 'stopped' }, { id: vmId(n), name: `vm${n}`, generation: 0 });

/**
 * Two hosts with room for `perHost` VMs each, and a store that answers with `answer` and then shows the leader the
 * commits.
 */
function cluster(perHost: number, answer: (commit: Commit) => 'committed' | 'conflict' = () => 'committed') {
  const index = new ClusterIndex();
  const memoryBytes = perHost * footprintBytes(stopped(1));
  for (const n of [1, 2])
    index.setHost(host(n), hostRecord(n, { capacity: { ...hostRecord(n).capacity, memoryBytes } }));
  for (let n = 1; n <= VMS; n++) index.setVm(vmId(n), stopped(n));
  const commits: Commit[] = [];
  const commit: LeaderStore['commit'] = async (asked) => {
    for (const id of vmsOf(asked))
      assert.equal(index.vm(id)?.phase.kind, 'stopped', 'nothing is shown before it is committed');
    commits.push(asked);
    await new Promise<void>((resolve) => void setImmediate(resolve));
    const result = answer(asked);
    if (result === 'committed')
      for (const { kind, id, value } of asked.changes) if (kind === 'vm') index.setVm(id, value);
    return result;
  };
  return { index, commits, newcomers: new Newcomers({ commit } as LeaderStore, index) };
}

const vmsOf = ({ changes }: Commit): VmId[] => changes.flatMap(({ kind, id }) => (kind === 'vm' ? [id] : []));
const sizes = (commits: readonly Commit[]): number[] => commits.map((each) => vmsOf(each).length);

const starting = (there: Incarnation): VmPhase => ({
  kind: 'starting',
  incarnation: there,
  reason: 'requested',
  avoid: [],
});

/** A start of VM `n` if the index has room; 1000 if it has none. */
function start(index: ClusterIndex, n: number, more: readonly Change[] = []): Draft | Outcome {
  const before = index.vm(vmId(n));
  if (before === null) return null;
  const placed = place({
    vm: before,
    index,
    seeHost: () => seenHost(1),
    exclude: [],
    only: null,
    isOver: true,
  });
  if (placed.kind === 'nowhere') return 1_000;
  const there = { ...incarnation(1), host: placed.host, slot: placed.slot };
  const after: VmRecord = { ...before, generation: there.generation, phase: starting(there) };
  return {
    before,
    after,
    changes: [{ kind: 'vm', id: vmId(n), value: after }, ...more],
    event: { message: `${n}` } as EventRecord,
    concluded: (result) => (result === 'committed' ? 'on' : 7),
  };
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test('newcomers that wait together share a transaction, and are given no room twice', async () => {
  const { index, commits, newcomers } = cluster(20);
  const outcomes = await Promise.all(range(1, 50).map((n) => newcomers.commit(() => start(index, n))));
  // The first one waits for no other; then as many as one transaction may hold.
  assert.deepEqual(sizes(commits), [1, 24, 15]);
  assert.deepEqual(
    commits.flatMap(({ events }) => events.map(({ message }) => message)),
    range(1, 40).map(String),
  );
  assert.deepEqual(outcomes, [...Array<Outcome>(40).fill('on'), ...Array<Outcome>(10).fill(1_000)]);
  const places = range(1, 40).flatMap((n) => expectedIncarnations(index.vm(vmId(n))?.phase ?? { kind: 'stopped' }));
  assert.equal(new Set(places.map(({ host: on, slot }) => `${on} ${slot}`)).size, 40);
  for (const n of [1, 2]) assert.equal(index.committedBytes(host(n)), 20 * footprintBytes(stopped(1)));
});

test('what conflicts is committed one by one, and decided anew; what waits behind shares again', async () => {
  let conflicts = 0;
  const { index, commits, newcomers } = cluster(30, (commit) => {
    if (!vmsOf(commit).includes(vmId(3))) return 'committed';
    // Somebody deleted it.
    index.setVm(vmId(3), null);
    return conflicts++ === 0 ? 'conflict' : 'committed';
  });
  const drafts: number[] = [];
  const asked = range(1, 40).map((n) => {
    return newcomers.commit(() => {
      drafts.push(n);
      return start(index, n);
    });
  });
  const outcomes = await Promise.all(asked);
  // One of the 24 that met the conflict was gone, so that one of those behind them is committed alone as well.
  assert.deepEqual(sizes(commits), [1, 24, ...Array<number>(24).fill(1), 15 - 1]);
  assert.deepEqual(
    outcomes.flatMap((outcome, i) => (outcome === 'on' ? [] : [i + 1, outcome])),
    [3, null],
  );
  assert.deepEqual(drafts, [1, ...range(2, 25), ...range(2, 40)]);
  assert.equal(conflicts, 1);
});

test('a conflict of one alone is its own to decide about, and a failure of the store is everybody’s', async () => {
  let answer: () => 'conflict' = () => 'conflict';
  const { index, newcomers } = cluster(30, () => answer());
  assert.equal(await newcomers.commit(() => start(index, 1)), 7);
  answer = () => {
    throw new Error('etcd is away');
  };
  const asked = range(1, 3).map((n) => newcomers.commit(() => start(index, n)));
  for (const each of asked) await assert.rejects(each, /etcd is away/);
  // A member whose decision throws fails alone.
  const bad = newcomers.commit(() => {
    throw new Error('a bug');
  });
  await assert.rejects(bad, /a bug/);
});

test('a key that several write is written once, and no transaction is larger than etcd takes', async () => {
  const { index, commits, newcomers } = cluster(30);
  const quarantine: Change = { kind: 'host', id: host(2), value: hostRecord(2) };
  await Promise.all(range(1, 3).map((n) => newcomers.commit(() => start(index, n, [quarantine]))));
  assert.deepEqual(sizes(commits), [1, 2]);
  assert.equal(commits[1]?.changes.filter(({ kind }) => kind === 'host').length, 1);
  const tasks = (n: number): Change[] =>
    range(1, 40).map((i) => ({ kind: 'task', id: `task-${n}-${i}` as never, value: null }));
  commits.length = 0;
  await Promise.all(range(11, 16).map((n) => newcomers.commit(() => start(index, n, tasks(n)))));
  assert.deepEqual(sizes(commits), [1, 2, 2, 1]);
  for (const { changes, events } of commits) assert.ok(changes.length + events.length <= 100);
});
