/**
 * One TCP connection attempt, reported in the terms that a verdict needs. Guarantees: `accepted` and `refused` come
 * from the peer's kernel; `silent` is only reported by a prober that was itself running in time, else `void`.
 */
import { connect } from 'node:net';
import { monotonicMs } from './monotonic.ts';

export interface TcpProbe {
  readonly outcome: 'accepted' | 'refused' | 'silent' | 'void';
  /** How late our own timer fired, in ms. */
  readonly lateMs: number;
}

/** A timer later than this says that this process was not scheduled: an answer may have waited unseen. */
const LATE_MS_MAX = 150;

/** Tries to connect once. Never throws. */
export function probeTcp(
  target: { readonly address: string; readonly port: number },
  deadlineMs: number,
): Promise<TcpProbe> {
  return new Promise((resolve) => {
    const startedAt = monotonicMs();
    const socket = connect({ host: target.address, port: target.port });
    const finish = (probe: TcpProbe): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(probe);
    };
    const timer = setTimeout(() => {
      const lateMs = Math.max(0, monotonicMs() - startedAt - deadlineMs);
      // Socket events that are ready now are handled first: an answer that arrived in time counts, however late it is
      // read.
      setImmediate(() => finish({ outcome: lateMs > LATE_MS_MAX ? 'void' : 'silent', lateMs: Math.round(lateMs) }));
    }, deadlineMs);
    socket.once('connect', () => finish({ outcome: 'accepted', lateMs: 0 }));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // Only a reset comes from the peer; "no route" and similar errors come from our own side and are no evidence
      // about it.
      const refused = error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET';
      const silent = error.code === 'ETIMEDOUT' || error.code === 'EHOSTUNREACH';
      finish({ outcome: refused ? 'refused' : silent ? 'silent' : 'void', lateMs: 0 });
    });
  });
}
