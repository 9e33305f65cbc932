/**
 * A VM migrated by hand: QEMUs with the cluster's own arguments, but started here, driven over plain QMP without any of the
 * cluster's parts; one qemu-storage-daemon with an export per generation, TLS everywhere. Guarantees: `end` leaves no process.
 */

import { once } from 'node:events';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { confinementArguments, qemuArguments } from '../../src/agent/qemu/arguments.ts';
import {
  type Generation,
  parseDiskId,
  parseGeneration,
  parseSha256,
  parseStorageName,
  parseVmId,
} from '../../src/base/ids.ts';
import { portsOfSlot } from '../../src/core/model/ports.ts';
import type { LaunchOrder } from '../../src/core/ports/host-link.ts';
import { spawnDaemon } from '../../src/os/child-process.ts';
import { pause, withDeadline } from '../../src/os/deadline.ts';
import { monotonicMs } from '../../src/os/monotonic.ts';
import { type ProcessIdentity, signalProcess, waitGone } from '../../src/os/process-table.ts';
import { type CertifiedKey, createAuthority, issue } from '../../src/pki/authority.ts';
import { type Credentials, writeCredentials } from '../../src/pki/credentials.ts';
import { dnsName, type PeerIdentity, qemuAuthzName } from '../../src/pki/identity.ts';
import { QmpSession } from '../../src/qmp/session.ts';
import { parseTermField } from '../../src/rpc/parse.ts';
import { Qsd } from '../../src/storage/qsd.ts';

export interface HandOptions {
  /** Empty; for disk, credentials and sockets. */
  readonly directory: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly kernelFile: string;
  readonly initrdFile: string;
  readonly append: string;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** Generations that may be admitted: 1 to this. */
  readonly generationsMax: number;
}

/** One migration, in ms. */
export interface HandMigration {
  /** From the first command to the answer of `cont`. */
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
  readonly process: ProcessIdentity;
  readonly session: QmpSession;
  readonly generation: Generation;
  readonly slot: number;
}

/** What is made ahead of the clock: a directory with credentials and a listening socket. */
interface Prepared {
  readonly order: LaunchOrder;
  readonly directory: string;
  readonly server: Server;
}

const VM = parseVmId('vm-0123456789ab');
const DISK = parseDiskId('disk-0123456789ab');
const STORAGE: PeerIdentity = { kind: 'storage', name: parseStorageName('s1') };
const ADDRESS = '127.0.0.1';
const DISK_PORT = 49_900;
/** High ones: nothing else in this network namespace uses their ports. */
const SLOTS = [900, 901] as const;
const COMMAND_MS = 10_000;
const START_MS = 30_000;
const MIGRATE_MS = 60_000;
const PATIENCE_MS = 30_000;
const BOOT_MS = 60_000;
const BYTES_PER_S = 8 * 1024 ** 3;
const ENV = { PATH: process.env['PATH'], LC_ALL: 'C' };

