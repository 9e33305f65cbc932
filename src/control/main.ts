/**
 * The server of a control node: API, campaign, and while it leads the controllers. Stateless but for caches: it may be
 * killed and started at any time, and no VM notices.
 */

import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Server as TlsServer } from 'node:tls';
import type { AssertionFailed } from '../base/assert.ts';
import { CodedError, messageOf } from '../base/errors.ts';
import { commonName, dnsName } from '../base/identity.ts';
import { sleep } from '../base/sleep.ts';
import { VERSION } from '../base/version.ts';
import type { ControllerPorts } from '../core/loop/controller.ts';
import { EtcdSpaceKeeper } from '../core/loop/lead/etcd-space-keeper.ts';
import { AUTHORITIES } from '../core/model/authorities.ts';
import { BACKUP_BYTES_MAX, BACKUP_EVERY_MS, BACKUPS_KEPT, type BackupPlaceState } from '../core/model/backup.ts';
import type { ClockOffset } from '../core/model/clock-offset.ts';
import type { ControlRecord } from '../core/model/cluster.ts';
import { fits, type ReleaseRecord, releaseOf } from '../core/model/cluster-release.ts';
import { ELECTION, PREFIX, STORAGE_READS } from '../core/model/keys.ts';
import { PORTS } from '../core/model/ports.ts';
import { controlPortFilter, membersOf } from '../core/plan/hosts/port-filter.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { FileLink } from '../core/ports/file-link.ts';
import type { GuestAgentLink } from '../core/ports/guest-agent-link.ts';
import type { HostLink } from '../core/ports/host-link.ts';
import type { IdentityLink } from '../core/ports/identity-link.ts';
import type { Reach } from '../core/ports/reach.ts';
import type { QmpSessions } from '../core/qmp/qmp-sessions.ts';
import { ensureAuthorization } from '../etcd/authorization.ts';
import { EtcdClient } from '../etcd/client.ts';
import { observe } from '../etcd/election.ts';
import { forbidden } from '../etcd/errors.ts';
import { ETCD_QUOTA_BYTES } from '../etcd/member.ts';
import { memberEndpoints } from '../etcd/member-endpoints.ts';
import { systemClock } from '../os/clock.ts';
import { readTextBounded } from '../os/files.ts';
import { reportReady, startHeartbeat } from '../os/heartbeat.ts';
import { createLog, type Log } from '../os/log.ts';
import { PacketFilter } from '../os/packet-filter.ts';
import { randomHex } from '../os/random.ts';
import { keyOfRequest } from '../pki/authority.ts';
import { type Credentials, pemsOf } from '../pki/credentials.ts';
import { publicServerTlsOptions, withBrowserCertificate } from '../pki/tls.ts';
import { isProved } from '../rpc/join-proof.ts';
import { KnownControls } from '../rpc/known-controls.ts';
import { OwnIdentity } from '../rpc/own-identity.ts';
import { integer, nullable, openObject, parseJson, text } from '../rpc/parse.ts';
import { followCredentials } from '../rpc/service.ts';
import { createApiServer } from './api/server.ts';
import { type Backend, createBackend } from './backend/backend.ts';
import type { BackendContext, Leading } from './backend/context.ts';
import type { Displays, HostLogs, LabLink, SerialPorts } from './backend/ports.ts';
import { BackupKeeper } from './backup/backup-keeper.ts';
import { type BackupPlace, DirectoryPlace } from './backup/backup-place.ts';
import { S3Place } from './backup/s3-place.ts';
import { ClusterAuthority } from './cluster-authority.ts';
import { type ControlConfig, readConfig } from './config.ts';
import { crashPointFrom, noCrashPoint } from './crash-point.ts';
import { forwardOverTls } from './forward.ts';
import { leadForEver } from './leadership.ts';
import { RpcClients } from './links/clients.ts';
import { askBackups, askConsolePeers, controlAnswers } from './links/control-peer.ts';
import { createDisplays } from './links/displays.ts';
import { etcdMembers } from './links/etcd-members.ts';
import { etcdReaders } from './links/etcd-readers.ts';
import { etcdRoom } from './links/etcd-room.ts';
import { createFileLink } from './links/file-link.ts';
import { createGuestAgents } from './links/guest-agents.ts';
import { createHostLink } from './links/host-link.ts';
import { createIdentityLink } from './links/identity-link.ts';
import { createLabLink } from './links/lab.ts';
import { type ControlPaths, createPaths } from './links/paths.ts';
import { type PathsToQemus, qmpOverTls } from './links/qmp-connector.ts';
import { createReach } from './links/reach.ts';
import { withReservationKeys } from './links/reservation-keys.ts';
import { createSerialPorts } from './links/serial-ports.ts';
import { createStorageLink, type StorageClient } from './links/storage-link.ts';
import { startPeerService } from './peer-service.ts';
import { Peers } from './peers.ts';
import { letReadersIn } from './reader-keeper.ts';
import { ClusterStore } from './store/cluster-store.ts';
import { snapshotOf } from './store/leader-store.ts';
import { TargetAccounts } from './target-key.ts';

