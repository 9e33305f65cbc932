/**
 * Simulated machines and the processes on them.
 *
 * Guarantees: what a process waits for never comes once it has crashed, so nothing of it goes on; a process that is
 * paused does nothing, and what came due meanwhile all comes late, in its order; a machine's monotonic clock runs a
 * little fast or slow and never back, its wall clock may jump.
 */
import type { Clock } from '../../core/ports/clock.ts';
import { EPOCH_MS, type SimClock } from '../time/sim-clock.ts';

/** A computer: it can lose power, and its clocks are its own. */
export class SimMachine {
  readonly name: string;
  readonly #clock: SimClock;
  readonly processes = new Set<SimProcess>();
  /** How much faster than true time its clock runs: 0.002 gains 2 ms per second. */
  drift = 0;
  /** Error of the wall clock beside the drift, in ms. */
  wallErrorMs = 0;
  up = true;
  boots = 1;
  #bootedAt = 0;

  constructor(name: string, clock: SimClock) {
    this.name = name;
    this.#clock = clock;
  }

  get wallMs(): number {
    return Math.floor(EPOCH_MS + this.#clock.monotonicMs() * (1 + this.drift) + this.wallErrorMs);
  }

  /** Since it booted, by its own clock. */
  get monotonicMs(): number {
    return (this.#clock.monotonicMs() - this.#bootedAt) * (1 + this.drift);
  }

  /** Changes how fast its clock runs, from now on. */
  setDrift(drift: number): void {
    const monotonic = this.monotonicMs;
    const wall = this.#clock.monotonicMs() * (1 + this.drift) + this.wallErrorMs;
    this.drift = drift;
    this.#bootedAt = this.#clock.monotonicMs() - monotonic / (1 + drift);
    this.wallErrorMs = wall - this.#clock.monotonicMs() * (1 + drift);
  }

  /** Sets the wall clock right. */
  correctWall(): void {
    this.wallErrorMs = -this.#clock.monotonicMs() * this.drift;
  }

  /** A process begins. */
  spawn(name: string): SimProcess {
    const process = new SimProcess(name, this, this.#clock);
    this.processes.add(process);
    return process;
  }

  /** Power goes, and every process with it. */
  powerOff(): void {
    this.up = false;
    for (const process of [...this.processes]) process.end();
  }

  /** Power comes back; processes are started by whoever starts them. */
  boot(): void {
    if (this.up) return;
    this.up = true;
    this.boots++;
    this.#bootedAt = this.#clock.monotonicMs();
  }
}

/** One process from its start to its end; started again it is another one. */
export class SimProcess implements Clock {
  readonly name: string;
  readonly machine: SimMachine;
  readonly #clock: SimClock;
  readonly #held: (() => void)[] = [];
  readonly #onEnd: (() => void)[] = [];
  #freezes = 0;
  #alive = true;

  constructor(name: string, machine: SimMachine, clock: SimClock) {
    this.name = name;
    this.machine = machine;
    this.#clock = clock;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  get isFrozen(): boolean {
    return this.#freezes > 0;
  }

  /** Alive and not frozen. */
  get isRunning(): boolean {
    return this.#alive && this.#freezes === 0;
  }

  wallMs(): number {
    return this.machine.wallMs;
  }

  monotonicMs(): number {
    return this.machine.monotonicMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    let cancelled = false;
    const cancel = this.#clock.after(delayMs / (1 + this.machine.drift), () => {
      this.run(() => void (cancelled || callback()));
    });
    return () => {
      cancelled = true;
      // What the callback holds is held no longer: most timers are deadlines that are never reached.
      cancel();
    };
  }

  /** Runs something in it: at once, when it is thawed, or never. */
  run(action: () => void): void {
    if (!this.#alive) return;
    if (this.#freezes > 0) this.#held.push(action);
    else action();
  }

  /** Stands still, as by SIGSTOP, until the answer is called; several may overlap. */
  freeze(): () => void {
    this.#freezes++;
    let isFrozen = true;
    return () => {
      if (isFrozen) this.#thaw();
      isFrozen = false;
    };
  }

  /** Stands still for as long as `ms`. */
  freezeFor(ms: number): void {
    this.#clock.after(ms, this.freeze());
  }

  /** Tells `listener` when it ends, whatever ends it. */
  onEnd(listener: () => void): void {
    this.#onEnd.push(listener);
  }

  /** Ends at once, as by SIGKILL. */
  end(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#held.length = 0;
    this.machine.processes.delete(this);
    for (const listener of this.#onEnd) listener();
  }

  #thaw(): void {
    this.#freezes--;
    if (this.#freezes > 0) return;
    // One event each: what one of them begins is done before the next is looked at, as in an event loop.
    for (const action of this.#held.splice(0)) this.#clock.after(0, () => this.run(action));
  }
}
