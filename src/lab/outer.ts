/**
 * The outer process of a one-machine cluster: it holds the directory's lock, makes the room, and serves the API on
 * loopback. Guarantees: at most one cluster runs in a directory; however this process ends, the room ends too
 * (parent-death signal, and the end of its input).
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { CodedError, messageOf } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import { fromWire } from '../base/wire-error.ts';
import { systemClock } from '../os/clock.ts';
import { type DirectoryLock, lockDirectory, makePrivateDirectory, readJsonFile, writeFileAtomic } from '../os/files.ts';
import { monotonicMs } from '../os/monotonic.ts';
import {
  bootId,
  isRunning,
  type ProcessIdentity,
  processIdentity,
  signalProcess,
  waitGone,
} from '../os/process-table.ts';
import { type ApiProxy, startApiProxy } from './api-proxy.ts';
import { type RunningLab, readRunning } from './client.ts';
import type { Progress } from './cluster.ts';
import { codeCacheDir } from './code-cache.ts';
import { type LabLayout, labLayout } from './layout.ts';
import { childOf } from './machine.ts';
import { checkPrerequisites, type Isolation, systemPath } from './prerequisites.ts';
import { type RoleCommands, realCommands } from './roles.ts';
import { lineReader, type RoomEvent, type RoomOptions, type RoomOrder } from './room-protocol.ts';
import { type ClusterShape, checkShape, DEFAULT_SHAPE, machinesOf } from './shape.ts';

const ROOM_START_DEADLINE_MS = 20_000;
const LEFTOVER_DEADLINE_MS = 10_000;
/** An orderly end takes up to four seconds; after this long the room is killed. */
const END_DEADLINE_MS = 10_000;
const DEFAULT_API_PORT = 7440;
const MIB = 1024 ** 2;
const HOST_MEMORY_BYTES_MIN = 256 * MIB;

export interface LabOptions {
  readonly dir: string;
  /** The number of hosts, control nodes and storage nodes: as before, or 3, 1 and 1. */
  readonly hosts?: number | undefined;
  readonly controlNodes?: number | undefined;
  readonly storageNodes?: number | undefined;
  /** The port on 127.0.0.1; the former one if it is free, else 7440, else any. */
  readonly apiPort?: number | undefined;
  /** The memory that each host offers to VMs; by default an equal share of 80 % of this machine's memory. */
  readonly hostMemoryBytes?: number | undefined;
  /** Machines reach the real outside through slirp4netns. */
  readonly outside?: boolean | undefined;
  /** Stand-ins for the roles' programs (tests). */
  readonly standIns?: RoleCommands | undefined;
  /** With stand-ins: no certificates, no joining, no calls of the API. */
  readonly bare?: boolean | undefined;
}

export interface LabInfo {
  readonly dir: string;
  readonly apiUrl: string;
  readonly apiPort: number;
  readonly caFile: string;
  readonly tokenFile: string;
  readonly contextFile: string;
  readonly shape: ClusterShape;
  readonly userNamespace: boolean;
  /** From the call to the moment when every role answered. */
  readonly startMs: number;
}

export interface LabHandle {
  readonly info: LabInfo;
  /** Settles when nothing of the cluster is left; `asked` is false if it ended by itself. */
  readonly ended: Promise<{ readonly asked: boolean }>;
  /** Orderly end, within seconds. */
  stop(): Promise<void>;
  /** Immediate end. */
  kill(): Promise<void>;
}

interface StoredCluster {
  readonly format: 1;
  readonly shape: ClusterShape;
}

/**
 * Starts a cluster in this process; resolves when every role answers. Throws CodedError: 'conflict' if a cluster runs
 * in `dir` or the shape cannot be changed like this, 'bad-input', 'not-installed', 'forbidden', 'deadline' if a role
 * does not answer; or the signal's reason. In each of these cases no process is left running.
 */
export async function startLab(
  options: LabOptions,
  { onProgress, signal }: { readonly onProgress?: (progress: Progress) => void; readonly signal?: AbortSignal } = {},
): Promise<LabHandle> {
  const startedMs = monotonicMs();
  const layout = labLayout(options.dir);
  signal?.throwIfAborted();
  const isolation = await checkPrerequisites({
    bare: options.bare === true,
    outside: options.outside === true,
  });
  await checkOwnDirectory(layout);
  await makePrivateDirectory(layout.dir);
  const lock = await lockLab(layout);
  const outer = new Outer(layout, lock, isolation);
  try {
    const shape = await chooseShape(layout, options);
    const info = await outer.start({ options, shape, onProgress: onProgress ?? (() => undefined), signal });
    return {
      info: { ...info, startMs: Math.round(monotonicMs() - startedMs) },
      ended: outer.ended,
      stop: () => outer.stop(),
      kill: () => outer.kill(),
    };
  } catch (error) {
    await outer.kill();
    throw error;
  }
}

