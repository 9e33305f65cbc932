/** Guest clusters through the API: a change is recorded when its promise resolves; the leader's loops carry it out and end its task. */
import type {
  AddDisk,
  AddMember,
  CreateGuestCluster,
  DiskFateQuery,
  PageQuery,
  PatchGuestCluster,
} from '../../api/requests.ts';
import type { GuestCluster, Task } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { type NetworkName, parseGuestClusterName, parseNetworkName } from '../../base/ids.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { NetworkRecord } from '../../core/model/cluster.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import {
  addDiskChanges,
  addMemberChanges,
  adoptDiskChanges,
  createChanges,
  type DiskFate,
  deleteChanges,
  disksOf,
  missingCards,
  removeDiskChanges,
  removeMemberChanges,
} from '../../core/plan/guest-cluster-admission.ts';
import type { Asked, Records } from '../../core/plan/shared-disk-admission.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Call, Conditional } from '../api/backend.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { ClusterStore, type Unchanged } from '../store/cluster-store.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { chooseNode, networkWritesOf, newCard, roomForShared } from './admission.ts';
import { change, checkRevision, findVm } from './changes.ts';
import type { BackendContext } from './context.ts';
import { guestClusterView, undeclaredViews } from './guest-cluster-views.ts';
import { type Admitted, changeWithTask, findSharedDisk, plannedDisk } from './shared-disks.ts';

/** Corosync's default token, in ms: what a guest cluster bears of which nobody said anything. */
const TOLERATES_MS = 3_000;