/** How often a server logs that it cannot begin yet. */
const WAITING_LOG_MS = 5_000;
const PEM_BYTES_MAX = 64 * 1024;
const ETCD_RETRY_MS = 500;
const RELEASE_LOOK_MS = 200;
/** Between two looks of a server that etcd does not let in. */
const NOT_LET_IN_MS = 5_000;
const NOT_LET_IN =
  'a new join: this control node was removed from its cluster; run `gp leave --local` here (with --control where it has other roles), then `gp join` with a new token';
const parseRemoved = openObject({ removed: nullable(openObject({ at: integer({ min: 0 }) })) });

const parseLeader = openObject({ name: text({ charsMax: 100 }), address: text({ charsMax: 100 }) });
const clock: Clock = systemClock;

async function main(): Promise<void> {
  startHeartbeat();
  const config = await readConfig(process.argv.slice(2));
  const log = createLog({ component: 'control', name: config.name });
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => stopping.abort(new CodedError('unavailable', 'The server is stopping.')));
  try {
    await serve(config, log, stopping);
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
  }
  // Nobody needs the sessions, watches and timers of a process that was told to end.
  process.exit(0);
}

async function serve(config: ControlConfig, log: Log, stopping: AbortController): Promise<void> {
  const { signal } = stopping;
  const credentials = await OwnIdentity.open(config.credentialsDir);
  const endpoints = config.etcd.endpoints.map(endpointName);
  const etcd = openEtcd(endpoints, credentials);
  const store = new ClusterStore(etcd, randomHex, log);
  const authority = await openAuthority(config, credentials, store);
  const peerNodes = new Peers(config.peers, store);
  followPeers(config, peerNodes, etcd, log);
  const links = linksOf(config, credentials, { store, etcd, peers: peerNodes });
  const { clients, qmp } = links;
  const state = beginningState(endpoints);
  const etcdSpace = etcdSpaceOf(config, etcd, { log, state });
  const keeper = backupKeeperOf(config, etcd, log);
  const parts = { ...links, store, etcd, etcdSpace, keeper, authority, peers: peerNodes };
  const context = contextOf(config, parts, state);
  const backend = createBackend(context);
  const peers = await startPeerService({
    credentials,
    address: config.address,
    followsEtcd: () => store.connected,
    backups: () => keeper.places(),
    console: (vm, takenBy) => backend.consoles.asked(vm, takenBy),
    onUnexpected: (error, request) => log.warn('unexpected failure', { request, error: messageOf(error) }),
  });
  const api = await startApi(config, { credentials, backend, log, peers: peerNodes });
  // Before any other request to etcd: a full etcd refuses all requests.
  etcdSpace.start();
  const until = { log, signal, state };
  const accounts = await prepareEtcd(etcd, config, until);
  const { following } = await readAll(store, { endpoints, log, signal });
  await untilEtcd(() => announce(store, config, until), until);
  if (config.filterPorts === true) filterPorts(peerNodes, store, log);
  state.waitingFor = null;
  keeper.start();
  const more = portsOf(config, authority, accounts);
  const observing = observe(etcd, ELECTION, {
    signal,
    onLeader: (record) => {
      state.leader = record === undefined ? null : leaderIn(record.value, log);
    },
  });
  const readers = readersByTerm({ readers: etcdReaders(etcd), store, clock, log });
  const campaigning = leadForEver({
    etcd,
    store,
    log,
    value: JSON.stringify({ name: config.name, address: config.address }),
    signal,
    ports: { ...links, log, randomHex, ...more },
    onLead: (now) => {
      state.leading = now;
      // A monitor serves one client: a connection that this node keeps open would keep the next leader out.
      if (now === null) qmp.close();
      readers(now !== null);
    },
  });
  reportReady();
  log.info('ready', { address: config.address });
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  await Promise.race([stopped, following, observing, campaigning]);
  await Promise.allSettled([campaigning, api.close(), peers.close(500)]);
  etcdSpace.stop();
  keeper.stop();
  for (const part of [qmp, clients, etcd]) part.close();
}

