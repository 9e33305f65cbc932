/**
 * What of a simulated host outlives its agent: the process table, files on a tmpfs, taps and the networks in force.
 *
 * Guarantees: a process is in the table from its start until it is gone, which is a moment after its end was asked for;
 * a boot leaves nothing of all that and changes the boot id; one pid and start time never name two processes of a boot.
 */

import type { IncarnationName, ProcessName } from '../../core/agent/machine.ts';
import type { HostCapacity } from '../../core/model/cluster.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { LaunchOrder, NetworkPlan, RunningIncarnation } from '../../core/ports/host-link.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';

/** A simulated QEMU, as far as its host knows it. */
export interface HostedQemu {
  readonly process: Pick<SimProcess, 'isAlive' | 'end' | 'onEnd'>;
  /** All it does at its start; false when it cannot, and then it ends. */
  open(): Promise<boolean>;
  /** Its monitors. */
  readonly qmp: { answer(line: string): Promise<string> };
}

export interface HostKernelOptions<Q extends HostedQemu> {
  readonly machine: Pick<SimMachine, 'name' | 'boots'>;
  /** The world's clock: the kernel waits for no process. */
  readonly clock: Clock;
  readonly capacity: HostCapacity;
  /** Absent: that of Debian 12. */
  readonly qemuVersion?: string;
  /** Makes a QEMU's process: halted, its disks not opened yet. */
  readonly spawn: (order: LaunchOrder) => Q;
  /** What an agent did and must never do: files or taps taken from a QEMU that runs. */
  readonly onHarm: (what: string) => void;
}

interface Entry<Q> {
  readonly running: RunningIncarnation;
  readonly order: LaunchOrder;
  readonly qemu: Q;
  /** Killed, and not gone yet: it does nothing more. */
  isDying: boolean;
}

interface Boot<Q> {
  readonly number: number;
  readonly entries: Map<number, Entry<Q>>;
  readonly files: Map<string, IncarnationName>;
  /** Slots with a tap. */
  readonly taps: Set<number>;
  network: NetworkPlan | null;
}

/** Start times in the table are clock ticks: 100 a second. */
const MS_PER_TICK = 10;
const FIRST_PID = 100;

/** One host's kernel, through all its boots. */
export class HostKernel<Q extends HostedQemu = HostedQemu> {
  readonly options: HostKernelOptions<Q>;
  #boot: Boot<Q>;
  #pids = FIRST_PID;

  constructor(options: HostKernelOptions<Q>) {
    this.options = options;
    this.#boot = emptyBoot(options.machine.boots);
  }

  get bootId(): string {
    const { name, boots } = this.options.machine;
    return `${name}-boot-${boots}`;
  }

  /** What is in the process table now, in the order in which it was started. */
  get running(): readonly RunningIncarnation[] {
    return [...this.#now.entries.values()].map(({ running }) => running);
  }

  /** The QEMUs in the process table. */
  get qemus(): readonly Q[] {
    return [...this.#now.entries.values()].map(({ qemu }) => qemu);
  }

  /** The plan in force since some agent made it; null since the boot. */
  get network(): NetworkPlan | null {
    return this.#now.network;
  }

  /** The incarnations of which files are here. */
  get files(): readonly IncarnationName[] {
    return [...this.#now.files.values()];
  }

  /** Makes the directory of an incarnation, anew. */
  makeFiles({ vm, generation }: IncarnationName): void {
    this.#now.files.set(keyOf({ vm, generation }), { vm, generation });
  }

  removeFiles(name: IncarnationName): void {
    this.#now.files.delete(keyOf(name));
    for (const { running, isDying } of this.#now.entries.values())
      if (keyOf(running) === keyOf(name) && !isDying)
        this.options.onHarm(`the files of ${keyOf(name)} were removed while it ran on ${this.options.machine.name}`);
  }

  /** Puts a plan in force, with taps in these slots. */
  setNetwork(plan: NetworkPlan, slots: Iterable<number>): void {
    this.#now.network = plan;
    for (const slot of slots) this.#now.taps.add(slot);
  }

  /** Removes the taps of all other slots. */
  keepTaps(slots: ReadonlySet<number>): void {
    const { taps, entries } = this.#now;
    for (const slot of [...taps]) if (!slots.has(slot)) taps.delete(slot);
    for (const { running, order, isDying } of entries.values())
      if (order.nics.length > 0 && !taps.has(running.slot) && !isDying)
        this.options.onHarm(`the tap of ${keyOf(running)} was removed while it ran on ${this.options.machine.name}`);
  }

  /** The slots whose QEMUs have network cards. */
  get slotsWithCards(): readonly number[] {
    return [...this.#now.entries.values()]
      .filter(({ order }) => order.nics.length > 0)
      .map(({ running }) => running.slot);
  }

  /**
   * Starts a QEMU. It ends by itself, as the real one does, where its files or its tap are not there, or its slot's
   * ports are somebody else's.
   */
  spawn(order: LaunchOrder): { readonly name: ProcessName; readonly qemu: Q } {
    const { clock, spawn } = this.options;
    const boot = this.#now;
    const isLacking =
      !boot.files.has(keyOf(order)) ||
      (order.nics.length > 0 && !boot.taps.has(order.slot)) ||
      [...boot.entries.values()].some(({ running }) => running.slot === order.slot);
    const qemu = spawn(order);
    const pid = ++this.#pids;
    const { vm, generation, slot, incoming } = order;
    const startTicks = String(Math.floor(clock.monotonicMs() / MS_PER_TICK));
    boot.entries.set(pid, {
      running: { vm, generation, slot, pid, startTicks, incoming },
      order,
      qemu,
      isDying: false,
    });
    qemu.process.onEnd(() => boot.entries.delete(pid));
    if (isLacking) clock.after(1, () => qemu.process.end());
    return { name: { pid, startTicks }, qemu };
  }

  /** Asks for the end of a process; it is gone `afterMs` later. */
  kill(name: ProcessName, afterMs: number): void {
    const entry = this.#find(name);
    if (entry === undefined) return;
    entry.isDying = true;
    this.options.clock.after(afterMs, () => entry.qemu.process.end());
  }

  /** Calls back when a process is gone, at once where it is not there. */
  whenGone(name: ProcessName, then: () => void): void {
    const entry = this.#find(name);
    if (entry === undefined) then();
    else entry.qemu.process.onEnd(then);
  }

  #find({ pid, startTicks }: ProcessName): Entry<Q> | undefined {
    const entry = this.#now.entries.get(pid);
    return entry?.running.startTicks === startTicks ? entry : undefined;
  }

  /** A boot leaves nothing of what was before. */
  get #now(): Boot<Q> {
    const { boots } = this.options.machine;
    if (this.#boot.number !== boots) this.#boot = emptyBoot(boots);
    return this.#boot;
  }
}

function emptyBoot<Q>(number: number): Boot<Q> {
  return { number, entries: new Map(), files: new Map(), taps: new Set(), network: null };
}

function keyOf({ vm, generation }: IncarnationName): string {
  return `${vm}:${generation}`;
}
