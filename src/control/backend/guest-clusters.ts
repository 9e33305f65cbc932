/**
 * Guest clusters through the API: a change is recorded when its promise resolves; the leader's loops carry it out and
 * end its task.
 */
import type {
  AddDisk,
  AddMember,
  CreateGuestCluster,
  DiskFateQuery,
  PageQuery,
  PatchGuestCluster,
} from '../../api/requests.ts';
import type { GuestCluster, Task } from '../../api/views.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { Admitted, Basis } from '../../core/request/basis.ts';
import {
  addDisk,
  addMember,
  createGuestCluster,
  deleteGuestCluster,
  findGuestCluster,
  patchGuestCluster,
  removeDisk,
  removeMember,
} from '../../core/request/guest-clusters.ts';
import type { Call, Conditional } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { changeWithTask } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';
import { guarded, guardedTask, type Signed } from './guarded.ts';
import { guestClusterView, undeclaredViews } from './guest-cluster-views.ts';
import { taskView } from './views.ts';

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
    return guestClusterView(this.#context, findGuestCluster(snapshotOf(this.#context.store), name));
  }

  async create(request: Signed<CreateGuestCluster>): Promise<GuestCluster> {
    this.#context.etcdSpace.demandRoom();
    const { accept, name } = request;
    const asked = { accept, what: `guest cluster ${name}`, done: 'created' } as const;
    await guarded(this.#context, asked, (basis) => createGuestCluster(basis, observedBy(this.#context), request));
    return this.get(name);
  }

  async patch(name: string, patch: Signed<PatchGuestCluster> & Conditional): Promise<GuestCluster> {
    const asked = { accept: patch.accept, what: `change of guest cluster ${name}`, done: 'changed' } as const;
    await guarded(this.#context, asked, (basis) => patchGuestCluster(basis, name, patch));
    return this.get(name);
  }

  /** CodedError 'conflict' while guests have keys registered on its disks, unless forced. */
  delete(name: string, query: DiskFateQuery & Conditional): Promise<Task> {
    return this.#asked((basis) => deleteGuestCluster(basis, name, query));
  }

  async addMember(name: string, request: Signed<AddMember> & Conditional): Promise<Task> {
    const { accept, vm } = request;
    const asked = { accept, what: `${vm} in guest cluster ${name}`, done: 'changed' } as const;
    return taskView(await guardedTask(this.#context, asked, (basis) => addMember(basis, name, request)));
  }

  removeMember(name: string, vm: string, condition: Conditional): Promise<Task> {
    return this.#asked((basis) => removeMember(basis, name, { vm, ...condition }));
  }

  /** Adds a new disk, or one of no guest cluster (CodedError 'conflict' while somebody else has that). */
  addDisk(name: string, request: AddDisk & Conditional): Promise<Task> {
    return this.#asked((basis) => addDisk(basis, observedBy(this.#context), name, request));
  }

  removeDisk(name: string, disk: string, query: DiskFateQuery & Conditional): Promise<Task> {
    return this.#asked((basis) => removeDisk(basis, name, { disk, ...query }));
  }

  async #asked(decide: (basis: Basis) => Admitted<TaskRecord['id']>): Promise<Task> {
    return taskView(await changeWithTask(this.#context, decide));
  }
}
