/**
 * Serial ports of QEMUs from this control node, over whatever path leads there. TLS is spoken end to end with the
 * incarnation itself.
 */
import { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { Path } from '../../core/model/paths.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { incarnationOf } from '../../core/qmp/qmp-sessions.ts';
import { withDeadline } from '../../os/deadline.ts';
import type { Credentials } from '../../pki/credentials.ts';
import { clientTlsOptions } from '../../pki/tls.ts';
import type { SerialPorts } from '../backend/ports.ts';
import { connectOver, openByAnyPath, type PathsToQemus } from './qmp-connector.ts';

/** Deadline of one connection attempt on one path, and of its handshake. */
const CONNECT_MS = 700;

/** Serial ports over TLS. */
export function createSerialPorts(to: PathsToQemus): SerialPorts {
  return {
    openSerial: (target) => {
      const advice = 'It serves one console at a time: another one may be open.';
      return openByAnyPath(to, { target, what: 'serial port', advice }, (path) => openOver(to, path, target));
    },
  };
}

async function openOver(to: PathsToQemus, path: Path, target: QmpTarget): Promise<Duplex> {
  const port = portsOfSlot(target.slot).serial;
  const stream = await connectOver(to, { target, path, port }, CONNECT_MS);
  try {
    const secured = (): Promise<Duplex> => secure(stream, to.credentials, target);
    return await withDeadline(secured, { deadlineMs: CONNECT_MS, what: 'the serial port' });
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

function secure(stream: Duplex, credentials: Credentials, target: QmpTarget): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const secured = connectTls({ socket: stream, ...clientTlsOptions(credentials, incarnationOf(target)) });
    secured.once('secureConnect', () => resolve(byteByByte(secured)));
    secured.once('error', reject);
  });
}

/**
 * A stream whose every written byte travels in a TLS record of its own: QEMU 7.2's chardev takes what its device has
 * room for and does not look again for what gnutls has decrypted already, so that the rest of a longer record would
 * wait for the next key.
 */
function byteByByte(secured: Duplex): Duplex {
  const stream = new Duplex({
    read: () => void secured.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      const next = (index: number): void => {
        if (index === chunk.length) done();
        else secured.write(chunk.subarray(index, index + 1), (error) => (error ? done(error) : next(index + 1)));
      };
      next(0);
    },
    final: (done) => void secured.end(() => done()),
    destroy: (error, done) => {
      secured.destroy();
      done(error);
    },
  });
  secured.on('data', (chunk: Buffer) => {
    if (!stream.push(chunk)) secured.pause();
  });
  secured.once('end', () => stream.push(null));
  secured.on('error', (error) => stream.destroy(error));
  secured.once('close', () => {
    if (!secured.readableEnded) stream.destroy();
  });
  return stream;
}
