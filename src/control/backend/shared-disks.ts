/**
 * Shared disks through the API: a change is recorded when its promise resolves; the leader's loops carry it out and end
 * its task.
 */
import type { AttachSharedDisk, CreateSharedDisk, PageQuery, PatchSharedDisk } from '../../api/requests.ts';
import type { SharedDisk, Task } from '../../api/views.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { Admitted, Basis } from '../../core/request/basis.ts';
import {
  attachSharedDisk,
  createSharedDisk,
  deleteSharedDisk,
  detachSharedDisk,
  findSharedDisk,
  growSharedDisk,
} from '../../core/request/shared-disks.ts';
import type { Call, Conditional } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { changeWithTask } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';
import { sharedDiskView } from './guest-cluster-views.ts';
import { taskView } from './views.ts';

/**
 * Shared disks, those of guest clusters included; what belongs to a guest cluster is attached and deleted through that.
 */
export class SharedDisksBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Lists shared disks by guest cluster (those without one first), then by name. */
  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<SharedDisk>> {
    const { sharedDisks, sharedDiskNames } = this.#context.store;
    const view = (scopeAndName: string): SharedDisk | null => {
      const entry = sharedDisks.get(sharedDiskNames.get(scopeAndName)?.value ?? '');
      return entry === undefined ? null : sharedDiskView(this.#context, entry);
    };
    return pageOf({ order: sharedDiskNames.order, view }, query, signal);
  }

  /** `disk`: an id, or the name of a disk of no guest cluster. */
  get(disk: string): SharedDisk {
    return sharedDiskView(this.#context, findSharedDisk(snapshotOf(this.#context.store), disk));
  }

  async create(request: CreateSharedDisk): Promise<SharedDisk> {
    this.#context.etcdSpace.demandRoom();
    await this.#asked((basis) => createSharedDisk(basis, observedBy(this.#context), request));
    return this.get(request.name);
  }

  /** Makes it larger; CodedError 'bad-input' for a smaller size. */
  patch(name: string, patch: PatchSharedDisk & Conditional): Promise<Task> {
    return this.#asked((basis) => growSharedDisk(basis, observedBy(this.#context), name, patch));
  }

  /** CodedError 'conflict' while a VM has it. */
  delete(name: string, condition: Conditional): Promise<Task> {
    return this.#asked((basis) => deleteSharedDisk(basis, name, condition));
  }

  attach(name: string, request: AttachSharedDisk & Conditional): Promise<Task> {
    return this.#asked((basis) => attachSharedDisk(basis, name, request));
  }

  detach(name: string, vm: string, condition: Conditional): Promise<Task> {
    return this.#asked((basis) => detachSharedDisk(basis, name, { vm, ...condition }));
  }

  async #asked(decide: (basis: Basis) => Admitted<TaskRecord['id']>): Promise<Task> {
    return taskView(await changeWithTask(this.#context, decide));
  }
}
