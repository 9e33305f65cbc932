/**
 * The parts of a storage node that the storage service's decisions about shared disks (core/storage/shared-disks.ts)
 * need: the pool's shared disks and one iSCSI target that serves them. The real target is a process of its own
 * (src/iscsi/main.ts), the simulated one is in src/sim/storage.
 * An implementation guarantees: at most one target has a disk open; a target outlives the service; it serves no
 * initiator before it was given a state, and then exactly that state.
 */
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import type { VmSharedDisk } from '../model/vm.ts';

/** A target as the process table shows it; pid and start time name it for ever. */
export interface TargetProcess {
  readonly pid: number;
  readonly startTicks: number;
}

/** A shared disk of the pool. */
export interface TargetUnit {
  readonly disk: DiskId;
  readonly sizeBytes: number;
  readonly blockBytes: 512 | 4096;
}

/** The permissions of one VM: the generations that may log in, and the disks that they find under each number. */
export interface TargetVm {
  readonly vm: VmId;
  readonly generations: readonly Generation[];
  readonly luns: readonly VmSharedDisk[];
  /**
   * All generations below it are fenced for ever: if all generations that wrote are below it, no guest remembers their
   * writes. A live migration's destination is admitted while the source is not fenced. Absent if the sender does not
   * know it: then no write counts as forgotten.
   */
  readonly floor?: number | undefined;
}

/** Everything that a target serves, at once. Each disk of a VM's is among the units. */
export interface TargetState {
  readonly units: readonly TargetUnit[];
  readonly vms: readonly TargetVm[];
}

/** Somebody who is logged in. */
export interface TargetSession {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly address: string;
}

/**
 * A running target and the session with it. Every method but `release` rejects when the session ends, or at its
 * deadline.
 */
export interface TargetDaemon {
  /** Whether it lives and can take orders. */
  readonly isRunning: boolean;
  /** Resolves when the session is gone: with the target, as a rule. */
  readonly closed: Promise<unknown>;
  /** The state it was given last. */
  state(): Promise<TargetState>;
  /**
   * Makes this the whole state from now on, and resolves when commands of everything outside this state have ended:
   * their last write has been carried out by then. A unit that is larger than before grows while it is used.
   */
  apply(state: TargetState): Promise<void>;
  /** Answers when every disk of the VM is open and it may log in. CodedError 'unavailable' with what is missing. */
  ready(vm: VmId): Promise<void>;
  sessions(): Promise<readonly TargetSession[]>;
  /**
   * Ends it at once; resolves when it is gone and writes nothing any more. CodedError 'deadline' if it does not end.
   */
  kill(): Promise<void>;
  /** Closes the session with the target; the target runs on. */
  release(): void;
}

/** The node, as far as shared disks go. Errors are CodedErrors: 'not-found', 'conflict', 'no-capacity', 'failed'. */
export interface TargetBackend {
  /** The running targets of this node according to the operating system, whichever service started them. */
  findTargets(): readonly TargetProcess[];
  /** Ends a target at once; resolves as `TargetDaemon.kill` does. */
  killTarget(target: TargetProcess): Promise<void>;
  /** Takes over a target that runs already. CodedError 'unavailable' if it does not answer. */
  adoptTarget(target: TargetProcess): Promise<TargetDaemon>;
  /** Starts a target, which serves no initiator before its first `apply`. */
  startTarget(): Promise<TargetDaemon>;
  /** The shared disks of the pool. */
  listUnits(): Promise<readonly TargetUnit[]>;
  /** Makes a disk that is not there, of zeroes. */
  createUnit(unit: TargetUnit): Promise<void>;
  /** Makes a disk larger, whether a target has it open or not. */
  growUnit(unit: TargetUnit): Promise<void>;
  /** Idempotent. The caller has made sure that no target has it open. */
  deleteUnit(disk: DiskId): Promise<void>;
}
