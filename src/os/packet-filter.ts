/**
 * One nftables table of ours in the kernel. Guarantees: the last filter that was asked for is the one that stays; what is in force already is
 * not set again; at most one change is under way and one waits, however many are asked for and however slow the kernel is.
 */
import { messageOf } from '../base/errors.ts';
import { run } from './child-process.ts';

const DEADLINE_MS = 10_000;

type Script = () => string;

/** See the module. */
export class PacketFilter {
  readonly #onFailure: (reason: string) => void;
  readonly #load: (script: string) => Promise<unknown>;
  /** Null: not known. */
  #inForce: string | null = null;
  #last: Promise<void> = Promise.resolve();
  /** What the end of `#last` puts in force. */
  #waiting: Script | null = null;
  #failure = '';

  /** `onFailure` is told why a filter could not be set up, once for each reason. `load`, for tests: what nft does with a script. */
  constructor(onFailure: (reason: string) => void, load: (script: string) => Promise<unknown> = nft) {
    this.#onFailure = onFailure;
    this.#load = load;
  }

  /**
   * Makes the kernel's filter what `script` says, asked as late as possible; a newer one takes the place of one that still waits, and both
   * resolve when the newer one is in force. Never rejects: where it fails, the filter stays as it was.
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
      // One that is ended at its deadline may have been taken by the kernel all the same.
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
