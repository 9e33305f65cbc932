/**
 * The requests of a controller to a storage service. HTTPS with mutual TLS on PORTS.storage.
 *   GET    /v1/report                    -> StorageReport
 *   POST   /v1/fence    FenceOrder       -> FenceResult    answered only when no revoked connection can write any more
 *   POST   /v1/grant    GrantOrder       -> GrantResult    idempotent; a generation below the floor is refused ('stale-order')
 *   POST   /v1/revoke   RevokeOrder      -> {}             exactly one generation (an abandoned migration's destination)
 *   GET    /v1/disks/ID                  -> DiskFacts
 *   PUT    /v1/disks/ID   DiskOrder      -> {}             idempotent
 *   POST   /v1/disks/ID/resize  {term, sizeBytes}
 *   DELETE /v1/disks/ID?term=N           -> {}             idempotent; refused ('conflict') while granted
 *   PUT    /v1/shared-disks/ID   SharedDiskOrder -> {}     idempotent; a smaller one grows, while it is used ('conflict' for making it smaller)
 *   DELETE /v1/shared-disks/ID?term=N    -> {}             idempotent; refused ('conflict') while granted to anybody
 *   PUT    /v1/artifacts/SHA256?kind=disk-qcow2|disk-raw|kernel|initrd   body: the file   -> ArtifactInfo
 *   GET    /v1/artifacts/SHA256          -> the file (also for `host:*`)
 *   DELETE /v1/artifacts/SHA256?term=N   -> {}             refused while a disk is cloned from it
 *   POST   /v1/probe   {address, port, deadlineMs} -> ProbeResult     one TCP connection attempt from this node
 *   CONNECT address:port                 -> a relayed TCP connection; only isRelayPort(port)
 * Only `control:*` is served, but for GET /v1/artifacts.
 */
import type { DiskId, Generation, Sha256, StorageName, VmId } from '../../base/ids.ts';
import type { DiskSource } from '../model/cluster.ts';
import type { VmSharedDisk } from '../model/vm.ts';
import type { CallOptions, Order } from './host-link.ts';

export interface StorageReport {
  readonly node: StorageName;
  readonly pool: PoolReport;
  readonly artifacts: readonly Sha256[];
  readonly disks: readonly DiskReport[];
  /** Absent from older services, which have none. */
  readonly sharedDisks?: readonly SharedDiskReport[];
  /** The epoch that the node follows; null before it has read etcd. Absent in reports of older services. */
  readonly epoch?: number | null | undefined;
  /** Faults of entries that are therefore not served. Absent in reports of older services. */
  readonly faults?: readonly PoolFault[];
  /** The Groundplane version of its service. Absent in reports of older services. */
  readonly version?: string | undefined;
  /** The node's wall clock at the time of the call (Unix ms). Absent in reports of older services. */
  readonly wallMs?: number | undefined;
}

export interface PoolReport {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** The largest possible file of the pool's file system, in bytes. Absent or null in reports of older services. */
  readonly largestFileBytes?: number | null;
}

/** A shared disk: its grants are of several VMs. */
export interface SharedDiskReport extends DiskReport {
  readonly sizeBytes: number;
}

export interface DiskReport {
  readonly disk: DiskId;
  /** The port at which it is served, if it ever was. Absent in reports of older services. */
  readonly port?: number | undefined;
  readonly grants: readonly GrantReport[];
}

export interface GrantReport {
  readonly vm: VmId;
  readonly generation: Generation;
  /** Remote addresses of its open connections, as this node's kernel sees them, with ms since the last packet. */
  readonly connections: readonly { readonly address: string; readonly idleMs: number | null }[];
}

/**
 * Revokes every grant of `vm` below `below` on the disks named, and never grants one again. It always concerns all that
 * the VM has on the node, its shared disks included.
 */
export interface FenceOrder extends Order {
  readonly vm: VmId;
  readonly below: Generation;
  readonly disks: readonly DiskId[];
}

/** A fault of one entry in a node's pool: the entry is left alone, and everything else is served. */
export interface PoolFault {
  /** The disk that is not served because of the fault; null for an entry that does not belong in the pool. */
  readonly disk: DiskId | null;
  /** The fault for people; names the file. */
  readonly message: string;
}

export interface FenceResult {
  readonly revoked: readonly { readonly disk: DiskId; readonly generation: Generation }[];
}

export interface GrantOrder extends Order {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly disks: readonly { readonly disk: DiskId; readonly port: number; readonly readOnly: boolean }[];
  /**
   * The VM's shared disks on this node from now on, exactly: absent for none. A grant that is repeated for a generation
   * that runs may have another list. Needs SHARED_DISKS.
   */
  readonly sharedDisks?: readonly VmSharedDisk[];
}

export interface GrantResult {
  readonly exports: readonly { readonly disk: DiskId; readonly port: number; readonly name: string }[];
}

export interface RevokeOrder extends Order {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly disks: readonly DiskId[];
}

export interface DiskOrder extends Order {
  readonly vm: VmId;
  readonly sizeBytes: number;
  readonly source: DiskSource;
}

/** Needs SHARED_DISKS. */
export interface SharedDiskOrder extends Order {
  readonly sizeBytes: number;
  readonly blockBytes: 512 | 4096;
}

export interface ArtifactInfo {
  readonly sha256: Sha256;
  readonly sizeBytes: number;
  /** The virtual size of disk images, in bytes. */
  readonly virtualSizeBytes: number | null;
}

/** What a storage node keeps about a disk, whatever the records say. */
export interface DiskFacts {
  readonly vm: VmId;
  readonly sizeBytes: number;
}

export interface StorageLink {
  report(node: StorageName, options: CallOptions): Promise<StorageReport>;
  fence(node: StorageName, order: FenceOrder, options: CallOptions): Promise<FenceResult>;
  grant(node: StorageName, order: GrantOrder, options: CallOptions): Promise<GrantResult>;
  revoke(node: StorageName, order: RevokeOrder, options: CallOptions): Promise<void>;
  /** CodedError 'not-found' where the node has no such disk. */
  diskFacts(node: StorageName, disk: DiskId, options: CallOptions): Promise<DiskFacts>;
  createDisk(node: StorageName, disk: DiskId, order: DiskOrder, options: CallOptions): Promise<void>;
  deleteDisk(node: StorageName, disk: DiskId, order: Order, options: CallOptions): Promise<void>;
  createSharedDisk(node: StorageName, disk: DiskId, order: SharedDiskOrder, options: CallOptions): Promise<void>;
  deleteSharedDisk(node: StorageName, disk: DiskId, order: Order, options: CallOptions): Promise<void>;
}
