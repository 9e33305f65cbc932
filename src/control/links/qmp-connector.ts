/**
 * Attempts to reach QEMUs from this control node (core/ports/qmp-dialer.ts): TCP over a path, TLS with the incarnation
 * itself, QMP.
 *
 * Guarantees: TLS is spoken end to end, so that a relay can neither read nor order anything; an attempt that does not
 * end in a conversation leaves nothing open.
 */
import type { Duplex } from 'node:stream';
import { CodedError, messageOf } from '../../base/errors.ts';
import { addressOn, type Path } from '../../core/model/paths.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Dialed, DialOptions, QmpDialer } from '../../core/ports/qmp-dialer.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { incarnationOf, QmpSessions } from '../../core/qmp/qmp-sessions.ts';
import { withDeadline } from '../../os/deadline.ts';
import type { Credentials } from '../../pki/credentials.ts';
import { connectQmp, type QmpConnection } from '../../qmp/connect.ts';
import type { RpcClient } from '../../rpc/client.ts';
import { connectTcp } from '../../rpc/relay.ts';
import { probeFrom, type RelayOf } from './paths.ts';

/** The paths to QEMUs, and the identity of the control node that connects over them. */
export interface PathsToQemus {
  readonly credentials: Credentials;
  readonly paths: () => readonly Path[];
  readonly relayOf: RelayOf;
}

/** The QMP sessions of a control node. `monitor` as in QmpSessionsOptions. */
export function qmpOverTls(
  to: PathsToQemus,
  { clock, monitor }: { readonly clock: Clock; readonly monitor: number },
): QmpSessions {
  const dialer: QmpDialer = {
    paths: to.paths,
    dial: (target, { path, port }, options) => dial(to, { target, path, port, options }),
  };
  return new QmpSessions({ dialer, clock, monitor });
}

/** One port of one incarnation, over one path. */
export interface Destination {
  readonly target: QmpTarget;
  readonly path: Path;
  readonly port: number;
}

async function dial(to: PathsToQemus, attempt: Destination & { readonly options: DialOptions }): Promise<Dialed> {
  const { target, path, port, options } = attempt;
  const tls = { credentials: to.credentials, peer: incarnationOf(target) };
  const address = addressOn(path, target.addresses);
  if (isDirect(path)) return dialed(await connectQmp({ kind: 'tls', host: address, port, ...tls }, options));
  let relay: RpcClient | null = null;
  try {
    relay = to.relayOf(path);
    const stream = await connectOver(to, attempt, options.deadlineMs);
    return dialed(await connectQmp({ kind: 'stream', stream, tls }, options));
  } catch {
    return relay === null
      ? { outcome: 'no-path' }
      : { outcome: await failureBehind(relay, { address, port }, options.deadlineMs) };
  }
}

/** A TCP connection, direct or relayed. CodedError 'deadline' or 'unavailable', or what the relay says. */
export async function connectOver(
  { relayOf }: PathsToQemus,
  { target, path, port }: Destination,
  deadlineMs: number,
): Promise<Duplex> {
  const address = addressOn(path, target.addresses);
  const relay = relayOf(path);
  if (relay !== null) return relay.connectThrough({ address, port }, { deadlineMs });
  return withDeadline((signal) => connectTcp(address, port, signal), {
    deadlineMs,
    what: `the connection to ${address}:${port}`,
  });
}

/**
 * Opens something of a QEMU over the first path on which that works. CodedError 'unavailable' names the failure of each
 * path.
 */
export async function openByAnyPath<T>(
  { paths }: Pick<PathsToQemus, 'paths'>,
  { target, what, advice }: { readonly target: QmpTarget; readonly what: string; readonly advice: string },
  open: (path: Path) => Promise<T>,
): Promise<T> {
  const failures: string[] = [];
  for (const path of paths()) {
    try {
      return await open(path);
    } catch (error) {
      failures.push(`${path.name}: ${messageOf(error)}`);
    }
  }
  const message = `The ${what} of ${target.vm} on ${target.host} cannot be reached (${failures.join('; ')}).`;
  throw new CodedError('unavailable', message, { advice });
}

function isDirect({ control, storage }: Path): boolean {
  return control === null && storage === null;
}

function dialed(connection: QmpConnection): Dialed {
  return connection.outcome === 'answers'
    ? { outcome: 'answers', channel: connection.session, certificateEndsAt: connection.peerEndsAt }
    : { outcome: connection.outcome };
}

/** A relay reports only that it could not connect; its probe finds out whether the host's kernel refused. */
async function failureBehind(
  relay: RpcClient,
  target: { readonly address: string; readonly port: number },
  deadlineMs: number,
): Promise<'refused' | 'no-path'> {
  try {
    const { outcome } = await probeFrom(relay, { ...target, deadlineMs }, 2 * deadlineMs);
    return outcome === 'refused' ? 'refused' : 'no-path';
  } catch {
    return 'no-path';
  }
}
