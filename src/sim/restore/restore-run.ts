/**
 * One run of the simulator in which every control node is lost and the cluster is restored from a snapshot, as `gp
 * cluster restore` does it, while hosts, storage nodes and guests run on; in some runs twice, from the same snapshot.
 * Anything may fail before, between and after. Nobody looks at what the cluster has forgotten: that is not held against
 * it, but everything else is, above all that no generation is given twice and nothing writes twice.
 */

import type { EpochRecord } from '../../core/model/cluster.ts';
import { ROOT } from '../../core/model/keys.ts';
import {
  beginEpoch,
  epochOfSnapshot,
  nextEpoch,
  type RestoreWrite,
  type ServedDisk,
  type SnapshotRecord,
} from '../../core/plan/restore/begin-epoch.ts';
import { adoptUnknown, deleteUnknown } from '../../core/request/unknown-vms.ts';
import type { KeyValue } from '../../etcd/records.ts';
import { SimCluster } from '../cluster.ts';
import { EtcdState } from '../etcd/etcd-state.ts';
import { Faults } from '../faults/faults.ts';
import { calmSwarm, DEEDS, drawSwarm, FAULTS, type Swarm } from '../faults/swarm.ts';
import { People } from '../people/people.ts';
import { begin, converge, type Outcome, readDisks } from '../run.ts';
import type { SimStorageNode } from '../storage/sim-storage-node.ts';
import { type Adopt, UnknownPeople } from './unknown-people.ts';

/** A mistake in restoring, made on purpose. */
export interface RestoreMistake {
  readonly name: string;
  readonly says: string;
  /** One of these must be broken. */
  readonly rules: readonly string[];
  /** The epoch that is begun, in place of one that nobody has heard of. */
  readonly epoch?: (snapshotEpoch: number) => number;
  /** What is written in place of what begins the epoch. */
  /** How an unknown VM is adopted, in place of the code of production. */
  readonly adopt?: Adopt;
  /** How one is deleted. */
  readonly remove?: typeof deleteUnknown;
  readonly writes?: (records: readonly SnapshotRecord[], epoch: EpochRecord) => readonly RestoreWrite[];
}

export interface RestoreRunOptions {
  readonly log?: (line: string) => void;
  readonly mistake?: RestoreMistake;
  /** Nothing fails, and the guests that ran must run on. */
  readonly isCalm?: boolean;
}

interface Snapshot {
  readonly records: readonly KeyValue[];
  readonly revision: number;
}

/** What people and faults would be told wrongly of, or what a restore refuses. */
const NOT_HERE: ReadonlySet<string> = new Set([
  ...['share', 'image', 'ask', 'cancel', 'members', 'bad-value', 'full-etcd'],
]);
/** Of a hundred unknown VMs so many are adopted; the others are deleted. */
const ADOPT_PERCENT = 60;
/** Everything that is unknown is adopted by then, where nothing fails. */
const ADOPTED_MS = 60_000;
/** What storage nodes are asked is answered by then, or not at all. */
const ASKED_MS = 200;
const WRITES_AT_ONCE = 64;
const EVENTS_MAX = 5_000_000;

/** Plays the run of one seed to its end. */
export async function runRestore(seed: number, options: RestoreRunOptions = {}): Promise<Outcome> {
  const swarm = options.isCalm === true ? { ...calmSwarm(seed, 6), troubleMs: 12_000 } : withoutSome(drawSwarm(seed));
  const cluster = new SimCluster({ swarm, log: options.log ?? null, bug: null });
  const { clock } = cluster;
  const random = cluster.random.fork('restore');
  const people = new People(cluster);
  const faults = new Faults(cluster, () => people.act('create'));
  const isOver = (): boolean => clock.events > EVENTS_MAX;
  const stuck = await begin(cluster, people, isOver);
  const end = clock.monotonicMs() + swarm.troubleMs;
  again(cluster, end, people, faults);
  const at = (share: number): number => clock.monotonicMs() + random.between(0, share * swarm.troubleMs);
  await clock.run(at(0.3), isOver);
  const snapshot: Snapshot = { records: cluster.etcd.state.list(ROOT), revision: cluster.etcd.state.revision };
  cluster.say(() => `-- snapshot at revision ${snapshot.revision}`);
  if (options.isCalm === true) {
    // What people begin is over when everything is lost.
    for (const deed of ['migrate', 'create', 'migrate', 'power-off'] as const)
      clock.after(random.between(0, 1_000), () => people.act(deed));
    await clock.run(clock.monotonicMs() + 8_000, isOver);
  } else await clock.run(at(0.5), isOver);
  const ran = options.isCalm === true ? runningNow(cluster, snapshot) : [];
  const unknown = new UnknownPeople(cluster, {
    adopt: options.mistake?.adopt ?? adoptUnknown,
    remove: options.mistake?.remove ?? deleteUnknown,
    adoptPercent: options.isCalm === true ? 100 : ADOPT_PERCENT,
  });
  for (let times = random.chance(30) ? 2 : 1; times > 0; times--) {
    await restore(cluster, snapshot, options.mistake);
    if (times === 1) unknown.start();
    if (times > 1) await clock.run(clock.monotonicMs() + random.between(2_000, 15_000), isOver);
  }
  await clock.run(Math.max(end, clock.monotonicMs() + 5_000), isOver);
  if (options.isCalm === true) await clock.run(clock.monotonicMs() + ADOPTED_MS, isOver);
  unknown.stop();
  faults.repair();
  stuck.push(...(await converge(cluster, people, isOver)));
  readDisks(cluster);
  if (options.isCalm === true && options.mistake === undefined)
    for (const { vm } of cluster.controller?.unknown.list() ?? [])
      cluster.accuse('A2-unknown-is-adopted', `${vm} is still known to no record`);
  for (const what of stuck) cluster.accuse('L1-converges', what);
  for (const { key, process } of ran)
    if (!process.isAlive)
      cluster.accuse('A1-what-ran-runs-on', `${key} ran when the cluster was restored, and was ended`);
  return { seed, violations: cluster.violations, simulatedMs: cluster.now, events: clock.events };
}

