/** Control nodes over the simulated etcd, with the code of production: who leads, and whose commits count. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTaskId, type TaskId } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import { noCrashPoint } from '../../control/crash-point.ts';
import { leadForEver } from '../../control/leadership.ts';
import { ClusterStore } from '../../control/store/cluster-store.ts';
import { leaderStore } from '../../control/store/leader-store.ts';
import type { ControllerPorts } from '../../core/loop/controller.ts';
import { NO_IDENTITIES } from '../../core/loop/testing/no-identities.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import { SILENT_GUESTS } from '../../core/ports/testing/silent-guests.ts';
import type { Leadership } from '../../etcd/election.ts';
import { SimMachine, type SimProcess } from '../machines/sim-machine.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { SimEtcd } from './sim-etcd.ts';
import { SimEtcdClient } from './sim-etcd-client.ts';
import { drive } from './testing/drive.ts';
import { PlainRoute } from './testing/plain-network.ts';

const MEMBERS = ['m1', 'm2', 'm3'];
const TASK = parseTaskId('task-000000000001');
/** Nobody else writes this one: nothing but the guard keeps it out. */
const OWN_TASK = parseTaskId('task-000000000002');
const COMMIT_EVERY_MS = 100;

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

interface Cluster {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly etcd: SimEtcd;
}

type Result = 'committed' | 'conflict' | 'deposed' | 'failed';

/** One control node: it campaigns, and while it leads it writes its term again and again. */
class ControlNode {
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