class Outer {
  readonly ended: Promise<{ readonly asked: boolean }>;
  readonly #layout: LabLayout;
  readonly #lock: DirectoryLock;
  readonly #isolation: Isolation;
  readonly #startedAt = new Date().toISOString();
  #settleEnded: (how: { readonly asked: boolean }) => void = () => undefined;
  #proxy: ApiProxy | undefined;
  #room: ChildProcess | undefined;
  #roomInit: ProcessIdentity | undefined;
  #slirp: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #cleaned: Promise<void> | undefined;
  #asked = false;

  constructor(layout: LabLayout, lock: DirectoryLock, isolation: Isolation) {
    this.#layout = layout;
    this.#lock = lock;
    this.#isolation = isolation;
    this.ended = new Promise((resolve) => {
      this.#settleEnded = resolve;
    });
  }

  async start(how: {
    readonly options: LabOptions;
    readonly shape: ClusterShape;
    readonly onProgress: (progress: Progress) => void;
    readonly signal: AbortSignal | undefined;
  }): Promise<Omit<LabInfo, 'startMs'>> {
    const { options, shape } = how;
    const layout = this.#layout;
    await writeFileAtomic(layout.clusterFile, json({ format: 1, shape } satisfies StoredCluster));
    await this.#writeRunning();
    const control = machinesOf(shape).filter(({ kind }) => kind === 'control');
    this.#proxy = await startApiProxy({
      ports: await portsToTry(layout, options.apiPort),
      socketPaths: control.map(({ name }) => layout.machine(name).apiSocket),
    });
    await this.#runRoom(
      {
        dir: layout.dir,
        shape,
        commands: options.standIns ?? realCommands(),
        bare: options.bare === true,
        hostMemoryBytes: options.hostMemoryBytes ?? defaultHostMemoryBytes(shape.hosts),
      },
      how,
    );
    if (options.outside === true) this.#openOutside();
    const apiPort = this.#proxy.port;
    const { dir, caFile, adminTokenFile: tokenFile, contextFile } = layout;
    const apiUrl = `https://127.0.0.1:${apiPort}`;
    await writeFileAtomic(contextFile, json({ apiUrl, apiPort, caFile, tokenFile, dir, shape }));
    return {
      dir,
      apiUrl,
      apiPort,
      caFile,
      tokenFile,
      contextFile,
      shape,
      userNamespace: this.#isolation.userNamespace,
    };
  }

  async stop(): Promise<void> {
    this.#asked = true;
    this.#send({ order: 'end' });
    const patience = new AbortController();
    const late = sleep(systemClock, END_DEADLINE_MS, { signal: patience.signal }).then(() => {
      if (!patience.signal.aborted) this.#killRoom();
    });
    await this.#exited;
    patience.abort();
    await late;
    await this.#clean();
  }

  async kill(): Promise<void> {
    this.#asked = true;
    this.#killRoom();
    await this.#exited;
    await this.#clean();
  }

  /** Spawns the room and resolves when it reports that it is ready. */
  #runRoom(
    options: RoomOptions,
    how: { readonly onProgress: (progress: Progress) => void; readonly signal: AbortSignal | undefined },
  ): Promise<void> {
    const room = this.#spawnRoom();
    this.#room = room;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(how.signal?.reason);
      how.signal?.addEventListener('abort', onAbort, { once: true });
      const settle = (finish: () => void): void => {
        clearTimeout(timer);
        how.signal?.removeEventListener('abort', onAbort);
        finish();
      };
      // After its first message the room itself limits its waits.
      const timer = setTimeout(
        () => settle(() => reject(new CodedError('deadline', 'The room did not start; see lab.log.'))),
        ROOM_START_DEADLINE_MS,
      );
      this.#exited = new Promise((exited) => {
        room.once('close', (code) => {
          settle(() => reject(new CodedError('failed', `The cluster ended with status ${code}; see its lab.log.`)));
          exited();
          if (!this.#asked) void this.#clean();
        });
        room.once('error', (error) => {
          settle(() => reject(error));
          exited();
        });
      });
      const onEvent = (event: RoomEvent): void => {
        if (event.event === 'hello') {
          clearTimeout(timer);
          this.#hello(options).catch((error: unknown) => settle(() => reject(error)));
        } else if (event.event === 'progress') how.onProgress(event.progress);
        else if (event.event === 'failed') settle(() => reject(fromWire(event.error)));
        else if (event.event === 'ready') settle(resolve);
      };
      this.#listen(room, onEvent);
    });
  }

  #spawnRoom(): ChildProcess {
    const user = this.#isolation.userNamespace ? ['--user', '--map-root-user'] : [];
    const log = openSync(this.#layout.logFile, 'a', 0o600);
    try {
      return spawn(
        'setpriv',
        [
          ...['--pdeathsig', 'KILL', 'unshare', ...user, '--mount', '--net', '--pid', '--uts', '--ipc', '--fork'],
          ...['--kill-child=SIGKILL', '--mount-proc', '--', 'tini', '--'],
          ...[process.execPath, '--max-old-space-size=256', '--disable-warning=ExperimentalWarning'],
          fileURLToPath(new URL('room.ts', import.meta.url)),
        ],
        {
          stdio: ['pipe', 'pipe', log],
          // A session of its own: a terminal's Ctrl-C reaches this process only, which ends the room in order.
          detached: true,
          cwd: '/',
          env: {
            PATH: systemPath(process.env['PATH']),
            LANG: 'C.UTF-8',
            HOME: '/nonexistent',
            NODE_COMPILE_CACHE: codeCacheDir(this.#layout),
          },
        },
      );
    } finally {
      closeSync(log);
    }
  }

  /** The room's program runs, so its init exists: from now on the room is named in lab.json. */
  async #hello(options: RoomOptions): Promise<void> {
    const unshare = this.#room?.pid;
    const init = unshare === undefined ? undefined : childOf(unshare);
    if (init === undefined) throw new CodedError('failed', 'The room ended while it was starting; see its lab.log.');
    this.#roomInit = { pid: init.pid, startTicks: init.startTicks };
    await this.#writeRunning();
    this.#room?.stdin?.write(`${JSON.stringify(options)}\n`);
  }

  #listen(room: ChildProcess, onEvent: (event: RoomEvent) => void): void {
    room.stdin?.on('error', () => undefined);
    room.stdout?.setEncoding('utf8');
    const read = lineReader((line) => {
      const event = JSON.parse(line) as RoomEvent;
      if (event.event === 'say') this.#log(event.line);
      else onEvent(event);
    });
    room.stdout?.on('data', read);
  }

  #log(line: string): void {
    const log = openSync(this.#layout.logFile, 'a', 0o600);
    try {
      writeSync(log, `${new Date().toISOString()} ${line}\n`);
    } finally {
      closeSync(log);
    }
  }

  /** slirp4netns runs out here and puts a tap into the room; the room routes the machines to it. */
  #openOutside(): void {
    if (this.#roomInit === undefined) return;
    const device = 'tap0';
    this.#slirp = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', 'slirp4netns', '--configure', '--mtu=1500', '--disable-host-loopback'],
        ...[String(this.#roomInit.pid), device],
      ],
      { stdio: 'ignore', detached: true, env: { PATH: systemPath(process.env['PATH']) } },
    );
    this.#slirp.once('error', (error) => this.#log(`slirp4netns: ${error.message}`));
    this.#slirp.once('exit', (code) => this.#log(`slirp4netns ended with status ${code}`));
    this.#send({ order: 'open-outside', device });
  }

  #send(order: RoomOrder): void {
    if (this.#room?.stdin?.writable === true) this.#room.stdin.write(`${JSON.stringify(order)}\n`);
  }

  #killRoom(): void {
    if (this.#roomInit !== undefined) signalProcess(this.#roomInit, 'SIGKILL');
    this.#room?.kill('SIGKILL');
  }

  #clean(): Promise<void> {
    this.#cleaned ??= (async () => {
      try {
        this.#slirp?.kill('SIGKILL');
        await this.#proxy?.close();
        if (this.#roomInit !== undefined) await waitGone(this.#roomInit, LEFTOVER_DEADLINE_MS);
        await rm(this.#layout.labSocket, { force: true });
        await rm(this.#layout.runningFile, { force: true });
      } catch (error) {
        // A process that the kernel does not let go of: the lock is given back, and the next start waits for it.
        this.#log(`the end of the cluster: ${messageOf(error)}`);
      } finally {
        await this.#lock.release();
        this.#settleEnded({ asked: this.#asked });
      }
    })();
    return this.#cleaned;
  }

  #writeRunning(): Promise<void> {
    const outer = processIdentity(process.pid);
    if (outer === undefined) throw new CodedError('failed', '/proc does not show this process.');
    const running: RunningLab = {
      bootId: bootId(),
      outer,
      room: this.#roomInit ?? null,
      userNamespace: this.#isolation.userNamespace,
      startedAt: this.#startedAt,
    };
    return writeFileAtomic(this.#layout.runningFile, json(running));
  }
}