/**
 * Returns the function to call when a term begins (true) or ends: in each term storage nodes are given access again.
 */
function readersByTerm(parts: Parameters<typeof letReadersIn>[0]): (leads: boolean) => void {
  let termOver = new AbortController();
  return (leads) => {
    termOver.abort();
    termOver = new AbortController();
    if (leads) void letReadersIn(parts, termOver.signal);
  };
}

/** The backups that this server makes, and where they go. */
function backupKeeperOf({ name, stateDir, backup }: ControlConfig, etcd: EtcdClient, log: Log): BackupKeeper {
  const bytesMax = backup?.bytesMax ?? BACKUP_BYTES_MAX;
  const about = { control: name, bytesMax };
  const copies: BackupPlace[] = [];
  if (backup?.directory !== undefined)
    copies.push(new DirectoryPlace({ ...about, kind: 'directory', where: backup.directory }));
  if (backup?.s3 !== undefined) copies.push(new S3Place(backup.s3, { control: name, clock }));
  return new BackupKeeper({
    ...{ clock, log, etcd, copies, ...about },
    local: new DirectoryPlace({ ...about, kind: 'local', where: join(stateDir, 'backups') }),
    everyMs: backup?.everyMs ?? BACKUP_EVERY_MS,
    keep: backup?.keep ?? BACKUPS_KEPT,
  });
}

/** The care for etcd's room: every control node's, the leader's first. */
function etcdSpaceOf(
  config: ControlConfig,
  etcd: EtcdClient,
  { log, state }: { readonly log: Log; readonly state: ServerState },
): EtcdSpaceKeeper {
  return new EtcdSpaceKeeper({
    clock: etcd.clock,
    room: etcdRoom(etcd),
    quotaBytes: config.etcd.quotaBytes ?? ETCD_QUOTA_BYTES,
    log,
    leads: () => (state.leading !== null ? true : state.leader === null ? null : false),
  });
}

function openEtcd(endpoints: readonly string[], credentials: OwnIdentity): EtcdClient {
  const etcd = new EtcdClient({ endpoints, tls: pemsOf(credentials) });
  credentials.onChange(() => etcd.renew(pemsOf(credentials)));
  return etcd;
}

/** Opens the authorities of this control node, which follow etcd's record of them. */
async function openAuthority(
  { authorityDir }: ControlConfig,
  credentials: OwnIdentity,
  store: ClusterStore,
): Promise<ClusterAuthority> {
  const authority = await ClusterAuthority.open(authorityDir);
  credentials.authorities = authority;
  store.onChange(() => authority.follow(store.authorities.get(AUTHORITIES)?.value));
  return authority;
}