  constructor(name: string, { clock, random, etcd }: Cluster) {
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
        this.commit = this.#committer(etcd, leading.term);
        this.#work(leading.term);
      },
    });
    this.#ended = Promise.all([following, campaigning]);
  }

  #committer(etcd: SimEtcd, term: number): (id?: TaskId) => Promise<Result> {
    const own = etcd.state.list(PREFIX.election).find(({ createRevision }) => createRevision === term);
    const compare = { key: own?.key ?? '', createRevision: term };
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
      const commit = hand.commit({ changes: [{ kind: 'task', id, value }], events: [] });
      const result = await commit.catch((): Result => 'failed');
      this.results.push(result);
      return result;
    };
  }

  #work(term: number): void {
    this.process.after(COMMIT_EVERY_MS, () => {
      if (this.term !== term) return;
      void this.commit().then(() => this.#work(term));
    });
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

function makeCluster(seed: number): Cluster {
  const clock = new SimClock();
  const random = new SimRandom(seed);
  return { clock, random, etcd: new SimEtcd({ members: MEMBERS, clock, random }) };
}

async function until(clock: SimClock, condition: () => boolean): Promise<void> {
  const endsAtMs = clock.monotonicMs() + 60_000;
  while (!condition()) {
    assert.ok(clock.monotonicMs() < endsAtMs, 'it did not come about within a minute');
    await sleep(clock, 10);
  }
}

const leaderOf = (nodes: readonly ControlNode[]): ControlNode | undefined =>
  nodes.find(({ term, process }) => term !== null && process.isRunning);

test('a leader frozen beyond its lease, then thawed: its commit is refused, and it learns that it was deposed', async () => {
  const cluster = makeCluster(3);
  const { clock, etcd } = cluster;
  await drive(clock, async () => {
    const nodes = ['c1', 'c2', 'c3'].map((name) => new ControlNode(name, cluster));
    await until(clock, () => leaderOf(nodes)?.results.includes('committed') === true);
    const old = leaderOf(nodes);
    assert.ok(old !== undefined);
    const oldTerm = old.term;
    const frozenMs = clock.monotonicMs();
    old.process.freezeFor(8_000);
    await until(clock, () => leaderOf(nodes)?.results.includes('committed') === true);
    const next = leaderOf(nodes);
    assert.ok(next !== undefined && next !== old && (next.term ?? 0) > (oldTerm ?? 0));
    assert.ok(clock.monotonicMs() - frozenMs < 4_000, 'the lease, and little more');
    await until(clock, () => old.process.isRunning);
    assert.equal(old.term, oldTerm, 'it still believes that it leads');
    const before = etcd.state.get(keyOf.task(TASK))?.modRevision ?? 0;
    assert.equal(await old.commit(OWN_TASK), 'deposed');
    assert.equal(await old.commit(), 'deposed');
    assert.equal(etcd.state.get(keyOf.task(OWN_TASK)), undefined);
    const writers = etcd.state.eventsFrom(before, keyOf.task(TASK)).map((event) => writerOf(event));
    assert.deepEqual([...new Set(writers)], [`${next.name} ${next.term}`]);
    await until(clock, () => old.term === null);
    await Promise.all(nodes.map((node) => node.stop()));
    assert.deepEqual(etcd.state.list(PREFIX.election), []);
  });
});

test('one that stops hands over at once; one that dies is replaced when its lease has run out', async () => {
  const cluster = makeCluster(4);
  const { clock } = cluster;
  await drive(clock, async () => {
    const nodes = ['c1', 'c2', 'c3'].map((name) => new ControlNode(name, cluster));
    await until(clock, () => leaderOf(nodes) !== undefined);
    const first = leaderOf(nodes);
    let sinceMs = clock.monotonicMs();
    await first?.stop();
    await until(clock, () => leaderOf(nodes) !== undefined);
    assert.ok(clock.monotonicMs() - sinceMs < 200);
    const second = leaderOf(nodes);
    sinceMs = clock.monotonicMs();
    second?.crash();
    await until(clock, () => leaderOf(nodes) !== undefined);
    const tookMs = clock.monotonicMs() - sinceMs;
    assert.ok(tookMs > 1_000 && tookMs < 3_500, `${tookMs} ms`);
    await leaderOf(nodes)?.stop();
  });
});

type Event = ReturnType<SimEtcd['state']['eventsFrom']>[number];
const writerOf = (event: Event): string =>
  event.type === 'put' ? (JSON.parse(event.kv.value) as TaskRecord).message : '';

/** One run of freezes, crashes, lost answers and dying members; the results of all commits. */
async function chaos(seed: number): Promise<{ readonly results: Result[]; readonly history: Event[] }> {
  const cluster = makeCluster(seed);
  const { clock, random, etcd } = cluster;
  const everyone: ControlNode[] = [];
  const begin = (name: string): ControlNode => {
    const node = new ControlNode(name, cluster);
    everyone.push(node);
    return node;
  };
  await drive(clock, async () => {
    const nodes = ['c1', 'c2', 'c3'].map(begin);
    for (let i = 0; i < 12; i += 1) {
      await sleep(clock, random.below(4_000));
      const at = random.below(nodes.length);
      const node = (random.chance(60) ? leaderOf(nodes) : nodes[at]) ?? nodes[at];
      if (node === undefined) continue;
      const member = random.pick(MEMBERS);
      const what = random.below(4);
      if (what === 0) node.process.freezeFor(random.below(6_000));
      if (what === 1) {
        node.crash();
        nodes[nodes.indexOf(node)] = begin(node.name);
      }
      if (what === 2) etcd.crash(member);
      if (what === 3) node.route.frozen = random.chance(50) ? 'answers' : 'all';
      await sleep(clock, random.below(3_000));
      etcd.restart(member);
      node.route.frozen = 'no';
    }
    const sinceRevision = etcd.state.revision;
    await until(clock, () => (etcd.state.get(keyOf.task(TASK))?.modRevision ?? 0) > sinceRevision + 3);
    await Promise.all(nodes.map((node) => node.stop()));
  });
  return { results: everyone.flatMap(({ results }) => results), history: etcd.state.eventsFrom(1, '/gp/') };
}

/** Each commit was made while its term's election key was there, and no term writes after a later one. */
function assertOrderly(history: readonly Event[]): void {
  const keys = new Map<string, number>();
  const writers = new Map<string, string>();
  let latest = 0;
  let value = '';
  for (const event of history) {
    if (event.key.startsWith(PREFIX.election)) {
      if (event.type === 'put') keys.set(event.key, event.kv.createRevision);
      else keys.delete(event.key);
    } else if (event.key === keyOf.task(TASK)) {
      // A leader that overtakes a late transaction writes again what is there.
      if (event.type === 'put' && event.kv.value === value) continue;
      value = event.type === 'put' ? event.kv.value : '';
      const [writer = '', term = ''] = writerOf(event).split(' ');
      assert.ok(
        [...keys.values()].includes(Number(term)),
        `${writer} wrote at ${event.modRevision} after its term ${term}`,
      );
      assert.ok(Number(term) >= latest, `term ${term} after term ${latest}`);
      assert.equal(writers.get(term) ?? writer, writer);
      writers.set(term, writer);
      latest = Number(term);
    }
  }
}

test('whatever freezes, dies and is lost: terms commit one after the other, and somebody leads in the end', async () => {
  const counts: Record<Result, number> = { committed: 0, conflict: 0, deposed: 0, failed: 0 };
  for (let seed = 1; seed <= 20; seed += 1) {
    const { results, history } = await chaos(seed);
    assertOrderly(history);
    for (const result of results) counts[result] += 1;
  }
  assert.ok(counts.committed > 1_000 && counts.deposed > 0 && counts.failed === 0, JSON.stringify(counts));
});

test('the same seed gives the same history', async () => {
  assert.deepEqual((await chaos(2)).history, (await chaos(2)).history);
});
