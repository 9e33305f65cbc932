/**
 * Streams to the chardevs of QEMUs (serial port, guest agent) from this control node, over any path that leads there.
 * TLS is spoken end to end with the incarnation itself.
 */
import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { Path } from '../../core/model/paths.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import { incarnationOf } from '../../core/qmp/qmp-sessions.ts';
import { withDeadline } from '../../os/deadline.ts';
import { clientTlsOptions } from '../../pki/tls.ts';
import { connectOver, type PathsToQemus } from './qmp-connector.ts';

/** A chardev of one incarnation, and how it is reached. */
export interface Chardev {
  readonly target: QmpTarget;
  readonly path: Path;
  readonly port: number;
  /** What the stream is, for errors: "the serial port". */
  readonly what: string;
  /** Deadline of the connection, and of its handshake, in ms. */
  readonly deadlineMs: number;
  /**
   * Bytes of one TLS record: QEMU 7.2's chardev takes as much as its device has room for and does not look again for
   * bytes that gnutls has decrypted already, so that the rest of a longer record would wait for the next one.
   */
  readonly recordBytes: number;
}

/** Opens a chardev over one path. CodedError 'deadline' or 'unavailable'; nothing is left open then. */
export async function openChardev(to: PathsToQemus, chardev: Chardev): Promise<Duplex> {
  const { target, path, port, what, deadlineMs, recordBytes } = chardev;
  const stream = await connectOver(to, { target, path, port }, deadlineMs);
  // Data that its guest does not read must not keep QEMU from noticing that this client is gone: QEMU notices a reset.
  const end = (): void => void (stream instanceof Socket ? stream.resetAndDestroy() : stream.destroy());
  const secured = (): Promise<Duplex> =>
    new Promise((resolve, reject) => {
      const options = clientTlsOptions(to.credentials, incarnationOf(target));
      const tls = connectTls({ socket: stream, ...options });
      tls.once('secureConnect', () => resolve(recordByRecord(tls, { recordBytes, end })));
      tls.once('error', reject);
    });
  try {
    return await withDeadline(secured, { deadlineMs, what });
  } catch (error) {
    end();
    throw error;
  }
}

function recordByRecord(
  secured: Duplex,
  { recordBytes, end }: { readonly recordBytes: number; readonly end: () => void },
): Duplex {
  const stream = new Duplex({
    read: () => void secured.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      const next = (index: number): void => {
        if (index >= chunk.length) done();
        else
          secured.write(chunk.subarray(index, index + recordBytes), (error) =>
            error ? done(error) : next(index + recordBytes),
          );
      };
      next(0);
    },
    final: (done) => void secured.end(() => done()),
    destroy: (error, done) => {
      secured.destroy();
      end();
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
