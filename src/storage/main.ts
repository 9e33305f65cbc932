/**
 * The storage service's process: `node main.ts --config FILE`. SIGTERM and SIGINT end it within two seconds with status
 * 0 and leave the disks' daemons running: no guest notices. Exit status 1: it could not start (the last line of its log
 * says why).
 */

import { chmod, mkdir, readFile, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import { VERSION } from '../base/version.ts';
import { PORTS } from '../core/model/ports.ts';
import { TOOL_UID } from '../core/model/users.ts';
import { storagePortFilter } from '../core/plan/hosts/port-filter.ts';
import type { Clock } from '../core/ports/clock.ts';
import { readClusterView } from '../core/storage/cluster-view.ts';
import { StorageService } from '../core/storage/storage-service.ts';
import { EtcdClient } from '../etcd/client.ts';
import { memberEndpoints } from '../etcd/member-endpoints.ts';
import { systemClock } from '../os/clock.ts';
import { hasDirectIo, lockDirectory, readJsonFile } from '../os/files.ts';
import { reportReady, startHeartbeat } from '../os/heartbeat.ts';
import { createLog, type Log } from '../os/log.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { PacketFilter } from '../os/packet-filter.ts';
import { pemsOf } from '../pki/credentials.ts';
import { type Joined, joinPatiently, loadOrJoin } from '../rpc/join.ts';
import { KnownControls } from '../rpc/known-controls.ts';
import type { OwnIdentity } from '../rpc/own-identity.ts';
import { type RpcService, startService } from '../rpc/service.ts';
import { parseStorageConfig, type StorageConfig } from './config.ts';
import { historyIn } from './history-file.ts';
import { LocalDisks } from './local-disks.ts';
import { LocalTarget, TARGET_PROGRAM } from './local-target.ts';
import { followMembers } from './members.ts';
import { Pool } from './pool.ts';
import { storageRelay, storageRoutes } from './routes.ts';
import { SharedPool } from './shared-pool.ts';

const NVRAM_TEMPLATE = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const GIB = 1024 ** 3;
const CLOSE_MS = 1_000;
const FILTER_MS = 3_000;
const SOCKET_PATH_BYTES_MAX = 107;

const CLOCK: Clock = {
  wallMs: () => Date.now(),
  monotonicMs,
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

async function main(): Promise<void> {
  startHeartbeat();
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined) throw new CodedError('bad-input', 'Usage: main.ts --config FILE');
  const config = parseStorageConfig(await readJsonFile(values.config), 'configuration');
  const log = createLog({ component: 'storage', name: config.name });
  const credentials = await loadOrJoin(join(config.stateDir, 'identity'), () => joinBy(config, log));
  const runDir = await makeRunDir(config.runDir);
  await mkdir(config.poolDir, { recursive: true });
  // Held until this process ends: two services would take each other's daemons.
  const lock = await lockDirectory(config.poolDir);
  const { pool, sharedPool, confine } = await openPools(config, runDir);
  const etcd = openEtcd(config, credentials);
  if (!confine)
    log.warn('disk daemons run as our own user: not root of the machine, or their directories are closed to others');
  const onUnreadable = (key: string, finding: string): void =>
    log.warn('a value in etcd is not a valid record: it is left alone', { at: key, finding });
  const disks = new LocalDisks({
    name: config.name,
    storageAddress: config.storageAddress,
    pool,
    runDir,
    credentials,
    confine,
    direct: await hasDirectIo(join(config.poolDir, 'tmp')),
  });
  const target = await openTarget(config, { sharedPool, credentials, confine });
  const service = new StorageService({
    name: config.name,
    version: VERSION,
    clock: CLOCK,
    disks,
    target,
    history: historyIn(config.stateDir),
    readCluster: () => readClusterView(etcd, config.name, { onUnreadable, nextTurn: () => setImmediate() }),
    log,
  });
  renewDaemons(credentials, [disks, target], log);
  await service.start();
  await followCluster(config, etcd, log);
  // Controllers come over the control network, hosts fetch artifacts over the storage network.
  const addresses = [...new Set([config.controlAddress, config.storageAddress])];
  const routes = [...storageRoutes(service, pool), ...credentials.routes];
  const connect = storageRelay();
  const servers: RpcService[] = [];
  for (const address of addresses) {
    const onUnexpected = (error: unknown, request: string): void =>
      log.warn('a request failed unexpectedly', { request, reason: stackOf(error) });
    servers.push(await startService({ credentials, address, port: PORTS.storage, routes, connect, onUnexpected }));
  }
  reportReady();
  log.info('listening', { addresses, port: PORTS.storage });
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT']) process.once(name, resolve);
  });
  log.info('ending; the disks are served on', { signal });
  const closed = Promise.all(servers.map((server) => server.close(CLOSE_MS)));
  await Promise.all([closed, Promise.race([service.close(), closed])]);
  etcd.close();
  await lock.release();
  process.exit(0);
}

/**
 * Follows the cluster's members: updates the port filter and the list of etcd members that this service asks, now and
 * after its next start. Resolves when the filter was installed once, or could not be installed in time; at once on a
 * node without a filter.
 */
