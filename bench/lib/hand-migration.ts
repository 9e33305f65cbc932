/**
 * A VM migrated by hand: QEMUs with the cluster's own arguments on the cluster's own machines, so that disk and copy
 * use the same paths, but started and driven over plain QMP without any of the cluster's parts; one qemu-storage-daemon
 * with an export per generation on an image as the pool has them, TLS everywhere. Guarantees: what is left at its end
 * goes with the machines.
 */

import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { markerArgument } from '../../src/agent/incarnations.ts';
import { confinementArguments, qemuArguments } from '../../src/agent/qemu/arguments.ts';
import { dnsName, type PeerIdentity, qemuAuthzName } from '../../src/base/identity.ts';
import {
  type Generation,
  parseDiskId,
  parseGeneration,
  parseSha256,
  parseStorageName,
  parseVmId,
} from '../../src/base/ids.ts';
import { sleep } from '../../src/base/sleep.ts';
import { FIRST_PAUSE_MS } from '../../src/core/model/pause-allowance.ts';
import { portsOfSlot } from '../../src/core/model/ports.ts';
import type { LaunchOrder } from '../../src/core/ports/host-link.ts';
import { enterMachineArgv, labStatus } from '../../src/lab/client.ts';
import { childOf } from '../../src/lab/machine.ts';
import { run, spawnDaemon } from '../../src/os/child-process.ts';
import { systemClock } from '../../src/os/clock.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import { hasDirectIo } from '../../src/os/files.ts';
import { monotonicMs } from '../../src/os/monotonic.ts';
import { type ProcessIdentity, signalProcess, waitGone } from '../../src/os/process-table.ts';
import { type CertifiedKey, createAuthority, issue } from '../../src/pki/authority.ts';
import { type Credentials, writeCredentials } from '../../src/pki/credentials.ts';
import { QmpSession } from '../../src/qmp/session.ts';
import { parseTermField } from '../../src/rpc/parse.ts';
import { Qsd, type QsdSpec, qsdArgv } from '../../src/storage/qsd.ts';

export interface HandOptions {
  /** Empty; for disk, credentials and sockets. Visible on the machines. */
  readonly directory: string;
  readonly storage: HandMachine;
  /** The hosts between which the VM moves to and fro. */
  readonly hosts: readonly [HandMachine, HandMachine];
  readonly accelerator: 'kvm' | 'tcg';
  readonly kernelFile: string;
  readonly initrdFile: string;
  readonly append: string;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** The number of generations that may be admitted: 1 to this. */
  readonly generationsMax: number;
}

/** A machine of the cluster. */
export interface HandMachine {
  /** Its address in the storage network. */
  readonly address: string;
  /** The argv that runs `argv` on the machine. */
  readonly enter: (argv: readonly string[]) => Promise<readonly string[]>;
}

/** The machines of a cluster of the lab between which a VM goes by hand. */
export async function handMachines(clusterDir: string): Promise<Pick<HandOptions, 'storage' | 'hosts'>> {
  const machines = await labStatus(clusterDir);
  const machine = (name: string): HandMachine => ({
    address: machines.find((one) => one.name === name)?.addresses['storage'] ?? '',
    enter: (argv) => enterMachineArgv(clusterDir, name, argv),
  });
  return { storage: machine('s1'), hosts: [machine('h1'), machine('h2')] };
}

/** One migration, in ms. */
export interface HandMigration {
  /** From the first command to the end of the source's process. */
  readonly totalMs: number;
  /** STOP at the source to RESUME at the destination, by QEMU's time stamps. */
  readonly pauseMs: number;
  /** The part of the pause after both sides were complete. */
  readonly handoverMs: number;
  /** The destination's QEMU answered. */
  readonly spawnedMs: number;
  /** Both sides had completed. */
  readonly completedMs: number;
}

interface HandQemu {
  /** The process that entered the machine's namespaces and waits for QEMU. */
  readonly process: ProcessIdentity;
  readonly session: QmpSession;
  readonly generation: Generation;
  readonly host: HandMachine;
}

/** What is prepared before the clock starts: a directory with credentials and a listening socket. */
interface Prepared {
  readonly order: LaunchOrder;
  readonly directory: string;
  readonly server: Server;
  readonly host: HandMachine;
  readonly argv: readonly string[];
}