/** The state of a server and its view of the cluster. */
interface ServerState {
  /** Set while this node leads. */
  leading: Leading | null;
  /** The leader, according to the election. */
  leader: { readonly name: string; readonly address: string } | null;
  /** Last known clock offsets of other control nodes. */
  readonly clocks: Map<string, ClockOffset>;
  /** How the backups of other control nodes are, as they said last. */
  readonly backups: Map<string, readonly BackupPlaceState[]>;
  /** The thing that the server waits for before it can answer; null once it has it. */
  waitingFor: string | null;
}

function beginningState(endpoints: readonly string[]): ServerState {
  const waitingFor = `etcd (${endpoints.join(', ')}), which it has not read yet`;
  return { leading: null, leader: null, clocks: new Map(), backups: new Map(), waitingFor };
}

function contextOf(
  { name, adminTokenSha256 }: ControlConfig,
  parts: Pick<
    BackendContext,
    'store' | 'etcdSpace' | 'hosts' | 'storage' | 'serial' | 'displays' | 'lab' | 'guestAgents'
  > &
    Pick<Links, 'clients' | 'paths'> & {
      readonly etcd: EtcdClient;
      readonly keeper: BackupKeeper;
      readonly authority: ClusterAuthority;
      readonly peers: Peers;
    },
  state: ServerState,
): BackendContext {
  const { clients, paths, authority, peers, keeper, ...rest } = parts;
  return {
    ...rest,
    etcdReaders: etcdReaders(rest.etcd),
    etcdMembers: etcdMembers(rest.etcd),
    authority,
    ...{ name, version: VERSION, adminTokenSha256, clock, randomHex },
    get etcdEndpoints() {
      return peers.list().map(({ address }) => `https://${address}:${PORTS.etcdClient}`);
    },
    controlAnswers: (control) =>
      controlAnswers(clients, control, {
        clock: (offset) => state.clocks.set(control.name, offset),
        backups: (states) => state.backups.set(control.name, states),
      }),
    backups: {
      places: () => keeper.places(),
      read: (signal) => keeper.read(signal),
      lastKnown: (control) => state.backups.get(control) ?? null,
      ask: (control) => askBackups(clients, control),
    },
    addressAnswers: async (network, address, requestPem) => {
      const answers = await paths.addressAnswers(network, address);
      if (answers !== true) return answers === false ? 'silent' : 'unknown';
      const key = await keyOfRequest(requestPem);
      const isThere = await paths.addressProved(network, address, (stream) => isProved(stream, { address, key }));
      return isThere ? 'proved' : 'other';
    },
    askConsolePeers: (vm, takenBy) => {
      const others = peers.list().filter((peer) => peer.name !== name);
      return askConsolePeers(clients, others, { vm, takenBy });
    },
    controlClock: (control) => state.clocks.get(control) ?? null,
    leading: () => state.leading,
    leader: () => state.leader,
    waitingFor: () => state.waitingFor,
  };
}

interface Links {
  readonly hosts: HostLink & HostLogs;
  readonly storage: StorageClient;
  readonly files: FileLink;
  readonly clients: RpcClients;
  readonly paths: ControlPaths;
  readonly reach: Reach;
  readonly qmp: QmpSessions;
  readonly serial: SerialPorts;
  readonly displays: Displays;
  readonly lab: LabLink | null;
  readonly identities: IdentityLink;
  readonly guestAgents: GuestAgentLink;
}