/** Guest clusters: who are members, what they share, and what they bear. */
export class GuestClustersBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Lists guest clusters by name, then undeclared ones by their first disk. */
  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<GuestCluster>> {
    const { guestClusters } = this.#context.store;
    const undeclared = new Map(undeclaredViews(this.#context).map((view) => [`1/${view.disks[0]?.id ?? ''}`, view]));
    const declared = [...guestClusters.keys()].map((name) => `0/${name}`);
    const view = (place: string): GuestCluster | null => {
      const entry = guestClusters.get(place.slice(2));
      return undeclared.get(place) ?? (entry === undefined ? null : guestClusterView(this.#context, entry));
    };
    return pageOf({ order: new KeyOrder([...declared, ...undeclared.keys()]), view }, query, signal);
  }

  get(name: string): GuestCluster {
    return guestClusterView(this.#context, this.#find(name));
  }

  async create(request: CreateGuestCluster): Promise<GuestCluster> {
    const name = parseGuestClusterName(request.name);
    const networks = [...new Set(request.heartbeatNetworks ?? [])].map(parseNetworkName);
    await changeWithTask(this.#context, about('create', name, 'Creating.'), (records, asked) => {
      const changed = new Map<string, NetworkRecord>();
      const unchanged = this.#networksThere(networks);
      const members = request.members.map((vm) => this.#withCards(findVm(this.#context, vm).value, networks, changed));
      const asks = request.sharedDisks ?? [];
      const node = asks.length === 0 ? null : chooseNode(this.#context, roomForShared(asks));
      const disks = node === null ? [] : asks.map((disk) => plannedDisk(this.#context, disk, node));
      const wanted = {
        name,
        members,
        disks,
        heartbeatNetworks: networks,
        maxDisturbed: request.maxDisturbed ?? 1,
        toleratesMs: request.toleratesMs ?? TOLERATES_MS,
        sharesHosts: request.shareHosts ?? false,
      };
      const changes = createChanges(records, wanted, asked);
      return { changes, ...this.#networks(changed, unchanged) };
    });
    return this.get(name);
  }

  async patch(
    name: string,
    { ifMatch, maxDisturbed, toleratesMs }: PatchGuestCluster & Conditional,
  ): Promise<GuestCluster> {
    await change(this.#context, () => {
      const entry = this.#find(name);
      checkRevision(entry, ifMatch, `Guest cluster ${name}`);
      const { value } = entry;
      if (value.deleting === true)
        throw new CodedError('conflict', `Guest cluster ${name} is being deleted.`, { advice: 'Nothing was changed.' });
      const next: GuestClusterRecord = {
        ...value,
        maxDisturbed: maxDisturbed ?? value.maxDisturbed,
        toleratesMs: toleratesMs ?? value.toleratesMs,
      };
      return { writes: [ClusterStore.changed(keyOf.guestCluster(value.name), entry, next)], result: null };
    });
    return this.get(name);
  }

  delete(name: string, { ifMatch, ...query }: DiskFateQuery & Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['delete', 'Deleting.'], (cluster, records, asked) => ({
      changes: deleteChanges(records, { cluster, fate: fateOf(query) }, asked),
    }));
  }

  addMember(name: string, { vm, shareHosts, ifMatch }: AddMember & Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['add-member', 'Adding a member.'], (cluster, records, asked) => {
      const changed = new Map<string, NetworkRecord>();
      const unchanged = this.#networksThere(cluster.heartbeatNetworks);
      const member = this.#withCards(findVm(this.#context, vm).value, cluster.heartbeatNetworks, changed);
      const changes = addMemberChanges(records, { cluster, vm: member, consents: shareHosts ?? false }, asked);
      return { changes, ...this.#networks(changed, unchanged) };
    });
  }

  removeMember(name: string, vm: string, { ifMatch }: Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['remove-member', 'Removing a member.'], (cluster, records, asked) => ({
      changes: removeMemberChanges(records, { cluster, vm: findVm(this.#context, vm).value }, asked),
    }));
  }

  addDisk(name: string, { ifMatch, ...request }: AddDisk & Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['add-disk', 'Adding a shared disk.'], (cluster, records, asked) => {
      if ('disk' in request) {
        const { value: disk } = findSharedDisk(this.#context, request.disk);
        return { changes: adoptDiskChanges(records, { cluster, disk }, asked) };
      }
      const preferred = disksOf(records, cluster)[0]?.node ?? null;
      const disk = plannedDisk(this.#context, request, chooseNode(this.#context, roomForShared([request]), preferred));
      return { changes: addDiskChanges(records, { cluster, disk }, asked) };
    });
  }

  removeDisk(name: string, diskName: string, { ifMatch, ...query }: DiskFateQuery & Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['remove-disk', 'Removing a shared disk.'], (cluster, records, asked) => {
      const disk = diskNamed(records, cluster, diskName);
      return { changes: removeDiskChanges(records, { cluster, disk, fate: fateOf(query) }, asked) };
    });
  }

  #change(
    name: string,
    ifMatch: string | null,
    [verb, message]: readonly [string, string],
    admit: (cluster: GuestClusterRecord, records: Records, asked: Asked) => Admitted,
  ): Promise<Task> {
    return changeWithTask(this.#context, about(verb, name, message), (records, asked) => {
      const entry = this.#find(name);
      checkRevision(entry, ifMatch, `Guest cluster ${name}`);
      return admit(entry.value, records, asked);
    });
  }

  /** A VM with a card in each network: one that is stopped gets what it lacks; one that runs would only have it after its next start. */
  #withCards(vm: VmRecord, networks: readonly NetworkName[], changed: Map<string, NetworkRecord>): VmRecord {
    const missing = missingCards(vm, networks);
    if (missing.length === 0) return vm;
    if (vm.phase.kind !== 'stopped' || vm.intent !== 'stopped')
      throw new CodedError('conflict', `${vm.name} runs and has no card in network ${missing.join(', ')}.`, {
        advice: `Nothing was changed. Stop it (gp vm stop ${vm.name}): it then gets one; or leave the heartbeat network out.`,
      });
    const nics = [...vm.spec.nics];
    for (const network of missing)
      nics.push(newCard(this.#context, { wanted: { network }, vm: vm.id, hostname: vm.name, others: nics }, changed));
    return { ...vm, spec: { ...vm.spec, nics } };
  }

  /** The networks must be there, and still be there when the change is made. */
  #networksThere(networks: readonly NetworkName[]): Unchanged[] {
    return networks.map((network) => {
      const entry = this.#context.store.networks.get(network);
      if (entry === undefined)
        throw new CodedError('not-found', `There is no network ${network}.`, {
          advice: 'Nothing was changed. Create it with "gp network create".',
        });
      return { key: keyOf.network(network), expect: entry.revision };
    });
  }

  /** What is written is compared by that. */
  #networks(changed: ReadonlyMap<string, NetworkRecord>, there: readonly Unchanged[]): Omit<Admitted, 'changes'> {
    const writes = networkWritesOf(this.#context, changed);
    return { writes, unchanged: there.filter(({ key }) => !writes.some((write) => write.key === key)) };
  }

  #find(name: string): Entry<GuestClusterRecord> {
    const entry = snapshotOf(this.#context.store).guestClusters.get(parseGuestClusterName(name));
    if (entry === undefined)
      throw new CodedError('not-found', `There is no guest cluster ${name}.`, {
        advice: 'List them with "gp guest-cluster list".',
      });
    return entry;
  }
}

function about(verb: string, name: string, message: string) {
  return { kind: `guest-cluster.${verb}`, target: { kind: 'guest-cluster', name }, message } as const;
}

function fateOf({ keep, force }: DiskFateQuery): DiskFate {
  return { keeps: keep ?? false, forces: force ?? false };
}

function diskNamed(records: Records, cluster: GuestClusterRecord, name: string): SharedDiskRecord {
  const disks = disksOf(records, cluster);
  const found = disks.find((disk) => disk.name === name || disk.id === name);
  if (found !== undefined) return found;
  const known = disks.map((disk) => disk.name).join(', ');
  throw new CodedError('not-found', `${cluster.name} has no shared disk ${name}.`, {
    advice: `Nothing was changed. ${known === '' ? 'It has none.' : `It has ${known}.`}`,
  });
}
