/**
 * A real cluster for tests of maintenance: VMs that write to memory and disk all the time, guest clusters among them,
 * and what such tests ask of it. Guarantees: a story begins without faults and without maintenance, whatever the one
 * before it left; what happens in `judged` is held against the limits, event by event (event-limits.ts); a wait has a
 * deadline and says what was seen last.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Drain } from '../../src/api/maintenance-views.ts';
import type { Event, Host, Vm } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { EXIT } from '../../src/cli/exit-codes.ts';
import type { ApiClient } from '../../src/client/client.ts';
import type { RunResult } from '../../src/os/child-process.ts';
import { until } from '../acceptance/case.ts';
import { assertHolds, StoryCluster } from '../stories/story-cluster.ts';
import { assertLimits, assertUndisturbed, type Told } from './event-limits.ts';

/** A drain on a machine that is busy with other things. */
export const DRAIN_MS = 300_000;
/** Moves at once from and to one host, as drains have them. */
const PARALLEL = 2;
/** Enough for an hour of a sequence. */
const DISK = '32M';

/** What `gp` says of a request that nobody took: it changed nothing. */
const NOT_TAKEN = /Nothing was changed|no answer to the connection attempt/;

export interface BusyShape {
  readonly hosts: number;
  readonly controlNodes: 1 | 3;
  readonly vms: number;
  /** Numbers of the VMs that are members, from 1. Each bears one disturbed member. */
  readonly guestClusters: Readonly<Record<string, readonly number[]>>;
}

export interface JudgedOptions {
  /** Hosts that `act` kills, filled while it runs. */
  readonly killed?: readonly string[];
}

export interface Judged extends Told {
  /** Oldest first. */
  readonly events: readonly Event[];
}

/** The stories of a test file, which share one cluster and run in order. */
export function storiesOn(shape: BusyShape): (name: string, run: (busy: BusyCluster) => Promise<void>) => void {
  let shared: BusyCluster | undefined;
  before(async () => {
    shared = await BusyCluster.start(shape);
  });
  after(() => shared?.end());
  return (name, run) => {
    test(name, () => present(shared, 'cluster').tell(run));
  };
}

export class BusyCluster {
  readonly cluster: StoryCluster;
  readonly hosts: readonly string[];
  readonly vms: readonly string[];
  readonly guestClusters: Readonly<Record<string, readonly string[]>>;
  readonly #ids = new Map<string, string>();

  private constructor(cluster: StoryCluster, { hosts, vms, guestClusters }: BusyShape) {
    const numbered = (letter: string, count: number): string[] =>
      Array.from({ length: count }, (_, index) => `${letter}${index + 1}`);
    this.cluster = cluster;
    this.hosts = numbered('h', hosts);
    this.vms = numbered('m', vms);
    this.guestClusters = Object.fromEntries(
      Object.entries(guestClusters).map(([name, members]) => [name, members.map((number) => `m${number}`)]),
    );
  }

  /** Starts it, with every VM at work. */
  static async start(shape: BusyShape): Promise<BusyCluster> {
    const { hosts, controlNodes } = shape;
    const busy = new BusyCluster(await StoryCluster.start({ hosts, controlNodes, storageNodes: 1 }), shape);
    try {
      await busy.#fill();
      return busy;
    } catch (error) {
      await busy.end();
      throw error;
    }
  }

  async end(): Promise<void> {
    await this.cluster.end();
  }