/** The links of this node to all others, at the addresses that the store has. */
function linksOf(
  config: ControlConfig,
  credentials: Credentials,
  known: { readonly store: ClusterStore; readonly etcd: EtcdClient; readonly peers: Peers },
): Links {
  const { store, etcd, peers } = known;
  const snapshot = snapshotOf(store);
  const clients = new RpcClients(credentials);
  const hosts = createHostLink(clients, snapshot);
  const storage = withReservationKeys(createStorageLink(clients, snapshot), etcd);
  const paths = createPaths({ self: config.name, clients, snapshot, storage, controls: () => peers.list() });
  const reach = createReach({ self: config.name, clients, snapshot, controls: () => peers.list() });
  const monitor = Math.max(
    0,
    peers.list().findIndex(({ name }) => name === config.name),
  );
  const toQemus: PathsToQemus = { credentials, paths: () => paths.list(), relayOf: paths.relayOf };
  const qmp = qmpOverTls(toQemus, { clock, monitor });
  return {
    clients,
    hosts,
    storage,
    files: createFileLink(storage),
    paths,
    reach,
    qmp,
    serial: createSerialPorts(toQemus),
    displays: createDisplays(toQemus),
    lab: createLabLink(config.labSocket),
    identities: createIdentityLink(clients, snapshot),
    guestAgents: createGuestAgents(toQemus),
  };
}

/**
 * The ports of a controller other than its links: time, certificates for incarnations, names, and in a lab the crash
 * point.
 */
function portsOf(
  config: ControlConfig,
  authority: ClusterAuthority,
  accounts: TargetAccounts,
): Pick<ControllerPorts, 'clock' | 'credentials' | 'certifier' | 'storageTlsName' | 'crashPoint'> {
  return {
    clock,
    credentials: {
      issue: (vmId, generation) => authority.issueIncarnation(vmId, generation),
      targetSecret: (account) => accounts.secretOf(account),
    },
    certifier: authority,
    storageTlsName: (name) => dnsName({ kind: 'storage', name }),
    crashPoint:
      config.lab === true && config.failpointFile !== undefined ? crashPointFrom(config.failpointFile) : noCrashPoint,
  };
}

/**
 * Resolves when everything in the store was read once. `following` continues from there; it ends with `signal`, or
 * throws.
 */
async function readAll(
  store: ClusterStore,
  how: { readonly endpoints: readonly string[]; readonly log: Log; readonly signal: AbortSignal },
): Promise<{ readonly following: Promise<void> }> {
  const { endpoints, log, signal } = how;
  const ready = Promise.withResolvers<void>();
  const following = store.follow({ signal, onReady: () => ready.resolve() });
  const waiting = setInterval(() => log.warn('waiting for etcd', { endpoints }), WAITING_LOG_MS);
  await Promise.race([ready.promise, following]).finally(() => clearInterval(waiting));
  return { following };
}

/**
 * Makes etcd admit control nodes only (storage nodes are added as they join, and in each term), and the key of the
 * accounts at the targets if there is none. Goes on until etcd has a majority. Control nodes that were removed are
 * not let in again, although the configuration of a server that was off meanwhile still names them.
 */
async function prepareEtcd(etcd: EtcdClient, config: ControlConfig, until: UntilEtcd): Promise<TargetAccounts> {
  await untilEtcd(async () => {
    const removed = await removedControls(etcd);
    if (removed.has(config.name)) throw forbidden(`Control node ${config.name} was removed from its cluster.`, null);
    const left = config.peers.filter(({ name }) => !removed.has(name));
    const controls = left.map(({ name }) => commonName({ kind: 'control', name }));
    const wanted = { controls, readers: [], readPrefixes: STORAGE_READS };
    await ensureAuthorization(etcd, wanted, { signal: until.signal });
  }, until);
  const accounts = new TargetAccounts(etcd);
  await untilEtcd(() => accounts.ensureKey(), until);
  return accounts;
}

