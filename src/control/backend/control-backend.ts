/**
 * The control core behind the HTTP routes (control/api/backend.ts): each group of methods has its own module; this one
 * joins them.
 */
import type {
  CreateJoinToken,
  CreateNetwork,
  CreateToken,
  CreateVm,
  DeleteHostQuery,
  Join,
  MigrateVm,
  PageQuery,
  PatchHost,
  PatchVm,
  PutImage,
  StopVm,
  VmLogQuery,
} from '../../api/requests.ts';
import type { Alarm, Cluster, ControlNode, Disk, Event, Health, Host, StorageNode, Task, Vm } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { listed } from '../../base/listed.ts';
import type { DiskRecord, EventRecord, HostRecord, StorageRecord, TaskRecord } from '../../core/model/cluster.ts';
import { answering, filledShare } from '../../core/plan/lead/etcd-space.ts';
import type { PoolReport } from '../../core/ports/storage-link.ts';
import type { Entry } from '../../core/ports/store.ts';
import { findVm } from '../../core/request/basis.ts';
import { undrainHost } from '../../core/request/drains.ts';
import { changeHost, removeHost } from '../../core/request/hosts.ts';
import { tokenSha256 } from '../../pki/join-token.ts';
import type {
  ArtifactUpload,
  Backend,
  Call,
  Conditional,
  Leader,
  MetricFamily,
  Principal,
  WatchOptions,
} from '../api/backend.ts';
import type { Page } from '../api/pages.ts';
import type { ControlRecord } from '../store/cluster-store.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { AccessBackend } from './access.ts';
import { alarmsOf } from './alarms.ts';
import { change } from './changes.ts';
import { consolePorts } from './console-ports.ts';
import { Consoles } from './consoles.ts';
import { type BackendContext, observedBy } from './context.ts';
import { keptDrainBlockers } from './drain-checks.ts';
import { Drains } from './drains.ts';
import { eventFilterOf } from './event-filter.ts';
import { GuestClustersBackend } from './guest-clusters.ts';
import { ImagesBackend } from './images.ts';
import { KnownTokens } from './known-tokens.ts';
import { MaintenancePlans } from './maintenance-plans.ts';
import { NetworksBackend } from './networks.ts';
import { indexOfStore } from './records-index.ts';
import { SessionsBackend } from './sessions.ts';
import { SharedDisksBackend } from './shared-disks.ts';
import { removeStorageNode } from './storage-removal.ts';
import { Summary } from './summary.ts';
import { pageOfTable } from './table-page.ts';
import { diskView, eventView, hostView, storageView, taskView } from './views.ts';
import { VmsBackend } from './vms.ts';
import { watchChanges } from './watch.ts';

const NO_ANSWER = { isLeader: false, version: null, sizeBytes: null, inUseBytes: null };
const API_PORT = 7440;

/** The backend of one control node, for as long as its process lives. */
export class ControlBackend implements Backend {
  readonly #context: BackendContext;
  readonly #vms: VmsBackend;
  readonly #networks: NetworksBackend;
  readonly #images: ImagesBackend;
  readonly #access: AccessBackend;
  readonly #sessions: SessionsBackend;
  readonly #sharedDisks: SharedDisksBackend;
  readonly #guestClusters: GuestClustersBackend;
  readonly #drains: Drains;
  readonly #maintenancePlans: MaintenancePlans;
  readonly #summary: Summary;
  /** The consoles that are open through this node; other control nodes ask for them. */
  readonly consoles: Consoles;

  constructor(context: BackendContext) {
    this.#context = context;
    this.#networks = new NetworksBackend(context);
    this.#images = new ImagesBackend(context);
    this.#vms = new VmsBackend(context, this.#images.artifacts);
    const known = new KnownTokens(context);
    this.#access = new AccessBackend(context, known);
    this.#sessions = new SessionsBackend(context, known, this.#access);
    this.#sharedDisks = new SharedDisksBackend(context);
    this.#guestClusters = new GuestClustersBackend(context);
    this.#drains = new Drains(context);
    this.#maintenancePlans = new MaintenancePlans(context);
    this.#summary = new Summary(context);
    this.consoles = new Consoles({
      node: context.name,
      ports: consolePorts(context),
      askPeers: (vm, takenBy) => context.askConsolePeers(vm, takenBy),
    });
  }

