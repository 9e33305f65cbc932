/**
 * The other durable objects: hosts, storage nodes, disks, images, networks, tasks, events, tokens. All of them live in
 * etcd only.
 */

import type {
  DiskId,
  DrainId,
  HostName,
  ImageName,
  NetworkName,
  Sha256,
  StorageName,
  TaskId,
  VmId,
} from '../../base/ids.ts';
import type { Signature } from './debt.ts';
import type { HostRelease } from './release.ts';

/** A host that joined. Its processes are observed, never recorded here. */
export interface HostRecord {
  readonly name: HostName;
  /** The addresses of its agent and QEMUs: one per path. */
  readonly addresses: HostAddresses;
  readonly capacity: HostCapacity;
  /** The software that it runs, as its agent last reported. Absent: never reported (records of older versions). */
  readonly release?: HostRelease;
  /** The rack: hosts of one rack may fail together. Absent or null: the host is a rack of its own. */
  readonly rack?: string | null;
  /** No new VM is placed here. */
  readonly cordoned: boolean;
  /**
   * Set in the transaction that declares one of its VMs lost; every other host drops its tunnel until it is seen clean.
   */
  readonly quarantine: { readonly since: number; readonly reason: string } | null;
  /**
   * Set while the host is emptied for maintenance, and after, until it is taken back. Absent or null: it is in service.
   */
  readonly maintenance?: HostMaintenance | null;
  /**
   * Set when the host was declared permanently gone (Unix ms, name of the token). Its VMs count as lost, whatever is
   * observed; the record goes once each of them is fenced and runs elsewhere, or is stopped. Absent: it is a member.
   */
  readonly lost?: { readonly at: number; readonly by: string };
  readonly joinedAt: number;
}

/** No VM is placed on a host in maintenance, whoever asks for it. */
export interface HostMaintenance {
  readonly drain: DrainId;
  /** Unix ms. */
  readonly since: number;
  readonly reason: string | null;
  /** Set with the end of the drain: no record expects anything on the host. */
  readonly isEmpty?: true;
}

export interface HostAddresses {
  readonly control: string;
  readonly storage: string;
  readonly overlay: string;
}

export interface HostCapacity {
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** `tcg` where the probe guest did not run under KVM. */
  readonly accelerator: 'kvm' | 'tcg';
  readonly cpuModels: readonly string[];
}

/** Whether two hosts, or one host at two times, have the same capacity. */
export function sameCapacity(a: HostCapacity, b: HostCapacity): boolean {
  return (
    a.memoryBytes === b.memoryBytes &&
    a.vcpus === b.vcpus &&
    a.accelerator === b.accelerator &&
    a.cpuModels.length === b.cpuModels.length &&
    a.cpuModels.every((model, i) => model === b.cpuModels[i])
  );
}

/** A control or storage node that was taken out of service. */
export interface NodeMaintenance {
  /** Unix ms. */
  readonly since: number;
  /** Name of the token that asked for it. */
  readonly who: string;
  readonly reason: string | null;
  /** The change that it belongs to, as the organisation numbers changes. Absent or null: none was named. */
  readonly change?: string | null;
  /** Set once it is certain that nothing is on the storage node. */
  readonly isConfirmed?: true;
}

/** A control node, as it announces itself when it starts. */
export interface ControlRecord {
  readonly name: string;
  readonly address: string;
  /** Unix ms. */
  readonly startedAt: number;
  /** The Groundplane version of its last start. Absent: it joined and did not start yet. */
  readonly version?: string;
  /** Set while it is out of service: it leads only if no other node can. Absent: it is in service. */
  readonly maintenance?: NodeMaintenance;
}

/** The history that a cluster is in. A cluster without one was never restored: epoch 0. */
export interface EpochRecord {
  /** 1 or more; grows with each restore. */
  readonly number: number;
  /** Random hexadecimal digits: two restores that took the same number differ in them. */
  readonly id: string;
  /** Unix ms. */
  readonly restoredAt: number;
  /** Newest revision of etcd in the snapshot that it was restored from. */
  readonly snapshotRevision: number;
}

export interface StorageRecord {
  readonly name: StorageName;
  readonly addresses: { readonly control: string; readonly storage: string };
  readonly joinedAt: number;
  /**
   * Set when the node was declared permanently gone with everything on it (Unix ms, name of the token). It serves
   * nothing again, and no node can join by its name.
   */
  readonly lost?: { readonly at: number; readonly by: string };
  /** Set while the empty node is being removed: no disk is put on it. Absent: no. */
  readonly leaving?: true;
  /** Set while it is out of service: no disk and no image is put on it. Absent: it is in service. */
  readonly maintenance?: NodeMaintenance;
}

export interface DiskRecord {
  readonly id: DiskId;
  readonly vm: VmId;
  readonly node: StorageName;
  /**
   * TCP port of its NBD server on the node's storage address; unique on the node, the same for the disk's whole life.
   */
  readonly port: number;
  readonly sizeBytes: number;
  readonly source: DiskSource;
  readonly phase: 'creating' | 'ready' | 'deleting';
  /** After a restore its node did not have it: it was deleted after the snapshot. Its VM never starts with it. */
  readonly missing?: true;
}

