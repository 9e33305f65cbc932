/**
 * Displays of QEMUs from this control node, over whatever path leads there: RFB whose security is VeNCrypt with X.509
 * (RFC 6143 and the community's list of its extensions), so that TLS is spoken end to end with the incarnation itself.
 * Guarantees: no byte of the display is exchanged before the incarnation has proved its identity; an attempt that does
 * not end in a display leaves nothing open.
 */
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { CodedError } from '../../base/errors.ts';
import type { Path } from '../../core/model/paths.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { incarnationOf } from '../../core/qmp/qmp-sessions.ts';
import { withDeadline } from '../../os/deadline.ts';
import type { Credentials } from '../../pki/credentials.ts';
import { clientTlsOptions } from '../../pki/tls.ts';
import type { Displays } from '../backend/ports.ts';
import { connectOver, openByAnyPath, type PathsToQemus } from './qmp-connector.ts';

/** Deadline of one connection attempt on one path, and of its handshake, in ms. */
const CONNECT_MS = 1_000;
const VERSION = Buffer.from('RFB 003.008\n', 'latin1');
const VENCRYPT = 19;
const VENCRYPT_VERSION = Buffer.from([0, 2]);
/** Subtype of VeNCrypt: TLS with certificates, and no password after it. */
const X509_NONE = 260;

/** Displays over TLS. */
export function createDisplays(to: PathsToQemus): Displays {
  return {
    openDisplay: (target) => {
      const advice = 'Try again; "gp vm show" says whether its QEMU answers.';
      return openByAnyPath(to, { target, what: 'display', advice }, (path) => openOver(to, path, target));
    },
  };
}

async function openOver(to: PathsToQemus, path: Path, target: QmpTarget): Promise<Duplex> {
  const port = portsOfSlot(target.slot).vnc;
  const stream = await connectOver(to, { target, path, port }, CONNECT_MS);
  stream.on('error', () => stream.destroy());
  try {
    const opened = (): Promise<Duplex> => shakeHands(stream, to.credentials, target);
    return await withDeadline(opened, { deadlineMs: CONNECT_MS, what: 'the display' });
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

async function shakeHands(stream: Duplex, credentials: Credentials, target: QmpTarget): Promise<Duplex> {
  demand((await read(stream, VERSION.length)).equals(VERSION), 'its version');
  stream.write(VERSION);
  const [count = 0] = await read(stream, 1);
  demand((await read(stream, count)).includes(VENCRYPT), 'its security types');
  stream.write(Buffer.from([VENCRYPT]));
  demand((await read(stream, 2)).equals(VENCRYPT_VERSION), 'its version of VeNCrypt');
  stream.write(VENCRYPT_VERSION);
  demand((await read(stream, 1))[0] === 0, 'the version of VeNCrypt');
  const [subtypes = 0] = await read(stream, 1);
  const offered = await read(stream, subtypes * 4);
  demand(
    Array.from({ length: subtypes }, (_, index) => offered.readUInt32BE(index * 4)).includes(X509_NONE),
    'its kinds of TLS',
  );
  const chosen = Buffer.alloc(4);
  chosen.writeUInt32BE(X509_NONE);
  stream.write(chosen);
  demand((await read(stream, 1))[0] === 1, 'the kind of TLS');
  const secured = await secure(stream, credentials, target);
  demand((await read(secured, 4)).readUInt32BE() === 0, 'this control node');
  return secured;
}

function secure(stream: Duplex, credentials: Credentials, target: QmpTarget): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const secured = connectTls({ socket: stream, ...clientTlsOptions(credentials, incarnationOf(target)) });
    secured.once('secureConnect', () => resolve(secured));
    secured.once('error', reject);
    secured.on('error', () => secured.destroy());
  });
}

function demand(isSo: boolean, what: string): void {
  if (!isSo) throw new CodedError('unavailable', `The display and this control node do not agree about ${what}.`);
}

/** Reads exactly this many bytes; what follows stays in the stream. */
async function read(stream: Duplex, count: number): Promise<Buffer> {
  if (count === 0) return Buffer.alloc(0);
  for (;;) {
    const bytes = stream.read(count) as Buffer | null;
    if (bytes !== null && bytes.length === count) return bytes;
    if (stream.readableEnded || stream.destroyed)
      throw new CodedError('unavailable', 'The display closed the connection.');
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        for (const event of EVENTS) stream.removeListener(event, settle);
        resolve();
      };
      for (const event of EVENTS) stream.once(event, settle);
    });
  }
}

const EVENTS = ['readable', 'end', 'close'] as const;
