/**
 * The shell on a tiny guest's serial line, used as a person would: through the API's console. Guarantees: a command's
 * output is separated from other output of the guest; every wait has a deadline; `close` leaves the console to others.
 */
import type { Duplex } from 'node:stream';
import { sleep } from '../../src/base/sleep.ts';
import { openConsole } from '../../src/client/console.ts';
import { systemClock } from '../../src/os/clock.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';

const READY_DEADLINE_MS = 90_000;
const COMMAND_DEADLINE_MS = 30_000;
const ASK_AGAIN_MS = 1_000;
const KEPT_CHARS = 256 * 1024;
/**
 * Lines that the guest may print by itself at any time (guest/tiny/README.md): workloads, and a lease that comes late
 * on a busy machine.
 */
const OF_THE_GUEST = /^(?:groundplane-tiny|seq(?:-start)?) .*\n/gm;

/** The output of a command, and its exit status. */
export interface Answer {
  readonly text: string;
  readonly status: number;
}

/** A console that is open, with a shell that answers. */
export class Guest {
  readonly #stream: Duplex;
  #said = '';
  #count = 0;

  private constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString('latin1')).slice(-KEPT_CHARS);
    });
    // The reader of a closed console notices it only by the missing output.
    stream.on('error', () => undefined);
  }

  /** Opens the console of a running VM and waits until its shell answers. */
  static async open(cluster: StoryCluster, vm: string, deadlineMs = READY_DEADLINE_MS): Promise<Guest> {
    const guest = new Guest(await openConsole(cluster.target, vm));
    try {
      const endsAtMs = performance.now() + deadlineMs;
      // Input before the shell reads is lost when it sets the line discipline: so the question is repeated.
      while (!(await guest.#answers(vm))) {
        if (performance.now() > endsAtMs) throw new Error(`The shell of ${vm} does not answer:\n${guest.#tail()}`);
      }
      return guest;
    } catch (error) {
      guest.close();
      throw error;
    }
  }

  /** Everything that was seen since the console was opened. */
  get said(): string {
    return this.#said;
  }

  /** Runs a line of shell; `deadlineMs` of the guest's answer. */
  async run(line: string, deadlineMs = COMMAND_DEADLINE_MS): Promise<Answer> {
    this.#count += 1;
    const mark = `m${this.#count}k`;
    // The marks as they are typed differ from the marks as they are printed, because the line is echoed.
    this.#stream.write(`echo ${mark}""begin; ${line}; echo ${mark}""end $?\n`);
    const pattern = new RegExp(`${mark}begin\\r?\\n([\\s\\S]*?)${mark}end (\\d+)`);
    const match = await this.waitFor(pattern, deadlineMs, line);
    const text = (match[1] ?? '').replaceAll('\r', '').replace(OF_THE_GUEST, '');
    return { text, status: Number(match[2]) };
  }

  /** Types without waiting for anything. */
  type(text: string): void {
    this.#stream.write(text);
  }

  /** Waits until the output matches. */
  waitFor(pattern: RegExp, deadlineMs: number, what: string): Promise<RegExpExecArray> {
    const found = async (signal: AbortSignal): Promise<RegExpExecArray> => {
      for (;;) {
        const match = pattern.exec(this.#said);
        if (match !== null) return match;
        await sleep(systemClock, 50, { signal });
        signal.throwIfAborted();
      }
    };
    return withDeadline(found, { deadlineMs, what: `"${what}" in the guest` }).catch((error: unknown) => {
      throw new Error(`No answer to "${what}". The console's end:\n${this.#tail()}`, { cause: error });
    });
  }

  close(): void {
    this.#stream.destroy();
  }

  async #answers(vm: string): Promise<boolean> {
    try {
      await this.run('true', ASK_AGAIN_MS * 3);
      return true;
    } catch (error) {
      if (this.#stream.destroyed) throw new Error(`The console of ${vm} was closed.`, { cause: error });
      return false;
    }
  }

  #tail(): string {
    return this.#said.slice(-2_000);
  }
}