/** QEMUs whose guests run and are the current ones of VMs that the snapshot knows; nothing moves. */
function runningNow(
  cluster: SimCluster,
  { records }: Snapshot,
): readonly { key: string; process: { isAlive: boolean } }[] {
  const known = new Set(records.map(({ key }) => key));
  return [...cluster.qemus].filter(({ order, status }) => {
    const phase = cluster.truth.tables.vm.get(order.vm)?.phase;
    const isCurrent = phase?.kind === 'running' && phase.incarnation.generation === order.generation;
    return isCurrent && status === 'running' && known.has(`${ROOT}vm/${order.vm}`);
  });
}

/** As `gp cluster restore`: the snapshot, and the writes that begin an epoch, before anybody reads it. */
async function restore(cluster: SimCluster, snapshot: Snapshot, mistake: RestoreMistake | undefined): Promise<void> {
  const { records } = snapshot;
  cluster.loseControl();
  const heard = [...cluster.storage.values()].map(({ epoch }) => epoch);
  const before = epochOfSnapshot(records);
  const record: EpochRecord = {
    number: mistake?.epoch?.(before) ?? nextEpoch(before, heard),
    id: cluster.random.fork(`epoch ${cluster.now}`).hex(8),
    restoredAt: cluster.clock.wallMs(),
    snapshotRevision: snapshot.revision,
  };
  const served: ServedDisk[] = [];
  for (const node of cluster.storage.values()) void servedBy(node).then((disks) => served.push(...disks));
  await cluster.clock.run(cluster.now + ASKED_MS);
  const state = new EtcdState(snapshot);
  const writes = mistake?.writes?.(records, record) ?? beginEpoch(records, record, served).writes;
  for (let from = 0; from < writes.length; from += WRITES_AT_ONCE)
    state.txn({
      compare: [],
      success: writes
        .slice(from, from + WRITES_AT_ONCE)
        .map(({ key, value }) => (value === null ? { delete: key } : { put: key, value })),
    });
  cluster.restore(state);
}

/** What a storage node serves: as its service says, or where that does not run, its daemons. */
async function servedBy(node: SimStorageNode): Promise<readonly ServedDisk[]> {
  const running = node.daemons().map(({ identity: { disk, port } }) => ({ node: node.name, disk, port }));
  const report = await node.orders?.report().catch(() => undefined);
  const said = (report?.disks ?? []).flatMap(({ disk, port }) =>
    port === undefined ? [] : [{ node: node.name, disk, port }],
  );
  return [...said, ...running.filter(({ disk }) => !said.some((one) => one.disk === disk))];
}

function again(cluster: SimCluster, end: number, people: People, faults: Faults): void {
  const { clock, swarm } = cluster;
  const every = (name: string, meanMs: number | undefined, act: () => void): void => {
    if (meanMs === undefined) return;
    const random = cluster.random.fork(`when ${name}`);
    const next = (): void => {
      clock.after(random.wait(meanMs), () => {
        if (clock.monotonicMs() >= end) return;
        act();
        next();
      });
    };
    next();
  };
  for (const name of FAULTS) every(name, swarm.faults.get(name), () => faults.begin(name));
  for (const name of DEEDS) every(name, swarm.deeds.get(name), () => people.act(name));
}

function withoutSome(swarm: Swarm): Swarm {
  const kept = <Name extends string>(of: ReadonlyMap<Name, number>): ReadonlyMap<Name, number> =>
    new Map([...of].filter(([name]) => !NOT_HERE.has(name)));
  return { ...swarm, hasSharedDisks: false, faults: kept(swarm.faults), deeds: kept(swarm.deeds) };
}
