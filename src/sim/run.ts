/**
 * One run of the simulator: a cluster starts, anything may fail for a while (safety), then everything is repaired and
 * the cluster must converge in bounded time (liveness), with every acknowledged write on its disk.
 */
import type { Violation } from '../core/check/trace.ts';
import { type Line, ScriptPlayer } from './cases/script.ts';
import { SimCluster } from './cluster.ts';
import { Faults } from './faults/faults.ts';
import type { PlantedBug } from './faults/planted-bug.ts';
import { calmSwarm, DEEDS, drawSwarm, FAULTS, type Swarm } from './faults/swarm.ts';
import { disorder } from './judge/disorder.ts';
import { misjudged } from './judge/verdicts.ts';
import { People } from './people/people.ts';
import { RollPeople } from './people/roll-people.ts';
import { RollUsers } from './people/roll-users.ts';

/** How a run ended. What was not in order when its time was over breaks rule `L1-converges`. */
export interface Outcome {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly simulatedMs: number;
  readonly events: number;
}

export interface RunOptions {
  readonly log?: (line: string) => void;
  readonly bug?: PlantedBug;
  /** Something that comes up instead of chance, for cases that are kept. */
  readonly swarm?: Swarm;
  /** Ends the run at the first broken rule. */
  readonly stopAtFirst?: boolean;
  /** Ends the run; its promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A cluster has so long to begin to lead and to know its hosts, in ms. */
const START_MS = 30_000;
/** What people share before anything fails. */
const SHARED_FIRST = 12;
/** How long the first VMs have before anything fails, in ms. */
const QUIET_MS = 2_500;
/**
 * How long a cluster in which everything works may take to be in order, in ms: the longest back-off, an election, and a
 * little.
 */
const CONVERGENCE_MS = 120_000;
/** It must stay in order for so long. */
const CALM_MS = 4_000;
const LOOK_MS = 500;
/** What a script has begun is over by then, in ms. */
const SCRIPT_MS = 10_000;
/** A roll over all hosts is over within this time once nothing fails any more, in ms. */
const ROLL_MS = 900_000;
/** A run with more events than this does not end; no run that ends has as many. */
const EVENTS_MAX = 5_000_000;
const ROLL_EVENTS_MAX = 100_000_000;

/** Plays the run of one seed to its end. */
export async function runSeed(seed: number, options: RunOptions = {}): Promise<Outcome> {
  const swarm = options.swarm ?? options.bug?.swarm?.(seed) ?? drawSwarm(seed);
  const cluster = new SimCluster({ swarm, log: options.log ?? null, bug: options.bug ?? null });
  cluster.say(() => `seed ${seed}: ${describe(swarm)}`);
  const eventsMax = swarm.roll === undefined ? EVENTS_MAX : ROLL_EVENTS_MAX;
  const isOver = (): boolean =>
    cluster.clock.events > eventsMax ||
    options.signal?.aborted === true ||
    (options.stopAtFirst === true && cluster.violations.length > 0);
  const stuck = await play(cluster, isOver);
  options.signal?.throwIfAborted();
  if (cluster.clock.events > eventsMax) stuck.push(`more than ${eventsMax} events happened`);
  for (const what of stuck) cluster.accuse('L1-converges', what);
  const { violations, now } = cluster;
  return { seed, violations, simulatedMs: now, events: cluster.clock.events };
}

/**
 * Plays a script on a cluster of three control nodes, two storage nodes and three hosts in which nothing else goes
 * wrong.
 */
export async function runScript(script: {
  readonly seed: number;
  readonly vms: number;
  readonly lines: readonly Line[];
  readonly log?: (line: string) => void;
}): Promise<Outcome> {
  const { seed, vms, lines, log = null } = script;
  const cluster = new SimCluster({ swarm: calmSwarm(seed, vms), log, bug: null });
  const people = new People(cluster);
  const isOver = (): boolean => cluster.clock.events > EVENTS_MAX;
  const stuck = await begin(cluster, people, isOver);
  const player = new ScriptPlayer(cluster, people);
  const inVain = await player.play(lines);
  if (inVain !== null) cluster.accuse('script-fits', `nothing happened that ${inVain} waits for`);
  await cluster.clock.run(cluster.clock.monotonicMs() + SCRIPT_MS);
  stuck.push(...(await converge(cluster, people, isOver)));
  for (const what of stuck) cluster.accuse('L1-converges', what);
  return { seed, violations: cluster.violations, simulatedMs: cluster.now, events: cluster.clock.events };
}

/** Starts a cluster with its first VMs; returns what prevented it, one sentence each. */
export async function begin(cluster: SimCluster, people: People, isOver: () => boolean): Promise<string[]> {
  const { clock, swarm } = cluster;
  await clock.run(START_MS, () => [...cluster.controls.values()].some(({ store }) => store !== null) || isOver());
  const context = [...cluster.controls.values()].map((node) => node.context).find((known) => known !== null);
  if (context === undefined || context === null) return ['no control node has read etcd'];
  const joined = people.join(context);
  await clock.run(clock.monotonicMs() + 500, isOver);
  await joined;
  for (let i = 0; i < swarm.vms; i++) void people.create(context).catch(() => undefined);
  // Faults begin when some VMs share disks already.
  if (swarm.deeds.has('share')) for (let i = 1; i <= SHARED_FIRST; i++) clock.after(i * 150, () => people.act('share'));
  await clock.run(clock.monotonicMs() + QUIET_MS, isOver);
  return [];
}

async function play(cluster: SimCluster, isOver: () => boolean): Promise<string[]> {
  const { clock, swarm } = cluster;
  const people = new People(cluster);
  const anything = cluster.random.fork('anything');
  const faults = new Faults(cluster, () => people.act(anything.pick(DEEDS)));
  const notBegun = await begin(cluster, people, isOver);
  if (notBegun.length > 0) return notBegun;
  const roll = swarm.roll === undefined ? null : new RollPeople(cluster, swarm.roll);
  const users = swarm.roll === undefined ? null : new RollUsers(cluster, swarm.roll.usersMs);
  roll?.start();
  users?.start();
  const end = clock.monotonicMs() + swarm.troubleMs;
  const again = (name: string, meanMs: number | undefined, act: () => void): void => {
    if (meanMs === undefined) return;
    const random = cluster.random.fork(`when ${streamOf(name)}`);
    const next = (): void => {
      clock.after(random.wait(meanMs), () => {
        if (clock.monotonicMs() >= end) return;
        act();
        next();
      });
    };
    next();
  };
  for (const name of FAULTS) again(name, swarm.faults.get(name), () => faults.begin(name));
  for (const name of DEEDS) again(name, swarm.deeds.get(name), () => people.act(name));
  await clock.run(end, isOver);
  if (isOver()) return [];
  faults.repair();
  users?.leave();
  if (roll !== null) {
    await clock.run(clock.monotonicMs() + ROLL_MS, () => roll.isOver || isOver());
    if (isOver()) return [];
    if (!roll.isOver) return [`the roll does not end: ${roll.words}`];
  }
  const stuck = await converge(cluster, people, isOver);
  readDisks(cluster);
  if (stuck.length === 0) for (const { rule, what } of await misjudged(cluster, isOver)) cluster.accuse(rule, what);
  return stuck;
}

/** A renamed fault keeps its random stream, so that a seed keeps its run. */
function streamOf(name: string): string {
  return name === 'freeze-leader' || name === 'freeze-leader-at-step' ? name : name.replace(/^freeze-/, 'pause-');
}

/**
 * At the end somebody reads every disk that a VM has, as a guest that boots would: what was acknowledged must be there.
 */
export function readDisks({ truth: { tables }, storage, note }: SimCluster): void {
  for (const { id: vm, generation, spec } of tables.vm.values()) {
    // A VM that never ran wrote nothing.
    if (generation === 0) continue;
    const disks = [...spec.disks, ...(spec.sharedDisks ?? [])];
    for (const { disk } of disks) {
      const node = (tables.disk.get(disk) ?? tables['shared-disk'].get(disk))?.node;
      const found = node === undefined ? undefined : storage.get(node)?.pool.highestOn(disk, vm);
      if (found !== undefined) note({ kind: 'booted', vm, disk, generation, found });
    }
  }
}

/** Waits until the cluster is in order and stays so; returns what is not, one sentence each. */
export async function converge(cluster: SimCluster, people: People, isOver: () => boolean): Promise<string[]> {
  const { clock } = cluster;
  people.repair();
  // What was asked of a control node just before is carried out by then.
  clock.after(3_000, () => people.uncordonAll());
  const deadline = clock.monotonicMs() + CONVERGENCE_MS;
  let calmSince: number | null = null;
  while (clock.monotonicMs() < deadline && !isOver()) {
    await clock.run(clock.monotonicMs() + LOOK_MS, isOver);
    if (disorder(cluster).length > 0) calmSince = null;
    else calmSince ??= clock.monotonicMs();
    if (calmSince !== null && clock.monotonicMs() - calmSince >= CALM_MS) return [];
  }
  return isOver() ? [] : disorder(cluster);
}

function describe(swarm: Swarm): string {
  const { controls, storageNodes, hosts, racks, vms, troubleMs, faults, deeds } = swarm;
  const often = (means: ReadonlyMap<string, number>): string =>
    [...means].map(([name, ms]) => `${name}/${ms}`).join(' ');
  return `${controls} control, ${storageNodes} storage, ${hosts} hosts in ${racks} racks, ${vms} VMs, ${troubleMs} ms; ${often(faults)}; ${often(deeds)}`;
}