/** See the module's comment. In order: `start`, then `migrate` and `prepareNext` in turns, then `end`. */
export class HandVm {
  readonly #options: HandOptions;
  readonly #authority: CertifiedKey;
  #qsd: Qsd | undefined;
  #qemu: HandQemu | undefined;
  #prepared: Prepared | undefined;
  readonly #started: ProcessIdentity[] = [];

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
    const image = join(directory, 'disk.raw');
    await writeFile(image, '');
    await truncate(image, diskBytes);
    this.#qsd = await Qsd.start(
      {
        disk: DISK,
        image: { path: image, format: 'raw', backing: null },
        address: ADDRESS,
        port: DISK_PORT,
        runDir: join(directory, 'qsd'),
        credentials: await this.#credentials(STORAGE),
        uid: undefined,
        direct: false,
      },
      [grant(parseGeneration(1))],
    );
    this.#started.push(this.#qsd.process);
    await this.#qsd.admit(Array.from({ length: generationsMax }, (_, index) => grant(parseGeneration(index + 1))));
    const first = await this.#prepare(parseGeneration(1), { slot: SLOTS[0], incoming: false });
    this.#qemu = await this.#spawn(first);
    await this.#qemu.session.execute('cont', undefined, { deadlineMs: COMMAND_MS });
    await waitForBoot(join(first.directory, 'serial.log'));
    await this.prepareNext();
  }

  /** Makes what the next destination needs besides its process. */
  async prepareNext(): Promise<void> {
    const { generation, slot } = this.#present();
    const next = parseGeneration(generation + 1);
    this.#prepared = await this.#prepare(next, { slot: slot === SLOTS[0] ? SLOTS[1] : SLOTS[0], incoming: true });
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
    const totalMs = monotonicMs() - startedMs;
    const resumedAtMs = await resumed;
    const pauseMs = resumedAtMs - (await stopped);
    this.#qemu = destination;
    source.session.close();
    signalProcess(source.process, 'SIGKILL');
    await waitGone(source.process, COMMAND_MS);
    return { totalMs, pauseMs, handoverMs: resumedAtMs - completedAtMs, spawnedMs, completedMs };
  }

  async end(): Promise<void> {
    this.#qemu?.session.close();
    this.#qsd?.release();
    this.#prepared?.server.close();
    for (const process of this.#started) signalProcess(process, 'SIGKILL');
    for (const process of this.#started) await waitGone(process, COMMAND_MS);
  }

  #present(): HandQemu {
    if (this.#qemu === undefined) throw new Error('no QEMU was started');
    return this.#qemu;
  }

  async #credentials(identity: PeerIdentity): Promise<Credentials> {
    const own = await issue(this.#authority, { identity, daysValid: 1 });
    return { caPem: this.#authority.certPem, ...own };
  }

  async #prepare(generation: Generation, how: { slot: number; incoming: boolean }): Promise<Prepared> {
    const directory = join(this.#options.directory, `g${generation}`);
    await mkdir(directory);
    const credentials = await this.#credentials({ kind: 'incarnation', vmId: VM, generation });
    await writeCredentials(join(directory, 'tls'), credentials);
    const server = createServer();
    server.listen(join(directory, 'ready.sock'));
    await once(server, 'listening');
    return { order: this.#order(generation, { ...how, credentials }), directory, server };
  }

  #order(
    generation: Generation,
    { slot, incoming, credentials }: { slot: number; incoming: boolean; credentials: Credentials },
  ): LaunchOrder {
    const { memoryBytes, append } = this.#options;
    const file = { sha256: parseSha256('0'.repeat(64)), sizeBytes: 1, from: [] };
    return {
      term: parseTermField(1, 'term'),
      vm: VM,
      vmName: 'by-hand',
      generation,
      slot,
      incoming,
      machine: {
        ...{ vcpus: 1, memoryBytes, cpuModel: 'baseline', firmware: 'direct' },
        ...{ kernel: file, initrd: file, append },
      },
      disks: [
        {
          ...{ disk: DISK, role: 'data', bus: 'virtio', readOnly: false, patienceMs: PATIENCE_MS },
          export: { address: ADDRESS, port: DISK_PORT, name: `g${generation}`, tlsName: dnsName(STORAGE) },
        },
      ],
      nics: [],
      credentials,
      network: { revision: 0, networks: [], drop: [] },
    };
  }

  /** Starts QEMU; its monitor is the connection that it makes to the prepared socket. */
  async #spawn({ order, directory, server }: Prepared): Promise<HandQemu> {
    const { accelerator, kernelFile, initrdFile } = this.#options;
    const argv = [
      ...confinementArguments({ uid: null, root: process.getuid?.() === 0 }),
      ...qemuArguments(order, { accelerator, directory, kernelFile, initrdFile }),
    ];
    const log = join(directory, 'qemu.log');
    const connected = once(server, 'connection') as Promise<[Socket]>;
    const process_ = await spawnDaemon(argv, { env: ENV, cwd: directory, stdoutFile: log, stderrFile: log });
    this.#started.push(process_);
    const ended = process_.exited.then(async (code) => {
      throw new Error(`QEMU ended with status ${code}: ${await readFile(log, 'utf8')}`);
    });
    ended.catch(() => undefined);
    const opened = connected.then(([socket]) => QmpSession.open(socket, { deadlineMs: START_MS }));
    const session = await withDeadline(() => Promise.race([opened, ended]), { deadlineMs: START_MS, what: 'QEMU' });
    server.close();
    return { process: process_, session, generation: order.generation, slot: order.slot };
  }
}

function grant(generation: Generation): { vm: typeof VM; generation: Generation; readOnly: boolean } {
  return { vm: VM, generation, readOnly: false };
}

async function listen({ session, slot }: HandQemu, source: HandQemu): Promise<void> {
  const identity = qemuAuthzName({ kind: 'incarnation', vmId: VM, generation: source.generation });
  const execute = (command: string, args: object): Promise<unknown> =>
    session.execute(command, args, { deadlineMs: COMMAND_MS });
  await execute('migrate-set-capabilities', capabilities('events', 'return-path', 'late-block-activate'));
  await execute('object-add', { 'qom-type': 'authz-simple', id: 'migration-authz', identity });
  await execute('migrate-set-parameters', { 'tls-creds': 'tls-server', 'tls-authz': 'migration-authz' });
  await execute('migrate-incoming', { uri: `tcp:${ADDRESS}:${portsOfSlot(slot).migration}` });
}

async function send({ session }: HandQemu, destination: HandQemu): Promise<void> {
  const identity: PeerIdentity = { kind: 'incarnation', vmId: VM, generation: destination.generation };
  const execute = (command: string, args: object): Promise<unknown> =>
    session.execute(command, args, { deadlineMs: COMMAND_MS });
  await execute('migrate-set-capabilities', capabilities('events', 'return-path', 'auto-converge'));
  const parameters = { 'tls-creds': 'tls-client', 'tls-hostname': dnsName(identity), 'max-bandwidth': BYTES_PER_S };
  await execute('migrate-set-parameters', parameters);
  await execute('migrate', { uri: `tcp:${ADDRESS}:${portsOfSlot(destination.slot).migration}` });
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
    await pause(100);
  }
}
