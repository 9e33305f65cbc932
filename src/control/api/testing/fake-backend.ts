/**
 * A cluster in memory behind the API's seam, for tests of the routes, the client and the command: it keeps state, counts revisions,
 * runs tasks in a few milliseconds and refuses what the real control core refuses.
 */
import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter, on, once } from 'node:events';
import type { Duplex } from 'node:stream';
import type * as requests from '../../../api/requests.ts';
import type * as views from '../../../api/views.ts';
import { CodedError } from '../../../base/errors.ts';
import type {
  ArtifactUpload,
  Backend,
  Call,
  Conditional,
  Leader,
  MetricFamily,
  Principal,
  WatchOptions,
} from '../backend.ts';
import type { Page } from '../pages.ts';
import { FakeConsoles } from './fake-consoles.ts';
import { FakeGuestClusters } from './fake-guest-clusters.ts';
import { isWanted, matches, nameOf, paged } from './fake-lists.ts';
import { detailOf, fakeDisks, fakeHost, fakeNic, fakeStorageNode, fakeVm } from './fake-objects.ts';
import { checkRevision, coded, exists, missing } from './fake-refusals.ts';

const TASK_MS = 5;

/** See the module's comment. Public fields are for tests to look at and to arrange. */
export class FakeBackend implements Backend {
  readonly token: string;
  readonly vms = new Map<string, views.Vm>();
  readonly hosts = new Map<string, views.Host>();
  readonly networks = new Map<string, views.Network>();
  readonly images = new Map<string, views.Image>();
  readonly artifacts = new Map<string, views.Artifact>();
  readonly tasks = new Map<string, views.Task>();
  readonly events: views.Event[] = [];
  readonly tokens = new Map<string, { readonly view: views.ApiToken; readonly sha256: string }>();
  readonly joinTokens = new Map<string, views.JoinToken>();
  /** Called with the method's name for each call. */
  readonly entered = new EventEmitter();
  /** The next call of a method throws this, once. */
  readonly failNext = new Map<keyof Backend, Error>();
  /** The next task of this kind ends so. */
  readonly taskFailures = new Map<string, string>();
  /** How long a task runs. */
  taskMs = TASK_MS;
  /** Set while this node cannot know which tokens are valid. */
  isCutOff = false;
  leadership: Leader | null = { self: true, name: 'c1' };
  /** Set while a method is to hang until its call is aborted. */
  hanging: keyof Backend | null = null;
  readonly guests = new FakeGuestClusters({
    enter: (...asked) => this.#enter(...asked),
    vm: (name) => this.#vm(name),
    putVm: (vm) => this.#putVm(vm),
    task: (kind, target, done) => this.#task(kind, target.name, done, target.kind),
    next: () => this.#next(),
    checkRevision,
  });
  readonly #bus = new EventEmitter();
  readonly #consoles = new FakeConsoles();
  #revision = 100;

