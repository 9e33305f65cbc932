/** For tests of who leads: control nodes over the simulated etcd, with the code of production, that campaign and commit. */
import assert from 'node:assert/strict';
import { parseTaskId, type TaskId } from '../../../base/ids.ts';
import { sleep } from '../../../base/sleep.ts';
import { noCrashPoint } from '../../../control/crash-point.ts';
import { leadForEver } from '../../../control/leadership.ts';
import { ClusterStore } from '../../../control/store/cluster-store.ts';
import { leaderStore } from '../../../control/store/leader-store.ts';
import type { ControllerPorts } from '../../../core/loop/controller.ts';
import { NO_IDENTITIES } from '../../../core/loop/testing/no-identities.ts';
import type { TaskRecord } from '../../../core/model/cluster.ts';
import { PREFIX } from '../../../core/model/keys.ts';
import { SILENT_GUESTS } from '../../../core/ports/testing/silent-guests.ts';
import type { Leadership } from '../../../etcd/election.ts';
import { SimMachine, type SimProcess } from '../../machines/sim-machine.ts';
import { SimClock } from '../../time/sim-clock.ts';
import { SimRandom } from '../../time/sim-random.ts';
import { SimEtcd } from '../sim-etcd.ts';
import { SimEtcdClient } from '../sim-etcd-client.ts';
import { PlainRoute } from './plain-network.ts';

export const MEMBERS = ['m1', 'm2', 'm3'];
export const TASK = parseTaskId('task-000000000001');
/** Nobody else writes this one: nothing but the guard keeps it out. */
export const OWN_TASK = parseTaskId('task-000000000002');
const COMMIT_EVERY_MS = 100;
/** A key that never changes: a commit that compares it compares nothing. */
export const ANYBODYS = 'anybodys';

const never = (): Promise<never> => Promise.reject(new Error('nothing is to be asked'));

/** Ports of a cluster without hosts. */
const PORTS: Omit<ControllerPorts, 'store' | 'lead' | 'clock' | 'log'> = {
  randomHex: (bytes) => 'ab'.repeat(bytes),
  files: { copy: () => ({ done: never(), cancel: () => undefined }), remove: never },
  hosts: { report: never, launch: never, kill: never, applyNetwork: never, probe: never },
  storage: {
    report: never,
    fence: never,
    grant: never,
    revoke: never,
    createDisk: never,
    deleteDisk: never,
    createSharedDisk: never,
    deleteSharedDisk: never,
    diskFacts: never,
  },
  guestAgents: SILENT_GUESTS,
  qmp: {
    observe: async () => ({ kind: 'unknown' }),
    cont: never,
    halt: never,
    reset: never,
    powerDown: never,
    quit: never,
    listen: never,
    send: never,
    allowPause: never,
    dirtyRate: never,
    blockFigures: never,
    machineFacts: never,
    activate: never,
    cancelSend: never,
    plug: never,
    unplug: never,
    sharedDisks: never,
    onEvent: () => undefined,
    certificateEndsAt: () => null,
    forget: () => undefined,
  },
  ...NO_IDENTITIES,
  paths: { list: () => [], probe: never },
  reach: { self: 'c1', peers: () => [], tryFrom: never },
  credentials: { issue: never, targetSecret: never },
  storageTlsName: (name) => name,
  crashPoint: noCrashPoint,
};

/** What the leader of a term wrote last: each time something else, by `startedAt`. */
function taskBy(
  node: string,
  { term, startedAt }: { readonly term: number; readonly startedAt: number },
  id: TaskId,
): TaskRecord {
  const target = { kind: 'vm', name: node } as const;
  const message = `${node} ${term}`;
  const [kind, state, progressPercent, endedAt] = ['test', 'running', null, null] as const;
  return { id, kind, target, state, progressPercent, message, startedAt, endedAt };
}

export interface Cluster {
  /** What each control node committed, in the order in which it was told so. */
  readonly commits: { readonly name: string; readonly term: number; readonly askedAt: number; readonly at: number }[];
  /** What a control node writes again and again while it leads. */
  taskOf: (name: string) => TaskId;
  /** A mistake: commits compare no election key. */
  comparesNothing: boolean;
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly etcd: SimEtcd;
}

/** The election key of a term; undefined once it is gone. */
function ownKey(etcd: SimEtcd, term: number) {
  return etcd.state.list(PREFIX.election).find(({ createRevision }) => createRevision === term);
}