export type DiskSource =
  | { readonly kind: 'blank' }
  /** A thin clone of an imported disk image. */
  | { readonly kind: 'image'; readonly artifact: Sha256; readonly format: 'qcow2' | 'raw' }
  /** A small file (NoCloud seed) that is stored on its node until the disk is made from it. */
  | { readonly kind: 'content'; readonly artifact: Sha256 }
  /** UEFI variables from the firmware's template. */
  | { readonly kind: 'nvram' };

export interface ArtifactRef {
  readonly sha256: Sha256;
  readonly sizeBytes: number;
}

export interface ImageRecord {
  readonly name: ImageName;
  readonly disk: (ArtifactRef & { readonly format: 'qcow2' | 'raw'; readonly virtualSizeBytes: number }) | null;
  readonly direct: {
    readonly kernel: ArtifactRef;
    readonly initrd: ArtifactRef | null;
    readonly append: string;
  } | null;
  /** The settings of a VM that specifies none. */
  readonly defaults: { readonly memoryBytes: number; readonly vcpus: number; readonly blankDiskBytes: number | null };
  /**
   * The least memory with which its guest boots, if somebody specified it. (Images of older versions have no such
   * field.)
   */
  readonly minMemoryBytes?: number;
  /** The storage nodes that hold all its files. */
  readonly nodes: readonly StorageName[];
  readonly createdAt: number;
}

/** The MAC address of every gateway, the same on every host: a migrated guest keeps its gateway. */
export const GATEWAY_MAC = '02:67:70:00:00:01';

export interface NetworkRecord {
  readonly name: NetworkName;
  /** VXLAN network identifier, 1 to 16,777,215. */
  readonly vni: number;
  /** IPv4 range in CIDR form, or null for a network without addresses of ours. */
  readonly cidr: string | null;
  /** The gateway's address, the same on every host: the first of the range. */
  readonly gateway: string | null;
  readonly dhcp: boolean;
  readonly nat: boolean;
  /** Guests are served at 169.254.169.254; only where there is DHCP. Records from before it was there lack it. */
  readonly metadata?: boolean;
  /** Reserved addresses by MAC. */
  readonly reservations: Readonly<
    Record<string, { readonly address: string; readonly vm: VmId; readonly hostname: string }>
  >;
  readonly createdAt: number;
}

export interface TaskRecord {
  readonly id: TaskId;
  readonly kind: string;
  readonly target: {
    readonly kind: 'vm' | 'vms' | 'image' | 'host' | 'network' | 'guest-cluster' | 'shared-disk' | 'drain' | 'roll';
    readonly name: string;
  };
  readonly state: 'running' | 'succeeded' | 'failed' | 'cancelled';
  readonly progressPercent: number | null;
  readonly message: string;
  readonly startedAt: number;
  readonly endedAt: number | null;
  /** The task of which this one is a part. */
  readonly parent?: TaskId;
  /** The action of a task over many VMs, and the progress of each VM. */
  readonly bulk?: BulkWork;
}

/** The actions that one request can apply to many VMs. */
export const BULK_ACTIONS = ['start', 'stop', 'reset', 'suspend', 'resume', 'migrate', 'delete'] as const;
export type BulkAction = (typeof BULK_ACTIONS)[number];

/** One action on many VMs. */
export interface BulkWork {
  readonly action: BulkAction;
  /** The mode of `stop`, as for one VM. */
  readonly mode?: 'acpi' | 'hard';
  readonly patienceMs?: number;
  /** Host that they are migrated to; absent: the cluster chooses for each (`migrate`). */
  readonly to?: string;
  /** The person who signs for ties and for verdicts that would break (`start`); absent: nobody. */
  readonly accept?: Signature;
  readonly items: readonly BulkItem[];
}

/** The progress of one VM of many. */
export interface BulkItem {
  readonly vm: VmId;
  /** The VM's value when the request was made. */
  readonly name: string;
  readonly state: 'waiting' | TaskRecord['state'];
  /** The VM's own task, once there is one. */
  readonly task: TaskId | null;
  /** The outcome; empty before the end. */
  readonly message: string;
}

export interface EventRecord {
  readonly at: number;
  readonly kind: string;
  readonly vm: VmId | null;
  readonly vmName: string | null;
  readonly host: HostName | null;
  readonly generation: number | null;
  readonly message: string;
}

/**
 * A secret that opens something: only its SHA-256 is kept. `api` and `join` are tokens that people keep; a `link`
 * begins a session in a browser, once; a `session` is what a browser's cookie holds; a `ticket` opens one console,
 * once.
 */
export interface TokenRecord {
  readonly id: string;
  readonly kind: 'api' | 'join' | 'link' | 'session' | 'ticket';
  /** Name of the token, or of the token that a link, session or ticket comes from. */
  readonly name: string;
  readonly sha256: string;
  readonly role: 'host' | 'storage' | 'control' | null;
  /** Further roles under the same name; each is used once. Absent: none. */
  readonly also?: readonly ('host' | 'storage' | 'control')[] | undefined;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  /** An API token that may be handed backups of the records. Absent: it may not. */
  readonly mayBackUp?: true;
  /** SHA-256 of the token or session that a link, session or ticket comes from: it is worth nothing without that. */
  readonly parent?: string;
  /** Where the session was begun from. */
  readonly from?: { readonly address: string; readonly agent: string };
  /** The console that the ticket opens. */
  readonly opens?: {
    readonly vm: VmId;
    readonly console: 'serial' | 'vnc';
    readonly takeOver: boolean;
    readonly readOnly?: 'always' | 'if-held';
  };
}
