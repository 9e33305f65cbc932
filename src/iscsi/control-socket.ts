/**
 * The target's end of its control socket. Guarantees: one service is served at a time, the last one that connected:
 * input of an earlier one is no longer read; no input ends this process; the size of input is bounded.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { CodedError, messageOf } from '../base/errors.ts';
import { problemOf } from '../base/problem.ts';
import { isRecord } from '../rpc/parse.ts';
import { type ControlOrder, LINE_BYTES_MAX, parseControlRequest } from './control-protocol.ts';

/** Carries an order out; what it answers is sent. */
export type ControlHandler = (order: ControlOrder) => Promise<unknown>;

/** A listening control socket. */
export class ControlSocket {
  readonly #server: Server;
  readonly #handle: ControlHandler;
  #peer: Socket | undefined;

  private constructor(handle: ControlHandler) {
    this.#handle = handle;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Listens at a path where nothing is. Throws CodedError 'failed'. */
  static async listen(path: string, handle: ControlHandler): Promise<ControlSocket> {
    const control = new ControlSocket(handle);
    await new Promise<void>((resolve, reject) => {
      control.#server.once('error', (cause) =>
        reject(new CodedError('failed', `Cannot listen on ${path}: ${messageOf(cause)}`, { cause })),
      );
      control.#server.listen(path, resolve);
    });
    return control;
  }

  /** Ends it. */
  async close(): Promise<void> {
    this.#peer?.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    this.#peer?.destroy();
    this.#peer = socket;
    socket.on('error', () => undefined);
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) void this.#answer(socket, line);
      if (text.length > LINE_BYTES_MAX) socket.destroy();
    });
  }

  async #answer(socket: Socket, line: string): Promise<void> {
    let id: unknown = null;
    try {
      const value: unknown = JSON.parse(line);
      if (isRecord(value)) id = value['id'];
      const { order } = parseControlRequest(value, '');
      const ok = (await this.#handle(order)) ?? null;
      if (!socket.destroyed) socket.write(`${JSON.stringify({ id, ok })}\n`);
    } catch (error) {
      const { code, detail } = problemOf(error);
      if (!socket.destroyed) socket.write(`${JSON.stringify({ id, error: { code, message: detail } })}\n`);
    }
  }
}
