/**
 * The room that etcd's members have for records and history. Real: the maintenance calls of etcd's API
 * (src/control/links/etcd-room.ts); simulated: src/sim/etcd/sim-etcd-room.ts.
 *
 * Every call ends within its deadline; a failure is a CodedError. Each step may be repeated, and be made by several
 * control nodes at once.
 */
import type { EtcdMember } from '../plan/lead/etcd-space.ts';

export interface EtcdRoomLink {
  /** Asks each member for its state; one that does not answer is `unreachable`. Never throws. */
  members(deadlineMs: number): Promise<readonly EtcdMember[]>;
  /** Forgets the history before a revision; done too where somebody else has forgotten it already. */
  compact(revision: number, deadlineMs: number): Promise<void>;
  /** Gives a member's free pages back. The member answers nothing in the meantime: seconds for a gibibyte. */
  defragment(endpoint: string, deadlineMs: number): Promise<void>;
  /** Disarms the alarm by which etcd refuses every write; etcd raises it again if it is still full. */
  disarm(): Promise<void>;
}
