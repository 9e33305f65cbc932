/** One nftables table of ours in the kernel. Guarantees: changes are made in the order of the calls; what is in force already is not set again. */
import { messageOf } from '../base/errors.ts';
import { run } from './child-process.ts';

const DEADLINE_MS = 10_000;

/** See the module. */
export class PacketFilter {
  readonly #onFailure: (reason: string) => void;
  #inForce = '';
  #last: Promise<void> = Promise.resolve();
  #failure = '';

  /** `onFailure` is told why a filter could not be set up, once for each reason. */
  constructor(onFailure: (reason: string) => void) {
    this.#onFailure = onFailure;
  }

  /** Makes the kernel's filter what `script` says, asked as late as possible. Never rejects: where it fails, the filter stays as it was. */
  put(script: () => string): Promise<void> {
    this.#last = this.#last.then(() => this.#put(script()));
    return this.#last;
  }

  async #put(script: string): Promise<void> {
    if (script === this.#inForce) return;
    try {
      await run(['nft', '-f', '-'], { deadlineMs: DEADLINE_MS, input: script });
      this.#inForce = script;
      this.#failure = '';
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#failure) this.#onFailure(reason);
      this.#failure = reason;
    }
  }
}