const VM = parseVmId('vm-0123456789ab');
const DISK = parseDiskId('disk-0123456789ab');
const STORAGE: PeerIdentity = { kind: 'storage', name: parseStorageName('s1') };
const DISK_PORT = 49_900;
/** A high slot: no VM of the cluster gets it. */
const SLOT = 900;
const MIGRATION_PORT = portsOfSlot(SLOT).migration;
const TRIES_MAX = 250;
const RETRY_MS = 20;
const COMMAND_MS = 10_000;
const START_MS = 30_000;
const MIGRATE_MS = 60_000;
const PATIENCE_MS = 30_000;
const BOOT_MS = 60_000;
const BYTES_PER_S = 8 * 1024 ** 3;
const ENV = { PATH: process.env['PATH'], LC_ALL: 'C' };

/** See the module's comment. Call `start`, then `migrate` and `prepareNext` in turns, then `end`. */
export class HandVm {
  readonly #options: HandOptions;
  readonly #authority: CertifiedKey;
  #qsd: Qsd | undefined;
  #qemu: HandQemu | undefined;
  #prepared: Prepared | undefined;

  private constructor(options: HandOptions, authority: CertifiedKey) {
    this.#options = options;
    this.#authority = authority;
  }

  static async create(options: HandOptions): Promise<HandVm> {
    return new HandVm(options, await createAuthority({ clusterName: 'by-hand', daysValid: 1 }));
  }

  /** Starts the first QEMU and waits until its guest has booted. */
  async start(): Promise<void> {
    const { directory, diskBytes, generationsMax } = this.#options;
    const image = join(directory, 'disk.qcow2');
    await run(['qemu-img', 'create', '-q', '-f', 'qcow2', image, String(diskBytes)], { deadlineMs: START_MS });
    this.#qsd = await this.#serveDisk(image);
    const all = Array.from({ length: generationsMax }, (_, index) => grant(parseGeneration(index + 1)));
    await this.#qsd.admit(all);
    const first = await this.#prepare(parseGeneration(1), { host: this.#options.hosts[0], incoming: false });
    this.#qemu = await this.#spawn(first);
    await this.#qemu.session.execute('cont', undefined, { deadlineMs: COMMAND_MS });
    await waitForBoot(join(first.directory, 'serial.log'));
    await this.prepareNext();
  }

  /** Makes everything except the process that the next destination needs. */
  async prepareNext(): Promise<void> {
    const { generation, host } = this.#present();
    const [one, other] = this.#options.hosts;
    const next = parseGeneration(generation + 1);
    this.#prepared = await this.#prepare(next, { host: host === one ? other : one, incoming: true });
  }

  /** Halts or continues the guest: the other kind of migration shall have the machine to itself. */
  async run(running: boolean): Promise<void> {
    await this.#present().session.execute(running ? 'cont' : 'stop', undefined, { deadlineMs: COMMAND_MS });
  }

  /** Migrates to a QEMU of the next generation; `prepareNext` must have been called. */
  async migrate(): Promise<HandMigration> {
    const source = this.#present();
    const prepared = this.#prepared;
    const qsd = this.#qsd;
    if (prepared === undefined || qsd === undefined) throw new Error('nothing was prepared');
    const startedMs = monotonicMs();
    await qsd.addExport(grant(prepared.order.generation));
    const destination = await this.#spawn(prepared);
    const spawnedMs = monotonicMs() - startedMs;
    const stopped = eventOf(source.session, 'STOP');
    const resumed = eventOf(destination.session, 'RESUME');
    const left = eventOf(source.session, 'MIGRATION', 'completed');
    const arrived = eventOf(destination.session, 'MIGRATION', 'completed');
    await listen(destination, source);
    await send(source, destination);
    const completedAtMs = Math.max(...(await Promise.all([left, arrived])));
    const completedMs = monotonicMs() - startedMs;
    await qsd.removeExport(grant(source.generation));
    await destination.session.execute('cont', undefined, { deadlineMs: COMMAND_MS });
    // As in the cluster, whose task ends when nothing is left at the source. `quit` would not do: it waits for the
    // disk, which is gone.
    signalProcess(innermost(source.process), 'SIGKILL');
    await waitGone(source.process, COMMAND_MS);
    const totalMs = monotonicMs() - startedMs;
    source.session.close();
    const resumedAtMs = await resumed;
    const pauseMs = resumedAtMs - (await stopped);
    this.#qemu = destination;
    return { totalMs, pauseMs, handoverMs: resumedAtMs - completedAtMs, spawnedMs, completedMs };
  }

