/**
 * Shared disks and guest clusters of the fake backend: they keep state and refuse what the real ones refuse; a change is
 * carried out at once, and its task ends a little later.
 */
import { randomBytes } from 'node:crypto';
import type * as requests from '../../../api/requests.ts';
import type * as views from '../../../api/views.ts';
import { CodedError } from '../../../base/errors.ts';
import type { Backend, Call, Conditional, GuestClusterBackend } from '../backend.ts';
import type { Page } from '../pages.ts';
import { paged } from './fake-lists.ts';

type Disk = views.SharedDisk;
type Cluster = views.GuestCluster;

/** What the rest of the fake lends. */
export interface Lent {
  readonly enter: (method: keyof Backend, call?: Call) => Promise<void>;
  readonly vm: (nameOrId: string) => views.Vm;
  readonly putVm: (vm: views.Vm) => views.Vm;
  readonly task: (kind: string, target: views.Task['target'], done: () => void) => views.Task;
  readonly next: () => string;
  readonly checkRevision: (of: { readonly name: string; readonly revision: string }, condition: Conditional) => void;
}

/** See the module. Public maps are for tests to look at and to arrange. */
export class FakeGuestClusters implements GuestClusterBackend {
  readonly disks = new Map<string, Disk>();
  readonly clusters = new Map<string, Cluster>();
  /** Shown as well, at the end. */
  readonly undeclared: Cluster[] = [];
  readonly #lent: Lent;

  constructor(lent: Lent) {
    this.#lent = lent;
  }

  async listSharedDisks(query: requests.PageQuery, call: Call): Promise<Page<Disk>> {
    await this.#lent.enter('listSharedDisks', call);
    return paged([...this.disks.values()], null, { query, call });
  }

  async getSharedDisk(disk: string, call: Call): Promise<Disk> {
    await this.#lent.enter('getSharedDisk', call);
    return this.#disk(disk);
  }

  async createSharedDisk(request: requests.CreateSharedDisk, call: Call): Promise<Disk> {
    await this.#lent.enter('createSharedDisk', call);
    if ([...this.disks.values()].some(({ name, guestCluster }) => guestCluster === null && name === request.name))
      throw refusal('exists', `A shared disk of no guest cluster is named ${request.name}.`);
    return this.#make(request, null, []);
  }

