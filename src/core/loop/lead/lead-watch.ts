/**
 * Checks whether this leader still reaches its machines, and gives the lead away if another control node has reached
 * more for some rounds, or at once if its own node was taken out of service and another one can lead.
 *
 * Guarantees: while every agent and every storage service answers, no probe is sent; one round at a time, each with a
 * deadline and at most REACH_TARGETS_MAX attempts per control node; `giveAway` is called at most once.
 */
import { messageOf } from '../../../base/errors.ts';
import {
  type Machines,
  type Sample,
  type Streaks,
  sampleOf,
  seesMore,
  streaksAfter,
  successorOf,
  whyGivenAway,
} from '../../plan/lead/lead-decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Reach, ReachTarget } from '../../ports/reach.ts';
import type { LeaderStore } from '../../ports/store.ts';

export interface LeadWatchPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly reach: Reach;
  /** Returns true if the leader's last request to the machine ended without an answer. */
  readonly isSilent: (target: ReachTarget) => boolean;
  readonly lead: LeadHand;
}

/** Ends a leadership before its lease ends. */
export interface LeadHand {
  /** Ends the term, so that the next candidate leads. */
  readonly giveAway: (why: string) => void;
  /** Minimum length of the term, in ms: above 0 if this node gave the lead away shortly before. */
  readonly keptMs: number;
}

/** Pause between rounds while another control node reaches more, or after a machine has just become silent, in ms. */
const ROUND_MS = 1_000;
/** Pause between rounds while no control node reaches the silent machines, which are then down, in ms. */
const DOWN_ROUND_MS = 3_000;
/** Deadline of one attempt, in ms. */
const TRY_MS = 700;

/** Watches over one leadership, from `start` to `stop`. */
export class LeadWatch {
  readonly #ports: LeadWatchPorts;
  #streaks: Streaks = new Map();
  #rounds = 0;
  #cancel: (() => void) | null = null;
  #stopped = false;

  constructor(ports: LeadWatchPorts) {
    this.#ports = ports;
  }

  start(): void {
    this.#next(this.#ports.lead.keptMs + ROUND_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #next(afterMs: number): void {
    if (this.#stopped) return;
    this.#cancel = this.#ports.clock.after(afterMs, () => {
      this.#round().then(
        (nextMs) => this.#next(nextMs),
        (error: unknown) => {
          this.#ports.log.warn('it is not known which machines other control nodes reach', { error: messageOf(error) });
          this.#next(DOWN_ROUND_MS);
        },
      );
    });
  }

  /** Runs one round; returns the time until the next one, in ms. */
  async #round(): Promise<number> {
    const { reach } = this.#ports;
    const peers = reach.peers();
    const heir = await this.#heirOfDrained(peers);
    if (heir !== null) {
      await this.#give(`Control node ${reach.self} is out of service, and ${heir} can lead.`);
      return ROUND_MS;
    }
    const machines = this.#machines();
    if (peers.length === 0 || machines.silent.length === 0) {
      this.#streaks = new Map();
      return ROUND_MS;
    }
    const sample = sampleOf(machines, this.#rounds++);
    const tried = await reach.tryFrom(reach.self, sample.silent, TRY_MS);
    // A round in which this process was not scheduled in time does not count.
    if (tried === null) return ROUND_MS;
    const own = new Set([...sample.answering, ...tried]);
    if (sample.silent.every((target) => own.has(target))) {
      this.#streaks = new Map();
      return ROUND_MS;
    }
    const theirs = await this.#ask(peers, sample);
    const better = [...theirs].flatMap(([name, reached]) => (seesMore(sample, own, reached) ? [name] : []));
    this.#streaks = streaksAfter(this.#streaks, better);
    const successor = successorOf(this.#streaks);
    if (successor !== null)
      await this.#give(whyGivenAway(reach.self, successor, own, theirs.get(successor) ?? new Set()));
    return better.length > 0 ? ROUND_MS : DOWN_ROUND_MS;
  }

  #machines(): Machines {
    const { store, isSilent } = this.#ports;
    const { hosts, storage } = store.snapshot;
    const silent: ReachTarget[] = [];
    const answering: ReachTarget[] = [];
    const sort = (target: ReachTarget): void => void (isSilent(target) ? silent : answering).push(target);
    for (const { value } of storage.values()) if (value.lost === undefined) sort({ kind: 'storage', name: value.name });
    for (const name of hosts.keys()) sort({ kind: 'host', name });
    return { silent, answering };
  }

  async #ask(
    peers: readonly string[],
    { silent, answering }: Sample,
  ): Promise<ReadonlyMap<string, ReadonlySet<ReachTarget>>> {
    const targets = [...silent, ...answering];
    const asked = peers.map(async (name) => ({
      name,
      reached: await this.#ports.reach.tryFrom(name, targets, TRY_MS),
    }));
    const answers = await Promise.all(asked);
    return new Map(answers.flatMap(({ name, reached }) => (reached === null ? [] : [[name, reached] as const])));
  }

  /** A control node in service that follows etcd, while this one is out of service; null: there is none, or no need. */
  async #heirOfDrained(peers: readonly string[]): Promise<string | null> {
    const { reach, store } = this.#ports;
    const { controls } = store.snapshot;
    const isDrained = (name: string): boolean => controls.get(name)?.value.maintenance !== undefined;
    if (!isDrained(reach.self)) return null;
    const others = peers.filter((name) => !isDrained(name));
    const answers = await Promise.all(others.map((name) => reach.tryFrom(name, [], TRY_MS)));
    return others.find((_, index) => answers[index] !== null) ?? null;
  }

  async #give(message: string): Promise<void> {
    const { store, clock, lead } = this.#ports;
    if (this.#stopped || !store.leads()) return;
    const about = { vm: null, vmName: null, host: null, generation: null };
    await store.commit({ changes: [], events: [{ at: clock.wallMs(), kind: 'lead-given-away', ...about, message }] });
    if (this.#stopped) return;
    this.#stopped = true;
    lead.giveAway(message);
  }
}
