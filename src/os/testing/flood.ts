/** For tests: connections of a hostile client without a certificate. */
import { connect, type Socket } from 'node:net';

/** The behaviours: sends nothing; closes its direction at once; begins a TLS handshake and never continues. */
const FLOOD_KINDS = ['silent', 'half-closed', 'unfinished'] as const;

/** The header of a TLS record of 512 bytes and its first bytes: the beginning of a ClientHello. */
const CLIENT_HELLO = Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3);

export interface FloodOptions {
  readonly host: string;
  readonly port: number;
  readonly count: number;
  readonly localAddress?: string;
}

/**
 * Opens `count` connections of each kind and keeps them open. A connection counts as ended when the other side closed
 * or refused it. A silent connection beyond the accept queue of the other side's kernel (511 with Node) may be open
 * here and unknown to that process.
 */
export function flood({ host, port, count, localAddress }: FloodOptions): readonly Socket[] {
  return Array.from({ length: count }, () => FLOOD_KINDS)
    .flat()
    .map((kind) => {
      const at = { host, port, allowHalfOpen: true, ...(localAddress === undefined ? {} : { localAddress }) };
      const socket = connect(at, () => {
        if (kind === 'half-closed') socket.end();
        if (kind === 'unfinished') socket.write(CLIENT_HELLO);
      });
      // Only the other side's FIN or reset ends the connection.
      socket.on('end', () => socket.destroy());
      return socket.on('error', () => undefined).resume();
    });
}

/** Returns how many connections the other side has not ended. */
export function stillOpen(sockets: readonly Socket[]): number {
  return sockets.filter((socket) => !socket.destroyed).length;
}