  /** CodedError 'unavailable' before etcd was read: until then, valid and invalid tokens cannot be told apart. */
  authenticate = async (token: string): Promise<Principal | null> => {
    this.#demandRead();
    return this.#access.authenticate(token);
  };
  authenticateSession = async (secret: string): Promise<Principal | null> => {
    this.#demandRead();
    await this.#sessions.untilKnown(tokenSha256(secret), new AbortController().signal);
    return this.#access.authenticateSession(secret);
  };
  recheck = (sha256: string): Principal | null => this.#access.recheckHash(sha256);

  beginSession: Backend['beginSession'] = async (request, from) => {
    this.#demandRead();
    return this.#withRoom(() => this.#sessions.beginSession(request, from));
  };
  createSessionLink: Backend['createSessionLink'] = async (call) =>
    this.#withRoom(() => this.#sessions.createSessionLink(call));
  listSessions: Backend['listSessions'] = (query, call) => this.#sessions.listSessions(query, call);
  endSession: Backend['endSession'] = (id) => this.#sessions.endSession(id);
  endSessions: Backend['endSessions'] = (call) => this.#sessions.endSessions(call);
  createConsoleTicket: Backend['createConsoleTicket'] = async (vm, request, call) =>
    this.#withRoom(() => this.#sessions.createConsoleTicket(vm, request, call));
  useConsoleTicket: Backend['useConsoleTicket'] = async (ticket, wanted, call) => {
    this.#demandRead();
    return this.#sessions.useConsoleTicket(ticket, wanted, call);
  };

