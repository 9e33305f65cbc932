/**
 * The basis on which every request of a person is decided, and its result. Each request is a pure function: the same
 * basis and the same request give the same changes, or the same refusal (a CodedError).
 */
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseTaskId, type StorageName } from '../../base/ids.ts';
import type { EstateVm } from '../maintenance/estate.ts';
import type { EstateChange } from '../maintenance/estate-change.ts';
import type { PlanView } from '../maintenance/estate-records.ts';
import type { Broken } from '../maintenance/evacuability.ts';
import type { Model } from '../maintenance/model.ts';
import type { EventRecord, TaskRecord } from '../model/cluster.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import { PREFIX } from '../model/keys.ts';
import type { HostObservation } from '../model/observation.ts';
import type { VmRecord } from '../model/vm.ts';
import type { Ending } from '../ports/ending.ts';
import type { RandomHex } from '../ports/random.ts';
import type { StorageReport } from '../ports/storage-link.ts';
import type { Change, Entry, ObjectRef, RequestSnapshot } from '../ports/store.ts';

/** The records as they are now, the time, and where new identifiers come from. */
export interface Basis {
  readonly records: RequestSnapshot;
  /** The index of the same records. */
  readonly index: ClusterIndex;
  /** Unix ms. */
  readonly now: number;
  readonly randomHex: RandomHex;
}

/** The leader's observations, as far as requests depend on them. */
export interface Observed {
  readonly observer: { see(host: HostName): HostObservation };
  readonly storageObserver: {
    answers(node: StorageName): boolean;
    /** Returns true for a node that was asked and did not answer. */
    isSilent(node: StorageName): boolean;
    /** The newest report; null before the first. */
    report(node: StorageName): Pick<StorageReport, 'pool' | 'artifacts'> | null;
  };
  readonly dirtyRates: {
    /** How fast the guest writes to its memory, in MiB a second; null if it was not measured recently. */
    of(vm: VmRecord): number | null;
  };
  /** The estate as the leader keeps it (core/loop/maintenance/estate-keeper.ts). */
  readonly estate: {
    /** The model for a plan that is made at once; null: not all records were read yet. */
    model(view: PlanView): Model | null;
    /** As the verdicts see it, for work that takes many turns; null as above. */
    copy(): Model | null;
    /**
     * The verdicts that changes would break. `check`: the changes are not to be made, and the caller waits until its
     * signal aborts. CodedError 'unavailable' if there is no answer in time.
     */
    judge(changes: readonly EstateChange[], check?: { readonly signal: Ending }): Promise<readonly Broken[]>;
    /** Does `act` after every guarded change before it. CodedError 'unavailable' where that takes long. */
    inTurn<T>(act: () => Promise<T>): Promise<T>;
    /** A VM was admitted that is to start on a host: it counts as if it ran there. */
    expect(vm: Pick<EstateVm, 'id' | 'host'>): void;
    /** The VMs that are expected, as if they ran. */
    expected(): readonly VmRecord[];
  };
  readonly vms: {
    /** Returns true for a VM whose guest is seen to run. */
    seesRunning(vm: VmRecord): boolean;
  };
}

/** The revision that the caller has read, as an entity tag; null: any. */
export interface OfRevision {
  readonly ifMatch: string | null;
}

/** An admitted request: one transaction, and the answer to the caller once it is made. */
export interface Admitted<T> {
  /** Each depends on the revision of its object in the basis. None: nothing is to be done. */
  readonly changes: readonly Change[];
  /** Objects that the request was decided from: they must be unchanged as well. */
  readonly unchanged?: readonly ObjectRef[];
  readonly events?: readonly EventRecord[];
  /**
   * Tasks that the request ends if they still run. A task that the basis lacks may have been written together with a
   * record in the basis that is newer than the watch: the caller waits for it and decides again.
   */
  readonly endsTasks?: readonly TaskRecord['id'][];
  readonly result: T;
}

/** The VM of a name or id; CodedError 'not-found', or 'failed' for a record that cannot be read. */
export function findVm(
  records: Pick<RequestSnapshot, 'vms' | 'vmNames' | 'unreadable'>,
  nameOrId: string,
): Entry<VmRecord> {
  const id = records.vmNames.get(nameOrId)?.value ?? nameOrId;
  const entry = records.vms.get(id as VmRecord['id']);
  const finding = records.unreadable.get(PREFIX.vm + id);
  if (entry === undefined && finding !== undefined)
    throw new CodedError('failed', `What etcd holds at ${PREFIX.vm + id} ${finding}: ${nameOrId} is left as it is.`, {
      advice: 'Nothing was changed. See docs/operating/failures.md, "A value in etcd that is no record".',
    });
  if (entry === undefined)
    throw new CodedError('not-found', `There is no VM ${nameOrId}.`, { advice: 'List them with "gp vm list".' });
  return entry;
}

/** CodedError 'stale-revision' if the caller's revision (an entity tag or null) is not the object's. */
export function checkRevision(entry: Entry<unknown>, ifMatch: string | null, what: string): void {
  if (ifMatch === null || ifMatch.replaceAll('"', '') === String(entry.revision)) return;
  throw new CodedError(
    'stale-revision',
    `${what} was changed by somebody else: it is at revision ${entry.revision}, not ${ifMatch}.`,
    {
      advice: 'Nothing was changed. Read it again and repeat the change.',
    },
  );
}

/** A task that begins now. */
export function newTask(
  { now, randomHex }: Pick<Basis, 'now' | 'randomHex'>,
  { kind, target, message }: Pick<TaskRecord, 'kind' | 'target' | 'message'>,
): TaskRecord {
  return {
    id: parseTaskId(`task-${randomHex(6)}`),
    kind,
    target,
    state: 'running',
    progressPercent: null,
    message,
    startedAt: now,
    endedAt: null,
  };
}

/** A task that had nothing to do. */
export function endedTask({ now }: Pick<Basis, 'now'>, task: TaskRecord, message: string): TaskRecord {
  return { ...task, state: 'succeeded', progressPercent: 100, message, endedAt: now };
}

/** The change that writes a VM. */
export const vmChange = (value: VmRecord): Change => ({ kind: 'vm', id: value.id, value });
/** The change that writes a task. */
export const taskChange = (value: TaskRecord): Change => ({ kind: 'task', id: value.id, value });
