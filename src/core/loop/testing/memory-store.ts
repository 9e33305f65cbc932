/** A leader's store in memory: it applies each commit, unless a test says that a commit ends otherwise. */

import type {
  DiskId,
  DrainId,
  GuestClusterName,
  HostName,
  NetworkName,
  RollId,
  StorageName,
  Term,
  VmId,
} from '../../../base/ids.ts';
import type { AuthoritiesRecord } from '../../model/authorities.ts';
import type { CertificateRecord } from '../../model/certificate.ts';
import type {
  ControlRecord,
  DiskRecord,
  EventRecord,
  HostRecord,
  NetworkRecord,
  StorageRecord,
  TaskRecord,
} from '../../model/cluster.ts';
import type { DrainRecord } from '../../model/drain.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../../model/guest-cluster.ts';
import { FIRST_EPOCH } from '../../model/record-shapes.ts';
import type { RollPlanRecord, RollRecord } from '../../model/roll.ts';
import type { VmRecord } from '../../model/vm.ts';
import { VM } from '../../plan/testing/sample-records.ts';
import type { Change, Commit, Entry, LeaderStore, Snapshot } from '../../ports/store.ts';

type CommitResult = Awaited<ReturnType<LeaderStore['commit']>>;

/**
 * Records by kind. Records that only a test uses have the fields that the test needs; `put` gives them the next
 * revision.
 */
export class MemoryStore implements LeaderStore {
  readonly term = 7 as Term;
  readonly vms = new Map<VmId, Entry<VmRecord>>();
  readonly hosts = new Map<HostName, Entry<HostRecord>>();
  readonly disks = new Map<DiskId, Entry<DiskRecord>>();
  readonly storage = new Map<StorageName, Entry<StorageRecord>>();
  readonly networks = new Map<NetworkName, Entry<NetworkRecord>>();
  readonly tasks = new Map<TaskRecord['id'], Entry<TaskRecord>>();
  readonly sharedDisks = new Map<DiskId, Entry<SharedDiskRecord>>();
  readonly controls = new Map<string, Entry<ControlRecord>>();
  readonly guestClusters = new Map<GuestClusterName, Entry<GuestClusterRecord>>();
  readonly drains = new Map<DrainId, Entry<DrainRecord>>();
  readonly rolls = new Map<RollId, Entry<RollRecord>>();
  readonly rollPlans = new Map<RollId, Entry<RollPlanRecord>>();
  readonly authorities = new Map<string, Entry<AuthoritiesRecord>>();
  readonly certificates = new Map<string, Entry<CertificateRecord>>();
  readonly unreadable = new Map<string, string>();
  readonly lastReadable = new Map<string, unknown>();
  readonly commits: Commit[] = [];
  readonly events: EventRecord[] = [];
  /** The outcomes of the next commits; later ones are applied. */
  readonly results: CommitResult[] = [];
  /** Whether the lease is certain to last. */
  isLeading = true;
  /** No checker judges the commits of these tests. */
  completeRevision: number | null = null;
  #revision = 1;
  #listener: Parameters<LeaderStore['onChange']>[0] = () => undefined;

  get snapshot(): Snapshot {
    const { vms, hosts, disks, storage, networks, tasks, sharedDisks, drains, controls, unreadable, lastReadable } =
      this;
    return {
      ...{ vms, hosts, disks, storage, networks, tasks, sharedDisks, unreadable },
      epoch: FIRST_EPOCH,
      revision: this.#revision,
      completeRevision: this.completeRevision ?? this.#revision,
      controls,
      guestClusters: this.guestClusters,
      drains,
      tokens: new Map(),
      rolls: this.rolls,
      rollPlans: this.rollPlans,
      authorities: this.authorities,
      certificates: this.certificates,
      reservations: new Map(),
      images: new Map(),
      events: new Map(),
      lastReadable,
      disksOf: (vm) => [...disks.values()].flatMap(({ value }) => (value.vm === vm ? [value] : [])),
    };
  }

  leads(): boolean {
    return this.isLeading;
  }

  async commit(commit: Commit): Promise<CommitResult> {
    this.commits.push(commit);
    const result = this.results.shift() ?? 'committed';
    if (result === 'committed') {
      for (const change of commit.changes) this.put(change);
      this.events.push(...commit.events);
    }
    return result;
  }

  onChange(listener: Parameters<LeaderStore['onChange']>[0]): void {
    this.#listener = listener;
  }

  /** Nobody judges the commits of these tests. */
  onCommit(): void {}

  /** Writes a record as any client may, and reports the change. */
  put(change: Change | { readonly kind: 'storage'; readonly id: StorageName; readonly value: StorageRecord }): void {
    const tables = {
      vm: this.vms,
      disk: this.disks,
      host: this.hosts,
      network: this.networks,
      task: this.tasks,
      'shared-disk': this.sharedDisks,
      'guest-cluster': this.guestClusters,
      drain: this.drains,
      roll: this.rolls,
      'roll-plan': this.rollPlans,
      authority: this.authorities,
      certificate: this.certificates,
      image: new Map(),
      token: new Map(),
      event: new Map(),
      storage: this.storage,
      control: this.controls,
    };
    const table = tables[change.kind] as Map<string, Entry<unknown>>;
    this.#revision++;
    if (change.value === null) table.delete(change.id);
    else table.set(change.id, { value: change.value, revision: this.#revision });
    const { kind, id } = change;
    if (kind !== 'token') this.#listener({ kind, id });
  }

  /** The sample VM's entry. */
  vm(): Entry<VmRecord> {
    const entry = this.vms.get(VM);
    if (entry === undefined) throw new Error('the test has put no VM');
    return entry;
  }
}