/** Returns the control nodes that were removed and did not join again. An unreadable record says nothing of its node. */
async function removedControls(etcd: EtcdClient): Promise<ReadonlySet<string>> {
  const prefix = `${PREFIX.certificate}control:`;
  const { entries } = await etcd.list(prefix);
  const isRemoved = (value: string): boolean => {
    try {
      return parseRemoved(parseJson(value, 'The record'), 'record').removed !== null;
    } catch (error) {
      if (error instanceof CodedError) return false;
      throw error;
    }
  };
  return new Set(entries.filter(({ value }) => isRemoved(value)).map(({ key }) => key.slice(prefix.length)));
}

interface UntilEtcd {
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly state: ServerState;
}

/**
 * Runs an action that needs etcd, and repeats it until etcd has a majority and accepts writes, and lets this server in:
 * one that was removed waits, and says so, because one that ended would be started for ever. Throws etcd's permanent
 * errors and the signal's reason.
 */
async function untilEtcd(act: () => Promise<unknown>, { log, signal, state }: UntilEtcd): Promise<void> {
  for (;;) {
    try {
      await act();
      return;
    } catch (error) {
      signal.throwIfAborted();
      const code = error instanceof CodedError ? error.code : undefined;
      if (code !== 'unavailable' && code !== 'deadline' && code !== 'forbidden') throw error;
      const isOut = code === 'forbidden';
      const waits = isOut ? NOT_LET_IN : `etcd: ${messageOf(error)}`;
      if (!isOut) log.warn('waiting for etcd', { error: messageOf(error) });
      else if (state.waitingFor !== waits) log.warn('waiting', { for: waits, error: messageOf(error) });
      state.waitingFor = waits;
      await sleep(clock, isOut ? NOT_LET_IN_MS : ETCD_RETRY_MS, { signal });
      signal.throwIfAborted();
    }
  }
}

/** Parses the leader from the value of the election key; null if the value is invalid. */
function leaderIn(json: string, log: Log): { readonly name: string; readonly address: string } | null {
  try {
    return parseLeader(parseJson(json, 'The value of the election key'), 'the election key');
  } catch (error) {
    log.warn('the election key does not say who leads', { error: messageOf(error) });
    return null;
  }
}

/** Maintains the packet filter of the ports of etcd and the control peers, according to the cluster's members. */
function filterPorts(peers: Peers, store: ClusterStore, log: Log): void {
  const filter = new PacketFilter((reason) =>
    log.warn("the filter of ports could not be set up; everybody reaches etcd's", { reason }),
  );
  const put = (): Promise<void> =>
    filter.put(() => {
      const { storage } = membersOf(snapshotOf(store));
      // Configured control nodes count as members: a node that was never started has no record yet.
      return controlPortFilter({ storage, controls: peers.list().map(({ address }) => address) });
    });
  void put();
  store.onChange((changes) => {
    if (changes.some(({ key }) => key.startsWith(PREFIX.storage) || key.startsWith(PREFIX.control))) void put();
  });
}

/** Keeps up to date which members of etcd this server asks, now and when it starts again. */
function followPeers(
  { stateDir, peers: own, etcd: { endpoints } }: ControlConfig,
  peers: Peers,
  etcd: EtcdClient,
  log: Log,
): void {
  const configured = endpoints.map(endpointName);
  const before = own.map(({ address }) => address);
  const known = new KnownControls(stateDir, (error) =>
    log.warn('the control nodes could not be written', { reason: messageOf(error) }),
  );
  peers.onChange(() => {
    const list = peers.list();
    const now = list.map(({ address }) => address);
    etcd.ask(memberEndpoints({ configured, before, now, port: PORTS.etcdClient }));
    void known.put(list);
  });
}

const endpointName = (url: string): string => url.replace('https://', '');

/**
 * Waits until this server's release fits the cluster's: a server of another release would read and write records that
 * it does not understand. A cluster without a release gets this server's.
 */
