/**
 * Runs on a machine of the cluster (`gp lab exec`): connects to TCP ports, in plain text or by TLS with given
 * credentials, and prints the answers. Standard input: Knock[] as JSON. Standard output: the answers in the same order:
 * the received bytes (latin1), '' for nothing.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Credentials } from '../../src/pki/credentials.ts';

/** One attempt. `send` is sent once connected; without credentials in plain text. */
export interface Knock {
  readonly address: string;
  readonly port: number;
  readonly send: string;
  readonly credentials: Credentials | null;
}

const PATIENCE_MS = 1_500;

function knock({ address, port, send, credentials }: Knock): Promise<string> {
  return new Promise((resolve) => {
    let received = '';
    const at = { host: address, port };
    const socket: Socket =
      credentials === null
        ? connectTcp(at, () => socket.write(send, 'latin1'))
        : connectTls(
            {
              ...at,
              ca: credentials.caPem,
              cert: credentials.certPem,
              key: credentials.keyPem,
              // The test asks who is let in, not who answers.
              checkServerIdentity: () => undefined,
            },
            () => socket.write(send, 'latin1'),
          );
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
    });
    socket.on('error', () => undefined);
    const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(received.slice(0, 2_000));
    });
  });
}

let input = '';
for await (const chunk of process.stdin) input += String(chunk);
process.stdout.write(JSON.stringify(await Promise.all((JSON.parse(input) as Knock[]).map(knock))));
