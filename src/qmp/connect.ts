/**
 * Connects to a QEMU. Guarantees: the result is as precise as the network allows, because verdicts about incarnations
 * are based on it; an attempt that did not end in a session leaves nothing open.
 *   answers              greeting and negotiation were completed: the process runs
 *   refused              its machine answered that nobody listens there: no such process
 *   accepted-but-silent  a kernel accepted for a listening process, which does not answer: stopped, hung, or its monitor
 *                        serves another client (a QEMU chardev serves one at a time)
 *   silent               nothing came back at all: machine or network gone, or cut off; ALSO a stopped QEMU that was tried
 *                        some times before: its accept queue holds about two connections, further SYNs are dropped
 *   unreachable          a router, or this machine itself, says there is no way there (errno in `reason`)
 *   rejected             somebody there ended the conversation, or is not who was expected: TLS or identity failure; once,
 *                        also a process that ended just now
 */

import { connect as connectTcp, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { CodedError } from '../base/errors.ts';
import type { PeerIdentity } from '../base/identity.ts';
import { onDeadline } from '../os/deadline.ts';
import type { Credentials } from '../pki/credentials.ts';
import { clientTlsOptions } from '../pki/tls.ts';
import { QmpSession, type SessionOptions } from './session.ts';

/** Mutual TLS: our credentials, and who must be at the other end. */
export interface QmpTls {
  readonly credentials: Credentials;
  readonly peer: PeerIdentity;
}

export type QmpAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | ({ readonly kind: 'tls'; readonly host: string; readonly port: number } & QmpTls)
  /** An open stream, such as a tunnel through another node; with `tls`, TLS is spoken inside it, end to end. */
  | { readonly kind: 'stream'; readonly stream: Duplex; readonly tls?: QmpTls | undefined };

export type QmpConnection =
  /** `peerEndsAt`: when the certificate of the other end ends, in Unix ms; null without TLS. */
  | { readonly outcome: 'answers'; readonly session: QmpSession; readonly peerEndsAt: number | null }
  | { readonly outcome: 'refused'; readonly reason: CodedError }
  /** `lateByMs`: how late this process itself was; much of it makes the silence worthless as evidence. */
  | { readonly outcome: 'accepted-but-silent'; readonly lateByMs: number }
  | { readonly outcome: 'silent'; readonly lateByMs: number }
  | { readonly outcome: 'unreachable'; readonly reason: CodedError }
  | { readonly outcome: 'rejected'; readonly reason: CodedError };

const KEEPALIVE_DELAY_MS = 5_000;

/** Tries once, within `deadlineMs` for everything. Rejects only with the signal's reason. */
export function connectQmp(address: QmpAddress, options: SessionOptions): Promise<QmpConnection> {
  const { signal, deadlineMs } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const attempt = new Attempt(address, options);
    const settle = (finish: () => void): void => {
      cancelTimer();
      signal?.removeEventListener('abort', onAbort);
      finish();
    };
    const onAbort = (): void =>
      settle(() => {
        attempt.abandon();
        reject(signal?.reason);
      });
    const cancelTimer = onDeadline(deadlineMs, (lateByMs) =>
      settle(() => {
        attempt.abandon();
        resolve({ outcome: attempt.accepted ? 'accepted-but-silent' : 'silent', lateByMs });
      }),
    );
    signal?.addEventListener('abort', onAbort, { once: true });
    attempt.run().then(
      (session) => settle(() => resolve({ outcome: 'answers', session, peerEndsAt: attempt.peerEndsAt })),
      (error: unknown) =>
        settle(() => {
          attempt.abandon();
          resolve(attempt.classify(error));
        }),
    );
  });
}

/** One try, with what is known about how far it came. */
class Attempt {
  accepted: boolean;
  peerEndsAt: number | null = null;
  readonly #address: QmpAddress;
  readonly #options: SessionOptions;
  readonly #abandoned = new AbortController();
  #stream: Duplex | undefined;

  constructor(address: QmpAddress, options: SessionOptions) {
    this.#address = address;
    this.#options = options;
    this.accepted = address.kind === 'stream';
  }

  async run(): Promise<QmpSession> {
    const address = this.#address;
    const stream = address.kind === 'stream' ? address.stream : openSocket(address);
    this.#hold(stream);
    if (address.kind !== 'stream') await opened(stream, 'connect');
    this.accepted = true;
    const tls = address.kind === 'tls' ? address : address.kind === 'stream' ? address.tls : undefined;
    if (tls === undefined) return this.#openSession(stream);
    const secured = connectTls({ socket: stream, ...clientTlsOptions(tls.credentials, tls.peer) });
    this.#hold(secured);
    await opened(secured, 'secureConnect');
    const endsAt = Date.parse(secured.getPeerCertificate().valid_to);
    this.peerEndsAt = Number.isNaN(endsAt) ? null : endsAt;
    return this.#openSession(secured);
  }

  abandon(): void {
    this.#abandoned.abort();
    this.#stream?.destroy();
    if (this.#address.kind === 'stream') this.#address.stream.destroy();
  }

  classify(error: unknown): QmpConnection {
    const message = error instanceof Error ? error.message : String(error);
    const reason =
      error instanceof CodedError
        ? error
        : new CodedError('unavailable', `QEMU could not be reached: ${message}.`, { cause: error });
    const errno = error instanceof Error && 'code' in error ? error.code : undefined;
    // A connection that is accepted and reset at once reaches us as a connect(2) that fails with ECONNRESET.
    if (this.accepted || errno === 'ECONNRESET') return { outcome: 'rejected', reason };
    // The kernel gave up before our deadline did: the same observation.
    if (errno === 'ETIMEDOUT') return { outcome: 'silent', lateByMs: 0 };
    if (errno === 'ECONNREFUSED' || errno === 'ENOENT') return { outcome: 'refused', reason };
    return { outcome: 'unreachable', reason };
  }

  #hold(stream: Duplex): void {
    this.#stream = stream;
    // After an attempt is given up, its stream may still fail: that error is ignored.
    stream.on('error', () => undefined);
  }

  #openSession(stream: Duplex): Promise<QmpSession> {
    // The deadline of the whole attempt, set earlier, passes first; this one is only never later than that.
    return QmpSession.open(stream, { ...this.#options, signal: this.#abandoned.signal });
  }
}

function openSocket(
  address:
    | { readonly kind: 'unix'; readonly path: string }
    | { readonly kind: 'tls'; readonly host: string; readonly port: number },
): Socket {
  if (address.kind === 'unix') return connectTcp({ path: address.path });
  const { host, port } = address;
  return connectTcp({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_DELAY_MS });
}

function opened(stream: Duplex, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.once(event, () => resolve());
    stream.once('error', reject);
    stream.once('close', () =>
      reject(new CodedError('unavailable', 'The connection was closed before QEMU sent anything.')),
    );
  });
}
