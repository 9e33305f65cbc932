/**
 * The cluster's only memory, as the loops see it: a snapshot that a watch keeps up to date, and guarded commits.
 * Guarantees: a commit is one transaction that compares the leader's election key and the revision of every object it
 * touches; the snapshot holds a commit's result as soon as its promise resolves; a commit whose outcome is unknown is
 * read back first, and if that is not possible nothing more is committed in its term.
 */
import type {
  DiskId,
  DrainId,
  GuestClusterName,
  HostName,
  ImageName,
  NetworkName,
  RollId,
  StorageName,
  Term,
  VmId,
} from '../../base/ids.ts';
import type { AuthoritiesRecord } from '../model/authorities.ts';
import type { CertificateRecord } from '../model/certificate.ts';
import type {
  ControlRecord,
  DiskRecord,
  EventRecord,
  HostRecord,
  ImageRecord,
  NetworkRecord,
  StorageRecord,
  TaskRecord,
  TokenRecord,
} from '../model/cluster.ts';
import type { DrainRecord } from '../model/drain.ts';
import type { GuestClusterRecord, ReservationRecord, SharedDiskRecord } from '../model/guest-cluster.ts';
import type { ObjectKind } from '../model/keys.ts';
import type { Epoch } from '../model/record-shapes.ts';
import type { RollPlanRecord, RollRecord } from '../model/roll.ts';
import type { VmRecord } from '../model/vm.ts';

export interface Entry<T> {
  readonly value: T;
  /** etcd's mod_revision of the key. */
  readonly revision: number;
}

export interface Snapshot {
  /** The cluster's epoch; it stays the same for as long as etcd is not restored. */
  readonly epoch: Epoch;
  /** Revision of the newest change seen. */
  readonly revision: number;
  /**
   * Everything up to this revision is in it; of what is newer, single objects may be, without what was written together
   * with them.
   */
  readonly completeRevision: number;
  readonly vms: ReadonlyMap<VmId, Entry<VmRecord>>;
  readonly disks: ReadonlyMap<DiskId, Entry<DiskRecord>>;
  readonly hosts: ReadonlyMap<HostName, Entry<HostRecord>>;
  readonly storage: ReadonlyMap<StorageName, Entry<StorageRecord>>;
  readonly controls: ReadonlyMap<string, Entry<ControlRecord>>;
  readonly networks: ReadonlyMap<NetworkName, Entry<NetworkRecord>>;
  readonly tasks: ReadonlyMap<TaskRecord['id'], Entry<TaskRecord>>;
  readonly images: ReadonlyMap<ImageName, Entry<ImageRecord>>;
  /** Events by the part of their keys after the prefix, which sorts by time. */
  readonly events: ReadonlyMap<string, Entry<EventRecord>>;
  readonly sharedDisks: ReadonlyMap<DiskId, Entry<SharedDiskRecord>>;
  readonly guestClusters: ReadonlyMap<GuestClusterName, Entry<GuestClusterRecord>>;
  readonly drains: ReadonlyMap<DrainId, Entry<DrainRecord>>;
  readonly tokens: ReadonlyMap<string, Entry<TokenRecord>>;
  readonly rolls: ReadonlyMap<RollId, Entry<RollRecord>>;
  readonly rollPlans: ReadonlyMap<RollId, Entry<RollPlanRecord>>;
  /** The only record is that of `AUTHORITIES`. */
  readonly authorities: ReadonlyMap<string, Entry<AuthoritiesRecord>>;
  /** By the common name of the identity. */
  readonly certificates: ReadonlyMap<string, Entry<CertificateRecord>>;
  /** Written by the storage nodes' targets, and only read here. */
  readonly reservations: ReadonlyMap<DiskId, Entry<ReservationRecord>>;
  /**
   * Keys whose values are not valid records of their kind, with the findings. They are missing from the maps, and no
   * decision may treat them as nonexistent: objects that depend on such a record stay as they are until somebody has
   * repaired it.
   */
  readonly unreadable: ReadonlyMap<string, string>;
  /** The last valid values of keys in `unreadable`, as far as this control node has read one. */
  readonly lastReadable: ReadonlyMap<string, unknown>;
  /** Disks of a VM, in the order of their ids. */
  disksOf(vm: VmId): readonly DiskRecord[];
}

