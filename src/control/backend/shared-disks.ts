/** Shared disks through the API: a change is recorded when its promise resolves; the leader's loops carry it out and end its task. */
import type { AttachSharedDisk, CreateSharedDisk, PageQuery, PatchSharedDisk } from '../../api/requests.ts';
import type { SharedDisk, Task } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { parseDiskId, type StorageName } from '../../base/ids.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import {
  type Asked,
  attachChanges,
  deletedDisk,
  detachChanges,
  diskChange,
  grownDisk,
  type NewSharedDisk,
  newSharedDisk,
  type Records,
} from '../../core/plan/shared-disk-admission.ts';
import type { Change, Entry } from '../../core/ports/store.ts';
import type { Call, Conditional } from '../api/backend.ts';
import { type Page, pageOf } from '../api/pages.ts';
import type { Unchanged, Write } from '../store/cluster-store.ts';
import { snapshotOf, writesOf } from '../store/leader-store.ts';
import { chooseNode, demandPoolFile, roomForShared } from './admission.ts';
import { change, checkRevision, findVm, newTask, taskWrite } from './changes.ts';
import type { BackendContext } from './context.ts';
import { sharedDiskView } from './guest-cluster-views.ts';
import { taskView } from './views.ts';

/** A change as admission made it, and what else is written, or only compared, with it. */
export interface Admitted {
  readonly changes: readonly Change[];
  readonly writes?: readonly Write[];
  readonly unchanged?: readonly Unchanged[];
}

/** What a change is about, for its task. */
export interface About {
  readonly kind: string;
  readonly target: TaskRecord['target'];
  readonly message: string;
}

/** Makes a change with its task in one transaction; the task is what the leader's loop ends. */
export async function changeWithTask(
  context: BackendContext,
  { kind, target, message }: About,
  admit: (records: Records, asked: Asked) => Admitted,
): Promise<Task> {
  const id = await change(context, () => {
    const snapshot = snapshotOf(context.store);
    const task = newTask(context, { kind, target, message });
    const { changes, writes = [], unchanged = [] } = admit(snapshot, { now: context.clock.wallMs(), task });
    const all = [...changes.flatMap((each) => writesOf(each, snapshot)), ...writes, taskWrite(task)];
    return { writes: all, unchanged, result: task.id };
  });
  const entry = context.store.tasks.get(id);
  if (entry === undefined) throw new CodedError('failed', `Task ${id} is gone.`);
  return taskView(entry);
}

/** A disk that a request asks for, with an id of its own, on a storage node. */
export function plannedDisk(
  { randomHex }: Pick<BackendContext, 'randomHex'>,
  { name, sizeBytes, blockBytes }: CreateSharedDisk,
  node: StorageName,
): NewSharedDisk {
  const id = parseDiskId(`disk-${randomHex(6)}`);
  return { id, name, node, sizeBytes, blockBytes: blockBytes ?? 512 };
}

/** Shared disks, those of guest clusters included; what belongs to a guest cluster is attached and deleted through that. */
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

  get(disk: string): SharedDisk {
    return sharedDiskView(this.#context, findSharedDisk(this.#context, disk));
  }

  async create(request: CreateSharedDisk): Promise<SharedDisk> {
    const context = this.#context;
    if (/^disk-[0-9a-f]{12}$/.test(request.name))
      throw new CodedError('bad-input', `${request.name} has the form of an id, which would make it ambiguous.`, {
        advice: 'Nothing was created. Choose another name.',
      });
    const about = { kind: 'shared-disk.create', ...ofDisk(request.name), message: 'Creating.' };
    await changeWithTask(context, about, (records, asked) => {
      const disk = plannedDisk(context, request, chooseNode(context, roomForShared([request])));
      return { changes: [diskChange(newSharedDisk(records, disk, null, asked))] };
    });
    return this.get(request.name);
  }

  patch(name: string, { sizeBytes, ifMatch }: PatchSharedDisk & Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['shared-disk.resize', 'Growing.'], (disk, _records, asked) => {
      demandPoolFile(this.#context, disk.node, sizeBytes);
      return [diskChange(grownDisk(disk, sizeBytes, asked))];
    });
  }

  delete(name: string, { ifMatch }: Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['shared-disk.delete', 'Deleting.'], (disk, records, asked) => [
      diskChange(deletedDisk(records, disk, asked)),
    ]);
  }

  attach(name: string, { vm, lun, ifMatch }: AttachSharedDisk & Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['shared-disk.attach', 'Attaching.'], (disk, records, asked) => {
      const { value } = findVm(this.#context, vm);
      return attachChanges(records, { disk, vm: value, lun: lun ?? null }, asked);
    });
  }

  detach(name: string, vm: string, { ifMatch }: Conditional): Promise<Task> {
    return this.#change(name, ifMatch, ['shared-disk.detach', 'Detaching.'], (disk, _records, asked) =>
      detachChanges({ disk, vm: findVm(this.#context, vm).value }, asked),
    );
  }

  #change(
    name: string,
    ifMatch: string | null,
    [kind, message]: readonly [string, string],
    admit: (disk: SharedDiskRecord, records: Records, asked: Asked) => readonly Change[],
  ): Promise<Task> {
    const about = { kind, ...ofDisk(findSharedDisk(this.#context, name).value.name), message };
    return changeWithTask(this.#context, about, (records, asked) => {
      const entry = findSharedDisk(this.#context, name);
      checkRevision(entry, ifMatch, `Shared disk ${entry.value.name}`);
      return { changes: admit(entry.value, records, asked) };
    });
  }
}

/** A shared disk by its id or, where it is of no guest cluster, its name. CodedError 'not-found'. */
export function findSharedDisk({ store }: BackendContext, disk: string): Entry<SharedDiskRecord> {
  const { sharedDisks, sharedDiskNames } = store;
  const entry = sharedDisks.get(disk) ?? sharedDisks.get(sharedDiskNames.get(`-/${disk}`)?.value ?? '');
  if (entry === undefined)
    throw new CodedError('not-found', `There is no shared disk ${disk} of no guest cluster, and none of that id.`, {
      advice: 'List them with "gp shared-disk list".',
    });
  return entry;
}

function ofDisk(name: string): Pick<About, 'target'> {
  return { target: { kind: 'shared-disk', name } };
}