  leader(): Leader | null {
    const { name } = this.#context;
    if (this.#context.leading() !== null) return { self: true, name };
    const leader = this.#context.leader();
    // A leader that has not begun to lead yet must not forward to itself.
    if (leader === null || leader.name === name) return null;
    return { self: false, name: leader.name, origin: `https://${leader.address}:${API_PORT}` };
  }

  async health(): Promise<Health> {
    const { store, name } = this.#context;
    return {
      ok: store.connected && this.leader() !== null,
      name,
      leader: this.leader()?.name ?? null,
      storeReachable: store.connected,
      waitingFor: this.#context.waitingFor(),
    };
  }

  async metrics(): Promise<readonly MetricFamily[]> {
    const memory = process.memoryUsage();
    const gauge = (name: string, help: string, samples: MetricFamily['samples']): MetricFamily => ({
      name: `groundplane_${name}`,
      help,
      type: 'gauge',
      samples,
    });
    return [
      gauge('leader', 'Whether this control node leads.', [
        { labels: {}, value: this.#context.leading() === null ? 0 : 1 },
      ]),
      gauge('process_resident_bytes', 'Resident memory of the server.', [{ labels: {}, value: memory.rss }]),
      gauge('vm_info', 'One sample per VM; the value is its generation.', await this.#summary.vmSamples()),
      gauge('etcd_quota_bytes', 'Size of the database above which etcd refuses writes.', [
        { labels: {}, value: this.#context.etcdSpace.quotaBytes },
      ]),
      gauge(
        'etcd_size_bytes',
        'Size of the database of an etcd member: what the quota bounds.',
        this.#etcdSizes('sizeBytes'),
      ),
      gauge('etcd_in_use_bytes', 'Of it, what records and history use.', this.#etcdSizes('inUseBytes')),
      gauge('alarms', 'Alarms that stand, by kind.', countedByKind(alarmsOf(this.#context))),
      gauge('unreadable_records', 'Values in etcd that are no records of their kind.', [
        { labels: {}, value: this.#context.store.unreadable.size },
      ]),
      ...this.#hostMetrics(),
      ...this.#poolMetrics(),
    ];
  }

  #etcdSizes(what: 'sizeBytes' | 'inUseBytes'): MetricFamily['samples'] {
    return answering(this.#context.etcdSpace.members).map((member) => ({
      labels: { member: member.endpoint },
      value: member[what],
    }));
  }

  /** Only the leader observes hosts: a follower says nothing about them, rather than that they are dead. */
  #hostMetrics(): MetricFamily[] {
    const observer = this.#context.leading()?.controller.observer;
    if (observer === undefined) return [];
    const samples = [...this.#context.store.hosts.values()].map(({ value }) => ({
      labels: { host: value.name },
      value: observer.see(value.name).agent === 'alive' ? 1 : 0,
    }));
    return [
      { name: 'groundplane_host_agent_alive', help: 'Whether the agent of a host answers.', type: 'gauge', samples },
    ];
  }

  /** Metrics of the pools whose nodes have reported to this leader. */
  #poolMetrics(): MetricFamily[] {
    const observer = this.#context.leading()?.controller.storageObserver;
    if (observer === undefined) return [];
    const pools = [...this.#context.store.storage.values()].flatMap(({ value: { name } }) => {
      const pool = observer.report(name)?.pool;
      return pool === undefined ? [] : [{ labels: { node: name }, pool }];
    });
    const gauge = (name: string, help: string, of: (pool: PoolReport) => number): MetricFamily => ({
      name: `groundplane_storage_${name}`,
      help,
      type: 'gauge',
      samples: pools.map(({ labels, pool }) => ({ labels, value: of(pool) })),
    });
    return [
      gauge('pool_bytes', 'Size of the pool of a storage node.', (pool) => pool.totalBytes),
      gauge('pool_free_bytes', 'Room left in the pool of a storage node.', (pool) => pool.freeBytes),
    ];
  }

  async cluster(): Promise<Cluster> {
    const { store, version } = this.#context;
    const { byVerdict, drainable } = await this.#summary.counts();
    const controls = await Promise.all([...store.controls.values()].map(({ value }) => this.#controlNode(value)));
    const hosts = [...store.hosts.values()].map(({ value }) => value);
    const storageObserver = this.#context.leading()?.controller.storageObserver;
    const standing = [...store.storage.values()].filter(({ value }) => value.lost === undefined);
    const storage = standing.map(({ value }) => storageObserver?.answers(value.name) === true);
    const index = indexOfStore(store);
    return {
      version,
      revision: String(store.completeRevision),
      leader: this.leader()?.name ?? null,
      term: this.#context.leading()?.term ?? null,
      controlNodes: { total: controls.length, alive: controls.filter(({ state }) => state === 'alive').length },
      storageNodes: { total: storage.length, alive: storage.filter((answers) => answers).length },
      hosts: { total: hosts.length, alive: hosts.filter((host) => this.#answers(host)).length, drainable },
      vms: { total: store.vms.size, byVerdict },
      memoryUsedBytes: hosts.reduce((sum, host) => sum + index.committedBytes(host.name), 0),
      memoryTotalBytes: hosts.reduce((sum, host) => sum + host.capacity.memoryBytes, 0),
      etcd: etcdView(this.#context),
      alarms: [...alarmsOf(this.#context)],
    };
  }

  #answers({ name }: HostRecord): boolean {
    return this.#context.leading()?.controller.observer.see(name).agent === 'alive';
  }

  listVms: Backend['listVms'] = (query, call) => this.#vms.list(query, call);
  getVm: Backend['getVm'] = async (vm) => this.#vms.get(vm);
  createVm = async (request: CreateVm): Promise<Vm> => this.#withRoom(() => this.#vms.create(request));
  patchVm = (vm: string, patch: PatchVm & Conditional): Promise<Vm> => this.#vms.patch(vm, patch);
  addNic: Backend['addNic'] = (vm, request) => this.#vms.addNic(vm, request);
  removeNic: Backend['removeNic'] = (vm, card) => this.#vms.removeNic(vm, card);
  deleteVm = (vm: string, condition: Conditional): Promise<Task> => this.#vms.delete(vm, condition);
  startVm = (vm: string): Promise<Task> => this.#vms.start(vm);
  stopVm = (vm: string, request: StopVm): Promise<Task> => this.#vms.stop(vm, request);
  resetVm = (vm: string): Promise<Task> => this.#vms.reset(vm);
  suspendVm = (vm: string): Promise<Task> => this.#vms.suspend(vm);
  resumeVm = (vm: string): Promise<Task> => this.#vms.resume(vm);
  migrateVm = (vm: string, request: MigrateVm): Promise<Task> => this.#vms.migrate(vm, request);
  vmLog: Backend['vmLog'] = (vm: string, query: VmLogQuery) => this.#vms.log(vm, query);

  openConsole: Backend['openConsole'] = async (name, options, call) =>
    this.consoles.open(findVm(snapshotOf(this.#context.store), name).value, call, options);

  listHosts: Backend['listHosts'] = (query, { signal }) => {
    const view = (entry: Entry<HostRecord>): Host | null => {
      if (query.cordoned !== undefined && entry.value.cordoned !== query.cordoned) return null;
      if (query.rack !== undefined && entry.value.rack !== query.rack) return null;
      const agent = this.#answers(entry.value) ? 'alive' : 'dead';
      if (query.agent !== undefined && agent !== query.agent) return null;
      return hostView(this.#context, entry, keptDrainBlockers(this.#context, entry.value));
    };
    return pageOfTable(this.#context.store.hosts, query, { signal, view });
  };

  async getHost(name: string): Promise<Host> {
    return hostView(this.#context, this.#findHost(name));
  }

  async patchHost(name: string, patch: PatchHost & Conditional): Promise<Host> {
    await change(this.#context, (basis) => changeHost(basis, { name, ...patch }));
    return this.getHost(name);
  }

  async deleteHost(name: string, { off = false, ifMatch }: DeleteHostQuery & Conditional): Promise<void> {
    await change(this.#context, (basis) => removeHost(basis, observedBy(this.#context), { name, ifMatch, isOff: off }));
  }

  planHostDrain: Backend['planHostDrain'] = (host, request, { principal }) =>
    this.#drains.plan(host, request, principal.name);
  drainHost: Backend['drainHost'] = (host, request, { principal }) => this.#drains.start(host, request, principal.name);
  planMaintenance: Backend['planMaintenance'] = (request, { signal }) => this.#maintenancePlans.plan(request, signal);
  listDrains: Backend['listDrains'] = (query, { signal }) => this.#drains.list(query, signal);
  getDrain: Backend['getDrain'] = async (id) => this.#drains.get(id);
  pauseDrain: Backend['pauseDrain'] = (id) => this.#drains.pause(id, true);
  resumeDrain: Backend['resumeDrain'] = (id) => this.#drains.pause(id, false);
  cancelDrain: Backend['cancelDrain'] = (id) => this.#drains.cancel(id);

  async undrainHost(name: string): Promise<Host> {
    await change(this.#context, (basis) => undrainHost(basis, name));
    return this.getHost(name);
  }

  listStorageNodes: Backend['listStorageNodes'] = (query, { signal }) => {
    const view = (entry: Entry<StorageRecord>): StorageNode => storageView(this.#context, entry);
    return pageOfTable(this.#context.store.storage, query, { signal, view });
  };

  async getStorageNode(name: string): Promise<StorageNode> {
    const entry = this.#context.store.storage.get(name);
    if (entry === undefined) throw new CodedError('not-found', `There is no storage node ${name}.`);
    return storageView(this.#context, entry);
  }

  deleteStorageNode: Backend['deleteStorageNode'] = (name, query, { principal }) => {
    const { lost = false, confirmed = false, ifMatch } = query;
    return removeStorageNode(this.#context, {
      name,
      ifMatch,
      isLost: lost,
      isConfirmed: confirmed,
      by: principal.name,
    });
  };

  async listControlNodes(query: PageQuery, { signal }: Call): Promise<Page<ControlNode>> {
    const page = await pageOfTable(this.#context.store.controls, query, { signal, view: ({ value }) => value });
    return { ...page, items: await Promise.all(page.items.map((control) => this.#controlNode(control))) };
  }

  async #controlNode(control: ControlRecord): Promise<ControlNode> {
    const { version, name: self } = this.#context;
    const isSelf = control.name === self;
    const isAlive = isSelf || (await this.#context.controlAnswers(control));
    return {
      name: control.name,
      leader: control.name === this.leader()?.name,
      state: isAlive ? 'alive' : 'dead',
      address: control.address,
      version: isSelf ? version : null,
    };
  }

  listNetworks: Backend['listNetworks'] = (query, call) => this.#networks.list(query, call);
  getNetwork: Backend['getNetwork'] = async (name) => this.#networks.get(name);
  createNetwork = async (request: CreateNetwork) => this.#withRoom(() => this.#networks.create(request));
  deleteNetwork = (name: string, condition: Conditional): Promise<void> => this.#networks.delete(name, condition);

  listImages: Backend['listImages'] = (query, call) => this.#images.list(query, call);
  getImage: Backend['getImage'] = async (name) => this.#images.get(name);
  putImage = async (name: string, request: PutImage) => this.#withRoom(() => this.#images.put(name, request));
  deleteImage = (name: string, condition: Conditional): Promise<void> => this.#images.delete(name, condition);
  getArtifact: Backend['getArtifact'] = async (sha256) => this.#images.getArtifact(sha256);
  putArtifact = (upload: ArtifactUpload, call: Call) => this.#images.putArtifact(upload, call);
  deleteArtifact = async (sha256: string) => this.#images.deleteArtifact(sha256);

  listDisks: Backend['listDisks'] = (query, { signal }) => {
    const { disks, vmNames } = this.#context.store;
    const vm = query.vm === undefined ? null : (vmNames.get(query.vm)?.value ?? query.vm);
    const isWanted = ({ value }: Entry<DiskRecord>): boolean =>
      (vm === null || value.vm === vm) && (query.node === undefined || value.node === query.node);
    const view = (entry: Entry<DiskRecord>): Disk | null => (isWanted(entry) ? diskView(this.#context, entry) : null);
    return pageOfTable(disks, query, { signal, view });
  };
  getDisk: Backend['getDisk'] = async (id) => {
    const entry = this.#context.store.disks.get(id);
    if (entry === undefined) throw new CodedError('not-found', `There is no disk ${id}.`);
    return diskView(this.#context, entry);
  };

  listSharedDisks: Backend['listSharedDisks'] = (query, call) => this.#sharedDisks.list(query, call);
  getSharedDisk: Backend['getSharedDisk'] = async (disk) => this.#sharedDisks.get(disk);
  createSharedDisk: Backend['createSharedDisk'] = async (request) =>
    this.#withRoom(() => this.#sharedDisks.create(request));
  patchSharedDisk: Backend['patchSharedDisk'] = async (disk, patch) => this.#sharedDisks.patch(disk, patch);
  deleteSharedDisk: Backend['deleteSharedDisk'] = async (disk, condition) => this.#sharedDisks.delete(disk, condition);
  attachSharedDisk: Backend['attachSharedDisk'] = async (disk, request) => this.#sharedDisks.attach(disk, request);
  detachSharedDisk: Backend['detachSharedDisk'] = async (disk, vm, condition) =>
    this.#sharedDisks.detach(disk, vm, condition);

  listGuestClusters: Backend['listGuestClusters'] = (query, call) => this.#guestClusters.list(query, call);
  getGuestCluster: Backend['getGuestCluster'] = async (name) => this.#guestClusters.get(name);
  createGuestCluster: Backend['createGuestCluster'] = async (request) =>
    this.#withRoom(() => this.#guestClusters.create(request));
  patchGuestCluster: Backend['patchGuestCluster'] = (name, patch) => this.#guestClusters.patch(name, patch);
  deleteGuestCluster: Backend['deleteGuestCluster'] = (name, query) => this.#guestClusters.delete(name, query);
  addGuestClusterMember: Backend['addGuestClusterMember'] = (name, request) =>
    this.#guestClusters.addMember(name, request);
  removeGuestClusterMember: Backend['removeGuestClusterMember'] = (name, vm, condition) =>
    this.#guestClusters.removeMember(name, vm, condition);
  addGuestClusterDisk: Backend['addGuestClusterDisk'] = (name, request) => this.#guestClusters.addDisk(name, request);
  removeGuestClusterDisk: Backend['removeGuestClusterDisk'] = (name, disk, query) =>
    this.#guestClusters.removeDisk(name, disk, query);

  listTasks: Backend['listTasks'] = (query, { signal }) => {
    const view = (entry: Entry<TaskRecord>): Task | null => {
      const { state, target } = entry.value;
      if (query.state !== undefined && state !== query.state) return null;
      if (query.vm !== undefined && (target.kind !== 'vm' || target.name !== query.vm)) return null;
      return taskView(entry);
    };
    return pageOfTable(this.#context.store.tasks, query, { signal, view, isNewestFirst: true });
  };

  async getTask(id: string, waitMs: number, call: Call): Promise<Task> {
    const find = (): Entry<TaskRecord> => {
      const entry = this.#context.store.tasks.get(id);
      if (entry === undefined)
        throw new CodedError('not-found', `There is no task ${id}.`, {
          advice: 'Tasks that ended long ago are forgotten.',
        });
      return entry;
    };
    if (waitMs === 0 || find().value.state !== 'running') return taskView(find());
    try {
      await this.#context.store.waitFor(() => (find().value.state === 'running' ? undefined : true), {
        deadlineMs: waitMs,
        signal: call.signal,
        what: 'The end of the task',
      });
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'deadline') throw error;
    }
    return taskView(find());
  }

  cancelTask = (id: string): Promise<Task> => this.#vms.cancelTask(id);

  listEvents: Backend['listEvents'] = (query, { signal }) => {
    const isWanted = eventFilterOf(this.#context.store, query);
    const view = (entry: Entry<EventRecord>): Event | null => (isWanted(entry.value) ? eventView(entry) : null);
    return pageOfTable(this.#context.store.events, query, { signal, view, isNewestFirst: true });
  };

  watch: Backend['watch'] = (options: WatchOptions, call) => watchChanges(this.#context, options, call.signal);

  listTokens: Backend['listTokens'] = (query, call) => this.#access.list(query, call);
  createToken = async (request: CreateToken) => this.#withRoom(() => this.#access.create(request));
  deleteToken = (token: string): Promise<void> => this.#access.delete(token);
  createJoinToken = async (request: CreateJoinToken) => this.#withRoom(() => this.#access.createJoinToken(request));
  join = async (request: Join) => {
    this.#demandRead();
    return this.#access.join(request);
  };

  /** CodedError 'no-capacity' if etcd's remaining room is reserved. */
  #withRoom<T>(act: () => Promise<T>): Promise<T> {
    this.#context.etcdSpace.demandRoom();
    return act();
  }

  /** CodedError 'unavailable' before etcd was read once. */
  #demandRead(): void {
    const waitingFor = this.#context.waitingFor();
    if (waitingFor === null) return;
    throw new CodedError(
      'unavailable',
      `Control node ${this.#context.name} has started and waits for ${waitingFor.replace(/\.$/, '')}.`,
      {
        advice: 'Nothing was changed; VMs run on. It goes on by itself. See the etcd members: a majority must answer.',
      },
    );
  }

  #findHost(name: string): Entry<HostRecord> {
    const entry = this.#context.store.hosts.get(name);
    if (entry === undefined) {
      const known = listed([...this.#context.store.hosts.keys()].sort());
      throw new CodedError('not-found', `There is no host ${name}.`, {
        advice: known === '' ? 'No host has joined.' : `Hosts: ${known}.`,
      });
    }
    return entry;
  }
}

function etcdView({ etcdSpace: { members, quotaBytes } }: BackendContext): Cluster['etcd'] {
  return {
    members: members.map((member) => {
      const answers = !('unreachable' in member);
      const { isLeader, version, sizeBytes, inUseBytes } = answers ? member : NO_ANSWER;
      return { endpoint: member.endpoint, answers, leader: isLeader, version, sizeBytes, inUseBytes };
    }),
    quotaBytes,
    usedPercent: Math.round(filledShare({ members, quotaBytes }) * 100),
  };
}

function countedByKind(alarms: readonly Alarm[]): MetricFamily['samples'] {
  const counts = new Map<string, number>();
  for (const { kind } of alarms) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, value]) => ({ labels: { kind }, value }));
}
