/**
 * Tells a leader's share of the processor time of a simulation.
 *
 * A simulated event belongs to one process. What runs from the moment the leader's process is entered (a timer of its
 * own, an answer, a change that etcd reports) until the next event begins is the leader's, the promise callbacks in
 * between included; so is handing its requests to the simulated network. Its share of the wall-clock time of the run,
 * times the processor time of the whole process (garbage collection and compiler threads included), is its processor
 * time.
 */
import { performance } from 'node:perf_hooks';
import type { SimProcess } from '../../../src/sim/machines/sim-machine.ts';
import type { SimClock } from '../../../src/sim/time/sim-clock.ts';

/** Seconds of processor time. */
export interface Cost {
  readonly leaderCpuS: number;
  /** Processor time of everything: leader, etcd, hosts, storage, network, clock. */
  readonly wholeCpuS: number;
  readonly simulatedS: number;
  /** Simulated events, and how many of them entered the leader. */
  readonly events: number;
  readonly leaderEvents: number;
  /** The longest turn, in ms of processor time of the thread; 0 unless the meter watches turns. */
  readonly longestTurnMs: number;
}

/** See the module. One per leader; `run` moves the simulation on. */
export class Meter {
  readonly #clock: SimClock;
  #enteredAt: number | null = null;
  #leaderMs = 0;
  #entries = 0;
  #turns: { beganMs: number; longestMs: number } | null = null;

  constructor(clock: SimClock, leader: SimProcess) {
    this.#clock = clock;
    const run = leader.run.bind(leader);
    leader.run = (action) => {
      if (this.#enteredAt === null) {
        this.#enteredAt = performance.now();
        this.#entries++;
      }
      run(action);
    };
  }

  /** From now on the meter watches turns. */
  watchTurns(): void {
    this.#clock.eventsPerTurn = 1;
    this.#turns = { beganMs: threadMs(), longestMs: 0 };
  }

  /** Lets simulated time pass until `untilMs`, or until `over` says so. */
  async run(untilMs: number, over: () => boolean = () => false): Promise<Cost> {
    // The time simulated since the last measurement is charged to nobody.
    this.#enteredAt = null;
    if (this.#turns !== null) this.#turns = { beganMs: threadMs(), longestMs: 0 };
    const [leaderMs, entries, events] = [this.#leaderMs, this.#entries, this.#clock.events];
    const [startedMs, simulatedMs, cpu] = [performance.now(), this.#clock.monotonicMs(), process.cpuUsage()];
    await this.#clock.run(untilMs, () => {
      this.#leave();
      return over();
    });
    this.#leave();
    const { user, system } = process.cpuUsage(cpu);
    const wholeCpuS = (user + system) / 1e6;
    const share = (this.#leaderMs - leaderMs) / (performance.now() - startedMs);
    return {
      leaderCpuS: wholeCpuS * share,
      wholeCpuS,
      simulatedS: (this.#clock.monotonicMs() - simulatedMs) / 1_000,
      events: this.#clock.events - events,
      leaderEvents: this.#entries - entries,
      longestTurnMs: this.#turns?.longestMs ?? 0,
    };
  }

  #leave(): void {
    if (this.#turns !== null) this.#endTurn(this.#turns);
    if (this.#enteredAt === null) return;
    this.#leaderMs += performance.now() - this.#enteredAt;
    this.#enteredAt = null;
  }

  /** What is simulated beside the leader takes no long turn: the longest of all is the leader's or a request's. */
  #endTurn(turns: { beganMs: number; longestMs: number }): void {
    const nowMs = threadMs();
    turns.longestMs = Math.max(turns.longestMs, nowMs - turns.beganMs);
    turns.beganMs = nowMs;
  }
}

/** Processor time of this thread, in ms: other processes and threads do not add to it. */
function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
