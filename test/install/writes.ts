/**
 * Follows a guest's acknowledged writes from outside of its machine. Guarantees: an acknowledged write is counted once;
 * the longest silence is that of the guest, to within the time between two looks.
 */
import type { ProcessIdentity } from '../../src/os/process-table.ts';
import { until } from '../../src/os/testing/until.ts';
import { runningQemus, SerialLogs } from '../stories/guests.ts';

const LOOK_EVERY_MS = 50;
const GROWS_MS = 60_000;

/** Follows one VM. `close` it. */
export class Writes {
  readonly #logs = new SerialLogs();
  readonly #timer: NodeJS.Timeout;
  #vm = '';
  #silentMsMax = 0;

  constructor() {
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** The VM's only QEMU, which runs. */
  qemu(): ProcessIdentity {
    const [found, ...more] = runningQemus();
    if (found === undefined || more.length > 0) throw new Error(`${1 + more.length} QEMUs run, not one`);
    this.#vm = found.vm;
    return found.process;
  }

  /** Waits for new writes, on any host. */
  async goOn(count = 10): Promise<void> {
    const before = this.#logs.acknowledged(this.#vm);
    const what = `${count} writes after ${before}`;
    await until(what, () => this.#logs.acknowledged(this.#vm) >= before + count, { deadlineMs: GROWS_MS });
  }

  /** Runs `work` and returns the longest time without an acknowledged write in the meantime, in ms. */
  async silentMsMax(work: () => Promise<void>): Promise<number> {
    this.#silentMsMax = 0;
    await work();
    return Math.round(this.#silentMsMax);
  }

  /** Errors that a guest or its disk reported. */
  errors(): readonly string[] {
    const texts = this.#logs.of(this.#vm).map(({ text }) => text);
    return texts.flatMap((text) => text.match(/seq-(error|full|refused)[^\n]*/g) ?? []);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#logs.close();
  }

  #look(): void {
    if (this.#vm === '') return;
    this.#logs.look();
    this.#silentMsMax = Math.max(this.#silentMsMax, this.#logs.silentMs(this.#vm));
  }
}
