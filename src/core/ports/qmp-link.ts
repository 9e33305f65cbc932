/**
 * QMP to one QEMU, over any path: directly, through another control node, or through a storage node. Every call has a
 * deadline of its own; a failure is a CodedError.
 */
import type { DiskId, Generation, HostName, VmId } from '../../base/ids.ts';
import type { HostAddresses } from '../model/cluster.ts';
import type { MigrationTold, QmpObservation } from '../model/observation.ts';
import type { LaunchSharedDisk } from './host-link.ts';

/** Which QEMU, and where its slot is. */
export interface QmpTarget {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly slot: number;
  readonly host: HostName;
  readonly addresses: HostAddresses;
}

/** A shared disk that a QEMU has logged in to. */
export interface OpenSharedDisk {
  readonly disk: DiskId;
  /** Whether the guest has its device; false if plugging or unplugging has stopped half-way. */
  readonly isPlugged: boolean;
}

/** Counters of one block node that the guest has a device of. */
export interface BlockFigures {
  /** Name of the node, as src/agent/qemu/arguments.ts gives it: `disk0` is the first of the VM's own disks. */
  readonly node: string;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/** A machine as its QEMU describes it. */
export interface MachineFacts {
  /** The name that its VM had; null where QEMU does not say. */
  readonly name: string | null;
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** A model of QEMU; null: what every host offers. */
  readonly cpuModel: string | null;
  /** Disks of its own that the guest has a device of, in their order. */
  readonly disks: readonly { readonly disk: DiskId; readonly isReadOnly: boolean }[];
  /** How many block nodes of its own disks it has, with UEFI's variables, which are no device. */
  readonly diskNodes: number;
  readonly sharedDisks: readonly DiskId[];
  /** Its cards, in their order. */
  readonly macs: readonly string[];
  /** With direct boot: the files by their hashes, and the command line. Null: it boots by its firmware. */
  readonly direct: { readonly kernel: string; readonly initrd: string | null; readonly append: string } | null;
  readonly hasDisplay: boolean;
  readonly hasGuestAgent: boolean;
}

export interface QmpLink {
  /** query-status, and query-migrate while it migrates. Never throws: silence is an observation. */
  observe(target: QmpTarget): Promise<QmpObservation>;
  cont(target: QmpTarget): Promise<void>;
  halt(target: QmpTarget): Promise<void>;
  reset(target: QmpTarget): Promise<void>;
  powerDown(target: QmpTarget): Promise<void>;
  quit(target: QmpTarget): Promise<void>;
  /** Makes a QEMU that was launched for it wait for the stream of `source` only (migrate-incoming). Idempotent. */
  listen(destination: QmpTarget, source: QmpTarget): Promise<void>;
  /**
   * Makes a QEMU whose guest is paused use its disks, as `cont` does, without continuing the guest. Idempotent.
   * CodedError 'failed' if a disk stays unused: QEMU 7.2 aborts when it sends a guest with an unused disk.
   */
  activate(source: QmpTarget): Promise<void>;
  /**
   * Begins to send (migrate), and allows the first pause of pause-allowance.ts. `slowDown`: a guest that writes faster
   * than it is copied gets less processor time (auto-converge). Idempotent while it is under way or completed.
   */
  send(source: QmpTarget, destination: QmpTarget, options: { readonly slowDown: boolean }): Promise<void>;
  /** How long the guest may be paused at the end of sending, in ms from now on (downtime-limit). */
  allowPause(source: QmpTarget, ms: number): Promise<void>;
  cancelSend(source: QmpTarget): Promise<void>;
  /**
   * How fast the guest writes to its memory, in MiB a second (calc-dirty-rate): takes one to four seconds and does not
   * pause the guest.
   */
  dirtyRate(target: QmpTarget): Promise<number>;
  /** What machine it is, as far as QEMU tells: for a VM that no record knows. CodedError where it cannot be asked. */
  machineFacts(target: QmpTarget): Promise<MachineFacts>;
  /** The counters of its block devices since the process began (query-blockstats). */
  blockFigures(target: QmpTarget): Promise<readonly BlockFigures[]>;
  /** Gives a running guest a shared disk (hot-plug). Idempotent. */
  plug(target: QmpTarget, disk: LaunchSharedDisk): Promise<void>;
  /**
   * Takes a shared disk from a running guest and resolves when QEMU has closed it; CodedError 'deadline' while the
   * guest has not released it. Idempotent.
   */
  unplug(target: QmpTarget, disk: DiskId): Promise<void>;
  /** The shared disks that this QEMU has open. */
  sharedDisks(target: QmpTarget): Promise<readonly OpenSharedDisk[]>;
  /**
   * The end of an incarnation's certificate (Unix ms), as its QEMU showed it in a handshake of this control node; null
   * before the first one.
   */
  certificateEndsAt(vm: VmId, generation: Generation): number | null;
  /**
   * Calls back when a QEMU reports an event that may change a decision (SHUTDOWN, STOP, MIGRATION …) or its connection
   * ends. `told`: the event's news of a live migration that was ordered on the same connection; null if QEMU has to be
   * asked.
   */
  onEvent(listener: (target: QmpTarget, told: MigrationTold | null) => void): void;
  /** Closes what is open to it. */
  forget(vm: VmId, generation: Generation): void;
}