/** Takes the lock, and waits some milliseconds for remains of a killed predecessor. */
async function lockLab(layout: LabLayout): Promise<DirectoryLock> {
  let lock: DirectoryLock;
  try {
    lock = await lockDirectory(layout.dir);
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'conflict') throw error;
    const running = await readRunning(layout).catch(() => undefined);
    const who = running === undefined ? '' : ` (process ${running.outer.pid}, since ${running.startedAt})`;
    throw new CodedError('conflict', `A one-machine cluster runs in ${layout.dir} already${who}.`, {
      cause: error,
      advice: `It was left alone. Use it, end it with \`gp down --dir ${layout.dir}\`, or choose another --dir.`,
    });
  }
  try {
    const left = await readRunning(layout);
    if (left?.room != null && isRunning(left.room)) await waitGone(left.room, LEFTOVER_DEADLINE_MS);
    return lock;
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** A directory with other people's files in it is not made private and filled. */
async function checkOwnDirectory(layout: LabLayout): Promise<void> {
  const entries = await readdir(layout.dir).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw new CodedError('bad-input', `${layout.dir} is not a directory that we can read.`, {
      cause: error,
      advice: 'Nothing was changed. Choose another one with --dir.',
    });
  });
  const ours = ['cluster.json', 'lab.json', 'lab.log', 'machines', 'cache', 'context.json'];
  if (entries.length === 0 || entries.some((entry) => ours.includes(entry))) return;
  throw new CodedError('conflict', `${layout.dir} is not empty and holds no cluster.`, {
    advice: 'Nothing was changed. Choose an empty directory, or one that does not exist yet, with --dir.',
  });
}

