/**
 * The machine as one life of a simulated agent sees it (core/agent/machine.ts). Guarantees: it does its work on the
 * agent's own clock, so that nothing goes on once the agent is dead; what it has started in the kernel by then goes on
 * without it; how long things take, and what fails, is drawn from the seed alone.
 */
import { CodedError } from '../../base/errors.ts';
import type { Generation } from '../../base/ids.ts';
import type { Cancellation } from '../../core/agent/cancellation.ts';
import type { IncarnationName, Machine, PreparedStart, ProcessName, Starting } from '../../core/agent/machine.ts';
import type { HostCapacity } from '../../core/model/cluster.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { LaunchOrder, NetworkPlan, ProbeOrder, RunningIncarnation } from '../../core/ports/host-link.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
import type { Execute } from '../../core/ports/qmp-dialer.ts';
import { receiveMigration } from '../../core/qmp/receive-migration.ts';
import { executeOver } from '../qemu/qmp-server.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { HostedQemu, HostKernel } from './host-kernel.ts';

/** What fails on a host, in percent of cases. May be changed at any time. */
export interface HostTroubles {
  /** A kernel or initrd cannot be fetched. */
  fetchFails: number;
  /** QEMU ends while it starts. */
  startFails: number;
  /** QEMU does not answer within the deadline of a start. */
  startHangs: number;
  /** A process stays for longer than the deadline of a kill, as one that waits for a disk does. */
  killSticks: number;
  /** A network plan cannot be made. */
  networkFails: number;
}

/** Nothing fails. */
export const NO_HOST_TROUBLES: HostTroubles = {
  fetchFails: 0,
  startFails: 0,
  startHangs: 0,
  killSticks: 0,
  networkFails: 0,
};

/** From and to, in ms. */
const TAKES = {
  fetch: [5, 200],
  files: [0.2, 3],
  spawn: [1, 10],
  start: [20, 250],
  kill: [0.5, 20],
  stuck: [5_000, 12_000],
  network: [5, 80],
} as const;
/** As src/agent has them. */
const START_DEADLINE_MS = 20_000;
const KILL_DEADLINE_MS = 5_000;

export interface AgentMachineOptions {
  readonly kernel: HostKernel;
  /** The agent's process: its timers end with it. */
  readonly clock: Clock;
  readonly random: SimRandom;
  readonly troubles: Readonly<HostTroubles>;
  /** Tries one connection from the agent's process to a port of a storage node. */
  readonly probe: (order: ProbeOrder) => Promise<ProbeResult>;
}

/** See the module's comment. A new one for every life of an agent, on the kernel that stays. */
export class AgentMachine implements Machine {
  readonly #options: AgentMachineOptions;

  constructor(options: AgentMachineOptions) {
    this.#options = options;
  }

  probe(order: ProbeOrder): Promise<ProbeResult> {
    return this.#options.probe(order);
  }

  bootId(): string {
    return this.#options.kernel.bootId;
  }

  capacity(): HostCapacity {
    return this.#options.kernel.options.capacity;
  }

  qemuVersion(): string {
    return this.#options.kernel.options.qemuVersion ?? '7.2.0';
  }

  running(): readonly RunningIncarnation[] {
    return this.#options.kernel.running;
  }

