/**
 * The part of its machine that an agent needs. The real machine asks the operating system (src/agent), the simulated
 * one a world with a seed (src/sim/agent). The machine decides nothing: AgentHost alone decides which order is obeyed.
 */
import type { Generation, VmId } from '../../base/ids.ts';
import type { HostCapacity } from '../model/cluster.ts';
import type { LaunchOrder, MachineFigures, NetworkPlan, ProbeOrder, RunningIncarnation } from '../ports/host-link.ts';
import type { ProbeResult } from '../ports/probe-result.ts';
import type { Cancellation } from './cancellation.ts';

/** One run of a VM. */
export interface IncarnationName {
  readonly vm: VmId;
  readonly generation: Generation;
}

/** A process of this boot: the kernel gives no two of them the same pair. */
export type ProcessName = Pick<RunningIncarnation, 'pid' | 'startTicks'>;

/** An incarnation that is being started and may not be in the process table yet. */
export type Starting = Pick<LaunchOrder, 'vm' | 'generation' | 'slot' | 'nics'>;

/** Everything a start needs is there, but for the network. */
export interface PreparedStart {
  /**
   * Starts QEMU, halted, and resolves when its monitors answer and it waits for the stream that the order names, if it
   * names one. CodedError 'failed' with QEMU's last words, 'deadline', or the cancellation's reason: then no process of
   * it is left. The process outlives the agent.
   */
  start(): Promise<ProcessName>;
}

export interface Machine {
  /** Changes when the machine boots, and only then. */
  bootId(): string;
  capacity(): HostCapacity;
  /** The version of the QEMU that is started next, as QEMU prints it; null: not known (yet). */
  qemuVersion(): string | null;
  /** Every QEMU of ours that runs at this moment, whoever started it; the operating system is asked each time. */
  running(): readonly RunningIncarnation[];
  /**
   * Fetches the order's files and clears its directory. CodedError 'unavailable', 'deadline', or the cancellation's
   * reason.
   */
  prepare(order: LaunchOrder, cancellation: Cancellation): Promise<PreparedStart>;
  /** Ends a process at once and resolves when it is gone; CodedError 'deadline' if the kernel does not end it. */
  kill(process: ProcessName): Promise<void>;
  /**
   * Brings the networks into line with `plan`, with the taps of every incarnation that runs or is being started (asked
   * for as late as possible). CodedError 'failed' with the system's message. Never called while another call to it or
   * to removeStaleTaps is under way.
   */
  makeNetwork(plan: NetworkPlan, starting: () => readonly Starting[]): Promise<void>;
  /** Removes the taps of slots in which nothing runs or is being started. */
  removeStaleTaps(starting: () => readonly Starting[]): Promise<void>;
  /** The incarnations of which files are here, running or not. */
  remains(): Promise<readonly IncarnationName[]>;
  /** Shortens the serial log of a running incarnation where it has grown too long. */
  shortenLog(process: RunningIncarnation): void;
  /** Removes the files of an incarnation; returns the last output of its QEMU, for the log. */
  removeRemains(name: IncarnationName): Promise<string>;
  /** Tries one connection to a port from this host. Never throws. */
  probe(target: ProbeOrder): Promise<ProbeResult>;
  /** The last `bytes` of an incarnation's serial log; empty if there is none. */
  serialTail(name: IncarnationName, bytes: number): Promise<string>;
  /** The counters that the kernel keeps for an incarnation; null if it does not run here. */
  figures(name: IncarnationName): MachineFigures | null;
}
