/**
 * A simulated cluster that a story is told on: the shape of the story's first line, calm weather with delays drawn from
 * the seed, three networks, the network `lan` of a fresh cluster, and everything followed from outside.
 *
 * Guarantees: the same seed and the same story give the same run; time passes only in `pass`, `until` and `settled`,
 * and no further than to the first rule of core/check that is broken, which is an Error.
 */
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { Term } from '../../base/ids.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import type { ClusterStore } from '../../control/store/cluster-store.ts';
import type { Controller } from '../../core/loop/controller.ts';
import type { StoryShape } from '../../stories/story-language.ts';
import { NO_HOST_TROUBLES } from '../agent/agent-machine.ts';
import { SimCluster } from '../cluster.ts';
import type { PlantedBug } from '../faults/planted-bug.ts';
import type { Swarm } from '../faults/swarm.ts';
import { CALM } from '../network/network.ts';
import { People } from '../people/people.ts';
import { SimRandom } from '../time/sim-random.ts';
import { Guests } from './guests.ts';
import { LabFaults } from './lab-faults.ts';

/** `gp up --host-memory 2G`, as the real stories have it. */
const HOST_BYTES = 2 * 2 ** 30;
const START_DEADLINE_MS = 30_000;
const WATCH_MS = 100;
const DELAYS_MS = [
  [0.05, 0.3],
  [0.2, 1.5],
  [0.5, 6],
  [1, 15],
] as const;
/** Drift of a computer's clock. */
const DRIFT_MAX = 0.001;
/** More events than any story has, and more lines: one that does not end is told from one that is long. */
const EVENTS_MAX = 1_000_000;
const LINES_MAX = 500_000;

/** The control node that answers the API now. */
export interface Answering {
  readonly name: string;
  readonly store: ClusterStore;
  readonly context: BackendContext;
  readonly term: Term;
  readonly controller: Controller;
}

export interface StoryClusterOptions {
  readonly seed: number;
  readonly log?: (line: string) => void;
  /** A mistake made on purpose, to show that stories notice. */
  readonly bug?: PlantedBug;
}

/** See the module's comment. */
export class StoryCluster {
  readonly sim: SimCluster;
  readonly shape: StoryShape;
  readonly random: SimRandom;
  readonly faults: LabFaults;
  readonly guests = new Guests();
  readonly #lines: string[] = [];

  private constructor(shape: StoryShape, { seed, log, bug }: StoryClusterOptions) {
    const keep = (line: string): void => {
      if (this.#lines.length < LINES_MAX) this.#lines.push(line);
      log?.(line);
    };
    this.shape = shape;
    this.sim = new SimCluster({ swarm: calmSwarm(seed, shape), log: keep, bug: bug ?? null });
    this.random = this.sim.random.fork('story');
    this.sim.onNote = (entry) => this.guests.note(entry);
    for (const machine of this.sim.machines.values()) machine.setDrift(this.random.between(-DRIFT_MAX, DRIFT_MAX));
    this.faults = new LabFaults(this.sim, this.random.fork('lab'));
    const watch = (): void => {
      for (const qemu of this.sim.qemus) this.guests.watch(qemu);
      this.sim.clock.after(WATCH_MS, watch);
    };
    watch();
  }

  /** Starts one, and resolves when all of it answers. */
  static async start(shape: StoryShape, options: StoryClusterOptions): Promise<StoryCluster> {
    const cluster = new StoryCluster(shape, options);
    const { sim } = cluster;
    await cluster.until(() => cluster.answering() !== null, START_DEADLINE_MS);
    const { context } = present(cluster.answering(), 'a leader');
    await cluster.settled(new People(sim).join(context), START_DEADLINE_MS);
    const isUp = (): boolean => {
      const controller = cluster.answering()?.controller;
      return (
        controller !== undefined &&
        [...sim.hosts.keys()].every((host) => controller.observer.see(host).agent === 'alive') &&
        [...sim.storage.keys()].every((node) => controller.storageObserver.answers(node))
      );
    };
    if (!(await cluster.until(isUp, START_DEADLINE_MS))) throw new Error('The simulated cluster did not start.');
    return cluster;
  }

  /** Ms since the simulation began. */
  get nowMs(): number {
    return this.sim.now;
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    await this.until(() => false, ms);
  }

  /** Lets time pass until it is so, for `deadlineMs` at most; false when it is not so even then. */
  async until(isSo: () => boolean, deadlineMs: number): Promise<boolean> {
    const { clock, violations } = this.sim;
    await clock.run(this.nowMs + deadlineMs, () => isSo() || violations.length > 0 || clock.events > EVENTS_MAX);
    const [broken] = violations;
    if (broken !== undefined) throw new Error(`${broken.rule} was broken at ${broken.at} ms: ${broken.what}`);
    if (clock.events > EVENTS_MAX) throw new Error(`More than ${EVENTS_MAX} events happened: it does not end.`);
    return isSo();
  }

  /**
   * Lets time pass until a promise is settled. CodedError 'deadline' when it is not in time, as one of a process that
   * died never is.
   */
  async settled<T>(promise: Promise<T>, deadlineMs: number): Promise<T> {
    let isSettled = false;
    const noted = promise.finally(() => {
      isSettled = true;
    });
    // What comes too late is nobody's.
    noted.catch(() => undefined);
    if (!(await this.until(() => isSettled, deadlineMs)))
      throw new CodedError('deadline', `No answer within ${deadlineMs} ms.`);
    return noted;
  }

  /**
   * The control node that answers the API: the leader, where its server runs and knows etcd. Null while there is none.
   */
  answering(): Answering | null {
    const node = this.sim.leader;
    const { controller, store, context } = node ?? {};
    const term = this.sim.truth.leader?.term;
    if (
      node?.process?.isRunning !== true ||
      controller == null ||
      store == null ||
      context == null ||
      term === undefined
    )
      return null;
    return { name: node.name, store, context, term, controller };
  }

  /**
   * Whether a process of that name (`server c1`, `agent h2`) ever logged a line with this text, in whichever of its
   * lives.
   */
  hasLogged(process: string, text: string): boolean {
    const mark = ` ${process}: `;
    return this.#lines.some((line) => line.includes(mark) && line.includes(text));
  }

  /** The last lines of the log. */
  lastLines(count: number): readonly string[] {
    return this.#lines.slice(-count);
  }
}

/** Nothing fails by itself; how long messages take is the seed's. */
function calmSwarm(seed: number, shape: StoryShape): Swarm {
  const random = new SimRandom(seed).fork('weather of a story');
  const weather = { ...CALM, delayMs: random.pick(DELAYS_MS) };
  return {
    seed,
    controls: shape.controlNodes,
    storageNodes: shape.storageNodes,
    hosts: shape.hosts,
    racks: 1,
    vms: 0,
    hasSharedDisks: true,
    hostMemoryBytes: HOST_BYTES,
    troubleMs: 0,
    faults: new Map(),
    deeds: new Map(),
    weather: { control: weather, storage: weather, overlay: weather },
    hostTroubles: NO_HOST_TROUBLES,
    deafPercent: 0,
    lostEndPercent: 0,
    skewPercent: 0,
  };
}
