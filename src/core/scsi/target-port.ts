/**
 * The two sides of the SCSI device server: above it a transport (iSCSI) that brings commands, below it a backing store
 * and a place where reservations are kept. Guarantees of an implementation of ScsiTarget:
 * - every command gets an answer, and nothing is thrown: every failure below becomes sense data;
 * - a command that needs no waiting is answered synchronously;
 * - a change of persistent reservations that was answered GOOD has been saved. A nexus is an initiator port, and the
 * initiator port is the VM: its iSCSI name, whatever number of connections it has.
 */

/**
 * Bytes of one transfer in either direction: what block limits announce, and what a transport has to be able to
 * collect.
 */
export const TRANSFER_BYTES_MAX = 16 * 1024 * 1024;

/**
 * One SCSI command as the transport received it. The object itself names the task in task management: hand in a new one
 * each time.
 */
export interface ScsiCommand {
  /** The initiator port's name: the VM's iSCSI name, normalised (lower case). */
  readonly nexus: string;
  /**
   * The logical unit's number; -1 for an address that is no flat or peripheral number. Use `lunFromBytes` of
   * src/wire/scsi/lun.ts.
   */
  readonly lun: number;
  /** 16 bytes for every command but those with a longer CDB. */
  readonly cdb: Uint8Array;
  /** The data direction that the initiator expects, whatever the CDB says. `both`: a bidirectional command. */
  readonly transfer: 'none' | 'in' | 'out' | 'both';
  /**
   * All data that the initiator sent: never more than its expected data transfer length. Null if the initiator sends
   * none; empty if it announced data and sent no byte. The transport reuses this memory once the command is answered,
   * so that data kept for longer must be copied.
   */
  readonly dataOut: Uint8Array | null;
  /** Expected data transfer length towards the initiator, in bytes; 0 when it expects none. */
  readonly expectedInBytes: number;
  /**
   * The command comes from an incarnation that does not run the guest (a live migration's destination before the
   * switch): unit attentions are meant for the guest, and wait for the session that will bring them to it.
   */
  readonly isStandby?: boolean;
}

/** The end of a command. */
export interface ScsiAnswer {
  /** SAM-5 status code: 0x00 GOOD, 0x02 CHECK CONDITION, 0x08 BUSY, 0x18 RESERVATION CONFLICT, 0x40 TASK ABORTED. */
  readonly status: number;
  /** Sense data with CHECK CONDITION (fixed or descriptor format), without a length before it. */
  readonly sense: Uint8Array | null;
  /** Data for the initiator, already cut to `expectedInBytes`; may be a view into the backing store's own buffer. */
  readonly dataIn: Uint8Array | null;
  /**
   * Bytes that the command would transfer if the initiator expected enough, in its direction. The residual follows:
   * more than expected is an overflow of the difference, less an underflow.
   */
  readonly transferBytes: number;
  /**
   * Set if the initiator expects no data in this direction (a READ that was announced as a write): all of it is
   * overflow.
   */
  readonly isUnexpectedWay?: true;
}

/** Task management functions of SAM-5 that reach a target. */
export type TaskFunction =
  | 'abort-task'
  | 'abort-task-set'
  | 'clear-task-set'
  | 'logical-unit-reset'
  | 'target-warm-reset'
  | 'target-cold-reset';

/** A task management request. */
export interface TaskRequest {
  readonly function: TaskFunction;
  readonly nexus: string;
  /** Ignored by the two target resets. */
  readonly lun: number;
  /** The command to be aborted, with 'abort-task' only; absent: the task is not known (any more). */
  readonly task?: ScsiCommand | undefined;
}

export type TaskResult = 'complete' | 'no-such-task' | 'no-such-lun';

/** A target: logical units behind one target port. */
export interface ScsiTarget {
  /** Executes one command; synchronous where nothing has to be waited for. Never rejects and never throws. */
  execute(command: ScsiCommand): ScsiAnswer | Promise<ScsiAnswer>;
  /**
   * Carries out a task management function. It resolves when every aborted command has ended: none of its data reaches
   * the disk later. The promise of an aborted command resolves with TASK ABORTED before that; a transport sends no
   * answer for commands that its own initiator aborted.
   */
  manage(request: TaskRequest): Promise<TaskResult>;
  /** The logical units behind a number, or all: the same objects at whichever target that has them. */
  units(lun: number | null): ReadonlySet<object>;
  /**
   * The last connection of a nexus is gone: releases everything that does not outlive an I_T nexus loss. Persistent
   * reservations stay.
   */
  nexusLost(nexus: string): void;
  /** Resolves when all commands of a nexus that were in flight have ended, their effect on the disk included. */
  nexusQuiet(nexus: string): Promise<void>;
}

/**
 * The blocks of one logical unit. Every promise rejects only when the disk below fails; a medium error is reported for
 * that.
 */
export interface BackingStore {
  /** Number of logical blocks; up to 64 TiB, so a count of 512-byte blocks is a safe integer. May grow while in use. */
  readonly blockCount: number;
  /** 512 or 4096. */
  readonly blockBytes: number;
  readonly isReadOnly: boolean;
  /**
   * `count` blocks from `lba`, both inside the unit. Synchronous where the data is at hand. The caller does not keep or
   * change it.
   */
  read(lba: number, count: number): Uint8Array | Promise<Uint8Array>;
  /**
   * Writes whole blocks; with `fua` it resolves when they are on stable storage. `data` is not changed in the meantime.
   */
  write(lba: number, data: Uint8Array, options: { readonly fua: boolean }): void | Promise<void>;
  /** Resolves when everything acknowledged before is on stable storage. */
  flush(): void | Promise<void>;
  /** Gives the blocks back to the pool; they read as zeroes afterwards. */
  unmap(lba: number, count: number): void | Promise<void>;
  /** Makes the blocks read as zeroes. */
  writeZeroes(lba: number, count: number, options: { readonly fua: boolean }): void | Promise<void>;
  /**
   * The allocation of the blocks from `lba` on: the state of the first and for how many blocks (at least one) it is the
   * same. An extent may be reported as mapped though it is not, never the other way round.
   */
  allocation(lba: number): BlockExtent | Promise<BlockExtent>;
}

/** A run of blocks in one state of provisioning. */
export interface BlockExtent {
  readonly blockCount: number;
  readonly isMapped: boolean;
}
