/**
 * For tests: an authority, a real etcd, a storage service as a process, and NBD clients with credentials of
 * incarnations.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { present } from '../../base/assert.ts';
import { commonName, dnsName, ETCD_CLIENT_NAME, ETCD_MEMBER_NAME, type PeerIdentity } from '../../base/identity.ts';
import {
  type DiskId,
  type Generation,
  parseControlName,
  parseGeneration,
  parseHostName,
  parseStorageName,
  type VmId,
} from '../../base/ids.ts';
import type { DiskRecord } from '../../core/model/cluster.ts';
import type { SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import { keyOf, STORAGE_READS, TARGET_SECRET_KEY } from '../../core/model/keys.ts';
import { PORTS } from '../../core/model/ports.ts';
import { accountName, initiatorName, targetName } from '../../core/model/shared-disk-identity.ts';
import type { VmPhase, VmRecord, VmSharedDisk } from '../../core/model/vm.ts';
import { vmRecord } from '../../core/plan/testing/sample-records.ts';
import type { DaemonProcess } from '../../core/ports/disk-backend.ts';
import type { LaunchSharedDisk } from '../../core/ports/host-link.ts';
import { allowWriting, ensureAuthorization } from '../../etcd/authorization.ts';
import { EtcdClient } from '../../etcd/client.ts';
import { etcdCommand } from '../../etcd/member.ts';
import { SocketInitiator } from '../../iscsi/testing/socket-initiator.ts';
import { tryRun } from '../../os/child-process.ts';
import { listProcesses, type ProcessIdentity } from '../../os/process-table.ts';
import { until } from '../../os/testing/until.ts';
import { type CertifiedKey, createAuthority, issue } from '../../pki/authority.ts';
import { type Credentials, writeCredentials } from '../../pki/credentials.ts';
import { targetSecret } from '../../pki/target-secret.ts';
import { RpcClient } from '../../rpc/client.ts';
import { TARGET_PROGRAM } from '../local-target.ts';
import { findDaemons, killDaemon } from '../qsd.ts';

const STORAGE: PeerIdentity = { kind: 'storage', name: parseStorageName('s1') };
const CONTROL: PeerIdentity = { kind: 'control', name: parseControlName('c1') };
const HOST: PeerIdentity = { kind: 'host', name: parseHostName('h1') };
const MAIN = new URL('../main.ts', import.meta.url).pathname;
const WAIT_MS = 20_000;

export class StorageLab {
  readonly dir: string;
  readonly address: string;
  readonly authority: CertifiedKey;
  readonly etcd: EtcdClient;
  readonly control: RpcClient;
  readonly host: RpcClient;
  #etcdProcess: ChildProcess;
  readonly #etcdAddress: string;
  #service: ChildProcess | undefined;
  readonly #clients = new Set<ChildProcess>();
  /** The output of the service. */
  readonly log: string[] = [];
  #isAuthorized = false;
  readonly #targetKey = randomBytes(32);

  private constructor(options: {
    dir: string;
    address: string;
    authority: CertifiedKey;
    credentials: Credentials;
    host: Credentials;
  }) {
    const { dir, address, authority, credentials } = options;
    this.dir = dir;
    this.address = address;
    this.authority = authority;
    this.#etcdAddress = `${address}:2379`;
    this.etcd = new EtcdClient({ endpoints: [this.#etcdAddress], tls: credentials });
    const target = { address, port: PORTS.storage, identity: STORAGE };
    this.control = new RpcClient({ credentials, target });
    this.host = new RpcClient({ credentials: options.host, target });
    this.#etcdProcess = this.#spawnEtcd();
  }

  /** etcd runs; the service does not yet. The caller must stop(). */
  static async start(): Promise<StorageLab> {
    const dir = await mkdtemp(join(tmpdir(), 'gp-storage-'));
    await chmod(dir, 0o711);
    const address = `127.${randomInt(1, 255)}.${randomInt(0, 255)}.${randomInt(1, 255)}`;
    const authority = await createAuthority({ clusterName: 'lab', daysValid: 1 });
    const of = async (identity: PeerIdentity): Promise<Credentials> => {
      const own = await issue(authority, { identity, ipAddresses: [address], daysValid: 1 });
      return { caPem: authority.certPem, ...own };
    };
    const credentials = await of(CONTROL);
    await writeCredentials(join(dir, 'control'), credentials);
    await writeCredentials(join(dir, 'state', 'identity'), await of(STORAGE));
    const config = {
      name: 's1',
      controlAddress: address,
      storageAddress: address,
      stateDir: join(dir, 'state'),
      poolDir: join(dir, 'pool'),
      runDir: join(dir, 'run'),
      etcdEndpoints: [`https://${address}:2379`],
    };
    await writeFile(join(dir, 'config.json'), JSON.stringify(config));
    for (const name of ['pool', 'run']) await mkdir(join(dir, name), { mode: 0o711 });
    const lab = new StorageLab({ dir, address, authority, credentials, host: await of(HOST) });
    await lab.untilEtcd();
    return lab;
  }

  get runDir(): string {
    return join(this.dir, 'run', 'disks');
  }

  async untilEtcd(): Promise<void> {
    await until('etcd', async () =>
      (await this.etcd.status({ deadlineMs: 500 })).every((member) => 'leaderId' in member && member.leaderId !== '0'),
    );
  }

  /** Starts the service and waits until it listens and, with etcd there, has restored. */
  async startService({ restored = true }: { restored?: boolean } = {}): Promise<void> {
    this.log.length = 0;
    const child = spawn(process.execPath, [MAIN, '--config', join(this.dir, 'config.json')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#service = child;
    createInterface({ input: present(child.stdout, 'stdout') }).on('line', (line) => this.log.push(line));
    const has = (text: string): boolean => this.log.some((line) => line.includes(text));
    await until('the service', () => {
      if (child.exitCode !== null) throw new Error(`the service ended: ${this.log.join('\n')}`);
      return has('"listening"') && (!restored || has('generations that etcd admits'));
    });
  }

  /** Ends the service alone. */
  async stopService(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#service;
    this.#service = undefined;
    if (child === undefined || child.exitCode !== null) return null;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
    return child.exitCode;
  }

  async stopEtcd(): Promise<void> {
    const exited = once(this.#etcdProcess, 'exit');
    this.#etcdProcess.kill('SIGKILL');
    await exited;
  }

  async restartEtcd(): Promise<void> {
    this.#etcdProcess = this.#spawnEtcd();
    await this.untilEtcd();
  }

  daemons(): readonly DaemonProcess[] {
    return findDaemons(this.runDir);
  }

  daemonOf(disk: DiskId): DaemonProcess {
    return present(
      this.daemons().find((daemon) => daemon.disk === disk),
      `daemon of ${disk}`,
    );
  }

  /** The processes of the target. */
  targets(): readonly ProcessIdentity[] {
    const config = join(this.dir, 'run', 'target', 'config.json');
    return listProcesses().filter(
      ({ argv, state }) => state !== 'Z' && argv.includes(TARGET_PROGRAM) && argv.at(-1) === config,
    );
  }

  /** Makes etcd admit by common names, as control nodes do, with the key of the targets' accounts. */
  async authorize(): Promise<void> {
    const value = JSON.stringify({ key: Buffer.from(this.#targetKey).toString('base64') });
    await this.etcd.txn({ compare: [], success: [{ put: TARGET_SECRET_KEY, value }] });
    await ensureAuthorization(this.etcd, {
      controls: [commonName(CONTROL)],
      readers: [commonName(STORAGE)],
      readPrefixes: STORAGE_READS,
    });
    this.#isAuthorized = true;
  }

  /** The account with which an incarnation logs in at the target. */
  accountOf(vm: VmId, generation: Generation): Omit<LaunchSharedDisk, 'disk' | 'lun'> {
    const account = accountName(vm, generation);
    return {
      address: this.address,
      port: PORTS.target,
      target: targetName(vm),
      initiator: initiatorName(vm),
      account,
      secret: targetSecret(this.#targetKey, account),
    };
  }

  /** Logs in by hand; the status of the log-in where it is refused. */
  logIn(vm: VmId, generation: Generation): Promise<SocketInitiator | number> {
    const { address: host, port, target, initiator, account: name, secret } = this.accountOf(vm, generation);
    return SocketInitiator.open({ host, port, target, initiator, account: { name, secret } });
  }

  async putSharedDisk(id: DiskId): Promise<void> {
    const record: SharedDiskRecord = {
      id,
      name: id,
      node: parseStorageName('s1'),
      sizeBytes: 0,
      blockBytes: 512,
      phase: 'ready',
      guestCluster: null,
      createdAt: 0,
    };
    await this.etcd.txn({ compare: [], success: [{ put: keyOf.sharedDisk(id), value: JSON.stringify(record) }] });
    if (this.#isAuthorized)
      await allowWriting(this.etcd, { commonName: commonName(STORAGE), key: keyOf.reservation(id) });
  }

  async putDisk(record: Pick<DiskRecord, 'id' | 'vm' | 'port'>): Promise<void> {
    const full: DiskRecord = {
      sizeBytes: 0,
      source: { kind: 'blank' },
      phase: 'ready',
      node: parseStorageName('s1'),
      ...record,
    };
    await this.etcd.txn({ compare: [], success: [{ put: keyOf.disk(record.id), value: JSON.stringify(full) }] });
  }

  async putVm(
    vm: VmId,
    about: { generation: number; phase: VmPhase; disk?: DiskId; sharedDisks?: readonly VmSharedDisk[] },
  ): Promise<void> {
    const { generation, phase, disk, sharedDisks = [] } = about;
    const disks = disk === undefined ? [] : [{ disk, role: 'data' as const, bus: 'virtio' as const }];
    const sample = vmRecord(phase, { id: vm, generation: generation === 0 ? 0 : parseGeneration(generation) });
    const value = JSON.stringify({ ...sample, spec: { ...sample.spec, disks, sharedDisks } } satisfies VmRecord);
    await this.etcd.txn({ compare: [], success: [{ put: keyOf.vm(vm), value }] });
  }

  /** Arguments of qemu-io for an incarnation's credential and an export. */
  async clientArgv(who: {
    vm: VmId;
    generation: Generation;
    export?: string;
    port: number;
    patienceS?: number;
    readOnly?: boolean;
  }): Promise<string[]> {
    const identity: PeerIdentity = { kind: 'incarnation', vmId: who.vm, generation: who.generation };
    const directory = join(this.dir, `client-${who.vm}-${who.generation}`);
    const own = await issue(this.authority, { identity, daysValid: 1 });
    await writeCredentials(directory, { caPem: this.authority.certPem, ...own });
    const tls = `tls-creds-x509,id=t,dir=${directory},endpoint=client,verify-peer=on`;
    const image = [
      'driver=nbd',
      `host=${this.address}`,
      `port=${who.port}`,
      `export=${who.export ?? `g${who.generation}`}`,
      'tls-creds=t',
      `tls-hostname=${dnsName(STORAGE)}`,
      `reconnect-delay=${who.patienceS ?? 0}`,
    ];
    return ['qemu-io', ...(who.readOnly === true ? ['-r'] : []), '--object', tls, '--image-opts', image.join(',')];
  }

  /** One command of qemu-io; true if it worked. */
  async io(who: Parameters<StorageLab['clientArgv']>[0], command: string): Promise<boolean> {
    const result = await tryRun([...(await this.clientArgv(who)), '-c', command], { deadlineMs: WAIT_MS });
    return result.exitCode === 0 && !/failed|error/i.test(result.stdout);
  }

  /** A client that stays connected. */
  async openClient(who: Parameters<StorageLab['clientArgv']>[0]): Promise<NbdClient> {
    const [program = '', ...args] = await this.clientArgv(who);
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#clients.add(child);
    return new NbdClient(child);
  }

  async stop(): Promise<void> {
    await this.stopService('SIGKILL');
    for (const child of this.#clients) child.kill('SIGKILL');
    for (const daemon of [...this.daemons(), ...this.targets()]) await killDaemon(daemon);
    this.control.close();
    this.host.close();
    this.etcd.close();
    await this.stopEtcd();
    await rm(this.dir, { recursive: true, force: true });
  }

  #spawnEtcd(): ChildProcess {
    const file = (name: string): string => join(this.dir, 'control', name);
    const [caFile, certFile, keyFile] = [file('ca-cert.pem'), file('server-cert.pem'), file('server-key.pem')];
    const peerAddress = `${this.address}:2380`;
    const { program, argv, env } = etcdCommand({
      name: 'c1',
      dataDir: join(this.dir, 'etcd'),
      clientAddresses: [this.#etcdAddress],
      peerAddress,
      initialCluster: [{ name: 'c1', peerAddress }],
      clusterToken: 'test',
      tls: {
        ...{ caFile, certFile, keyFile, peerCaFile: caFile, peerCertFile: certFile, peerKeyFile: keyFile },
        ...{ clientName: ETCD_CLIENT_NAME, peerName: ETCD_MEMBER_NAME },
      },
      arch: process.arch,
    });
    return spawn('setpriv', ['--pdeathsig', 'KILL', program, ...argv], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'], ...env },
    });
  }
}

/** A qemu-io with an open connection. */
export class NbdClient {
  readonly #child: ChildProcess;
  #output = '';

  constructor(child: ChildProcess) {
    this.#child = child;
    const collect = (chunk: Buffer): void => {
      this.#output += chunk.toString();
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
  }

  /** Runs a command of qemu-io; true if it worked. */
  async io(command: string): Promise<boolean> {
    this.#output = '';
    this.#child.stdin?.write(`${command}\n`);
    await until(
      `${command}: ${this.#output}`,
      () => this.#child.exitCode !== null || /ops\/sec|failed|error|can't/i.test(this.#output),
    );
    return /ops\/sec/.test(this.#output);
  }
}