export type Result = 'committed' | 'conflict' | 'deposed' | 'failed';

/** One control node: it campaigns, and while it leads it writes its term again and again. */
export class ControlNode {
  readonly name: string;
  readonly route: PlainRoute;
  readonly results: Result[] = [];
  readonly process: SimProcess;
  readonly #client: SimEtcdClient;
  readonly #store: ClusterStore;
  readonly #stop = new AbortController();
  readonly #ended: Promise<unknown>;
  #commits = 0;
  term: number | null = null;
  /** Commits in the term that it led last, ended or not. */
  commit: (id?: TaskId) => Promise<Result> = async () => 'failed';

  constructor(name: string, cluster: Cluster) {
    const { clock, random, etcd } = cluster;
    this.name = name;
    this.process = new SimMachine(name, clock).spawn('control');
    this.route = new PlainRoute(etcd, { clock, random, run: (action) => this.process.run(action) });
    this.#client = new SimEtcdClient({ etcd, route: this.route, clock: this.process, first: random.below(3) });
    this.#store = new ClusterStore(this.#client, (bytes) => random.hex(bytes));
    const { signal } = this.#stop;
    const log = { info: () => undefined, warn: () => undefined };
    const following = this.#store.follow({ signal, onReady: () => undefined });
    const campaigning = leadForEver({
      etcd: this.#client,
      store: this.#store,
      log,
      value: JSON.stringify({ name }),
      ports: { ...PORTS, clock: this.process, log },
      signal,
      onLead: (leading) => {
        this.term = leading?.term ?? null;
        if (leading === null) return;
        this.#work(cluster, leading.term);
      },
    });
    this.#ended = Promise.all([following, campaigning]);
    // As a server that ends by itself: whoever stops it hears why.
    this.#ended.catch(() => this.crash());
  }

  #committer({ clock, etcd, commits, comparesNothing }: Cluster, term: number): (id?: TaskId) => Promise<Result> {
    const own = ownKey(etcd, term);
    const anybodys = { key: ANYBODYS, createRevision: etcd.state.get(ANYBODYS)?.createRevision ?? 0 };
    const compare = comparesNothing ? anybodys : { key: own?.key ?? '', createRevision: term };
    const leadership: Leadership = {
      ...compare,
      compare,
      isValid: () => true,
      lost: Promise.resolve(),
      resign: async () => undefined,
    };
    const hand = leaderStore(this.#store, { ...leadership, epoch: 0 }, () => undefined);
    return async (id = TASK) => {
      const value = taskBy(this.name, { term, startedAt: ++this.#commits }, id);
      const askedAt = clock.monotonicMs();
      const commit = hand.commit({ changes: [{ kind: 'task', id, value }], events: [] });
      const result = await commit.catch((): Result => 'failed');
      this.results.push(result);
      if (result === 'committed') commits.push({ name: this.name, term, askedAt, at: clock.monotonicMs() });
      return result;
    };
  }

  #work(cluster: Cluster, term: number): void {
    this.commit = this.#committer(cluster, term);
    const next = (): void => {
      this.process.after(COMMIT_EVERY_MS, () => {
        if (this.term !== term) return;
        void this.commit(cluster.taskOf(this.name)).then((result) => {
          // A hand that does not know what became of a commit does nothing more: another one takes its place.
          const isLeading = result === 'deposed' && ownKey(cluster.etcd, term) !== undefined;
          if (isLeading) this.#work(cluster, term);
          else next();
        });
      });
    };
    next();
  }

  /** Dies without a word. */
  crash(): void {
    this.process.end();
    this.#client.crash();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopping'));
    await this.#ended;
    this.#client.close();
  }
}

export function makeCluster(seed: number): Cluster {
  const clock = new SimClock();
  const random = new SimRandom(seed);
  const etcd = new SimEtcd({ members: MEMBERS, clock, random });
  return { clock, random, etcd, commits: [], taskOf: () => TASK, comparesNothing: false };
}

export async function until(clock: SimClock, condition: () => boolean): Promise<void> {
  const endsAtMs = clock.monotonicMs() + 60_000;
  while (!condition()) {
    assert.ok(clock.monotonicMs() < endsAtMs, 'it did not come about within a minute');
    await sleep(clock, 10);
  }
}

export const leaderOf = (nodes: readonly ControlNode[]): ControlNode | undefined =>
  nodes.find(({ term, process }) => term !== null && process.isRunning);