  async #fill(): Promise<void> {
    const work = ['--image', 'tiny', '--memory', '96M', '--disk', DISK, '--append', 'gp.workload=sequence gp.dirty=4'];
    for (const name of this.vms) await this.gp(['vm', 'create', name, ...work]);
    for (const [name, members] of Object.entries(this.guestClusters))
      await this.gp(['guest-cluster', 'create', name, '--members', members.join(',')]);
    await this.settled();
  }

  /**
   * Runs `gp` and demands that it succeeds. What nobody took, because nobody leads or accepts connections at that moment,
   * is asked again: on a machine that is busy with other things the lead may pass on at any time.
   */
  async gp(words: readonly string[]): Promise<RunResult> {
    let said = '';
    const look = async (): Promise<RunResult | undefined> => {
      const ran = await this.cluster.gp(words);
      said = `gp ${words.join(' ')}: exit code ${ran.exitCode}\n${ran.stdout}\n${ran.stderr}`;
      if (ran.exitCode === EXIT.unreachable && NOT_TAKEN.test(ran.stderr)) return undefined;
      assert.equal(ran.exitCode, EXIT.ok, said);
      return ran;
    };
    return until('somebody leads', look, { deadlineMs: DRAIN_MS, seen: () => said });
  }

  /** What `gp … -o json` prints. */
  async json<T>(words: readonly string[]): Promise<T> {
    const { stdout } = await this.gp([...words, '-o', 'json']);
    return JSON.parse(stdout) as T;
  }

  /** Waits until every VM runs; answers on which hosts. */
  async settled(): Promise<ReadonlyMap<string, string>> {
    let last: readonly Vm[] = [];
    const look = async (): Promise<readonly Vm[] | undefined> => {
      last = (await this.cluster.observe((client) => client.list('/v1/vms'))) ?? [];
      last = last.filter(({ name }) => this.vms.includes(name));
      const isWhole = last.length === this.vms.length && last.every(({ verdict }) => verdict === 'running');
      return isWhole ? last : undefined;
    };
    const seen = (): unknown => last.map(({ name, verdict, host }) => `${name} ${verdict} ${host}`);
    const all = await until('every VM runs', look, { deadlineMs: DRAIN_MS, seen });
    for (const { name, id } of all) this.#ids.set(name, id);
    return new Map(all.map(({ name, host }) => [name, present(host, `the host of ${name}`)]));
  }

  async hostOf(name: string): Promise<Host> {
    const found = (await this.json<readonly Host[]>(['host', 'list'])).find((host) => host.name === name);
    return present(found, name);
  }

  async leader(): Promise<string> {
    return until('somebody leads', async () => {
      const nodes = await this.cluster.observe((client) => client.list('/v1/control-nodes'));
      return nodes?.find(({ leader, state }) => leader && state === 'alive')?.name;
    });
  }

  /** A host with at least `count` VMs. */
  async busyHost(count: number): Promise<string> {
    const at = [...(await this.settled()).values()];
    const found = this.hosts.find((host) => at.filter((each) => each === host).length >= count);
    return found ?? assert.fail(`no host has ${count} VMs: ${at.join()}`);
  }

  /** Begins to drain a host. */
  begin(host: string, words: readonly string[] = []): Promise<Drain> {
    return this.json<Drain>(['host', 'drain', host, '--no-wait', ...words]);
  }

  drain(id: string): Promise<Drain> {
    return this.json<Drain>(['maintenance', 'show', id]);
  }

  /** Waits for the end of a drain, also while no control node answers. */
  async ended(id: string): Promise<Drain> {
    let last: Drain | undefined;
    const look = async (): Promise<Drain | undefined> => {
      last = (await this.cluster.observe((client) => drainOf(client, id))) ?? last;
      return last === undefined || last.endedAt === null ? undefined : last;
    };
    return until(`${id} ends`, look, { deadlineMs: DRAIN_MS, seen: () => last });
  }

  /** Waits until so many moves of a drain are made; answers it as it is then. */
  async moved(id: string, count: number): Promise<Drain> {
    let last: Drain | undefined;
    const look = async (): Promise<Drain | undefined> => {
      last = await this.drain(id);
      return last.moved >= count ? last : undefined;
    };
    return until(`${count} moves of ${id} are made`, look, { deadlineMs: DRAIN_MS, seen: () => last });
  }

  async drained(id: string): Promise<Drain> {
    const drain = await this.ended(id);
    assert.equal(drain.state, 'drained', JSON.stringify(drain));
    for (const host of drain.hosts) assert.deepEqual((await this.hostOf(host)).vms, []);
    return drain;
  }

  /** How far the sequence of each VM has come, as its serial console says: no control node is asked. */
  reached(): ReadonlyMap<string, number> {
    const { serial } = this.cluster;
    serial.look();
    return new Map([...this.#ids].map(([name, id]) => [name, serial.acknowledged(id)]));
  }

  /** Waits until every sequence has gone on since `reached` was asked. */
  async goOn(since: ReadonlyMap<string, number>): Promise<void> {
    let still: readonly string[] = [];
    const look = (): true | undefined => {
      const now = this.reached();
      still = [...since].flatMap(([name, before]) => ((now.get(name) ?? 0) > before ? [] : [`${name} at ${before}`]));
      return still.length === 0 ? true : undefined;
    };
    await until('every sequence goes on', look, { deadlineMs: DRAIN_MS, seen: () => still });
  }

  /**
   * Runs `act` and judges every event of it: limits were kept at every instant, nothing began anew but the VMs of hosts
   * that were killed on purpose, and every guest has gone on with its work.
   */
  async judged(act: () => Promise<void>, { killed = [] }: JudgedOptions = {}): Promise<Judged> {
    const before = await this.settled();
    await this.goOn(new Map(this.vms.map((name) => [name, 0])));
    const reached = this.reached();
    const from = await this.#asked('the newest event', () => this.cluster.newestEvent());
    await act();
    const after = await this.settled();
    const events = await this.#asked('the events', () => this.cluster.eventsAfter(from));
    const told = assertLimits(events, { parallel: PARALLEL, guestClusters: this.guestClusters, before, killed });
    assertUndisturbed(
      events,
      this.vms.filter((name) => !told.lost.has(name)),
    );
    const broken = events.filter(({ kind }) => kind === 'rule-broken').map(({ message }) => message);
    assert.deepEqual(broken, [], 'the cluster itself found no rule broken');
    for (const [name, host] of after) assert.equal(told.at.get(name), host, `${name} is where its events say`);
    await this.goOn(reached);
    return { events, arrived: told.arrived, lost: told.lost, at: told.at };
  }

  /** Asks the API until it answers. */
  #asked<T>(what: string, ask: () => Promise<T>): Promise<T> {
    return until(`${what} is told`, () => this.cluster.observe(ask), { deadlineMs: DRAIN_MS });
  }

  /** Tells a story, which begins without faults and without maintenance. A failure says what the cluster says. */
  tell(run: (busy: BusyCluster) => Promise<void>): Promise<void> {
    return assertHolds(this.cluster, async () => {
      await this.#calm();
      await run(this);
    });
  }

  async #calm(): Promise<void> {
    await this.cluster.lab('restore');
    let left: readonly string[] | undefined;
    const look = async (): Promise<true | undefined> => {
      left = await this.cluster.observe((client) => this.#endMaintenance(client));
      return left?.length === 0 ? true : undefined;
    };
    await until('no maintenance is left', look, { deadlineMs: DRAIN_MS, seen: () => left });
    await this.settled();
  }

  /** Ends what is under way; says what still has to be waited for. */
  async #endMaintenance(client: ApiClient): Promise<readonly string[]> {
    const [rolls, drains, hosts, controls] = await Promise.all([
      client.list('/v1/rolls'),
      client.list('/v1/drains'),
      client.list('/v1/hosts'),
      client.list('/v1/control-nodes'),
    ]);
    const undo: string[][] = [
      ...rolls.filter(({ endedAt, state }) => endedAt === null && state !== 'aborting').map(({ id }) => ['abort', id]),
      ...drains.filter(({ state }) => state === 'running' || state === 'paused').map(({ id }) => ['cancel', id]),
    ].map((words) => ['maintenance', ...words]);
    undo.push(
      ...hosts.filter(({ maintenance }) => maintenance !== null).map(({ name }) => ['host', 'undrain', name]),
      ...hosts.filter(({ cordoned }) => cordoned).map(({ name }) => ['host', 'uncordon', name]),
      ...controls.filter(({ maintenance }) => maintenance !== null).map(({ name }) => ['control', 'undrain', name]),
    );
    // A refusal is no failure: what comes first must end first, and the next look tries again.
    for (const words of undo) await this.cluster.gp(words);
    return [
      ...undo.map((words) => words.join(' ')),
      ...rolls.filter(({ endedAt }) => endedAt === null).map(({ id }) => id),
      ...drains.filter(({ endedAt }) => endedAt === null).map(({ id }) => id),
      ...hosts.filter(({ agent, quarantined }) => agent !== 'alive' || quarantined).map(({ name }) => name),
      ...controls.filter(({ state }) => state !== 'alive').map(({ name }) => name),
    ];
  }
}

const drainOf = (client: ApiClient, id: string): Promise<Drain> =>
  client.call(client.http.GET('/v1/drains/{drain}', { params: { path: { drain: id } } }));
