/**
 * Starting one QEMU. Guarantees: when this resolves, the machine stands, halted, its monitors listen, and a destination
 * waits for the stream of its own source only; when it rejects, no process of it is left; the process does not end with
 * the agent; its directory is its user's alone.
 */

import { lchown, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { CodedError, messageOf } from '../../base/errors.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { LaunchOrder } from '../../core/ports/host-link.ts';
import type { Execute } from '../../core/ports/qmp-dialer.ts';
import { receiveMigration } from '../../core/qmp/receive-migration.ts';
import { type Daemon, spawnDaemon } from '../../os/child-process.ts';
import { withDeadline } from '../../os/deadline.ts';
import { makePrivateDirectory, writeFileAtomic } from '../../os/files.ts';
import { type ProcessIdentity, signalProcess, waitGone } from '../../os/process-table.ts';
import { inScope, type ScopeLimits } from '../../os/scope.ts';
import { writeCredentials } from '../../pki/credentials.ts';
import { QmpSession } from '../../qmp/session.ts';
import { readTail } from '../tail.ts';
import { type Confinement, confinementArguments, type QemuContext, qemuArguments, secretFile } from './arguments.ts';

export interface LaunchOptions {
  readonly confinement: Confinement;
  readonly context: QemuContext;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** The search path of daemons; nothing else of the agent's environment is passed on. */
export const DAEMON_ENV = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
const MESSAGE_BYTES_MAX = 2_000;
const OVERHEAD_BYTES_MAX = 512 * 1024 ** 2;
const OVERHEAD_PART = 0.05;
const TRANSLATED_BYTES_MAX = 1024 ** 3;
/** The processor weight of one vCPU: guests share a busy machine by their numbers of vCPUs. systemd's default is 100. */
const CPU_WEIGHT = 100;
const CPU_WEIGHT_MAX = 10_000;
const KILL_DEADLINE_MS = 5_000;
/** Matches QEMU's errors about a kernel, an initial RAM disk or a memory size with which QEMU never starts. */
const REFUSALS = [
  'invalid kernel header',
  'linux kernel too old to load a ram disk',
  'initrd is too large, cannot support',
  'phys-bits too low',
];

/** QEMU's standard error goes to a file of this name in its directory. */
const QEMU_LOG = 'qemu.log';

/**
 * Makes the directory, starts QEMU and waits until it answers. CodedError with QEMU's last output if it ends
 * ('bad-input' if it never starts with such a kernel or memory, else 'failed'), 'deadline', or the signal's reason; the
 * caller must then remove the directory.
 */
export async function launchQemu(order: LaunchOrder, options: LaunchOptions): Promise<ProcessIdentity> {
  const { confinement, context, deadlineMs, signal } = options;
  const { directory } = context;
  const owner = confinement.uid === null ? undefined : { uid: confinement.uid, gid: confinement.uid };
  // Not synced: a loss of power ends QEMU as well, and a guest that moves must not wait for the host's disk.
  const own = { owner, durable: false };
  await makePrivateDirectory(directory, own);
  await writeCredentials(join(directory, 'tls'), order.credentials, own);
  for (const { disk, secret } of order.sharedDisks ?? [])
    await writeFileAtomic(secretFile(directory, disk), secret, { ...own, mode: 0o400 });
  const ready = await ReadySocket.open(join(directory, 'ready.sock'), owner);
  let qemu: Daemon | undefined;
  try {
    const argv = inScope([...confinementArguments(confinement), ...qemuArguments(order, context)], {
      slice: 'vms',
      name: `gp-${order.vm}-g${order.generation}`,
      limits: limitsOf(order, context.accelerator),
    });
    const log = join(directory, QEMU_LOG);
    qemu = await spawnDaemon(argv, { stdoutFile: log, stderrFile: log, env: DAEMON_ENV, cwd: directory });
    const ended = qemu.exited.then(async (status) => {
      const words = await lastWords(directory);
      throw new CodedError(codeOf(words), `QEMU ended with status ${status}: ${words}`, {
        advice: 'No part of it is left on the host.',
      });
    });
    ended.catch(() => undefined);
    // A QEMU that fails closes its monitor before it ends: its exit status and output say more than that.
    const answered = (inner: AbortSignal): Promise<void> =>
      ready
        .answered(order, { deadlineMs, signal: inner })
        .catch((error: unknown) =>
          error instanceof CodedError && error.code === 'unavailable' ? ended : Promise.reject(error),
        );
    await withDeadline((inner) => Promise.race([answered(inner), ended]), {
      deadlineMs,
      signal,
      what: `the start of QEMU for ${order.vm}`,
    });
    return { pid: qemu.pid, startTicks: qemu.startTicks };
  } catch (error) {
    if (qemu !== undefined) await killProcess(qemu);
    throw error;
  } finally {
    await ready.close();
  }
}

/**
 * The limits of a QEMU's scope. Its memory is the guest's and an overhead that no healthy QEMU reaches (migration,
 * consoles, disks; code that software emulation translates: 1 GiB at most): the limit ends a QEMU that leaks before the
 * machine runs out of memory.
 */
function limitsOf({ machine }: LaunchOrder, accelerator: QemuContext['accelerator']): ScopeLimits {
  const overheadBytes = OVERHEAD_BYTES_MAX + (accelerator === 'tcg' ? TRANSLATED_BYTES_MAX : 0);
  return {
    memoryBytesMax: Math.ceil(machine.memoryBytes * (1 + OVERHEAD_PART)) + overheadBytes,
    cpuWeight: Math.min(machine.vcpus * CPU_WEIGHT, CPU_WEIGHT_MAX),
  };
}

/**
 * Distinguishes an order that no host's QEMU can start ('bad-input') from every other failure, which may be temporary
 * ('failed').
 */
function codeOf(words: string): 'bad-input' | 'failed' {
  return REFUSALS.some((refusal) => words.includes(refusal)) ? 'bad-input' : 'failed';
}

/** Ends a process at once and waits until it is gone; CodedError 'deadline' when the kernel does not let go of it. */
export async function killProcess(process: ProcessIdentity): Promise<void> {
  signalProcess(process, 'SIGKILL');
  await waitGone(process, KILL_DEADLINE_MS);
}

/** The last output of QEMU. */
export async function lastWords(directory: string): Promise<string> {
  const text = await readTail(join(directory, QEMU_LOG), MESSAGE_BYTES_MAX);
  return text.trim().split('\n').slice(-5).join('\n') || 'it said nothing.';
}

/**
 * A socket that QEMU connects a monitor to while it starts. The agent asks one question over it, or tells a destination
 * whose stream it is for: the answer comes from QEMU's main loop, hence when every device and disk is there. Then the
 * connection ends for good.
 */
class ReadySocket {
  readonly #path: string;
  readonly #server = createServer();
  readonly #connected = Promise.withResolvers<Socket>();

  private constructor(path: string) {
    this.#path = path;
    this.#connected.promise.catch(() => undefined);
    this.#server.once('connection', (socket) => {
      socket.on('error', () => undefined);
      this.#connected.resolve(socket);
    });
  }

  static async open(path: string, owner: { uid: number; gid: number } | undefined): Promise<ReadySocket> {
    const ready = new ReadySocket(path);
    await rm(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      ready.#server.once('error', (cause) =>
        reject(new CodedError('failed', `Cannot listen on ${path}: ${messageOf(cause)}`, { cause })),
      );
      ready.#server.listen(path, resolve);
    });
    if (owner !== undefined) await lchown(path, owner.uid, owner.gid);
    return ready;
  }

  async answered(
    { vm, slot, receives }: LaunchOrder,
    options: { readonly deadlineMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const socket = await this.#connected.promise;
    const session = await QmpSession.open(socket, options);
    const execute: Execute = (command, args) => session.execute(command, args, options);
    try {
      if (receives === undefined) await execute('query-status');
      else {
        const source = { kind: 'incarnation', vmId: vm, generation: receives } as const;
        await receiveMigration(execute, { port: portsOfSlot(slot).migration, source });
      }
    } finally {
      session.close();
    }
  }

  async close(): Promise<void> {
    this.#connected.reject(new CodedError('unavailable', 'The launch has ended.'));
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#connected.promise.then(
        (socket) => socket.destroy(),
        () => undefined,
      );
    });
    await rm(this.#path, { force: true });
  }
}