/** The additional records that requests of people read: the names and numbers that are taken. */
export interface RequestSnapshot extends Snapshot {
  readonly vmNames: ReadonlyMap<string, Entry<VmId>>;
  /** Disks by `NODE/PORT`. */
  readonly diskPorts: ReadonlyMap<string, Entry<DiskId>>;
  /** Shared disks by `GUEST-CLUSTER/NAME`, those of no guest cluster by `-/NAME`. */
  readonly sharedDiskNames: ReadonlyMap<string, Entry<DiskId>>;
  /** Networks by the VXLAN identifier in decimal. */
  readonly networkVnis: ReadonlyMap<string, Entry<NetworkName>>;
}

/**
 * One object's change: `value: null` deletes. The keys that keep names and numbers unique follow the record in the same
 * transaction.
 */
export type Change =
  | { readonly kind: 'vm'; readonly id: VmId; readonly value: VmRecord | null }
  | { readonly kind: 'disk'; readonly id: DiskId; readonly value: DiskRecord | null }
  | { readonly kind: 'host'; readonly id: HostName; readonly value: HostRecord | null }
  | { readonly kind: 'network'; readonly id: NetworkName; readonly value: NetworkRecord | null }
  | { readonly kind: 'task'; readonly id: TaskRecord['id']; readonly value: TaskRecord | null }
  | { readonly kind: 'shared-disk'; readonly id: DiskId; readonly value: SharedDiskRecord | null }
  | { readonly kind: 'guest-cluster'; readonly id: GuestClusterName; readonly value: GuestClusterRecord | null }
  | { readonly kind: 'drain'; readonly id: DrainId; readonly value: DrainRecord | null }
  | { readonly kind: 'roll'; readonly id: RollId; readonly value: RollRecord | null }
  | { readonly kind: 'roll-plan'; readonly id: RollId; readonly value: RollPlanRecord | null }
  | { readonly kind: 'authority'; readonly id: string; readonly value: AuthoritiesRecord | null }
  | { readonly kind: 'certificate'; readonly id: string; readonly value: CertificateRecord | null }
  | { readonly kind: 'storage'; readonly id: StorageName; readonly value: StorageRecord | null }
  | { readonly kind: 'control'; readonly id: string; readonly value: ControlRecord | null }
  | { readonly kind: 'image'; readonly id: ImageName; readonly value: ImageRecord | null }
  /** Events are made with a commit, and only deleted as objects. */
  | { readonly kind: 'event'; readonly id: string; readonly value: null }
  | { readonly kind: 'token'; readonly id: string; readonly value: TokenRecord | null };

type RefOf<C> = C extends Change ? Pick<C, 'kind' | 'id'> : never;
/** An object that a transaction depends on without writing it. */
export type ObjectRef = RefOf<Change>;

export interface Commit {
  /** Each object must be unchanged since the snapshot; an object that the snapshot lacks must not exist. */
  readonly changes: readonly Change[];
  readonly events: readonly EventRecord[];
}

/** Changes as the leader sees them. */
export interface SeenCommit {
  /** A leader's term: its own commit. `unknown`: what was read may sum up several commits, of whomever. */
  readonly by: Term | 'people' | 'unknown';
  readonly changes: readonly Change[];
}

/** The leader's hand on the store. */
export interface LeaderStore {
  readonly term: Term;
  readonly snapshot: Snapshot;
  /**
   * Whether it is certain now that no other node was elected. Ask before each order: an order of a deposed leader is
   * refused or harmless, but still disturbs. False may turn true again.
   */
  leads(): boolean;
  /**
   * `conflict`: something changed in the meantime; the snapshot is fresh again. `deposed`: this term is over; nothing
   * was written, or nobody knows.
   */
  commit(commit: Commit): Promise<'committed' | 'conflict' | 'deposed'>;
  /** Calls `listener` after every change of the snapshot, once for each object that changed. */
  onChange(listener: (change: { readonly kind: ObjectKind; readonly id: string }) => void): void;
  /**
   * Calls `listener` with every change after it, in the order in which they were made; a value that cannot be read is
   * no change.
   */
  onCommit(listener: (commit: SeenCommit) => void): void;
}
