/** The keys under which objects live in etcd. Values are JSON of the record types in this folder. */
import type {
  DiskId,
  DrainId,
  GuestClusterName,
  HostName,
  ImageName,
  NetworkName,
  RollId,
  StorageName,
  TaskId,
  VmId,
} from '../../base/ids.ts';

export const PREFIX = {
  vm: '/gp/vm/',
  vmName: '/gp/vm-name/',
  host: '/gp/host/',
  storage: '/gp/storage/',
  control: '/gp/control/',
  /** One record, `cluster`: the release that the whole cluster has (docs/decisions/0020). */
  release: '/gp/release/',
  disk: '/gp/disk/',
  diskPort: '/gp/disk-port/',
  sharedDisk: '/gp/shared-disk/',
  /** By scope and name, so that a name is unique in its scope. The value is the disk's id. */
  sharedDiskName: '/gp/shared-disk-name/',
  guestCluster: '/gp/guest-cluster/',
  drain: '/gp/drain/',
  roll: '/gp/roll/',
  /** The approved plan of a roll, by the roll's id. */
  rollPlan: '/gp/roll-plan/',
  /** By the common name of the identity. */
  certificate: '/gp/certificate/',
  authority: '/gp/authority/',
  /** Written only by the storage nodes' targets. */
  reservation: '/gp/reservation/',
  image: '/gp/image/',
  network: '/gp/network/',
  networkVni: '/gp/network-vni/',
  task: '/gp/task/',
  event: '/gp/event/',
  token: '/gp/token/',
  election: '/gp/election/',
} as const;

/**
 * The kinds of objects, as changes and watches name them, with the prefix of their records' keys. Keys that only make
 * names, ports and VNIs unique, tokens, the cluster's release, and the election's keys describe no object.
 */
const OBJECTS = {
  vm: PREFIX.vm,
  host: PREFIX.host,
  storage: PREFIX.storage,
  control: PREFIX.control,
  disk: PREFIX.disk,
  'shared-disk': PREFIX.sharedDisk,
  'guest-cluster': PREFIX.guestCluster,
  drain: PREFIX.drain,
  roll: PREFIX.roll,
  'roll-plan': PREFIX.rollPlan,
  certificate: PREFIX.certificate,
  authority: PREFIX.authority,
  reservation: PREFIX.reservation,
  image: PREFIX.image,
  network: PREFIX.network,
  task: PREFIX.task,
  event: PREFIX.event,
} as const;

export type ObjectKind = keyof typeof OBJECTS;

/** Prefix of the election's keys as the election takes it: without the slash. */
export const ELECTION = PREFIX.election.slice(0, -1);

/** Everything but events and the election: what a server keeps in memory. */
export const ROOT = '/gp/';

/** Returns the kind's prefix of a key: `/gp/vm/` of `/gp/vm/vm-…`; the empty string without one. */
export function prefixOf(key: string): string {
  return key.startsWith(ROOT) ? key.slice(0, key.indexOf('/', ROOT.length) + 1) : '';
}

const KIND_OF_PREFIX: ReadonlyMap<string, ObjectKind> = new Map(
  Object.entries(OBJECTS).map(([kind, prefix]) => [prefix, kind as ObjectKind]),
);

/** Returns the object that the record at a key describes; null for keys that describe none. */
export function objectOf(key: string): { readonly kind: ObjectKind; readonly id: string } | null {
  const prefix = prefixOf(key);
  const kind = KIND_OF_PREFIX.get(prefix);
  return kind === undefined ? null : { kind, id: key.slice(prefix.length) };
}

/**
 * JSON `{key}`: 32 bytes in base64 from which the secrets of the targets' accounts follow (src/pki/target-secret.ts).
 * Made once by a control node.
 */
export const TARGET_SECRET_KEY = '/gp/secret/target';

/** Facts about a new epoch, written when a cluster is restored, before any server reads its etcd. */
export const EPOCH_PREFIX = '/gp/epoch/';
/** JSON `EpochRecord` (cluster.ts). */
export const EPOCH_KEY = `${EPOCH_PREFIX}current`;
/** JSON list of the ids of all VMs in the snapshot: a VM from before the epoch that is not among them is unknown. */
export const EPOCH_VMS_KEY = `${EPOCH_PREFIX}vms`;
/** JSON list of `NODE/PORT` that served disks when the epoch began of which the snapshot knows nothing. */
export const EPOCH_PORTS_KEY = `${EPOCH_PREFIX}ports`;

/**
 * Prefixes that storage nodes read: the disks and VMs that they serve, reservations, the cluster's members, and the key
 * of their targets' accounts.
 */
export const STORAGE_READS: readonly string[] = [
  PREFIX.disk,
  PREFIX.sharedDisk,
  PREFIX.vm,
  PREFIX.reservation,
  // Packet filters depend on the cluster's members.
  PREFIX.host,
  PREFIX.storage,
  PREFIX.control,
  TARGET_SECRET_KEY.slice(0, TARGET_SECRET_KEY.lastIndexOf('/') + 1),
  EPOCH_PREFIX,
];

export const keyOf = {
  vm: (id: VmId): string => PREFIX.vm + id,
  /** Holds the id: the name's uniqueness is this key's. */
  vmName: (name: string): string => PREFIX.vmName + name,
  host: (name: HostName): string => PREFIX.host + name,
  storage: (name: StorageName): string => PREFIX.storage + name,
  disk: (id: DiskId): string => PREFIX.disk + id,
  diskPort: (node: StorageName, port: number): string => `${PREFIX.diskPort}${node}/${port}`,
  sharedDisk: (id: DiskId): string => PREFIX.sharedDisk + id,
  /** Names are unique in a guest cluster and among the shared disks of none. */
  sharedDiskName: (scope: GuestClusterName | null, name: string): string =>
    `${PREFIX.sharedDiskName}${scope ?? '-'}/${name}`,
  guestCluster: (name: GuestClusterName): string => PREFIX.guestCluster + name,
  drain: (id: DrainId): string => PREFIX.drain + id,
  roll: (id: RollId): string => PREFIX.roll + id,
  rollPlan: (id: RollId): string => PREFIX.rollPlan + id,
  authority: (id: string): string => PREFIX.authority + id,
  certificate: (commonName: string): string => PREFIX.certificate + commonName,
  reservation: (disk: DiskId): string => PREFIX.reservation + disk,
  image: (name: ImageName): string => PREFIX.image + name,
  network: (name: NetworkName): string => PREFIX.network + name,
  networkVni: (vni: number): string => PREFIX.networkVni + vni,
  task: (id: TaskId): string => PREFIX.task + id,
  token: (id: string): string => PREFIX.token + id,
} as const;
