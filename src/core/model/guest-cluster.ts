/**
 * Shared disks, the reservations on them, and the guest clusters they belong to, as etcd keeps them
 * (docs/decisions/0014).
 */
import type { DiskId, GuestClusterName, NetworkName, StorageName, TaskId, VmId } from '../../base/ids.ts';
import type { ReservationState } from '../scsi/reservations.ts';
import type { Debt } from './debt.ts';

/** A disk that several VMs have at once. The VMs' specifications say which VMs have it, and under which number. */
export interface SharedDiskRecord {
  readonly id: DiskId;
  /** Unique among the shared disks of its guest cluster or, without one, of the cluster. */
  readonly name: string;
  readonly node: StorageName;
  readonly sizeBytes: number;
  /**
   * The size before a growth that its node has not carried out yet: the size is set back if the node refuses. Absent:
   * none.
   */
  readonly sizeBefore?: number;
  readonly blockBytes: 512 | 4096;
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly guestCluster: GuestClusterName | null;
  /** Tasks that end when the disk, and every VM that has it, is as wanted. Absent: none. */
  readonly tasks?: readonly TaskId[];
  /**
   * The VMs that shared it outside of a guest cluster when an event last reported that: it is reported once. Absent:
   * never.
   */
  readonly reported?: readonly VmId[];
  /** Unix ms. */
  readonly createdAt: number;
}

/** A command in a member's guest that exits with 0 once the member is ready after its move. */
export interface ReadyCheck {
  /** The command for the guest's shell, run as the user of the guest agent. */
  readonly command: string;
  /** How long the next member waits for it at most, in ms. */
  readonly withinMs: number;
}

/** VMs that form a cluster inside their guests. */
export interface GuestClusterRecord {
  readonly name: GuestClusterName;
  readonly members: readonly VmId[];
  readonly disks: readonly DiskId[];
  readonly heartbeatNetworks: readonly NetworkName[];
  /** Members that may move or be down at once, at least 1. */
  readonly maxDisturbed: number;
  /** The longest pause that its heartbeat tolerates. */
  readonly toleratesMs: number;
  /**
   * How long before its move a member's guest is given notice, in ms, unless it acknowledges earlier. Absent: no
   * notice.
   */
  readonly noticeMs?: number;
  /** The check that a member is ready after its move. Absent: only its keys on shared disks count. */
  readonly readyCheck?: ReadyCheck;
  /** Weekly windows (core/maintenance/time-window.ts) in which no drain moves a member. Absent: none. */
  readonly quiet?: readonly string[];
  /** Somebody consented to members on one host. */
  readonly sharesHosts: boolean;
  /** Its disks are being taken from its members; the record is deleted after that. */
  readonly deleting?: true;
  /** Tasks that end when every disk, and every VM that has one, is as wanted. Absent: none. */
  readonly tasks?: readonly TaskId[];
  /** The debts that were signed for because of it. Absent: none. */
  readonly debts?: readonly Debt[];
  /** Unix ms. */
  readonly createdAt: number;
}

/** The persistent reservations of a shared disk, as the target of its storage node acknowledged them. */
export interface ReservationRecord {
  readonly disk: DiskId;
  readonly state: ReservationState;
  /** When each registered nexus (initiator name) registered: Unix ms by the target's clock, for people. */
  readonly registeredAt: Readonly<Record<string, number>>;
  /** When the reservation was made; null if there is none. */
  readonly reservedAt: number | null;
}