  constructor(options: { readonly token?: string } = {}) {
    this.token = options.token ?? `gp_api_${randomBytes(32).toString('base64url')}`;
    this.#addToken('admin', this.token);
    for (const name of ['h1', 'h2', 'h3']) this.hosts.set(name, fakeHost(name, this.#next()));
    this.#bus.setMaxListeners(0);
  }

  async authenticate(token: string): Promise<Principal | null> {
    await this.#enter('authenticate');
    return this.recheck(token);
  }

  recheck(token: string): Principal | null {
    if (this.isCutOff) throw new CodedError('unavailable', 'This control node is cut off from etcd.');
    const sha256 = digest(token);
    const found = [...this.tokens.values()].find((stored) => stored.sha256 === sha256);
    return found === undefined ? null : { name: found.view.name };
  }

  leader(): Leader | null {
    return this.leadership;
  }

  async health(): Promise<views.Health> {
    await this.#enter('health');
    return { ok: true, name: 'c1', leader: this.leadership?.name ?? null, storeReachable: true, waitingFor: null };
  }

  async metrics(): Promise<readonly MetricFamily[]> {
    await this.#enter('metrics');
    const samples = [...this.vms.values()].map((vm) => ({ labels: { vm: vm.name, verdict: vm.verdict }, value: 1 }));
    return [{ name: 'groundplane_vm', help: 'VMs and their verdicts.', type: 'gauge', samples }];
  }

  async cluster(call: Call): Promise<views.Cluster> {
    await this.#enter('cluster', call);
    const vms = [...this.vms.values()];
    return {
      version: '0.0.0-test',
      revision: String(this.#revision),
      leader: this.leadership?.name ?? null,
      term: 7,
      controlNodes: { total: 1, alive: 1 },
      storageNodes: { total: 1, alive: 1 },
      hosts: { total: this.hosts.size, alive: this.hosts.size, drainable: this.hosts.size },
      vms: {
        total: vms.length,
        byVerdict: Object.fromEntries(
          [...Map.groupBy(vms, (vm) => vm.verdict)].map(([verdict, of]) => [verdict, of.length]),
        ),
      },
      ...{ memoryUsedBytes: 0, memoryTotalBytes: 3 * 4 * 1024 ** 3, alarms: [] },
      etcd: { members: [], quotaBytes: 2 * 1024 ** 3, usedPercent: 1 },
    };
  }

  async listVms(query: requests.VmQuery, call: Call): Promise<Page<views.Vm>> {
    await this.#enter('listVms', call);
    const wanted = [...this.vms.values()].filter(
      (vm) =>
        (query.name === undefined || vm.name === query.name) &&
        (query.host === undefined || vm.host === query.host) &&
        (query.verdict === undefined || vm.verdict === query.verdict) &&
        (query.label ?? []).every((selector) => matches(vm.labels, selector)),
    );
    return paged(wanted, nameOf, { query, call });
  }

  async getVm(vm: string, call: Call): Promise<views.VmDetail> {
    await this.#enter('getVm', call);
    return detailOf(this.#vm(vm));
  }

  async createVm(request: requests.CreateVm, call: Call): Promise<views.Vm> {
    await this.#enter('createVm', call);
    if (this.vms.has(request.name)) throw exists('VM', request.name);
    if (request.image !== undefined && !this.images.has(request.image)) throw missing('image', request.image);
    for (const network of request.networks ?? []) {
      const name = typeof network === 'string' ? network : network.network;
      if (!this.networks.has(name)) throw missing('network', name);
    }
    this.#putVm(fakeVm(request, this.#next()));
    if (request.start !== false) await this.startVm(request.name, call);
    return this.#vm(request.name);
  }

  async patchVm(vm: string, patch: requests.PatchVm & Conditional, call: Call): Promise<views.Vm> {
    await this.#enter('patchVm', call);
    const old = this.#vmAt(vm, patch);
    if ((patch.vcpus !== undefined || patch.memoryBytes !== undefined) && old.phase !== 'stopped') {
      throw coded('conflict', `${old.name} is ${old.phase}.`);
    }
    const { vcpus = old.spec.vcpus, memoryBytes = old.spec.memoryBytes } = patch;
    const { restartPolicy = old.spec.restartPolicy, antiAffinity = old.spec.antiAffinity } = patch;
    return this.#putVm({
      ...old,
      labels: patch.labels ?? old.labels,
      spec: { ...old.spec, vcpus, memoryBytes, restartPolicy, antiAffinity },
    });
  }

  async addNic(vm: string, request: requests.AddNic & Conditional, call: Call): Promise<views.Vm> {
    await this.#enter('addNic', call);
    const old = this.#vmAt(vm, request);
    this.#network(request.network);
    return this.#putVm({ ...old, nics: [...old.nics, fakeNic(request, old)] });
  }

  async removeNic(vm: string, card: { readonly mac: string } & Conditional, call: Call): Promise<views.Vm> {
    await this.#enter('removeNic', call);
    const old = this.#vmAt(vm, card);
    if (!old.nics.some(({ mac }) => mac === card.mac)) throw missing('card', card.mac);
    return this.#putVm({ ...old, nics: old.nics.filter(({ mac }) => mac !== card.mac) });
  }

  async deleteVm(vm: string, condition: Conditional, call: Call): Promise<views.Task> {
    await this.#enter('deleteVm', call);
    const old = this.#vmAt(vm, condition);
    return this.#task('vm.delete', old.name, () => {
      this.vms.delete(old.name);
      this.#emit('vm', old.name, null);
    });
  }

