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
}

/** See the module's comment. One per leader; `run` moves the simulation on. */
export class Meter {
  readonly #clock: SimClock;
  #enteredAt: number | null = null;
  #leaderMs = 0;
  #entries = 0;

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

  /** Lets simulated time pass until `untilMs`, or until `over` says so. */
  async run(untilMs: number, over: () => boolean = () => false): Promise<Cost> {
    // The time simulated since the last measurement is charged to nobody.
    this.#enteredAt = null;
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
    };
  }

  #leave(): void {
    if (this.#enteredAt === null) return;
    this.#leaderMs += performance.now() - this.#enteredAt;
    this.#enteredAt = null;
  }
}
