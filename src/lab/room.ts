/**
 * The room: the program that runs a one-machine cluster inside namespaces of its own, where it is the child of the
 * init. Guarantees: it ends when it is told to, or when the outer process is gone; its end is the end of its process
 * namespace, and with that of everything in the room.
 */

import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import type { Server } from 'node:net';
import { toWire } from '../base/wire-error.ts';
import { LabCluster } from './cluster.ts';
import { serveFaults } from './lab-socket.ts';
import { labLayout } from './layout.ts';
import { BRIDGE_SYSCTLS } from './machine.ts';
import { lineReader, type RoomEvent, type RoomOptions, type RoomOrder } from './room-protocol.ts';
import { openOutside } from './underlay.ts';

function tell(event: RoomEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

const say = (line: string): void => tell({ event: 'say', line });

/** Settings of the room's own network namespace; those that a kernel does not have are left out. */
const SYSCTLS: readonly (readonly [string, string])[] = [
  ['net/ipv4/ip_forward', '1'],
  // Machines made from now on have small tables of connections of their own: else each listing (a fence makes two)
  // walks the host's, which is sized by its memory, for 3 to 5 ms.
  ['net/ipv4/tcp_child_ehash_entries', '1024'],
  ['net/ipv6/conf/default/disable_ipv6', '1'],
  ...BRIDGE_SYSCTLS,
];

async function setSysctls(): Promise<void> {
  for (const [name, value] of SYSCTLS) {
    await writeFile(`/proc/sys/${name}`, value).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    });
  }
}

/** True if all users of the system exist here, so that each QEMU can have one of its own. */
function hasAllUsers(): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
}

class Room {
  readonly #stop = new AbortController();
  #cluster: LabCluster | undefined;
  #server: Server | undefined;
  #ending = false;

  async start(options: RoomOptions): Promise<void> {
    try {
      const layout = labLayout(options.dir);
      await setSysctls();
      const qemuUsers = hasAllUsers() ? 'per-slot' : 'self';
      this.#cluster = new LabCluster({ ...options, layout, qemuUsers, say });
      await this.#cluster.start((progress) => tell({ event: 'progress', progress }), this.#stop.signal);
      this.#server = await serveFaults(this.#cluster, say);
      tell({ event: 'ready' });
    } catch (error) {
      if (!this.#ending) tell({ event: 'failed', error: toWire(error) });
      await this.end();
    }
  }

  async end(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    this.#stop.abort(new Error('the cluster is being ended'));
    this.#server?.close();
    try {
      await this.#cluster?.end();
      if (this.#cluster !== undefined) await rm(this.#cluster.layout.labSocket, { force: true });
    } finally {
      process.exit(0);
    }
  }
}

const room = new Room();
let started = false;

function onLine(line: string): void {
  if (!started) {
    started = true;
    void room.start(JSON.parse(line) as RoomOptions);
    return;
  }
  const order = JSON.parse(line) as RoomOrder;
  if (order.order === 'end') void room.end();
  else openOutside(order.device).catch((error: unknown) => say(`outside: ${toWire(error).message}`));
}

process.umask(0o077);
// A terminal's Ctrl-C is for the outer process, which then says what shall happen.
for (const ignored of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) process.on(ignored, () => undefined);
process.stdin.setEncoding('utf8');
process.stdin.on('data', lineReader(onLine));
process.stdin.once('end', () => process.exit(1));
process.stdout.on('error', () => process.exit(1));
tell({ event: 'hello' });
