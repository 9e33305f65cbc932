/**
 * The real implementation of the storage service's target (core/ports/target-backend.ts): the pool's shared disks and
 * the process of src/iscsi/main.ts. It decides nothing. Guarantees: the process runs in a session of its own and
 * outlives this service, if possible as a user of its own, which then owns the disks' files; it is found again by its
 * arguments.
 */
import { chown, mkdir, readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import type { DiskId, StorageName, VmId } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import { TARGET_UID } from '../core/model/users.ts';
import type {
  TargetBackend,
  TargetDaemon,
  TargetProcess,
  TargetSession,
  TargetState,
  TargetUnit,
} from '../core/ports/target-backend.ts';
import type { TargetConfig } from '../iscsi/config.ts';
import { parseSessions, parseTargetState } from '../iscsi/control-protocol.ts';
import { spawnDaemon } from '../os/child-process.ts';
import { systemClock } from '../os/clock.ts';
import { writeFileAtomic } from '../os/files.ts';
import { removeForeign } from '../os/foreign-files.ts';
import { monotonicMs } from '../os/monotonic.ts';
import {
  bootId,
  isRunning,
  listProcesses,
  type ProcessIdentity,
  signalProcess,
  waitGone,
} from '../os/process-table.ts';
import { programFile } from '../os/program-file.ts';
import { inScope } from '../os/scope.ts';
import { type Credentials, writeCredentials } from '../pki/credentials.ts';
import type { SharedPool } from './shared-pool.ts';
import { TargetControl } from './target-control.ts';

export interface LocalTargetOptions {
  readonly name: StorageName;
  /** The IPv4 address on which it listens. */
  readonly address: string;
  readonly port: number;
  readonly pool: SharedPool;
  /** The process's own directory; the path of a unix socket in it must fit in 107 bytes. */
  readonly runDir: string;
  /** The node's; undefined: etcd without TLS, for tests. */
  readonly credentials: Credentials | undefined;
  readonly etcdEndpoints: readonly string[];
  readonly etcdServerName: string | undefined;
  /** Whether it runs as a user of its own (needs root in the initial user namespace). */
  readonly confine: boolean;
}

/** The program, which also names the process. */
export const TARGET_PROGRAM = programFile('../iscsi/main', import.meta.url);

const START_MS = 10_000;
const KILL_MS = 5_000;
/** The time from an order to the last write of the initiators that it cuts off, in ms. */
const APPLY_MS = 2_000;
const COMMAND_MS = 2_000;
/** The report of a node is evidence for verdicts and must not wait for a target that hangs. */
const SESSIONS_MS = 400;
/** The target's own deadline, and the way. */
const READY_MS = 4_000;
const HEAP_MIB = 256;
const LOG_BYTES_MAX = 256 * 1024;

/** One per service. */
export class LocalTarget implements TargetBackend {
  readonly #options: LocalTargetOptions;

  constructor(options: LocalTargetOptions) {
    this.#options = options;
  }

  findTargets(): readonly TargetProcess[] {
    const config = this.#path('config.json');
    return listProcesses()
      .filter(({ argv, state, uid }) => {
        // Anybody can have such arguments.
        const isOurs = uid === TARGET_UID || uid === process.geteuid?.();
        return isOurs && state !== 'Z' && argv.includes(TARGET_PROGRAM) && argv.at(-1) === config;
      })
      .map(({ pid, startTicks }) => ({ pid, startTicks }));
  }

  killTarget(target: TargetProcess): Promise<void> {
    return killProcess(target);
  }

  async adoptTarget(target: TargetProcess): Promise<TargetDaemon> {
    const daemon = new LocalTargetDaemon(target, await TargetControl.connect(this.#path('control')), this.#logFile);
    try {
      await daemon.state();
      return daemon;
    } catch (cause) {
      daemon.release();
      throw new CodedError('unavailable', 'The target does not answer.', { cause });
    }
  }

  async startTarget(): Promise<TargetDaemon> {
    const argv = inScope(await this.#prepare(), { slice: 'disks', name: 'gp-target' });
    const started = await spawnDaemon(argv, {
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
      cwd: this.#options.runDir,
      stdoutFile: this.#logFile,
      stderrFile: this.#logFile,
    });
    let exitCode: number | undefined;
    void started.exited.then((code) => {
      exitCode = code;
    });
    const endsAtMs = monotonicMs() + START_MS;
    try {
      while (exitCode === undefined && monotonicMs() < endsAtMs) {
        const control = await TargetControl.connect(this.#path('control')).catch(() => undefined);
        if (control !== undefined) return new LocalTargetDaemon(started, control, this.#logFile);
        await sleep(systemClock, 20);
      }
      const said = (await readFile(this.#logFile, 'utf8').catch(() => '')).trim().slice(-500);
      throw new CodedError('failed', `The target did not start: ${said || `exit status ${exitCode}`}`);
    } catch (error) {
      await killProcess(started);
      throw error;
    }
  }

  /** Lets a running target use the present credentials: it checks for them itself. */
  async renewCredentials(): Promise<void> {
    const { credentials, confine } = this.#options;
    const owner = confine ? { owner: { uid: TARGET_UID, gid: TARGET_UID } } : {};
    if (credentials !== undefined) await writeCredentials(this.#path('identity'), credentials, owner);
  }

  listUnits(): Promise<readonly TargetUnit[]> {
    return this.#options.pool.list();
  }

  async createUnit(unit: TargetUnit): Promise<void> {
    await this.#options.pool.create(unit);
    await this.#give();
  }

  growUnit(unit: TargetUnit): Promise<void> {
    return this.#options.pool.grow(unit);
  }

  deleteUnit(disk: DiskId): Promise<void> {
    return this.#options.pool.delete(disk);
  }

  /** The directory, made again, and the command line. */
  async #prepare(): Promise<readonly string[]> {
    const { runDir, credentials, confine, name, address, port, pool, etcdEndpoints, etcdServerName } = this.#options;
    const owner = confine ? { owner: { uid: TARGET_UID, gid: TARGET_UID } } : {};
    await removeForeign(runDir);
    await mkdir(runDir, { recursive: true, mode: 0o700 });
    const identityDir = this.#path('identity');
    if (credentials !== undefined) await writeCredentials(identityDir, credentials, owner);
    const config: TargetConfig = {
      name,
      host: address,
      port,
      socket: this.#path('control'),
      disksDir: pool.directory,
      identityDir: credentials === undefined ? undefined : identityDir,
      etcdEndpoints,
      etcdServerName,
      bootId: bootId(),
    };
    await writeFileAtomic(this.#path('config.json'), JSON.stringify(config), owner);
    if (confine) await chown(runDir, TARGET_UID, TARGET_UID);
    await this.#give();
    return [
      'setpriv',
      ...(confine ? [`--reuid=${TARGET_UID}`, `--regid=${TARGET_UID}`, '--clear-groups'] : []),
      '--no-new-privs',
      process.execPath,
      ...[`--max-old-space-size=${HEAP_MIB}`, '--disable-warning=ExperimentalWarning', TARGET_PROGRAM],
      ...['--config', this.#path('config.json')],
    ];
  }

  async #give(): Promise<void> {
    if (this.#options.confine) await this.#options.pool.giveAll({ uid: TARGET_UID });
  }

  get #logFile(): string {
    return `${this.#options.runDir}.log`;
  }

  #path(name: string): string {
    return join(this.#options.runDir, name);
  }
}

class LocalTargetDaemon implements TargetDaemon {
  readonly closed: Promise<unknown>;
  readonly #process: ProcessIdentity;
  readonly #control: TargetControl;
  readonly #logFile: string;

  constructor(process: ProcessIdentity, control: TargetControl, logFile: string) {
    this.#process = process;
    this.#control = control;
    this.#logFile = logFile;
    this.closed = control.closed;
  }

  get isRunning(): boolean {
    return !this.#control.isClosed && isRunning(this.#process);
  }

  async state(): Promise<TargetState> {
    return parseTargetState(await this.#control.ask({ kind: 'state' }, COMMAND_MS), 'the state of the target');
  }

  async apply(state: TargetState): Promise<void> {
    await this.#control.ask({ kind: 'apply', state }, APPLY_MS);
  }

  async ready(vm: VmId): Promise<void> {
    await this.#control.ask({ kind: 'ready', vm }, READY_MS);
  }

  async sessions(): Promise<readonly TargetSession[]> {
    await this.#boundLog();
    return parseSessions(await this.#control.ask({ kind: 'sessions' }, SESSIONS_MS), 'the sessions of the target');
  }

  async kill(): Promise<void> {
    await killProcess(this.#process);
    this.#control.close();
  }

  release(): void {
    this.#control.close();
  }

  /** A line for each connection that ends: a fenced QEMU tries for ever. */
  async #boundLog(): Promise<void> {
    const size = await stat(this.#logFile).then(
      (found) => found.size,
      () => 0,
    );
    if (size > LOG_BYTES_MAX) await truncate(this.#logFile, 0);
  }
}

/** Ends it at once. Acknowledged writes are in the kernel, however the process ends. */
async function killProcess(target: ProcessIdentity): Promise<void> {
  signalProcess(target, 'SIGKILL');
  await waitGone(target, KILL_MS);
}
