/** For tests: connections of somebody who has no certificate and means no good. */
import { connect, type Socket } from 'node:net';

/** Says nothing; closes its direction at once; begins a TLS handshake and never goes on. */
const FLOOD_KINDS = ['silent', 'half-closed', 'unfinished'] as const;

/** The head of a TLS record that announces 512 bytes, and the first of those: a ClientHello to be. */
const CLIENT_HELLO = Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3);

export interface FloodOptions {
  readonly host: string;
  readonly port: number;
  readonly count: number;
  readonly localAddress?: string;
}

/**
 * Opens `count` connections of each kind, and keeps them. They count as ended when the other side closed or refused them. Beyond what the
 * other side's kernel holds for its process to accept (511 with Node), a silent one may be open here and unknown there.
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
      // The other side's FIN or reset ends it; ours alone does not.
      socket.on('end', () => socket.destroy());
      return socket.on('error', () => undefined).resume();
    });
}

/** How many of them the other side has not ended. */
export function stillOpen(sockets: readonly Socket[]): number {
  return sockets.filter((socket) => !socket.destroyed).length;
}