  /** Ends the processes that run on the machines. */
  end(): void {
    this.#qemu?.session.close();
    this.#qsd?.release();
    this.#prepared?.server.close();
  }

  #present(): HandQemu {
    if (this.#qemu === undefined) throw new Error('no QEMU was started');
    return this.#qemu;
  }

  async #credentials(identity: PeerIdentity): Promise<Credentials> {
    const own = await issue(this.#authority, { identity, daysValid: 1 });
    return { caPem: this.#authority.certPem, ...own };
  }

  async #serveDisk(image: string): Promise<Qsd> {
    const { directory, storage } = this.#options;
    const runDir = join(directory, 'qsd');
    await writeCredentials(join(runDir, DISK, 'tls'), await this.#credentials(STORAGE));
    const spec: QsdSpec = {
      disk: DISK,
      image: { path: image, format: 'qcow2', backing: null },
      address: storage.address,
      port: DISK_PORT,
      runDir,
      credentials: await this.#credentials(STORAGE),
      uid: undefined,
      direct: await hasDirectIo(directory),
    };
    const argv = await storage.enter(qsdArgv(spec, [grant(parseGeneration(1))]));
    const log = join(directory, 'qsd.log');
    const process_ = await spawnDaemon(argv, { env: ENV, cwd: directory, stdoutFile: log, stderrFile: log });
    for (let tries = 0; ; tries++) {
      try {
        return await Qsd.adopt({ ...process_, disk: DISK, port: DISK_PORT }, runDir);
      } catch (error) {
        if (tries === TRIES_MAX) throw new Error(await readFile(log, 'utf8'), { cause: error });
        await sleep(systemClock, RETRY_MS);
      }
    }
  }

  async #prepare(generation: Generation, how: { host: HandMachine; incoming: boolean }): Promise<Prepared> {
    const { accelerator, kernelFile, initrdFile } = this.#options;
    const directory = join(this.#options.directory, `g${generation}`);
    await mkdir(directory);
    const credentials = await this.#credentials({ kind: 'incarnation', vmId: VM, generation });
    await writeCredentials(join(directory, 'tls'), credentials);
    const server = createServer();
    server.listen(join(directory, 'ready.sock'));
    await once(server, 'listening');
    const order = this.#order(generation, { incoming: how.incoming, credentials });
    const marker = markerArgument(order);
    // Without the mark by which the machine's agent would take this QEMU for one of the cluster's, and end it.
    const qemu = qemuArguments(order, { accelerator, directory, kernelFile, initrdFile }).filter(
      (argument, index, all) => argument !== marker && all[index + 1] !== marker,
    );
    const confinement = confinementArguments({ uid: null, root: process.getuid?.() === 0 });
    return { order, directory, server, host: how.host, argv: await how.host.enter([...confinement, ...qemu]) };
  }

  #order(
    generation: Generation,
    { incoming, credentials }: { incoming: boolean; credentials: Credentials },
  ): LaunchOrder {
    const { memoryBytes, append, storage } = this.#options;
    const file = { sha256: parseSha256('0'.repeat(64)), sizeBytes: 1, from: [] };
    return {
      term: parseTermField(1, 'term'),
      vm: VM,
      vmName: 'by-hand',
      generation,
      slot: SLOT,
      incoming,
      machine: {
        ...{ vcpus: 1, memoryBytes, cpuModel: 'baseline', firmware: 'direct' },
        ...{ kernel: file, initrd: file, append },
      },
      disks: [
        {
          ...{ disk: DISK, role: 'data', bus: 'virtio', readOnly: false, patienceMs: PATIENCE_MS },
          export: { address: storage.address, port: DISK_PORT, name: `g${generation}`, tlsName: dnsName(STORAGE) },
        },
      ],
      nics: [],
      credentials,
      network: { revision: 0, networks: [], drop: [] },
    };
  }

