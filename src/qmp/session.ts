/**
 * One QMP conversation over an open stream. Guarantees: a reply belongs to the command of its id; no command waits for
 * ever; when the connection ends, every command in flight is told that its outcome is unknown, which is not failure; no
 * event is lost silently.
 */

import type { Duplex } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { CodedError } from '../base/errors.ts';
import { onDeadline, withDeadline } from '../os/deadline.ts';
import {
  encodeCommand,
  QmpDecoder,
  type QmpErrorReply,
  type QmpEvent,
  type QmpGreeting,
  type QmpMessage,
} from '../wire/qmp/codec.ts';
import { QmpError } from '../wire/qmp/error.ts';

export interface SessionOptions {
  /** The time for greeting and negotiation together, in ms. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Called for every event from the first on; must not throw. */
  readonly onEvent?: ((event: QmpEvent) => void) | undefined;
  /** Commands in flight; one more is refused. 64 by default (QEMU itself queues 8 and then stops reading). */
  readonly pendingMax?: number | undefined;
}

export interface ExecuteOptions {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Asks for out-of-band execution; falls back to ordinary execution if it was not negotiated. */
  readonly outOfBand?: boolean | undefined;
}

interface Pending {
  readonly command: string;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

const PENDING_MAX = 64;
const EVENT_QUEUE_MAX = 1024;
const UNKNOWN_OUTCOME = 'Whether QEMU carried it out is unknown: look before repeating it.';

/**
 * A negotiated conversation: made by `open`, ended by `close` or by QEMU, then `closed` settles and every command is
 * refused with CodedError 'unavailable'. Commands may be in flight side by side; replies need not come in their order.
 */
export class QmpSession {
  /** Settles with the reason when the session has ended; never rejects. */
  readonly closed: Promise<CodedError>;
  readonly #stream: Duplex;
  readonly #pendingMax: number;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #decoder = new QmpDecoder();
  readonly #text = new StringDecoder('utf8');
  #greeted = Promise.withResolvers<QmpGreeting>();
  #settleClosed: (reason: CodedError) => void;
  /**
   * Commands that are not being written yet; and how many the stream has not taken, these among them: at most
   * pendingMax.
   */
  readonly #outbox: string[] = [];
  #untaken = 0;
  #writing = false;
  #greeting: QmpGreeting | undefined;
  #end: CodedError | undefined;
  #nextId = 1;
  #outOfBand = false;

