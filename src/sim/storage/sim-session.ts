/**
 * A service's session with a simulated daemon: commands carried out in the daemon, in their order, with deadlines at
 * the service.
 */
import { CodedError } from '../../base/errors.ts';
import type { SimProcess } from '../machines/sim-machine.ts';

/** A daemon that can be told something. */
export interface SimServant {
  readonly identity: { readonly pid: number };
  readonly process: SimProcess;
  /** Carried out after what came before, unless it dies first. */
  command(delayMs: number, effect: () => void): void;
  /** Calls back when the kernel has let go of its last write; at once when it has. */
  whenGone(listener: () => void): void;
}

/** The deadlines are those of src/storage/qsd.ts and local-target.ts. */
const COMMAND_DEADLINE_MS = 2_000;
const KILL_DEADLINE_MS = 5_000;
const MONITOR_MS = 0.2;

/** Sends SIGKILL and waits until the kernel has let go. */
export function killAndWait(daemon: SimServant, service: SimProcess): Promise<void> {
  daemon.process.end();
  return new Promise((resolve, reject) => {
    const late = new CodedError('deadline', `No end of process ${daemon.identity.pid} within ${KILL_DEADLINE_MS} ms.`);
    const cancel = service.after(KILL_DEADLINE_MS, () => reject(late));
    daemon.whenGone(() => {
      service.after(1, () => {
        cancel();
        resolve();
      });
    });
  });
}

/** One session; it ends with the daemon, or by `release`. */
export class SimSession<Servant extends SimServant> {
  readonly #servant: Servant;
  readonly #service: SimProcess;
  readonly #what: string;
  readonly closed: Promise<unknown>;
  /** Commands without an answer yet. */
  readonly #waiting = new Set<() => void>();
  #isClosed = false;
  #end: () => void = () => undefined;

  constructor(servant: Servant, { service, what }: { readonly service: SimProcess; readonly what: string }) {
    this.#servant = servant;
    this.#service = service;
    this.#what = what;
    this.closed = new Promise<void>((resolve) => {
      const end = (): void => {
        if (this.#isClosed) return;
        this.#isClosed = true;
        for (const lost of [...this.#waiting]) lost();
        resolve();
      };
      this.#end = end;
      const lost = (): void => void service.after(0.1, end);
      if (servant.process.isAlive) servant.process.onEnd(lost);
      else lost();
    });
  }

  get isRunning(): boolean {
    return !this.#isClosed && this.#servant.process.isAlive;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  async kill(): Promise<void> {
    await killAndWait(this.#servant, this.#service);
    this.#end();
  }

  release(): void {
    this.#end();
  }

  /** A command and its answer. */
  ask<T>(effect: (servant: Servant) => T): Promise<T> {
    return this.until((servant, answer) => answer(effect(servant)));
  }

  /** Sends a command; `carryOut` runs in the daemon, and answers then or later. */
  until<T>(carryOut: (servant: Servant, answer: (value: T) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const finish = (act: () => void): void => {
        this.#waiting.delete(lost);
        cancel();
        act();
      };
      const lost = (): void => finish(() => reject(new CodedError('unavailable', `${this.#what} is gone.`)));
      let cancel: () => void = () => undefined;
      if (this.#isClosed || !this.#servant.process.isAlive) {
        this.#service.after(MONITOR_MS, lost);
        return;
      }
      const late = new CodedError('deadline', `${this.#what} did not answer.`);
      cancel = this.#service.after(COMMAND_DEADLINE_MS, () => finish(() => reject(late)));
      this.#waiting.add(lost);
      this.#servant.command(MONITOR_MS, () => {
        carryOut(this.#servant, (value) => void this.#service.after(MONITOR_MS, () => finish(() => resolve(value))));
      });
    });
  }
}
