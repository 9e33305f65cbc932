/**
 * One qemu-storage-daemon: the only opener of one disk image, and its NBD server with TLS. Guarantees: it runs in a
 * session of its own and outlives this service; an incarnation that is not in its authorization list cannot complete a
 * TLS session; its whole state (exports and list) is given on its command line when it starts, so that it never serves
 * less or more, not even for a moment.
 * Seen with QEMU 7.2: qom-set of authz-list's rules holds from the next handshake on; nbd-server-stop never returns
 * while a client that finished TLS idles in option negotiation, so it is not used: if connections cannot be told apart
 * the daemon is killed and restarted.
 */

import { chown, mkdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { qemuAuthzName } from '../base/identity.ts';
import { type DiskId, parseDiskId, parseGeneration, type VmId } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import { DISK_PORT_BASE } from '../core/model/ports.ts';
import { DISK_UID_BASE } from '../core/model/users.ts';
import { type Daemon, type DaemonProcess, exportName, type Grant } from '../core/ports/disk-backend.ts';
import { spawnDaemon } from '../os/child-process.ts';
import { systemClock } from '../os/clock.ts';
import { removeForeign } from '../os/foreign-files.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { isRunning, listProcesses, type ProcessIdentity, signalProcess, waitGone } from '../os/process-table.ts';
import { inScope } from '../os/scope.ts';
import { type Credentials, writeCredentials } from '../pki/credentials.ts';
import { qmp } from '../qmp/commands.ts';
import { connectQmp } from '../qmp/connect.ts';
import type { QmpSession } from '../qmp/session.ts';
import { QmpError } from '../wire/qmp/error.ts';

/** The image a daemon opens. */
export interface QsdImage {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly backing: { readonly path: string; readonly format: 'qcow2' | 'raw' } | null;
}

export interface QsdSpec {
  readonly disk: DiskId;
  readonly image: QsdImage;
  /** The node's storage address. */
  readonly address: string;
  readonly port: number;
  /** Holds a directory per daemon; the path of a unix socket in it must fit in 107 bytes. */
  readonly runDir: string;
  readonly credentials: Credentials;
  /** The user to run as; undefined: our own. */
  readonly uid: number | undefined;
  /** O_DIRECT, where the pool's file system has it. */
  readonly direct: boolean;
}

const PROGRAM = 'qemu-storage-daemon';
const COMMAND_MS = 2_000;
const START_MS = 10_000;
const KILL_MS = 5_000;
const CONNECTIONS_MAX = 64;
const LOG_BYTES_MAX = 64 * 1024;
/** The node that exports refer to. */
const NODE = 'disk';
const TLS = 'tls';
const ADMITTED = 'admitted';
/** The list's rules, by a partial path: there is no other object of that name. */
const RULES = { path: ADMITTED, property: 'rules' } as const;

/** A rule of QEMU's authz-list: the first match decides. Without a format, the name must be exactly this one. */
interface Rule {
  readonly match: string;
  readonly policy: 'allow' | 'deny';
}

function exportId({ generation, readOnly }: Grant): string {
  return `g${generation}.${readOnly ? 'ro' : 'rw'}`;
}

/** The grant of an export id; undefined for an id that is not ours. */
export function parseExportId(id: string, vm: VmId): Grant | undefined {
  const match = /^g([1-9]\d{0,15})\.(ro|rw)$/.exec(id);
  return match === null
    ? undefined
    : { vm, generation: parseGeneration(Number(match[1])), readOnly: match[2] === 'ro' };
}

function rulesOf(grants: readonly Grant[]): readonly Rule[] {
  return grants.map(({ vm, generation }) => ({
    match: qemuAuthzName({ kind: 'incarnation', vmId: vm, generation }),
    policy: 'allow',
  }));
}

function authzList(grants: readonly Grant[]) {
  return { 'qom-type': 'authz-list', id: ADMITTED, policy: 'deny', rules: rulesOf(grants) } as const;
}

function socketPath(runDir: string, disk: DiskId): string {
  return join(runDir, disk, 'qmp.sock');
}

/**
 * These must be the first options: the monitor's thread takes the socket over from the main loop a moment later. If a
 * client connects in that moment and the main loop runs already, both of them accept it, and the second one, the main
 * loop, waits in accept(2) for another client (7.2; one start in 500 with the monitor last). The monitor answers when
 * everything else is done.
 */
function monitorArguments(runDir: string, disk: DiskId): readonly string[] {
  const path = socketPath(runDir, disk).replaceAll(',', ',,');
  return ['--chardev', `socket,id=qmp,path=${path},server=on,wait=off`, '--monitor', 'chardev=qmp'];
}

/** The command line of a daemon that serves exactly `grants`. Pure. */
export function qsdArgv(spec: QsdSpec, grants: readonly Grant[]): readonly string[] {
  const { image, runDir, disk } = spec;
  const json = (option: string, value: object): readonly string[] => [option, JSON.stringify(value)];
  const isWritable = grants.length === 0 || grants.some(({ readOnly }) => !readOnly);
  const access = { 'read-only': !isWritable, discard: 'unmap', cache: { direct: spec.direct, 'no-flush': false } };
  const nodes: (readonly string[])[] = [];
  if (image.backing !== null) {
    // Through the page cache, which all clones of an image share. `backing: null`: what its header says is not
    // followed.
    const cached = { 'read-only': true, cache: { direct: false, 'no-flush': false } };
    nodes.push(
      json('--blockdev', {
        driver: 'file',
        'node-name': 'base-file',
        filename: image.backing.path,
        locking: 'on',
        ...cached,
      }),
      json('--blockdev', {
        driver: image.backing.format,
        'node-name': 'base',
        file: 'base-file',
        ...cached,
        ...(image.backing.format === 'qcow2' ? { backing: null } : {}),
      }),
    );
  }
  nodes.push(
    json('--blockdev', {
      driver: 'file',
      'node-name': 'file',
      filename: image.path,
      aio: 'threads',
      locking: 'on',
      ...access,
    }),
    json('--blockdev', {
      driver: image.format,
      'node-name': NODE,
      file: 'file',
      ...access,
      ...(image.format === 'qcow2' ? { backing: image.backing === null ? null : 'base' } : {}),
    }),
  );
  const tls = {
    'qom-type': 'tls-creds-x509',
    id: TLS,
    dir: join(runDir, disk, 'tls'),
    endpoint: 'server',
    'verify-peer': true,
  };
  return [
    'setpriv',
    ...(spec.uid === undefined ? [] : [`--reuid=${spec.uid}`, `--regid=${spec.uid}`, '--clear-groups']),
    '--no-new-privs',
    PROGRAM,
    ...monitorArguments(runDir, disk),
    ...nodes.flat(),
    ...json('--object', tls),
    ...json('--object', authzList(grants)),
    ...json('--nbd-server', {
      addr: { type: 'inet', host: spec.address, port: String(spec.port) },
      'tls-creds': TLS,
      'tls-authz': ADMITTED,
      'max-connections': CONNECTIONS_MAX,
    }),
    ...grants.flatMap((grant) => json('--export', exportOptions(grant))),
  ];
}

function exportOptions(grant: Grant): {
  type: 'nbd';
  id: string;
  'node-name': string;
  name: string;
  writable: boolean;
  writethrough: true;
} {
  const { generation, readOnly } = grant;
  return {
    type: 'nbd',
    id: exportId(grant),
    'node-name': NODE,
    name: exportName(generation),
    writable: !readOnly,
    // A client that reconnects to a daemon started anew does not send its unflushed writes again, yet its next flush
    // succeeds: with a write cache in between, that flush would lie. So a write is on stable storage before it is
    // acknowledged.
    writethrough: true,
  };
}

/** Returns the user of the daemon that serves a disk on this port. */
export function daemonUid(port: number): number {
  return DISK_UID_BASE + port - DISK_PORT_BASE;
}

/**
 * The daemons of this run directory that the operating system knows, whichever service started them. A process of
 * any other user than those of the services is no such daemon, whatever its arguments say.
 */
export function findDaemons(runDir: string): readonly DaemonProcess[] {
  const daemons: DaemonProcess[] = [];
  for (const { pid, startTicks, argv, state, uid } of listProcesses()) {
    if (state === 'Z' || basename(argv[0] ?? '') !== PROGRAM) continue;
    const chardev = argv[argv.indexOf('--chardev') + 1]?.replaceAll(',,', ',') ?? '';
    const disk = /\/(disk-[0-9a-f]{12})\/qmp\.sock,server=on/.exec(chardev)?.[1];
    if (disk === undefined || !chardev.startsWith(`socket,id=qmp,path=${runDir}/`)) continue;
    const port = /"port":"(\d+)"/.exec(argv[argv.indexOf('--nbd-server') + 1] ?? '')?.[1];
    if (uid !== process.geteuid?.() && uid !== daemonUid(Number(port))) continue;
    daemons.push({ pid, startTicks, disk: parseDiskId(disk), port: Number(port) });
  }
  return daemons;
}

/** Ends a daemon at once. CodedError 'deadline' if it does not end (blocked in the kernel): then it may still write. */
export async function killDaemon(daemon: ProcessIdentity): Promise<void> {
  signalProcess(daemon, 'SIGKILL');
  await waitGone(daemon, KILL_MS);
}

/** A running daemon and the session with its monitor. */
export class Qsd implements Daemon {
  readonly process: ProcessIdentity;
  readonly #session: QmpSession;
  readonly #logFile: string;
  #isClosed = false;
  #admitsNobody = false;
  /** Resolves when the monitor is gone: with the daemon, as a rule. */
  readonly closed: Promise<unknown>;

  private constructor(process: ProcessIdentity, session: QmpSession, logFile: string) {
    this.process = process;
    this.#session = session;
    this.#logFile = logFile;
    this.closed = session.closed.then(() => {
      this.#isClosed = true;
    });
  }

  /** Starts a daemon that serves `grants` from its first moment on. CodedError 'failed' with its output. */
  static async start(spec: QsdSpec, grants: readonly Grant[]): Promise<Qsd> {
    const directory = join(spec.runDir, spec.disk);
    const owner = spec.uid === undefined ? {} : { owner: { uid: spec.uid, gid: spec.uid } };
    await removeForeign(directory);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await writeCredentials(join(directory, 'tls'), spec.credentials, { ...owner, durable: false });
    if (spec.uid !== undefined) await chown(directory, spec.uid, spec.uid);
    const logFile = logFileOf(spec.runDir, spec.disk);
    await rm(logFile, { force: true });
    const daemon = await spawnDaemon(inScope(qsdArgv(spec, grants), { slice: 'disks', name: `gp-${spec.disk}` }), {
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
      cwd: directory,
      stdoutFile: logFile,
      stderrFile: logFile,
    });
    let exitCode: number | undefined;
    void daemon.exited.then((code) => {
      exitCode = code;
    });
    const endsAtMs = monotonicMs() + START_MS;
    try {
      while (exitCode === undefined && monotonicMs() < endsAtMs) {
        const session = await openSession(socketPath(spec.runDir, spec.disk), START_MS);
        if (session !== undefined) return new Qsd(daemon, session, logFile);
        await sleep(systemClock, 5);
      }
      const said = (await readFile(logFile, 'utf8').catch(() => '')).trim().slice(-500);
      throw new CodedError(
        'failed',
        `The storage daemon of ${spec.disk} did not start: ${said || `exit status ${exitCode}`}`,
      );
    } catch (error) {
      await killDaemon(daemon);
      throw error;
    }
  }

  /** Takes over a daemon that runs already. CodedError 'unavailable' if its monitor does not answer. */
  static async adopt(daemon: DaemonProcess, runDir: string): Promise<Qsd> {
    const session = await openSession(socketPath(runDir, daemon.disk), COMMAND_MS);
    if (session === undefined)
      throw new CodedError('unavailable', `The storage daemon of ${daemon.disk} does not answer.`);
    return new Qsd(daemon, session, logFileOf(runDir, daemon.disk));
  }

  /** Whether it lives and can take orders. */
  get isRunning(): boolean {
    return !this.#isClosed && isRunning(this.process);
  }

  /** Its present exports. Exports that are being removed do not count as gone. */
  async grants(vm: VmId): Promise<readonly Grant[]> {
    const exports = await qmp(this.#session, 'query-block-exports', {}, { deadlineMs: COMMAND_MS });
    return exports.flatMap(({ id }) => parseExportId(id, vm) ?? []);
  }

  /** Makes exactly these incarnations acceptable in TLS handshakes from now on. Sessions that exist stay. */
  async admit(grants: readonly Grant[]): Promise<void> {
    const hadList = !this.#admitsNobody;
    this.#admitsNobody = false;
    if (hadList) await qmp(this.#session, 'qom-set', { ...RULES, value: rulesOf(grants) }, { deadlineMs: COMMAND_MS });
    else await qmp(this.#session, 'object-add', authzList(grants), { deadlineMs: COMMAND_MS });
  }

  /**
   * Removes the authorization list, without which QEMU refuses every handshake (qauthz_is_allowed_by_id). The shortest
   * command with this effect: a guest that migrates waits for it, and QEMU reads a monitor one byte per turn of its
   * loop (10 us each, seen with 7.2).
   */
  async admitNobody(): Promise<void> {
    if (this.#admitsNobody) return;
    this.#admitsNobody = true;
    await qmp(this.#session, 'object-del', { id: ADMITTED }, { deadlineMs: COMMAND_MS });
  }

  async isFencing(): Promise<boolean> {
    try {
      await qmp(this.#session, 'qom-get', RULES, { deadlineMs: COMMAND_MS });
      return false;
    } catch (error) {
      if (error instanceof QmpError) return true;
      throw error;
    }
  }

  async addExport(grant: Grant): Promise<void> {
    await qmp(this.#session, 'block-export-add', exportOptions(grant), { deadlineMs: COMMAND_MS });
  }

  /**
   * Cuts the connections of an export and answers when the export is gone: its last write has been carried out by then.
   */
  async removeExport(grant: Grant): Promise<void> {
    const id = exportId(grant);
    const gone = Promise.withResolvers<'deleted' | 'lost'>();
    const stop = this.#session.onEvent(({ name, data }) => {
      if (name === 'BLOCK_EXPORT_DELETED' && data['id'] === id) gone.resolve('deleted');
    });
    void this.#session.closed.then(() => gone.resolve('lost'));
    try {
      await qmp(this.#session, 'block-export-del', { id, mode: 'hard' }, { deadlineMs: COMMAND_MS });
      const late = new AbortController();
      const how = await Promise.race([gone.promise, sleep(systemClock, COMMAND_MS, { signal: late.signal })]);
      late.abort();
      if (how === 'deleted') return;
    } catch (error) {
      // There was none: it is requested below nevertheless.
      if (!(error instanceof QmpError)) throw error;
    } finally {
      stop();
    }
    const exports = await qmp(this.#session, 'query-block-exports', {}, { deadlineMs: COMMAND_MS });
    if (exports.some((one) => one.id === id)) throw new CodedError('deadline', `Export ${id} is still there.`);
  }

  /** Keeps its log (a line per refused handshake) from growing without bound. */
  async boundLog(): Promise<void> {
    const size = await stat(this.#logFile)
      .then((found) => found.size)
      .catch(() => 0);
    if (size > LOG_BYTES_MAX) await truncate(this.#logFile, 0);
  }

  /** Ends it at once. Writes that a guest was told to be on disk stay there, however the daemon ends. */
  async kill(): Promise<void> {
    await killDaemon(this.process);
    this.#session.close();
  }

  /** Closes the monitor's connection; the daemon runs on. */
  release(): void {
    this.#session.close();
  }
}

async function openSession(path: string, deadlineMs: number): Promise<QmpSession | undefined> {
  const connection = await connectQmp({ kind: 'unix', path }, { deadlineMs });
  return connection.outcome === 'answers' ? connection.session : undefined;
}

function logFileOf(runDir: string, disk: DiskId): string {
  return join(runDir, `${disk}.log`);
}