async function waitForRelease(store: ClusterStore, { log, signal, state }: UntilEtcd): Promise<void> {
  const own = releaseOf(VERSION);
  if (own === null) throw new CodedError('failed', `"${VERSION}" is no version of Groundplane.`);
  const key = `${PREFIX.release}cluster`;
  for (;;) {
    const cluster = store.releases.get('cluster')?.value.release;
    if (cluster !== undefined && fits(own, cluster)) return;
    if (cluster === undefined) {
      const value = { release: own, since: Date.now() } satisfies ReleaseRecord;
      await store.transact([{ key, value, expect: 0 }], null);
    } else {
      const waits = `a package of another release: the cluster has release ${cluster}, and this server is of ${own}`;
      if (state.waitingFor !== waits) log.warn('waiting', { for: waits });
      state.waitingFor = waits;
    }
    await sleep(systemClock, RELEASE_LOOK_MS, { signal });
    signal.throwIfAborted();
  }
}

/** Attempts at writing this node's own record. */
const ANNOUNCE_TRIES = 5;

/**
 * Writes this control node's own record, which the other nodes and people see, once its release fits the cluster's. A
 * drained node stays drained.
 */
async function announce(store: ClusterStore, { name, address }: ControlConfig, until: UntilEtcd): Promise<void> {
  await waitForRelease(store, until);
  for (let tries = 0; tries < ANNOUNCE_TRIES; tries++) {
    const known = store.controls.get(name);
    const maintenance = known?.value.maintenance;
    const record: ControlRecord = {
      ...{ name, address, startedAt: Date.now(), version: VERSION },
      ...(maintenance === undefined ? {} : { maintenance }),
    };
    const write = { key: PREFIX.control + name, value: record, expect: known?.revision ?? null };
    if ((await store.transact([write], null)).kind === 'committed') return;
  }
  throw new CodedError('conflict', `Others keep changing the record of control node ${name}.`);
}

async function startApi(
  config: ControlConfig,
  {
    credentials,
    backend,
    log,
    peers,
  }: {
    readonly credentials: OwnIdentity;
    readonly backend: Backend;
    readonly log: Log;
    readonly peers: Peers;
  },
): Promise<{ close(): Promise<void> }> {
  const server = createApiServer({
    backend,
    version: VERSION,
    tls: await tlsOf(config, credentials),
    ...(config.web?.dir === undefined ? {} : { webDir: config.web.dir }),
    forward: forwardOverTls({ credentials, peers: () => peers.list() }),
    onBug: (error: AssertionFailed) => {
      log.warn('a bug', { error: error.stack });
      process.exit(70);
    },
  });
  // Browsers may have a certificate of their own, which is the organisation's to renew.
  followCredentials(server.app.server as unknown as TlsServer, credentials, publicServerTlsOptions);
  await server.listen({ host: config.address, port: PORTS.control });
  const { apiSocket } = config;
  if (apiSocket === undefined) return server;
  await rm(apiSocket, { force: true });
  // The same TLS server behind a socket that can be reached from outside this machine's namespaces.
  const local = createServer((socket) => void server.app.server.emit('connection', socket));
  await new Promise<void>((resolve, reject) => {
    local.once('error', reject);
    local.listen(apiSocket, () => resolve());
  });
  return {
    close: async () => {
      local.close();
      await server.close();
    },
  };
}

/** The cluster's own certificate, and beside it the organisation's for browsers where there is one. */
async function tlsOf({ web }: ControlConfig, credentials: Credentials) {
  const own = publicServerTlsOptions(credentials);
  if (web?.certificate === undefined) return own;
  const { certFile, keyFile, names } = web.certificate;
  const [certPem, keyPem] = await Promise.all([certFile, keyFile].map((file) => readTextBounded(file, PEM_BYTES_MAX)));
  if (certPem === undefined || keyPem === undefined)
    throw new CodedError('bad-input', `The certificate for browsers is not in ${certFile} and ${keyFile}.`, {
      advice: 'Put both there, or take "web.certificate" out of the configuration.',
    });
  return withBrowserCertificate(own, { names, certPem, keyPem });
}

main().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exit(1);
});