  async prepare(order: LaunchOrder, cancellation: Cancellation): Promise<PreparedStart> {
    const { kernel, random, troubles } = this.#options;
    if (order.machine.kernel !== null || order.machine.initrd !== null) {
      await this.#work('fetch', cancellation);
      if (random.chance(troubles.fetchFails)) throw new CodedError('unavailable', 'A file could not be fetched.');
    }
    await this.#work('files');
    kernel.removeFiles(order);
    return { start: () => this.#start(order, cancellation) };
  }

  kill(process: ProcessName): Promise<void> {
    const { kernel, clock, random, troubles } = this.#options;
    const afterMs = this.#draw(random.chance(troubles.killSticks) ? 'stuck' : 'kill');
    kernel.kill(process, afterMs);
    return new Promise((resolve, reject) => {
      const giveUp = clock.after(KILL_DEADLINE_MS, () =>
        reject(new CodedError('deadline', `No end of process ${process.pid} within ${KILL_DEADLINE_MS} ms.`)),
      );
      kernel.whenGone(process, () => {
        // On the agent's clock: one that died meanwhile never hears of it.
        clock.after(0, () => {
          giveUp();
          resolve();
        });
      });
    });
  }

  async makeNetwork(plan: NetworkPlan, starting: () => readonly Starting[]): Promise<void> {
    const { kernel, random, troubles } = this.#options;
    await this.#work('network');
    if (random.chance(troubles.networkFails))
      throw new CodedError('failed', `Plan ${plan.revision} could not be made: the system refused a command.`);
    kernel.setNetwork(plan, this.#slots(starting));
  }

  async removeStaleTaps(starting: () => readonly Starting[]): Promise<void> {
    this.#options.kernel.keepTaps(new Set(this.#slots(starting)));
  }

  async remains(): Promise<readonly IncarnationName[]> {
    const found = this.#options.kernel.files;
    await this.#work('files');
    return found;
  }

  shortenLog(): void {
    // A simulated guest writes no log.
  }

  async removeRemains(name: IncarnationName): Promise<string> {
    await this.#work('files');
    this.#options.kernel.removeFiles(name);
    return 'it said nothing.';
  }

  /** Nobody asks a simulated agent: simulated servers know figures by themselves (src/sim/api/surroundings.ts). */
  figures(): null {
    return null;
  }

  async serialTail(): Promise<string> {
    return '';
  }

  /**
   * As launchQemu has it (src/agent/qemu/launch.ts): what was called off before QEMU is spawned is spawned all the
   * same, and killed.
   */
  async #start(order: LaunchOrder, cancellation: Cancellation): Promise<ProcessName> {
    const { kernel } = this.#options;
    kernel.makeFiles(order);
    await this.#work('spawn');
    const { name, qemu } = kernel.spawn(order);
    try {
      await this.#answered(name, qemu.open(), cancellation);
      if (order.receives !== undefined) await this.#receive(qemu, order, order.receives);
      return name;
    } catch (error) {
      await this.kill(name);
      throw error;
    }
  }

  /** A destination is told whose stream it shall take, as launchQemu does. */
  async #receive({ qmp }: HostedQemu, { vm, slot }: LaunchOrder, generation: Generation): Promise<void> {
    const execute: Execute = (command, args) => executeOver((line) => qmp.answer(line), command, args);
    const source = { kind: 'incarnation', vmId: vm, generation } as const;
    await receiveMigration(execute, { port: portsOfSlot(slot).migration, source });
  }

  /** Resolves when QEMU answers, on the agent's clock. */
  #answered(name: ProcessName, opened: Promise<boolean>, cancellation: Cancellation): Promise<void> {
    const { kernel, clock, random, troubles } = this.#options;
    const fails = random.chance(troubles.startFails);
    const hangs = random.chance(troubles.startHangs);
    const takesMs = this.#draw('start');
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        stopListening();
        giveUp();
        act();
      };
      const ended = (): void =>
        finish(() => reject(new CodedError('failed', 'QEMU ended with status 1: it said nothing.')));
      const giveUp = clock.after(START_DEADLINE_MS, () =>
        finish(() => reject(new CodedError('deadline', `No end of the start of QEMU within ${START_DEADLINE_MS} ms.`))),
      );
      let stopListening: () => void = () => undefined;
      stopListening = cancellation.onCancel((reason) => finish(() => reject(reason)));
      kernel.whenGone(name, () => clock.after(0, ended));
      void opened.then((isOpen) => {
        if (!isOpen || hangs) return;
        clock.after(takesMs, () => (fails ? kernel.kill(name, 0) : finish(resolve)));
      });
    });
  }

  #slots(starting: () => readonly Starting[]): readonly number[] {
    const wanted = starting().flatMap(({ nics, slot }) => (nics.length > 0 ? [slot] : []));
    return [...this.#options.kernel.slotsWithCards, ...wanted];
  }

  #draw(what: keyof typeof TAKES): number {
    const [least, most] = TAKES[what];
    return this.#options.random.between(least, most);
  }

  /** Takes its time; ends early when it is called off. */
  #work(what: keyof typeof TAKES, cancellation?: Cancellation): Promise<void> {
    const takesMs = this.#draw(what);
    return new Promise((resolve, reject) => {
      let cancelTimer: () => void = () => undefined;
      const stopListening = cancellation?.onCancel((reason) => {
        cancelTimer();
        reject(reason);
      });
      cancelTimer = this.#options.clock.after(takesMs, () => {
        stopListening?.();
        resolve();
      });
    });
  }
}