/**
 * The requested shape, else the former one, else the default. Members of the store and homes of disks are never
 * removed.
 */
async function chooseShape(layout: LabLayout, options: LabOptions): Promise<ClusterShape> {
  const stored = ((await readJsonFile(layout.clusterFile)) as StoredCluster | undefined)?.shape;
  const before = stored ?? DEFAULT_SHAPE;
  const shape: ClusterShape = {
    hosts: options.hosts ?? before.hosts,
    controlNodes: options.controlNodes ?? before.controlNodes,
    storageNodes: options.storageNodes ?? before.storageNodes,
  };
  checkShape(shape);
  if (stored === undefined) return shape;
  const refuse = (what: string): never => {
    throw new CodedError('conflict', what, { advice: 'Nothing was changed. Begin a new cluster with another --dir.' });
  };
  if (shape.controlNodes !== stored.controlNodes)
    refuse(`The cluster in ${layout.dir} has ${stored.controlNodes} control node(s); that cannot be changed.`);
  if (shape.storageNodes < stored.storageNodes)
    refuse(`The cluster in ${layout.dir} has ${stored.storageNodes} storage nodes with disks; none can be left out.`);
  return shape;
}

async function portsToTry(layout: LabLayout, asked: number | undefined): Promise<readonly number[]> {
  if (asked !== undefined) {
    if (Number.isInteger(asked) && asked >= 0 && asked <= 65_535) return [asked];
    throw new CodedError('bad-input', `${asked} is not a port.`, { advice: 'Nothing was changed.' });
  }
  const context = (await readJsonFile(layout.contextFile)) as { readonly apiPort?: unknown } | undefined;
  const before = typeof context?.apiPort === 'number' ? [context.apiPort] : [];
  return [...before, DEFAULT_API_PORT, 0];
}

function defaultHostMemoryBytes(hosts: number): number {
  const share = Math.floor((totalmem() * 0.8) / hosts / MIB) * MIB;
  return Math.max(share, HOST_MEMORY_BYTES_MIN);
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