  /** Starts QEMU; its monitor is the connection that it makes to the prepared socket. */
  async #spawn({ order, directory, server, host, argv }: Prepared): Promise<HandQemu> {
    const log = join(directory, 'qemu.log');
    const connected = once(server, 'connection') as Promise<[Socket]>;
    const process_ = await spawnDaemon(argv, { env: ENV, cwd: directory, stdoutFile: log, stderrFile: log });
    const ended = process_.exited.then(async (code) => {
      throw new Error(`QEMU ended with status ${code}: ${await readFile(log, 'utf8')}`);
    });
    ended.catch(() => undefined);
    const opened = connected.then(([socket]) => QmpSession.open(socket, { deadlineMs: START_MS }));
    const session = await withDeadline(() => Promise.race([opened, ended]), { deadlineMs: START_MS, what: 'QEMU' });
    server.close();
    return { process: process_, session, generation: order.generation, host };
  }
}

function grant(generation: Generation): { vm: typeof VM; generation: Generation; readOnly: boolean } {
  return { vm: VM, generation, readOnly: false };
}

/** The program itself: the grandchild of the process that entered the machine. */
function innermost(process: ProcessIdentity): ProcessIdentity {
  const child = childOf(process.pid);
  return child === undefined ? process : innermost(child);
}

async function listen({ session }: HandQemu, source: HandQemu): Promise<void> {
  const identity = qemuAuthzName({ kind: 'incarnation', vmId: VM, generation: source.generation });
  const execute = (command: string, args: object): Promise<unknown> =>
    session.execute(command, args, { deadlineMs: COMMAND_MS });
  await execute('migrate-set-capabilities', capabilities('events', 'return-path', 'late-block-activate'));
  await execute('object-add', { 'qom-type': 'authz-simple', id: 'migration-authz', identity });
  await execute('migrate-set-parameters', { 'tls-creds': 'tls-server', 'tls-authz': 'migration-authz' });
  await execute('migrate-incoming', { uri: `tcp:0.0.0.0:${MIGRATION_PORT}` });
}

async function send({ session }: HandQemu, destination: HandQemu): Promise<void> {
  const identity: PeerIdentity = { kind: 'incarnation', vmId: VM, generation: destination.generation };
  const execute = (command: string, args: object): Promise<unknown> =>
    session.execute(command, args, { deadlineMs: COMMAND_MS });
  await execute('migrate-set-capabilities', capabilities('events', 'return-path', 'auto-converge'));
  const parameters = {
    ...{ 'tls-creds': 'tls-client', 'tls-hostname': dnsName(identity), 'max-bandwidth': BYTES_PER_S },
    // The same limit as the cluster begins with: the comparison is about the cluster's own share of the pause.
    'downtime-limit': FIRST_PAUSE_MS,
  };
  await execute('migrate-set-parameters', parameters);
  await execute('migrate', { uri: `tcp:${destination.host.address}:${MIGRATION_PORT}` });
}

function capabilities(...names: string[]): { capabilities: { capability: string; state: boolean }[] } {
  return { capabilities: names.map((capability) => ({ capability, state: true })) };
}

/** QEMU's time stamp of the first such event from now on. */
function eventOf(session: QmpSession, name: string, status?: string): Promise<number> {
  return withDeadline(
    () =>
      new Promise<number>((resolve, reject) => {
        session.onEvent((event) => {
          if (event.name !== name) return;
          if (name === 'MIGRATION' && event.data['status'] === 'failed') reject(new Error('QEMU reports: failed'));
          if (status === undefined || event.data['status'] === status) resolve(event.timestampMs);
        });
      }),
    { deadlineMs: MIGRATE_MS, what: `${name} ${status ?? ''}` },
  );
}

async function waitForBoot(serialLog: string): Promise<void> {
  const endsAtMs = monotonicMs() + BOOT_MS;
  while (!(await readFile(serialLog, 'latin1').catch(() => '')).includes('groundplane-tiny ready')) {
    if (monotonicMs() > endsAtMs) throw new Error('the guest did not boot');
    await sleep(systemClock, 100);
  }
}
