/**
 * Maintains one nftables table of Groundplane in the kernel. Guarantees: the last requested filter is the one that
 * stays; an unchanged filter is not set again; at most one change is in progress and one waits, however many are
 * requested and however slow the kernel is.
 */
import { messageOf } from '../base/errors.ts';
import { run } from './child-process.ts';

const DEADLINE_MS = 10_000;

type Script = () => string;

/** See the module's comment. */
export class PacketFilter {
  readonly #onFailure: (reason: string) => void;
  readonly #load: (script: string) => Promise<unknown>;
  /** Null: not known. */
  #inForce: string | null = null;
  #last: Promise<void> = Promise.resolve();
  /** The promise of the script that follows `#last`. */
  #waiting: Script | null = null;
  #failure = '';

  /**
   * `onFailure` gets the reason why a filter could not be installed, once for each reason. `load`, for tests: replaces
   * nft.
   */
  constructor(onFailure: (reason: string) => void, load: (script: string) => Promise<unknown> = nft) {
    this.#onFailure = onFailure;
    this.#load = load;
  }

  /**
   * Installs the result of `script`, which is called as late as possible; a newer script replaces a waiting one, and
   * both calls resolve when the newer filter is in force. Never rejects: on failure the present filter stays.
   */
  put(script: Script): Promise<void> {
    const isFirst = this.#waiting === null;
    this.#waiting = script;
    if (isFirst) this.#last = this.#last.then(() => this.#put());
    return this.#last;
  }

  async #put(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = null;
    try {
      const script = waiting?.();
      if (script === undefined || script === this.#inForce) return;
      // The kernel may have applied a change that was ended at its deadline.
      this.#inForce = null;
      await this.#load(script);
      this.#inForce = script;
      this.#failure = '';
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#failure) this.#onFailure(reason);
      this.#failure = reason;
    }
  }
}

function nft(script: string): Promise<unknown> {
  return run(['nft', '-f', '-'], { deadlineMs: DEADLINE_MS, input: script });
}
