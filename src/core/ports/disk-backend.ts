/**
 * The parts of a storage node that the storage service's decisions (core/storage) need: the pool's disks, one daemon
 * per disk that serves it over NBD, and the kernel's list of connections. The real implementation uses
 * qemu-storage-daemon (src/storage/local-disks.ts), the simulated one an event queue (src/sim/storage).
 * An implementation guarantees: at most one daemon has a disk's image open; a daemon outlives the service; a write that
 * a guest was told is done is on stable storage, however the daemon ends.
 */
import type { DiskId, Generation, Sha256, VmId } from '../../base/ids.ts';
import type { DiskOrder, PoolFault, PoolReport } from './storage-link.ts';

/** One incarnation's permission to use a disk. */
export interface Grant {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly readOnly: boolean;
}

/** The name of a generation's export on the wire. */
export function exportName(generation: Generation): string {
  return `g${generation}`;
}

/** A daemon as the process table shows it; pid and start time name it for ever. */
export interface DaemonProcess {
  readonly pid: number;
  readonly startTicks: number;
  readonly disk: DiskId;
  readonly port: number;
}

/** An established connection: `key` identifies it among all connections at one time, `address` is the peer's. */
export interface Connection {
  readonly key: string;
  readonly address: string;
}

export interface ConnectionAge {
  readonly localPort: number;
  readonly address: string;
  /** Ms since the last packet of the peer; null if the kernel does not say. */
  readonly idleMs: number | null;
}

/** A running daemon and the session with its monitor. Every method but `release` rejects when the session ends. */
export interface Daemon {
  /** Whether it lives and can take orders. */
  readonly isRunning: boolean;
  /** Resolves when the session is gone: with the daemon, as a rule. */
  readonly closed: Promise<unknown>;
  /** Its present exports, as grants of `vm`. Exports that are being removed do not count as gone. */
  grants(vm: VmId): Promise<readonly Grant[]>;
  /** Makes exactly these incarnations acceptable as new connections from now on. Connections that exist stay. */
  admit(grants: readonly Grant[]): Promise<void>;
  /**
   * Accepts no new connection until the next `admit`; existing connections stay. This state is kept in the daemon
   * itself: a fence has begun and is not known to be complete, and a service that takes the daemon over finishes it.
   */
  admitNobody(): Promise<void>;
  /** Whether its last order was to admit nobody; false for a daemon that was only started. */
  isFencing(): Promise<boolean>;
  addExport(grant: Grant): Promise<void>;
  /**
   * Cuts the connections of an export and answers when the export is gone: its last write has been carried out by then.
   */
  removeExport(grant: Grant): Promise<void>;
  /** Keeps its log from growing without bound. */
  boundLog(): Promise<void>;
  /**
   * Ends it at once; resolves when it is gone and writes nothing any more. CodedError 'deadline' if it does not end.
   */
  kill(): Promise<void>;
  /** Closes the session with the daemon; the daemon runs on. */
  release(): void;
}

/**
 * The node, as the service sees it. Errors of the pool are CodedErrors: 'not-found', 'conflict', 'no-capacity',
 * 'failed'.
 */
export interface DiskBackend {
  /** The running daemons of this node according to the operating system, whichever service started them. */
  findDaemons(): readonly DaemonProcess[];
  /** Ends a daemon at once; resolves as `Daemon.kill` does. */
  killDaemon(daemon: DaemonProcess): Promise<void>;
  /** Takes over a daemon that runs already. CodedError 'unavailable' if it does not answer. */
  adoptDaemon(daemon: DaemonProcess): Promise<Daemon>;
  /**
   * Starts the daemon of a disk, which serves exactly `grants` from its first moment on. CodedError 'not-found' without
   * such a disk.
   */
  startDaemon(disk: DiskId, options: { readonly port: number; readonly grants: readonly Grant[] }): Promise<Daemon>;
  /**
   * Connections to a TCP port of this node. Of those that its daemon has not accepted yet, some may be missing. Quick
   * when each of them was there the last time.
   */
  connectionsTo(port: number): Promise<readonly Connection[]>;
  /** Every established connection with its idle time. */
  connectionAges(): Promise<readonly ConnectionAge[]>;
  /**
   * The VM that owns a disk: kept beside the disk, because it must be known without etcd. undefined if there is no such
   * disk.
   */
  ownerOf(disk: DiskId): Promise<VmId | undefined>;
  listDisks(): Promise<readonly DiskId[]>;
  listArtifacts(): Promise<readonly Sha256[]>;
  /** Returns the faults of the pool's entries, from a check at most a minute old; a bounded number. Returns at once. */
  faults(): readonly PoolFault[];
  space(): Promise<PoolReport>;
  /**
   * Idempotent. CodedError 'conflict' when a different disk has the id, 'no-capacity', 'not-found' for the artifact.
   */
  createDisk(disk: DiskId, order: DiskOrder): Promise<void>;
  /** Idempotent. The caller has ended the process that had it open. */
  deleteDisk(disk: DiskId): Promise<void>;
  /** The size that the guest sees. */
  diskSizeBytes(disk: DiskId): Promise<number>;
  /** Grows a disk that no daemon has open; one that is larger already stays. */
  growDisk(disk: DiskId, sizeBytes: number): Promise<void>;
  /** Idempotent; CodedError 'conflict' while a disk is cloned from it. */
  deleteArtifact(sha256: Sha256): Promise<void>;
}
