/**
 * The proof that a joining machine has the addresses that it claims: while it joins, it answers challenges there with a
 * signature by the key that it wants certified. Guarantees: a signature is of no use for anything else, because it is
 * over a text of this protocol; a peer that sends nothing, or too much, is disconnected.
 *   control node   NONCE (64 hexadecimal digits), line feed
 *   machine        its signature (ECDSA over SHA-256, DER, in base64) of the text of `textOf`, line feed
 */
import { type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { CodedError, messageOf } from '../base/errors.ts';

const NONCE_BYTES = 32;
const NONCE = /^[0-9a-f]{64}$/;
const LINE_BYTES_MAX = 256;
/** How long the other side may take to send its line, in ms. */
const LINE_MS = 2_000;
/** Control nodes come by few paths. */
const CHALLENGES_MAX = 32;

const textOf = (nonce: string, address: string): Buffer => Buffer.from(`groundplane join\n${nonce}\n${address}\n`);

/**
 * Answers challenges at these addresses until the result is closed. CodedError 'unavailable' if it cannot listen there.
 */
export async function answerChallenges(options: {
  readonly addresses: Iterable<string>;
  readonly port: number;
  /** PKCS #8. */
  readonly keyPem: string;
}): Promise<{ close(): Promise<void> }> {
  const { port, keyPem } = options;
  const servers: Server[] = [];
  const sockets = new Set<Socket>();
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await Promise.all(servers.map((server) => new Promise<void>((resolve) => void server.close(() => resolve()))));
  };
  try {
    for (const address of new Set(options.addresses)) {
      const server = createServer((socket) => {
        sockets.add(socket.once('close', () => sockets.delete(socket)).on('error', () => socket.destroy()));
        void answer(socket, { keyPem, address });
      });
      server.maxConnections = CHALLENGES_MAX;
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen({ host: address, port }, resolve);
      });
      servers.push(server);
    }
  } catch (cause) {
    await close();
    throw new CodedError('unavailable', `Nothing can listen for the check of an address: ${messageOf(cause)}.`, {
      cause,
    });
  }
  return { close };
}

async function answer(
  socket: Socket,
  { keyPem, address }: { readonly keyPem: string; readonly address: string },
): Promise<void> {
  const nonce = await lineOf(socket);
  if (nonce === null || !NONCE.test(nonce)) socket.destroy();
  else socket.end(`${sign('sha256', textOf(nonce, address), keyPem).toString('base64')}\n`);
}

/** Returns whether the other end of a connection to `address` has the private key to `key`. Ends the connection. */
export async function isProved(
  stream: Duplex,
  { address, key }: { readonly address: string; readonly key: KeyObject },
): Promise<boolean> {
  stream.on('error', () => stream.destroy());
  try {
    const nonce = randomBytes(NONCE_BYTES).toString('hex');
    stream.write(`${nonce}\n`);
    const line = await lineOf(stream);
    return line !== null && verify('sha256', textOf(nonce, address), key, Buffer.from(line, 'base64'));
  } finally {
    stream.destroy();
  }
}

/** Returns the first line; null if the stream ends before, is too slow, or says too much. */
function lineOf(stream: Duplex): Promise<string | null> {
  return new Promise((resolve) => {
    let text = '';
    const timer = setTimeout(() => resolve(null), LINE_MS);
    const done = (line: string | null): void => {
      clearTimeout(timer);
      resolve(line);
    };
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\n');
      if (end >= 0) done(text.slice(0, end));
      else if (text.length > LINE_BYTES_MAX) done(null);
    });
    stream.once('close', () => done(null));
    stream.once('end', () => done(null));
  });
}
