/**
 * The storage service's end of the target's control socket. Guarantees: every order ends by its deadline; an answer
 * belongs to the order of its id; when the connection ends every order in flight rejects with CodedError 'unavailable'.
 */
import { connect, type Socket } from 'node:net';
import { CodedError, isErrorCode, messageOf } from '../base/errors.ts';
import { type ControlOrder, LINE_BYTES_MAX } from '../iscsi/control-protocol.ts';
import { onDeadline } from '../os/deadline.ts';
import { isRecord } from '../rpc/parse.ts';

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** One connection. */
export class TargetControl {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #id = 0;
  #isClosed = false;
  /** Resolves when the connection has ended. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.#take(line);
      if (text.length > LINE_BYTES_MAX) socket.destroy();
    });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#isClosed = true;
        const error = new CodedError('unavailable', 'The target process of this storage node has ended.');
        for (const waiting of this.#waiting.values()) waiting.reject(error);
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /** Connects; CodedError 'unavailable' if no process listens. A Unix socket answers at once or not at all. */
  static connect(path: string): Promise<TargetControl> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.on('error', (cause) =>
        reject(new CodedError('unavailable', `The target does not answer: ${messageOf(cause)}.`, { cause })),
      );
      socket.once('connect', () => resolve(new TargetControl(socket)));
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The answer to an order; rejects with the CodedError that the target answered, 'deadline' or 'unavailable'. */
  ask(order: ControlOrder, deadlineMs: number): Promise<unknown> {
    const id = this.#id++;
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(new CodedError('unavailable', 'The target process of this storage node has ended.'));
        return;
      }
      const cancel = onDeadline(deadlineMs, () =>
        this.#waiting.get(id)?.reject(new CodedError('deadline', `The target did not answer within ${deadlineMs} ms.`)),
      );
      const end = (act: () => void): void => {
        cancel();
        this.#waiting.delete(id);
        act();
      };
      this.#waiting.set(id, {
        resolve: (value) => end(() => resolve(value)),
        reject: (error) => end(() => reject(error)),
      });
      this.#socket.write(`${JSON.stringify({ id, order })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(line: string): void {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      // The process is no target of ours: nothing more is sent to it.
      this.#socket.destroy();
      return;
    }
    if (!isRecord(value) || typeof value['id'] !== 'number') return;
    const waiting = this.#waiting.get(value['id']);
    const { error } = value;
    if (isRecord(error)) {
      const code = isErrorCode(error['code']) ? error['code'] : 'failed';
      waiting?.reject(new CodedError(code, String(error['message'])));
    } else waiting?.resolve(value['ok']);
  }
}