  async patchSharedDisk(disk: string, patch: requests.PatchSharedDisk & Conditional, call: Call): Promise<views.Task> {
    await this.#lent.enter('patchSharedDisk', call);
    const old = this.#disk(disk);
    this.#lent.checkRevision(old, patch);
    if (patch.sizeBytes < old.sizeBytes) throw refusal('bad-input', `${old.name} cannot become smaller.`);
    return this.#task('shared-disk.resize', 'shared-disk', old.name, () =>
      this.#putDisk({ ...old, sizeBytes: patch.sizeBytes }),
    );
  }

  async deleteSharedDisk(disk: string, condition: Conditional, call: Call): Promise<views.Task> {
    await this.#lent.enter('deleteSharedDisk', call);
    const old = this.#disk(disk);
    this.#lent.checkRevision(old, condition);
    const [user] = old.vms;
    if (user !== undefined) throw refusal('conflict', `${old.name} is attached to ${user.vm}.`);
    return this.#task('shared-disk.delete', 'shared-disk', old.name, () => this.disks.delete(old.id));
  }

  async attachSharedDisk(
    disk: string,
    request: requests.AttachSharedDisk & Conditional,
    call: Call,
  ): Promise<views.Task> {
    await this.#lent.enter('attachSharedDisk', call);
    const old = this.#disk(disk);
    this.#lent.checkRevision(old, request);
    const { name } = this.#lent.vm(request.vm);
    if (old.vms.some(({ vm }) => vm === name)) throw refusal('conflict', `${name} has ${old.name} already.`);
    return this.#task('shared-disk.attach', 'shared-disk', old.name, () =>
      this.#putDisk({ ...old, vms: [...old.vms, { vm: name, lun: request.lun ?? 0, state: 'attached' }] }),
    );
  }

  async detachSharedDisk(disk: string, vm: string, condition: Conditional, call: Call): Promise<views.Task> {
    await this.#lent.enter('detachSharedDisk', call);
    const old = this.#disk(disk);
    this.#lent.checkRevision(old, condition);
    if (!old.vms.some((use) => use.vm === vm)) throw refusal('not-found', `${vm} does not have ${old.name}.`);
    return this.#task('shared-disk.detach', 'shared-disk', old.name, () =>
      this.#putDisk({ ...old, vms: old.vms.filter((use) => use.vm !== vm) }),
    );
  }

  async listGuestClusters(query: requests.PageQuery, call: Call): Promise<Page<Cluster>> {
    await this.#lent.enter('listGuestClusters', call);
    const all = [...[...this.clusters.keys()].map((name) => this.#cluster(name)), ...this.undeclared];
    return paged(all, null, { query, call });
  }

  async getGuestCluster(name: string, call: Call): Promise<Cluster> {
    await this.#lent.enter('getGuestCluster', call);
    return this.#cluster(name);
  }

  async createGuestCluster(request: requests.CreateGuestCluster, call: Call): Promise<Cluster> {
    await this.#lent.enter('createGuestCluster', call);
    const { name, maxDisturbed = 1, toleratesMs = 3_000, shareHosts = false, heartbeatNetworks = [] } = request;
    if (this.clusters.has(name)) throw refusal('exists', `A guest cluster named ${name} exists.`);
    const members = request.members.map((vm) => this.#member(vm, name));
    for (const asked of request.sharedDisks ?? []) this.#make(asked, name, members);
    const task = this.#task('guest-cluster.create', 'guest-cluster', name, () => undefined);
    this.clusters.set(name, {
      ...{ name, declared: true, because: [], deleting: false, members, disks: [] },
      ...{ heartbeatNetworks: [...heartbeatNetworks], maxDisturbed, disturbed: [], toleratesMs },
      ...{ sharesHosts: shareHosts, revision: this.#lent.next(), task, createdAt: now() },
    });
    return this.#cluster(name);
  }

  async patchGuestCluster(name: string, patch: requests.PatchGuestCluster & Conditional, call: Call): Promise<Cluster> {
    await this.#lent.enter('patchGuestCluster', call);
    const { ifMatch, maxDisturbed, toleratesMs } = patch;
    const old = this.#checked(name, { ifMatch });
    return this.#putCluster({
      ...old,
      maxDisturbed: maxDisturbed ?? old.maxDisturbed,
      toleratesMs: toleratesMs ?? old.toleratesMs,
    });
  }

  async deleteGuestCluster(name: string, query: requests.DiskFateQuery & Conditional, call: Call): Promise<views.Task> {
    await this.#lent.enter('deleteGuestCluster', call);
    const old = this.#checked(name, query);
    if (old.disks.some(({ registrations }) => registrations.length > 0) && query.force !== true)
      throw refusal('conflict', `Keys are registered on the disks of ${name}: its guests use them.`);
    return this.#task('guest-cluster.delete', 'guest-cluster', name, () => {
      this.clusters.delete(name);
      for (const { vm } of old.members) this.#lent.putVm({ ...this.#lent.vm(vm), guestCluster: null });
      for (const { id } of old.disks) this.#leave(id, query.keep === true);
    });
  }

  async addGuestClusterMember(
    name: string,
    request: requests.AddMember & Conditional,
    call: Call,
  ): Promise<views.Task> {
    await this.#lent.enter('addGuestClusterMember', call);
    const old = this.#checked(name, request);
    const member = this.#member(request.vm, name);
    return this.#task('guest-cluster.add-member', 'guest-cluster', name, () => {
      this.#putCluster({ ...old, members: [...old.members, member] });
    });
  }

  async removeGuestClusterMember(name: string, vm: string, condition: Conditional, call: Call): Promise<views.Task> {
    await this.#lent.enter('removeGuestClusterMember', call);
    const old = this.#checked(name, condition);
    if (!old.members.some((member) => member.vm === vm)) throw refusal('not-found', `${vm} is no member of ${name}.`);
    return this.#task('guest-cluster.remove-member', 'guest-cluster', name, () => {
      this.#lent.putVm({ ...this.#lent.vm(vm), guestCluster: null });
      this.#putCluster({ ...old, members: old.members.filter((member) => member.vm !== vm) });
    });
  }

  async addGuestClusterDisk(
    name: string,
    { ifMatch, ...request }: requests.AddDisk & Conditional,
    call: Call,
  ): Promise<views.Task> {
    await this.#lent.enter('addGuestClusterDisk', call);
    const { members } = this.#checked(name, { ifMatch });
    if ('disk' in request) this.#putDisk({ ...this.#disk(request.disk), guestCluster: name });
    else this.#make(request, name, members);
    return this.#task('guest-cluster.add-disk', 'guest-cluster', name, () => undefined);
  }

  async removeGuestClusterDisk(
    name: string,
    disk: string,
    query: requests.DiskFateQuery & Conditional,
    call: Call,
  ): Promise<views.Task> {
    await this.#lent.enter('removeGuestClusterDisk', call);
    const found = this.#checked(name, query).disks.find((each) => each.name === disk);
    if (found === undefined) throw refusal('not-found', `${name} has no shared disk ${disk}.`);
    return this.#task('guest-cluster.remove-disk', 'guest-cluster', name, () =>
      this.#leave(found.id, query.keep === true),
    );
  }

  #make(asked: requests.CreateSharedDisk, guestCluster: string | null, members: Cluster['members']): Disk {
    const id = `disk-${randomBytes(6).toString('hex')}`;
    const vms = members.map(({ vm }) => ({ vm, lun: 0, state: 'attached' as const }));
    const { name, sizeBytes, blockBytes = 512 } = asked;
    return this.#putDisk({
      ...{
        id,
        name,
        wwn: `wwn-0x3000${id.slice(5)}`,
        node: 's1',
        sizeBytes,
        blockBytes,
        phase: 'ready',
        error: null,
        vms,
      },
      ...{ registrations: [], reservation: null, revision: '', guestCluster, task: null, createdAt: now() },
    });
  }

  #leave(id: string, isKept: boolean): void {
    const disk = this.#disk(id);
    if (isKept) this.#putDisk({ ...disk, guestCluster: null, vms: [] });
    else this.disks.delete(id);
  }

  #member(nameOrId: string, cluster: string): Cluster['members'][number] {
    const vm = this.#lent.vm(nameOrId);
    if (vm.guestCluster !== null) throw refusal('conflict', `${vm.name} is a member of ${vm.guestCluster}.`);
    this.#lent.putVm({ ...vm, guestCluster: cluster });
    const may = { allowed: vm.phase === 'running', reason: vm.phase === 'running' ? null : 'It does not run.' };
    const { id, name, host, generation, verdict, phase } = vm;
    const snapshot = { allowed: false, reason: 'This version takes no snapshots of VMs.' };
    return { vm: name, id, host, generation, verdict, phase, may: { migrate: may, drain: may, snapshot } };
  }

  #putDisk(disk: Disk): Disk {
    const stored = { ...disk, revision: this.#lent.next() };
    this.disks.set(disk.id, stored);
    return stored;
  }

  #putCluster(cluster: Cluster): Cluster {
    this.clusters.set(cluster.name ?? '', { ...cluster, revision: this.#lent.next() });
    return this.#cluster(cluster.name ?? '');
  }

  #disk(nameOrId: string): Disk {
    const named = [...this.disks.values()].find((disk) => disk.guestCluster === null && disk.name === nameOrId);
    const disk = this.disks.get(nameOrId) ?? named;
    if (disk === undefined) throw refusal('not-found', `There is no shared disk ${nameOrId}.`);
    return disk;
  }

  #cluster(name: string): Cluster {
    const cluster = this.clusters.get(name);
    if (cluster === undefined) throw refusal('not-found', `There is no guest cluster ${name}.`);
    const disks = [...this.disks.values()].filter(({ guestCluster }) => guestCluster === name);
    return {
      ...cluster,
      disks: disks.map(({ revision: _, guestCluster: __, task: ___, createdAt: ____, ...disk }) => disk),
    };
  }

  #checked(name: string, { ifMatch }: Conditional): Cluster {
    const cluster = this.#cluster(name);
    this.#lent.checkRevision({ name, revision: cluster.revision ?? '' }, { ifMatch });
    return cluster;
  }

  #task(kind: string, target: 'guest-cluster' | 'shared-disk', name: string, done: () => unknown): views.Task {
    done();
    return this.#lent.task(kind, { kind: target, name }, () => undefined);
  }
}

const now = (): string => new Date().toISOString();

function refusal(code: 'exists' | 'not-found' | 'conflict' | 'bad-input', message: string): CodedError {
  return new CodedError(code, message, { advice: 'Nothing was changed.' });
}
