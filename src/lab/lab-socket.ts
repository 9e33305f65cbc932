/**
 * The room's end of DIR/lab.sock: faults, one request per connection. Guarantees: only the user who started the cluster
 * can connect (0600 in a 0700 directory); faults are carried out one after the other, in the order in which they came.
 */

import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { CodedError } from '../base/errors.ts';
import { toWire } from '../base/wire-error.ts';
import { ConnectionGate } from '../os/connection-gate.ts';
import type { LabRequest } from './client.ts';
import type { LabCluster } from './cluster.ts';
import { injectFault, type Lab, READING } from './faults.ts';
import type { MachineSpec } from './shape.ts';

const REQUEST_BYTES_MAX = 1024 * 1024;
/** Bounds of the lab socket; every connection is the user's own. */
const SHARE = { max: 64, perAddressMax: 64 };
const REQUEST_DEADLINE_MS = 10_000;

/** Serves faults on `cluster` until the returned server is closed. */
export async function serveFaults(cluster: LabCluster, say: (line: string) => void): Promise<Server> {
  const path = cluster.layout.labSocket;
  await rm(path, { force: true });
  const lab = new LabTimers(cluster, say);
  let last: Promise<unknown> = Promise.resolve();
  const carryOut = (labRequest: LabRequest): Promise<unknown> => {
    const { verb, ...args } = labRequest;
    // A verb that changes nothing does not wait for others.
    if (READING.includes(verb)) return injectFault(lab, verb, args);
    say(`fault: ${JSON.stringify(labRequest)}`);
    const done = last.then(() => injectFault(lab, verb, args));
    last = done.catch(() => undefined);
    return done;
  };
  const gate = new ConnectionGate({
    strangers: SHARE,
    proveMs: REQUEST_DEADLINE_MS,
    ranks: { asked: { ...SHARE, perPeerMax: SHARE.max, makesRoom: false } },
  });
  const server = createServer((socket) => {
    gate.admit(socket);
    serveOne(socket, (labRequest) => {
      gate.prove(socket, 'asked', '');
      return carryOut(labRequest);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  await chmod(path, 0o600);
  return server;
}

function serveOne(socket: Socket, carryOut: (labRequest: LabRequest) => Promise<unknown>): void {
  let text = '';
  const answer = (line: object): void => {
    if (!socket.destroyed) socket.end(`${JSON.stringify(line)}\n`);
  };
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: string) => {
    text += chunk;
    if (text.length > REQUEST_BYTES_MAX) {
      socket.destroy();
      return;
    }
    const end = text.indexOf('\n');
    if (end < 0) return;
    socket.removeAllListeners('data');
    socket.resume();
    // Through a promise: a line that is not JSON is an error like any other.
    Promise.resolve(text.slice(0, end))
      .then((line) => carryOut(parse(line)))
      .then(
        (result) => answer({ result }),
        (error: unknown) => answer({ error: toWire(error) }),
      );
  });
}

function parse(line: string): LabRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new CodedError('bad-input', 'The request is not JSON.', { cause });
  }
  if (typeof value !== 'object' || value === null || !('verb' in value) || typeof value.verb !== 'string')
    throw new CodedError('bad-input', 'The request names no verb.');
  return value as LabRequest;
}

/** Faults that end by themselves. */
class LabTimers implements Lab {
  readonly cluster: LabCluster;
  readonly #say: (line: string) => void;
  readonly #timers = new Map<string, Set<NodeJS.Timeout>>();

  constructor(cluster: LabCluster, say: (line: string) => void) {
    this.cluster = cluster;
    this.#say = say;
  }

  later(machines: readonly MachineSpec[], seconds: number, undo: () => Promise<void>): void {
    const timer = setTimeout(() => {
      // A machine that was powered off in the meantime comes back with nothing left to undo.
      undo().catch((error: unknown) => this.#say(`a fault was not undone: ${toWire(error).message}`));
    }, seconds * 1000);
    for (const { name } of machines) {
      const timers = this.#timers.get(name) ?? new Set();
      timers.add(timer);
      this.#timers.set(name, timers);
    }
  }

  cancel(machines: readonly MachineSpec[]): void {
    for (const { name } of machines) {
      for (const timer of this.#timers.get(name) ?? []) clearTimeout(timer);
      this.#timers.delete(name);
    }
  }
}