async function followCluster(config: StorageConfig, etcd: EtcdClient, log: Log): Promise<void> {
  const filter = new PacketFilter((reason) =>
    log.warn('the filter of ports could not be set up; everybody reaches the disks', { reason }),
  );
  const known = new KnownControls(config.stateDir, (error) =>
    log.warn('the control nodes could not be written', { reason: messageOf(error) }),
  );
  const configured = config.etcdEndpoints.map(endpointName);
  const before = configured.map((endpoint) => endpoint.replace(/:\d+$/, ''));
  const first = Promise.withResolvers<void>();
  void followMembers(etcd, {
    onMembers: (members) => {
      if (config.filterPorts === true) void filter.put(() => storagePortFilter(members)).then(first.resolve);
    },
    onControls: (controls) => {
      const now = controls.map(({ address }) => address);
      if (now.length > 0) etcd.ask(memberEndpoints({ configured, before, now, port: PORTS.etcdClient }));
      void known.put(controls);
    },
    onRefused: (reason) =>
      log.warn('etcd does not say who the members are; the known members stay in the meantime', { reason }),
  });
  if (config.filterPorts === true) await Promise.race([first.promise, sleep(systemClock, FILTER_MS)]);
}

/** Gives the daemons and the target each new certificate of the service. */
function renewDaemons(
  credentials: OwnIdentity,
  parts: readonly { renewCredentials(): Promise<void> }[],
  log: Log,
): void {
  let renewing: Promise<unknown> = Promise.resolve();
  credentials.onChange(() => {
    renewing = renewing
      .then(() => Promise.all(parts.map((part) => part.renewCredentials())))
      .catch((error: unknown) => log.warn('a daemon keeps its old certificate', { reason: messageOf(error) }));
  });
}

/** Joins the cluster with the token named in the configuration. */
async function joinBy({ join: by, name, controlAddress, storageAddress }: StorageConfig, log: Log): Promise<Joined> {
  const joined = await joinPatiently(by, {
    role: 'storage',
    name,
    addresses: { control: controlAddress, storage: storageAddress },
    port: PORTS.control,
    proofPort: PORTS.agent,
    onWait: (reason) => log.info('not joined yet', { reason }),
  });
  log.info('joined the cluster');
  return joined;
}

const endpointName = (endpoint: string): string => endpoint.replace('https://', '');

function openEtcd(config: StorageConfig, credentials: OwnIdentity): EtcdClient {
  const serverName = config.etcdServerName;
  const tls = () => ({ ...pemsOf(credentials), ...(serverName === undefined ? {} : { serverName }) });
  const etcd = new EtcdClient({
    endpoints: config.etcdEndpoints.map(endpointName),
    tls: tls(),
    deadlineMsDefault: 5_000,
  });
  credentials.onChange(() => etcd.renew(tls()));
  return etcd;
}

async function openTarget(
  config: StorageConfig,
  {
    sharedPool,
    credentials,
    confine,
  }: { readonly sharedPool: SharedPool; readonly credentials: OwnIdentity; readonly confine: boolean },
): Promise<LocalTarget> {
  return new LocalTarget({
    name: config.name,
    address: config.storageAddress,
    port: PORTS.target,
    pool: sharedPool,
    runDir: join(config.runDir, 'target'),
    credentials,
    etcdEndpoints: config.etcdEndpoints.map(endpointName),
    etcdServerName: config.etcdServerName,
    confine: confine && (await canReach([dirname(TARGET_PROGRAM), dirname(process.execPath)])),
  });
}

/** Opens the pool directory. `confine`: processes that touch its files run as users of their own. */
async function openPools(
  config: StorageConfig,
  runDir: string,
): Promise<{ readonly pool: Pool; readonly sharedPool: SharedPool; readonly confine: boolean }> {
  const sharedPool = await SharedPool.open(config.poolDir);
  const { bsize, blocks } = await statfs(config.poolDir);
  const pool = await Pool.open({
    directory: config.poolDir,
    reserveBytes: config.poolReserveBytes ?? Math.min(GIB, Math.floor((bsize * blocks) / 10)),
    nvramTemplate: config.nvramTemplate ?? NVRAM_TEMPLATE,
    sharedFaults: () => sharedPool.faults(),
  });
  const confine = await canConfine([config.poolDir, runDir]);
  if (confine) pool.toolUid = TOOL_UID;
  return { pool, sharedPool, confine };
}

async function makeRunDir(base: string): Promise<string> {
  const runDir = join(base, 'disks');
  const longest = join(runDir, 'disk-0123456789ab', 'qmp.sock');
  if (Buffer.byteLength(longest) > SOCKET_PATH_BYTES_MAX)
    throw new CodedError('bad-input', `runDir is too long: ${longest} does not fit in a socket's address.`);
  await mkdir(runDir, { recursive: true });
  await chmod(runDir, 0o711);
  return runDir;
}

/**
 * Whether each daemon can have a user of its own: the users of the whole machine exist and can reach the directories.
 */
async function canConfine(directories: readonly string[]): Promise<boolean> {
  if (process.geteuid?.() !== 0) return false;
  if (!/^\s*0\s+0\s+4294967295\s*$/.test(await readFile('/proc/self/uid_map', 'utf8'))) return false;
  return canReach(directories);
}

/** Whether all users may pass through these directories. */
async function canReach(directories: readonly string[]): Promise<boolean> {
  for (const directory of directories) {
    for (let path = directory; path !== '/'; path = dirname(path)) {
      if (((await stat(path)).mode & 0o001) === 0) return false;
    }
  }
  return true;
}

/** The useful text for a person: the message of an expected failure, the stack of a bug. */
function stackOf(error: unknown): string {
  return error instanceof Error && !(error instanceof CodedError) ? (error.stack ?? error.message) : messageOf(error);
}

await main().catch((error: unknown) => {
  createLog({ component: 'storage', name: '' }).warn('cannot run', { reason: stackOf(error) });
  process.exit(1);
});
