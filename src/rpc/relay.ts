/**
 * Two byte streams joined into one. Guarantees: neither side is read faster than the other accepts data
 * (back-pressure); both ends end together; a pair on which nothing moves is ended after its idle time; at most
 * `pairsMax` pairs at once.
 */

import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { CodedError } from '../base/errors.ts';
import { withDeadline } from '../os/deadline.ts';

export interface RelayOptions {
  readonly pairsMax: number;
  readonly idleMs: number;
}

/** Joins streams and bounds their number. */
export class Relay {
  readonly #options: RelayOptions;
  #pairs = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  get pairs(): number {
    return this.#pairs;
  }

  /**
   * Opens a TCP connection that can be joined to another; it counts against the limit from now on. CodedError
   * 'no-capacity', 'unavailable' or 'deadline'.
   */
  async open(
    { address, port }: { readonly address: string; readonly port: number },
    { deadlineMs, signal }: { readonly deadlineMs: number; readonly signal: AbortSignal },
  ): Promise<Socket> {
    if (this.#pairs >= this.#options.pairsMax) {
      throw new CodedError('no-capacity', `All ${this.#options.pairsMax} relayed connections are in use.`, {
        advice: 'Nothing was opened. Try again when some have ended.',
      });
    }
    this.#pairs++;
    let socket: Socket | undefined;
    try {
      socket = await withDeadline((inner) => connectTcp(address, port, inner), {
        deadlineMs,
        signal,
        what: `the connection to ${address}:${port}`,
      });
      return socket;
    } finally {
      if (socket === undefined) this.#pairs--;
      else socket.once('close', () => this.#pairs--);
    }
  }

  /** Joins two open streams until either ends. */
  join(a: Duplex, b: Duplex): void {
    let lastMoveMs = performance.now();
    const moved = (): void => {
      lastMoveMs = performance.now();
    };
    const idle = setInterval(
      () => {
        if (performance.now() - lastMoveMs >= this.#options.idleMs) end();
      },
      Math.max(10, this.#options.idleMs / 4),
    );
    idle.unref();
    const end = (): void => {
      clearInterval(idle);
      a.destroy();
      b.destroy();
    };
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      from.on('error', end);
      from.on('close', end);
      // Half-closed pairs have no use here: the end of one direction, once it is flushed, is the end of both.
      from.once('end', () => to.end(() => end()));
      from.on('data', moved);
      from.pipe(to, { end: false });
    }
  }
}

/** One TCP connection with keepalive; CodedError 'unavailable'. `signal` ends the attempt, not the connection. */
export function connectTcp(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 });
    const onAbort = (): void => void socket.destroy();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('error', (cause) =>
      reject(new CodedError('unavailable', `No connection to ${host}:${port}: ${cause.message}.`, { cause })),
    );
    socket.once('connect', () => {
      signal.removeEventListener('abort', onAbort);
      resolve(socket);
    });
  });
}
