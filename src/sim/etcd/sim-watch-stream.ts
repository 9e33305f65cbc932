/**
 * The client's end of a simulated watch stream. Guarantees: messages come out in the order of their numbers, each once,
 * whatever order they arrive in; one that is missing for a second ends the stream, as does its member's word.
 */
import type { Clock } from '../../core/ports/clock.ts';
import type { StreamOutcome, WatchMessage, WatchStream } from '../../etcd/channel.ts';
import { EtcdCompacted, EtcdStreamLost } from '../../etcd/errors.ts';
import type { MemberMessage, MemberWatch } from './sim-etcd.ts';

/** TCP gives a lost packet some tries within this time. */
const GAP_MS = 1_000;

export interface SimWatchStreamOptions {
  readonly clock: Clock;
  /** Has something called at the member. */
  readonly prompt: (deliver: () => void) => void;
  readonly onClose: (outcome: StreamOutcome) => void;
}

/** See the module's comment. */
export class SimWatchStream implements WatchStream {
  readonly #options: SimWatchStreamOptions;
  readonly #queue: MemberMessage[] = [];
  /** Arrived before their turn. */
  readonly #early = new Map<number, MemberMessage>();
  #next = 0;
  #watch: MemberWatch | undefined;
  #isClosed = false;
  #isReported = false;
  #wake: (() => void) | undefined;
  #unlisten: () => void = () => undefined;

  constructor(options: SimWatchStreamOptions) {
    this.#options = options;
  }

  /** The member has begun. */
  begun(watch: MemberWatch): void {
    this.#watch = watch;
    if (this.#isClosed) watch.cancel();
  }

  /** The member's answer has come: messages may be read, until `signal` aborts. */
  open(signal: AbortSignal | undefined): void {
    this.#queue.unshift({ kind: 'created' });
    const end = (): void => this.end();
    signal?.addEventListener('abort', end, { once: true });
    this.#unlisten = () => signal?.removeEventListener('abort', end);
    if (signal?.aborted) end();
  }

  /** A message of the member has arrived. */
  take(number: number, message: MemberMessage): void {
    if (this.#isClosed || number < this.#next) return;
    if (number > this.#next) {
      if (this.#early.size === 0) this.#expect(this.#next);
      this.#early.set(number, message);
      return;
    }
    for (let due: MemberMessage | undefined = message; due !== undefined; due = this.#early.get(this.#next)) {
      this.#early.delete(this.#next);
      this.#next += 1;
      this.#queue.push(due);
    }
    if (this.#early.size > 0) this.#expect(this.#next);
    this.#wakeReader();
  }

  #expect(number: number): void {
    this.#options.clock.after(GAP_MS, () => {
      if (this.#next === number && !this.#isClosed) this.lose('a message was lost');
    });
  }

  /** Ends the stream from outside: the reader gets EtcdStreamLost after what has arrived. */
  lose(reason: string): void {
    this.#queue.push({ kind: 'closed', reason });
    this.#wakeReader();
  }

  get messages(): AsyncIterable<WatchMessage> {
    return this.#messages();
  }

  async *#messages(): AsyncGenerator<WatchMessage, void, void> {
    for (;;) {
      const message = this.#queue.shift();
      if (message === undefined) {
        if (this.#isClosed) return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      } else if (message.kind === 'compacted') {
        throw new EtcdCompacted(message.revision);
      } else if (message.kind === 'closed') {
        throw new EtcdStreamLost(`etcd ended the watch: ${message.reason}.`);
      } else {
        yield message;
      }
    }
  }

  prompt(): void {
    const watch = this.#watch;
    if (watch !== undefined) this.#options.prompt(() => watch.prompt());
  }

  close(outcome: StreamOutcome): void {
    if (this.#isReported) return;
    this.#isReported = true;
    this.end();
    this.#options.onClose(outcome);
  }

  /** Ends it from this side: what was read stays read, what was not is dropped. */
  end(): void {
    this.abandon();
    this.#queue.length = 0;
    this.#wakeReader();
  }

  /** The process is gone: the member forgets the watch, nobody reads on. */
  abandon(): void {
    this.#isClosed = true;
    this.#unlisten();
    this.#watch?.cancel();
  }

  #wakeReader(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