  async startVm(vm: string, call: Call): Promise<views.Task> {
    await this.#enter('startVm', call);
    const old = this.#vm(vm);
    this.#putVm({
      ...old,
      intent: 'running',
      phase: 'starting',
      verdict: 'starting',
      host: 'h2',
      generation: old.generation + 1,
    });
    return this.#task('vm.start', old.name, () => this.#change(old.name, { phase: 'running', verdict: 'running' }));
  }

  async stopVm(vm: string, request: requests.StopVm, call: Call): Promise<views.Task> {
    await this.#enter('stopVm', call);
    const old = this.#running(vm);
    this.#putVm({ ...old, intent: 'stopped', phase: 'stopping', verdict: 'stopping' });
    return this.#task(`vm.stop.${request.mode ?? 'acpi'}`, old.name, () =>
      this.#change(old.name, { phase: 'stopped', verdict: 'stopped', host: null }),
    );
  }

  async resetVm(vm: string, call: Call): Promise<views.Task> {
    await this.#enter('resetVm', call);
    return this.#task('vm.reset', this.#running(vm).name, () => undefined);
  }

  async suspendVm(vm: string, call: Call): Promise<views.Task> {
    await this.#enter('suspendVm', call);
    const { name } = this.#running(vm);
    return this.#task('vm.suspend', name, () => this.#change(name, { intent: 'suspended', verdict: 'suspended' }));
  }

  async resumeVm(vm: string, call: Call): Promise<views.Task> {
    await this.#enter('resumeVm', call);
    const { name } = this.#running(vm);
    return this.#task('vm.resume', name, () => this.#change(name, { intent: 'running', verdict: 'running' }));
  }

  async migrateVm(vm: string, request: requests.MigrateVm, call: Call): Promise<views.Task> {
    await this.#enter('migrateVm', call);
    const old = this.#running(vm);
    const to = request.to ?? [...this.hosts.keys()].find((host) => host !== old.host);
    if (to === undefined || !this.hosts.has(to)) throw missing('host', to ?? '');
    if (to === old.host)
      throw new CodedError('conflict', `${old.name} is on ${to} already.`, { advice: 'Nothing was changed.' });
    this.#putVm({ ...old, phase: 'migrating', verdict: 'migrating', destination: to });
    return this.#task('vm.migrate', old.name, () =>
      this.#change(old.name, {
        phase: 'running',
        verdict: 'running',
        host: to,
        destination: null,
        generation: old.generation + 1,
      }),
    );
  }

  async vmLog(vm: string, query: requests.VmLogQuery, call: Call): Promise<views.VmLog> {
    await this.#enter('vmLog', call);
    const { name, host, generation } = this.#vm(vm);
    const lines = ['Booting', `Welcome to ${name}`].slice(-(query.lines ?? 1_000));
    return { vm: name, host, generation, text: `${lines.join('\n')}\n`, truncated: lines.length < 2 };
  }

  async openConsole(vm: string, { takeOver }: { readonly takeOver: boolean }, call: Call): Promise<Duplex> {
    await this.#enter('openConsole', call);
    return this.#consoles.open(this.#running(vm).name, takeOver);
  }

  async listHosts(query: requests.HostQuery, call: Call): Promise<Page<views.Host>> {
    await this.#enter('listHosts', call);
    const wanted = [...this.hosts.keys()]
      .map((name) => this.#host(name))
      .filter(
        (host) =>
          (query.agent === undefined || host.agent === query.agent) &&
          (query.cordoned === undefined || host.cordoned === query.cordoned),
      );
    return paged(wanted, nameOf, { query, call });
  }

  async getHost(name: string, call: Call): Promise<views.Host> {
    await this.#enter('getHost', call);
    return this.#host(name);
  }

  async deleteHost(
    name: string,
    { off = false, ifMatch }: requests.DeleteHostQuery & Conditional,
    call: Call,
  ): Promise<void> {
    await this.#enter('deleteHost', call);
    const host = this.#host(name);
    checkRevision(host, { ifMatch });
    if (host.vms.length > 0 || !host.cordoned || (host.quarantined && !off))
      throw new CodedError('conflict', `${name} is in use.`, { advice: 'Nothing was changed.' });
    this.hosts.delete(name);
  }

  async deleteStorageNode(
    name: string,
    { lost = false, confirmed = false }: requests.DeleteStorageQuery & Conditional,
    call: Call,
  ): Promise<views.StorageLoss> {
    await this.#enter('deleteStorageNode', call);
    if (name !== 's1') throw missing('storage node', name);
    if (lost && !confirmed)
      throw new CodedError('conflict', `Lost with ${name}: 1 VMs (web1).`, { advice: 'Nothing was changed.' });
    const none = { count: 0, names: [] };
    return { node: name, vms: { count: 1, names: ['web1'] }, disks: none, sharedDisks: none, images: none };
  }

  async patchHost(name: string, patch: requests.PatchHost & Conditional, call: Call): Promise<views.Host> {
    await this.#enter('patchHost', call);
    const old = this.#host(name);
    checkRevision(old, patch);
    this.hosts.set(name, { ...old, cordoned: patch.cordoned, revision: this.#next() });
    return this.#host(name);
  }

  async listStorageNodes(query: requests.PageQuery, call: Call): Promise<Page<views.StorageNode>> {
    await this.#enter('listStorageNodes', call);
    return paged([fakeStorageNode()], nameOf, { query, call });
  }

  async getStorageNode(name: string, call: Call): Promise<views.StorageNode> {
    await this.#enter('getStorageNode', call);
    if (name !== 's1') throw missing('storage node', name);
    return fakeStorageNode();
  }

  async listControlNodes(query: requests.PageQuery, call: Call): Promise<Page<views.ControlNode>> {
    await this.#enter('listControlNodes', call);
    const node = { name: 'c1', leader: true, state: 'alive', address: '10.0.0.1', version: '0.0.0-test' } as const;
    return paged<views.ControlNode>([node], nameOf, { query, call });
  }

  async listNetworks(query: requests.PageQuery, call: Call): Promise<Page<views.Network>> {
    await this.#enter('listNetworks', call);
    return paged([...this.networks.values()], nameOf, { query, call });
  }

  async getNetwork(name: string, call: Call): Promise<views.Network> {
    await this.#enter('getNetwork', call);
    return this.#network(name);
  }

  async createNetwork(request: requests.CreateNetwork, call: Call): Promise<views.Network> {
    await this.#enter('createNetwork', call);
    if (this.networks.has(request.name)) throw exists('network', request.name);
    const network: views.Network = {
      name: request.name,
      revision: this.#next(),
      vni: this.networks.size + 1,
      cidr: request.cidr ?? null,
      gateway: request.cidr?.replace(/[0-9]+\/[0-9]+$/, '1') ?? null,
      dhcp: request.dhcp ?? false,
      nat: request.nat ?? false,
      reservations: [],
      createdAt: now(),
    };
    this.networks.set(request.name, network);
    this.#emit('network', network.name, network);
    return network;
  }

  async deleteNetwork(name: string, condition: Conditional, call: Call): Promise<void> {
    await this.#enter('deleteNetwork', call);
    checkRevision(this.#network(name), condition);
    const user = [...this.vms.values()].find((vm) => vm.nics.some((nic) => nic.network === name));
    if (user !== undefined)
      throw new CodedError('conflict', `${name} is used by ${user.name}.`, { advice: 'Nothing was changed.' });
    this.networks.delete(name);
  }

  async listImages(query: requests.PageQuery, call: Call): Promise<Page<views.Image>> {
    await this.#enter('listImages', call);
    return paged([...this.images.values()], nameOf, { query, call });
  }

  async getImage(name: string, call: Call): Promise<views.Image> {
    await this.#enter('getImage', call);
    return this.#image(name);
  }

  async putImage(name: string, request: requests.PutImage, call: Call): Promise<views.Image> {
    await this.#enter('putImage', call);
    if (this.images.has(name)) throw exists('image', name);
    const { disk, direct } = request;
    const kernel = direct === undefined ? null : this.#artifact(direct.kernel);
    const initrd = direct?.initrd === undefined ? null : this.#artifact(direct.initrd);
    const image: views.Image = {
      name,
      revision: this.#next(),
      disk: disk === undefined ? null : { ...this.#ref(disk.sha256), format: disk.format, virtualSizeBytes: 1024 ** 3 },
      direct:
        kernel === null
          ? null
          : {
              kernel: this.#ref(kernel.sha256),
              initrd: initrd === null ? null : this.#ref(initrd.sha256),
              append: direct?.append ?? '',
            },
      defaults: {
        memoryBytes: request.defaults?.memoryBytes ?? 512 * 1024 ** 2,
        vcpus: request.defaults?.vcpus ?? 1,
        blankDiskBytes: request.defaults?.blankDiskBytes ?? null,
      },
      minMemoryBytes: request.minMemoryBytes ?? null,
      nodes: ['s1'],
      createdAt: now(),
    };
    this.images.set(name, image);
    return image;
  }

  async deleteImage(name: string, condition: Conditional, call: Call): Promise<void> {
    await this.#enter('deleteImage', call);
    checkRevision(this.#image(name), condition);
    this.images.delete(name);
  }

  async getArtifact(sha256: string, call: Call): Promise<views.Artifact> {
    await this.#enter('getArtifact', call);
    return this.#artifact(sha256);
  }

  async putArtifact(upload: ArtifactUpload, call: Call): Promise<views.Artifact> {
    await this.#enter('putArtifact', call);
    const hash = createHash('sha256');
    let sizeBytes = 0;
    for await (const chunk of upload.body as AsyncIterable<Buffer>) {
      hash.update(chunk);
      sizeBytes += chunk.length;
    }
    if (hash.digest('hex') !== upload.sha256 || sizeBytes !== upload.sizeBytes) {
      throw new CodedError('bad-input', 'What arrived has another SHA-256 than announced.', {
        advice: 'Nothing was stored.',
      });
    }
    const artifact: views.Artifact = { sha256: upload.sha256, sizeBytes, nodes: ['s1'] };
    this.artifacts.set(upload.sha256, artifact);
    return artifact;
  }

  async deleteArtifact(sha256: string, call: Call): Promise<void> {
    await this.#enter('deleteArtifact', call);
    this.#artifact(sha256);
    const named = [...this.images.values()].flatMap(({ disk, direct }) => [disk, direct?.kernel, direct?.initrd]);
    if (named.some((file) => file?.sha256 === sha256))
      throw new CodedError('conflict', 'The file is in use.', { advice: 'Nothing was deleted.' });
    this.artifacts.delete(sha256);
  }

  async listDisks(query: requests.DiskQuery, call: Call): Promise<Page<views.Disk>> {
    await this.#enter('listDisks', call);
    const wanted = [...this.vms.values()]
      .flatMap(fakeDisks)
      .filter(
        (disk) =>
          (query.vm === undefined || disk.vm === query.vm) && (query.node === undefined || disk.node === query.node),
      );
    return paged(wanted, ({ id }) => id, { query, call });
  }

  async getDisk(id: string, call: Call): Promise<views.Disk> {
    await this.#enter('getDisk', call);
    const disk = [...this.vms.values()].flatMap(fakeDisks).find((one) => one.id === id);
    if (disk === undefined) throw missing('disk', id);
    return disk;
  }

  listSharedDisks: Backend['listSharedDisks'] = (...asked) => this.guests.listSharedDisks(...asked);
  getSharedDisk: Backend['getSharedDisk'] = (...asked) => this.guests.getSharedDisk(...asked);
  createSharedDisk: Backend['createSharedDisk'] = (...asked) => this.guests.createSharedDisk(...asked);
  patchSharedDisk: Backend['patchSharedDisk'] = (...asked) => this.guests.patchSharedDisk(...asked);
  deleteSharedDisk: Backend['deleteSharedDisk'] = (...asked) => this.guests.deleteSharedDisk(...asked);
  attachSharedDisk: Backend['attachSharedDisk'] = (...asked) => this.guests.attachSharedDisk(...asked);
  detachSharedDisk: Backend['detachSharedDisk'] = (...asked) => this.guests.detachSharedDisk(...asked);
  listGuestClusters: Backend['listGuestClusters'] = (...asked) => this.guests.listGuestClusters(...asked);
  getGuestCluster: Backend['getGuestCluster'] = (...asked) => this.guests.getGuestCluster(...asked);
  createGuestCluster: Backend['createGuestCluster'] = (...asked) => this.guests.createGuestCluster(...asked);
  patchGuestCluster: Backend['patchGuestCluster'] = (...asked) => this.guests.patchGuestCluster(...asked);
  deleteGuestCluster: Backend['deleteGuestCluster'] = (...asked) => this.guests.deleteGuestCluster(...asked);
  addGuestClusterMember: Backend['addGuestClusterMember'] = (...asked) => this.guests.addGuestClusterMember(...asked);
  removeGuestClusterMember: Backend['removeGuestClusterMember'] = (...asked) =>
    this.guests.removeGuestClusterMember(...asked);
  addGuestClusterDisk: Backend['addGuestClusterDisk'] = (...asked) => this.guests.addGuestClusterDisk(...asked);
  removeGuestClusterDisk: Backend['removeGuestClusterDisk'] = (...asked) =>
    this.guests.removeGuestClusterDisk(...asked);

  async listTasks(query: requests.TaskQuery, call: Call): Promise<Page<views.Task>> {
    await this.#enter('listTasks', call);
    const wanted = [...this.tasks.values()].filter(
      ({ state, target }) => (query.state ?? state) === state && (query.vm ?? target.name) === target.name,
    );
    return paged(wanted, null, { query, call, isNewestFirst: true });
  }

  async getTask(id: string, waitMs: number, call: Call): Promise<views.Task> {
    await this.#enter('getTask', call);
    const until = AbortSignal.any([call.signal, AbortSignal.timeout(Math.max(1, waitMs))]);
    for (;;) {
      const task = this.tasks.get(id);
      if (task === undefined) throw missing('task', id);
      if (task.state !== 'running' || waitMs === 0 || until.aborted) return task;
      await once(this.#bus, 'change', { signal: until }).catch(() => undefined);
    }
  }

  async cancelTask(id: string, call: Call): Promise<views.Task> {
    const task = await this.getTask(id, 0, call);
    if (task.state !== 'running') throw coded('conflict', `Task ${id} has ended: ${task.state}.`);
    return this.#conclude(task, 'cancelled', 'cancelled as asked');
  }

  async listEvents(query: requests.EventQuery, call: Call): Promise<Page<views.Event>> {
    await this.#enter('listEvents', call);
    const wanted = this.events.filter((event) => isWanted(event, query));
    return paged(wanted, null, { query, call, isNewestFirst: true });
  }

  async *watch(options: WatchOptions, call: Call): AsyncGenerator<views.WatchChange> {
    await this.#enter('watch', call);
    if (options.after !== null && Number(options.after) < 50) {
      throw new CodedError('conflict', `Revision ${options.after} was compacted.`, {
        advice: 'List again, then watch.',
      });
    }
    try {
      for await (const [change] of on(this.#bus, 'change', { signal: call.signal }) as AsyncIterable<
        [views.WatchChange]
      >) {
        if (options.kinds.length > 0 && !options.kinds.includes(change.kind)) continue;
        if (options.filter === null || isWanted(change.object as views.Event, options.filter)) yield change;
      }
    } catch (error) {
      if (!call.signal.aborted) throw error;
    }
  }

  async listTokens(query: requests.PageQuery, call: Call): Promise<Page<views.ApiToken>> {
    await this.#enter('listTokens', call);
    const all = [...this.tokens.values()].map((stored) => stored.view);
    return paged(all, nameOf, { query, call });
  }

  async createToken(request: requests.CreateToken, call: Call): Promise<views.ApiTokenCreated> {
    await this.#enter('createToken', call);
    if (this.tokens.has(request.name)) throw exists('token', request.name);
    const token = `gp_api_${randomBytes(32).toString('base64url')}`;
    return { ...this.#addToken(request.name, token), token };
  }

  async deleteToken(token: string, call: Call): Promise<void> {
    await this.#enter('deleteToken', call);
    if (!this.tokens.delete(token)) throw missing('token', token);
  }

  async createJoinToken(request: requests.CreateJoinToken, call: Call): Promise<views.JoinToken> {
    await this.#enter('createJoinToken', call);
    const { role, name } = request;
    const token: views.JoinToken = { token: randomBytes(32).toString('base64url'), role, name, expiresAt: now() };
    this.joinTokens.set(token.token, token);
    return token;
  }

  async join(request: requests.Join): Promise<views.Joined> {
    await this.#enter('join');
    const token = this.joinTokens.get(request.token);
    if (token === undefined || token.role !== request.role || token.name !== request.name) {
      throw new CodedError('unauthorized', 'The join token is not valid.', { advice: 'Create another one.' });
    }
    this.joinTokens.delete(request.token);
    return { certPem: 'cert', caPem: 'ca', etcdEndpoints: ['https://10.0.0.1:2379'] };
  }

  /** Adds a network `lan` and an image `tiny`, as the first `gp up` does. */
  arrange(): this {
    const artifact = { sha256: 'a'.repeat(64), sizeBytes: 1, nodes: ['s1'] };
    this.artifacts.set(artifact.sha256, artifact);
    const call: Call = { principal: { name: 'admin' }, signal: new AbortController().signal };
    void this.createNetwork({ name: 'lan', cidr: '10.20.0.0/24', dhcp: true, nat: true }, call);
    void this.putImage('tiny', { direct: { kernel: artifact.sha256 } }, call);
    return this;
  }

  async #enter(method: keyof Backend, call?: Call): Promise<void> {
    this.entered.emit(method);
    const failure = this.failNext.get(method);
    this.failNext.delete(method);
    if (failure !== undefined) throw failure;
    if (this.hanging === method && call !== undefined) await once(call.signal, 'abort');
  }

  #next(): string {
    this.#revision += 1;
    return String(this.#revision);
  }

  #addToken(name: string, token: string): views.ApiToken {
    const view: views.ApiToken = { id: digest(token).slice(0, 12), name, createdAt: now() };
    this.tokens.set(name, { view, sha256: digest(token) });
    return view;
  }

  #vm(nameOrId: string): views.Vm {
    const vm = this.vms.get(nameOrId) ?? [...this.vms.values()].find((one) => one.id === nameOrId);
    if (vm === undefined) throw missing('VM', nameOrId);
    return vm;
  }

  #vmAt(nameOrId: string, condition: Conditional): views.Vm {
    const vm = this.#vm(nameOrId);
    checkRevision(vm, condition);
    return vm;
  }

  #running(nameOrId: string): views.Vm {
    const vm = this.#vm(nameOrId);
    if (vm.phase === 'stopped')
      throw new CodedError('conflict', `${vm.name} is stopped.`, { advice: 'Start it first.' });
    return vm;
  }

  #host(name: string): views.Host {
    const host = this.hosts.get(name);
    if (host === undefined) throw missing('host', name);
    return { ...host, vms: [...this.vms.values()].filter((vm) => vm.host === name).map((vm) => vm.name) };
  }

  #network(name: string): views.Network {
    const network = this.networks.get(name);
    if (network === undefined) throw missing('network', name);
    return network;
  }

  #image(name: string): views.Image {
    const image = this.images.get(name);
    if (image === undefined) throw missing('image', name);
    return image;
  }

  #artifact(sha256: string): views.Artifact {
    const artifact = this.artifacts.get(sha256);
    if (artifact === undefined) throw missing('artifact', sha256);
    return artifact;
  }

  #ref(sha256: string): { readonly sha256: string; readonly sizeBytes: number } {
    return { sha256, sizeBytes: this.#artifact(sha256).sizeBytes };
  }

  #putVm(vm: views.Vm): views.Vm {
    const stored = { ...vm, revision: this.#next() };
    this.vms.set(vm.name, stored);
    this.#emit('vm', vm.name, stored);
    return stored;
  }

  #change(name: string, change: Partial<views.Vm>): void {
    const vm = this.vms.get(name);
    if (vm !== undefined) this.#putVm({ ...vm, ...change, task: null });
  }

  #emit(kind: views.WatchKind, name: string, object: unknown): void {
    const change: views.WatchChange = { revision: String(this.#revision), kind, name, object };
    this.#bus.emit('change', change);
  }

  #task(kind: string, vm: string, done: () => void, of: views.Task['target']['kind'] = 'vm'): views.Task {
    const id = `task-${randomBytes(6).toString('hex')}`;
    const target = { kind: of, name: vm } as const;
    const begun = { id, revision: this.#next(), kind, target, state: 'running', progressPercent: 0 } as const;
    const task: views.Task = { ...begun, message: 'begun', startedAt: now(), endedAt: null };
    this.tasks.set(id, task);
    this.#change(vm, { task });
    const stored = this.vms.get(vm);
    if (stored !== undefined) this.vms.set(vm, { ...stored, task });
    setTimeout(() => this.#endTask(task, done), this.taskMs).unref();
    return task;
  }

  #endTask(task: views.Task, done: () => void): void {
    if (this.tasks.get(task.id)?.state !== 'running') return;
    const failure = this.taskFailures.get(task.kind);
    this.taskFailures.delete(task.kind);
    if (failure !== undefined) return void this.#conclude(task, 'failed', failure);
    done();
    this.#conclude(task, 'succeeded', 'done');
  }

  #conclude(task: views.Task, state: views.Task['state'], message: string): views.Task {
    const revision = this.#next();
    const ended: views.Task = { ...task, revision, state, message, progressPercent: 100, endedAt: now() };
    this.tasks.set(task.id, ended);
    const { kind, target } = task;
    const of = { vm: target.name, vmId: this.vms.get(target.name)?.id ?? null, host: null, generation: null };
    this.events.push({ revision, at: now(), kind, message: `${kind} ${state}`, ...of });
    this.#emit('task', task.id, ended);
    this.#emit('event', revision, this.events.at(-1));
    return ended;
  }
}

const now = (): string => new Date().toISOString();
const digest = (token: string): string => createHash('sha256').update(token).digest('hex');