  private constructor(stream: Duplex, { onEvent, pendingMax }: SessionOptions) {
    this.#stream = stream;
    this.#pendingMax = pendingMax ?? PENDING_MAX;
    if (onEvent !== undefined) this.#listeners.add(onEvent);
    const { promise, resolve } = Promise.withResolvers<CodedError>();
    this.closed = promise;
    this.#settleClosed = resolve;
    // Whether or not anybody waits for the greeting: a session that ends before it is reported once, by open().
    this.#greeted.promise.catch(() => undefined);
    stream.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    stream.once('error', (cause: Error) => this.#finish(`broke: ${cause.message}`, cause));
    stream.once('end', () => this.#finish('was closed by QEMU'));
    stream.once('close', () => this.#finish('was closed'));
  }

  /**
   * Waits for the greeting and negotiates; out-of-band execution is enabled if offered. The stream belongs to the
   * session from now on and is destroyed when this fails. CodedError 'deadline' when QEMU is silent, 'unavailable' when
   * the stream ends or what comes is not QMP; or the signal's reason.
   */
  static async open(stream: Duplex, options: SessionOptions): Promise<QmpSession> {
    const session = new QmpSession(stream, options);
    const { deadlineMs, signal } = options;
    try {
      return await withDeadline((inner) => session.#negotiate(deadlineMs, inner), {
        deadlineMs,
        signal,
        what: 'the greeting of QEMU',
      });
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /** QEMU's version according to its greeting. */
  get version(): QmpGreeting['version'] | undefined {
    return this.#greeting?.version;
  }

  /** Whether out-of-band execution was negotiated. */
  get outOfBand(): boolean {
    return this.#outOfBand;
  }

  /**
   * Executes a command and returns what QEMU returns, unchecked: `T` is the caller's claim (see commands.ts).
   * Throws QmpError when QEMU refuses; CodedError 'deadline' or 'unavailable', or the signal's reason, when the outcome
   * is unknown (what is not even sent is 'unavailable' and says so).
   */
  execute<T>(command: string, args: object | undefined, { deadlineMs, signal, outOfBand }: ExecuteOptions): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const refusal = this.#end?.message ?? this.#overload();
      if (refusal !== undefined) {
        reject(new CodedError('unavailable', `${command} was not sent: ${refusal}`));
        return;
      }
      const id = this.#nextId++;
      const settle = (finish: () => void): void => {
        this.#pending.delete(id);
        cancelTimer();
        signal?.removeEventListener('abort', onAbort);
        finish();
      };
      const onAbort = (): void => settle(() => reject(signal?.reason));
      const cancelTimer = onDeadline(deadlineMs, () =>
        settle(() =>
          reject(
            new CodedError('deadline', `QEMU did not answer ${command} within ${deadlineMs} ms.`, {
              advice: UNKNOWN_OUTCOME,
            }),
          ),
        ),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, {
        command,
        resolve: (value) => settle(() => resolve(value as T)),
        reject: (error) => settle(() => reject(error)),
      });
      this.#send(encodeCommand({ command, arguments: args, id, outOfBand: outOfBand === true && this.#outOfBand }));
    });
  }

  /** Calls `listener` for every event until the returned function is called. The listener must not throw. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * The events from this call on (not from the first iteration on), until `signal` fires. Ends with CodedError
   * 'unavailable' when the session does, and 'too-large' when more than `queueMax` wait: then events were missed and
   * state has to be asked for.
   */
  events(
    options: { readonly queueMax?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<QmpEvent> {
    const queueMax = options.queueMax ?? EVENT_QUEUE_MAX;
    const queue: QmpEvent[] = [];
    let failure: CodedError | undefined;
    let wake = (): void => undefined;
    const stopListening = this.onEvent((event) => {
      if (queue.length < queueMax) queue.push(event);
      else
        failure ??= new CodedError(
          'too-large',
          `More than ${queueMax} events of QEMU waited; the later ones were missed.`,
          { advice: 'Ask QEMU for its state.' },
        );
      wake();
    });
    void this.closed.then((reason) => {
      failure ??= reason;
      wake();
    });
    const onAbort = (): void => {
      stopListening();
      wake();
    };
    options.signal?.addEventListener('abort', onAbort, { once: true });
    return (async function* iterate(): AsyncGenerator<QmpEvent> {
      try {
        for (;;) {
          if (options.signal?.aborted === true) return;
          const event = queue.shift();
          if (event !== undefined) {
            yield event;
            continue;
          }
          if (failure !== undefined) throw failure;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      } finally {
        stopListening();
        options.signal?.removeEventListener('abort', onAbort);
      }
    })();
  }

  /** Ends the session at once; commands in flight fail with an unknown outcome. QEMU runs on. */
  close(): void {
    this.#finish('was closed here');
  }

  async #negotiate(deadlineMs: number, signal: AbortSignal): Promise<QmpSession> {
    const greeting = await this.#greeted.promise;
    this.#greeting = greeting;
    const enable = greeting.capabilities.filter((capability) => capability === 'oob');
    await this.execute('qmp_capabilities', enable.length === 0 ? undefined : { enable }, { deadlineMs, signal });
    this.#outOfBand = enable.length > 0;
    return this;
  }

  /** Commands that are sent in one turn, or while a write is under way, go out together. */
  #send(line: string): void {
    this.#outbox.push(line);
    this.#untaken++;
    if (this.#writing) return;
    this.#writing = true;
    queueMicrotask(() => this.#write());
  }

  /** Why no further command may be sent now, if so: given-up commands count while the stream has not taken them. */
  #overload(): string | undefined {
    const waiting = Math.max(this.#pending.size, this.#untaken);
    return waiting < this.#pendingMax ? undefined : `${waiting} commands wait already.`;
  }

  /**
   * Writes what waits as two writes, its last character alone, one after the other. QEMU before 8.0 reads a TLS monitor
   * one byte per readiness of the socket and forgets the bytes that gnutls has already decrypted: a command that ends
   * with its TLS record is never read to its end. With the last character in a record of its own, the socket stays
   * readable until the rest is consumed.
   */
  #write(): void {
    const lines = this.#end === undefined ? this.#outbox.splice(0) : [];
    this.#writing = lines.length > 0;
    if (!this.#writing) return;
    const text = lines.join('');
    const taken = (): void => {
      this.#untaken -= lines.length;
      this.#write();
    };
    // Only from the callback of the previous write: writes that wait in the stream together would become one record.
    this.#stream.write(text.slice(0, -1), () => this.#stream.write(text.slice(-1), taken));
  }

  #receive(chunk: Uint8Array): void {
    for (const message of this.#decoder.push(
      this.#text.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)),
    )) {
      if (this.#end !== undefined) return;
      this.#handle(message);
    }
  }

  #handle(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#greeted.resolve(message);
        return;
      case 'return':
        // No entry: this answers a command that was given up.
        if (message.id !== undefined) this.#pending.get(message.id)?.resolve(message.value);
        return;
      case 'error':
        this.#handleError(message);
        return;
      case 'event':
        for (const listener of this.#listeners) listener(message);
        return;
      case 'malformed':
        this.#finish(`does not speak QMP (${message.reason})`);
    }
  }

  #handleError(message: QmpErrorReply): void {
    if (message.id === undefined) {
      // QEMU could not even read its input: no later answer could be matched to its question.
      this.#finish(`lost its framing (${message.description})`);
      return;
    }
    const pending = this.#pending.get(message.id);
    pending?.reject(new QmpError(pending.command, message));
  }

  #finish(what: string, cause?: Error): void {
    if (this.#end !== undefined) return;
    const reason = new CodedError('unavailable', `The connection to QEMU ${what}.`, { cause });
    this.#end = reason;
    this.#stream.on('error', () => undefined);
    this.#stream.destroy();
    for (const pending of [...this.#pending.values()]) {
      const message = `The connection to QEMU ${what} before it answered ${pending.command}.`;
      pending.reject(new CodedError('unavailable', message, { cause, advice: UNKNOWN_OUTCOME }));
    }
    this.#greeted.reject(reason);
    this.#settleClosed(reason);
  }
}
