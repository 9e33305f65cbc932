/**
 * The host's side of every order. Guarantees: an order is refused with CodedError 'stale-order' if it comes from an
 * older leader, or is for a generation that was ordered to end, or for one older than the newest that was ordered;
 * every order may be repeated, and an order that was carried out already starts nothing; per VM one launch at a time; a
 * launch that fails leaves nothing; the agent asks the machine each time what runs. The agent's memory (the highest
 * term, the generations that were ordered) only serves to refuse orders: losing it with the agent makes nothing unsafe,
 * because storage admits current generations only.
 */
import { CodedError, messageOf } from '../../base/errors.ts';
import type { HostName, VmId } from '../../base/ids.ts';
import { isDiskPort } from '../model/ports.ts';
import type { Clock } from '../ports/clock.ts';
import type {
  HostReport,
  KillOrder,
  KillResult,
  LaunchOrder,
  LaunchResult,
  MachineFigures,
  NetworkPlan,
  Order,
  ProbeOrder,
  RunningIncarnation,
} from '../ports/host-link.ts';
import type { Log } from '../ports/log.ts';
import type { ProbeResult } from '../ports/probe-result.ts';
import { Cancellation } from './cancellation.ts';
import { HostGuests } from './host-guests.ts';
import { HostNetwork } from './host-network.ts';
import type { IncarnationName, Machine } from './machine.ts';
import { OrderMemory } from './order-memory.ts';

export interface AgentHostOptions {
  readonly name: HostName;
  readonly version: string;
  readonly machine: Machine;
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly log: Log;
  /** Called when another network plan, and the answers to guests that it contains, is in force. */
  readonly onPlanned?: () => void;
}

interface Launch {
  readonly order: LaunchOrder;
  readonly cancellation: Cancellation;
  readonly result: Promise<LaunchResult>;
}

const SERIAL_TAIL_BYTES_MAX = 1024 * 1024;

/** See the module's comment. One per life of an agent: a new one knows only what the machine says. */
export class AgentHost {
  readonly #options: AgentHostOptions;
  readonly #network: HostNetwork;
  readonly #memory = new OrderMemory();
  /** The guests that the metadata service knows. */
  readonly guests = new HostGuests();
  /** Under way. Of one VM there may be several: the newest is wanted, the others are ending. */
  readonly #launches = new Set<Launch>();
  #tidying: Promise<void> | null = null;

  constructor(options: AgentHostOptions) {
    this.#options = options;
    this.#network = new HostNetwork(async (plan) => {
      await options.machine.makeNetwork(plan, this.#starting);
      this.guests.planned(plan);
      options.onPlanned?.();
    });
  }

  /** The incarnations that run now. */
  report(): HostReport {
    const { name, version, machine, clock } = this.#options;
    const { acknowledged } = this.guests;
    const qemuVersion = machine.qemuVersion();
    return {
      host: name,
      bootId: machine.bootId(),
      agentVersion: version,
      ...(qemuVersion === null ? {} : { qemuVersion }),
      capacity: machine.capacity(),
      incarnations: machine.running(),
      networkRevision: this.#network.revision,
      wallMs: clock.wallMs(),
      ...(acknowledged.length === 0 ? {} : { acknowledgedNotices: acknowledged }),
    };
  }

  /**
   * Starts an incarnation, or finds that it runs. CodedError 'stale-order', 'conflict', or why it could not be started.
   */
  async launch(order: LaunchOrder): Promise<LaunchResult> {
    this.#memory.takeTerm(order.term);
    const before = this.#newestLaunchOf(order.vm);
    if (before?.order.generation === order.generation && before.cancellation.reason === null) return before.result;
    const running = this.#options.machine.running();
    this.#memory.refuseStaleLaunch(order, running);
    const same = running.find((other) => isSame(other, order));
    if (same !== undefined) return { pid: same.pid, startTicks: same.startTicks, already: true, listens: false };
    this.#refuseSlot(order, running);
    this.#memory.launchOrdered(order);
    // An older generation that is still being started here is not wanted any more.
    before?.cancellation.cancel(
      new CodedError('stale-order', `Generation ${order.generation} of ${order.vm} was ordered.`),
    );
    return this.#begin(order, before?.result);
  }

  /**
   * Ends the named incarnations and waits until they are gone. CodedError 'stale-order', or 'deadline' if a process
   * does not end.
   */
  async kill(order: KillOrder): Promise<KillResult> {
    const { machine, log } = this.#options;
    this.#memory.takeTerm(order.term);
    this.#memory.endOrdered(order);
    const named = (other: IncarnationName): boolean =>
      other.vm === order.vm && order.generations.includes(other.generation);
    const launches = [...this.#launches].filter((launch) => named(launch.order));
    for (const { cancellation } of launches)
      cancellation.cancel(new CodedError('stale-order', `It was ordered to end: ${order.reason}`));
    await Promise.all(launches.map(({ result }) => result.catch(() => undefined)));
    const targets = machine.running().filter(named);
    await Promise.all(targets.map((target) => machine.kill(target)));
    for (const { vm, generation, slot } of targets)
      log.info('incarnation ended by order', { vm, generation, slot, reason: order.reason });
    // A listing that began before the kill may have seen them alive.
    await this.#tidying?.catch(() => undefined);
    await this.tidy();
    return { killed: targets.map(({ generation }) => generation) };
  }

  /** Puts a network plan in force; CodedError 'stale-order' when a newer one, or a newer leader, was there. */
  async applyNetwork(order: NetworkPlan & Order): Promise<void> {
    this.#memory.takeTerm(order.term);
    await this.#network.apply(order);
  }

  /**
   * Tries whether a disk port of a storage node accepts connections from this host. CodedError 'forbidden' for any
   * other port.
   */
  async probe(order: ProbeOrder): Promise<ProbeResult> {
    if (!isDiskPort(order.port)) throw new CodedError('forbidden', `No disk can be served on port ${order.port}.`);
    return this.#options.machine.probe(order);
  }

  /** The tail of an incarnation's serial console, 1 MiB at most; empty if it never ran here, or is gone. */
  serialTail(name: IncarnationName, bytes: number): Promise<string> {
    return this.#options.machine.serialTail(name, Math.min(bytes, SERIAL_TAIL_BYTES_MAX));
  }

  /** The counters that this machine keeps for an incarnation. CodedError 'not-found' if it does not run here. */
  figures(name: IncarnationName): MachineFigures {
    const figures = this.#options.machine.figures(name);
    if (figures !== null) return figures;
    throw new CodedError('not-found', `${name.vm} does not run here in generation ${name.generation}.`);
  }

  /**
   * Removes files and taps of incarnations that are gone, and shortens serial logs. Call it at the start and every few
   * seconds; a call during another one joins it.
   */
  tidy(): Promise<void> {
    this.#tidying ??= this.#tidy().finally(() => {
      this.#tidying = null;
    });
    return this.#tidying;
  }

  readonly #starting = (): readonly LaunchOrder[] => [...this.#launches].map(({ order }) => order);

  #newestLaunchOf(vm: VmId): Launch | undefined {
    const launches = [...this.#launches].filter(({ order }) => order.vm === vm);
    return launches.reduce<Launch | undefined>(
      (newest, launch) =>
        newest === undefined || launch.order.generation >= newest.order.generation ? launch : newest,
      undefined,
    );
  }

  #refuseSlot(order: LaunchOrder, running: readonly RunningIncarnation[]): void {
    const others = [...running, ...this.#starting()];
    const holder = others.find((other) => other.slot === order.slot && !isSame(other, order));
    if (holder === undefined) return;
    throw new CodedError('conflict', `Slot ${order.slot} is held by ${holder.vm}, generation ${holder.generation}.`, {
      advice: 'Nothing was started. End that incarnation first, or use another slot.',
    });
  }

  #begin(order: LaunchOrder, before: Promise<unknown> | undefined): Promise<LaunchResult> {
    const cancellation = new Cancellation();
    const result = this.#start(order, { before, cancellation });
    const launch: Launch = { order, cancellation, result };
    this.#launches.add(launch);
    result.then(
      () => this.#launches.delete(launch),
      () => {
        this.#launches.delete(launch);
        this.tidy().catch((error: unknown) => this.#options.log.warn('tidying failed', { reason: messageOf(error) }));
      },
    );
    return result;
  }

  async #start(
    order: LaunchOrder,
    { before, cancellation }: { readonly before: Promise<unknown> | undefined; readonly cancellation: Cancellation },
  ): Promise<LaunchResult> {
    const { vm, generation, slot, incoming, nics } = order;
    const { machine, log } = this.#options;
    await before?.catch(() => undefined);
    try {
      cancellation.throwIfCancelled();
      const vnis = nics.map(({ vni }) => vni);
      const [prepared] = await Promise.all([
        machine.prepare(order, cancellation),
        // A machine without a card waits for no network; the plan comes by an order of its own as well.
        vnis.length === 0 ? null : this.#network.prepare(order.network, vnis),
      ]);
      cancellation.throwIfCancelled();
      const started = await prepared.start();
      log.info('incarnation started', { vm, generation, slot, pid: started.pid, incoming });
      return { ...started, already: false, listens: order.receives !== undefined };
    } catch (error) {
      await machine.removeRemains(order);
      log.warn('incarnation could not be started', { vm, generation, slot, reason: messageOf(error) });
      throw error;
    }
  }

  async #tidy(): Promise<void> {
    const { machine, log } = this.#options;
    const remains = await machine.remains();
    // After the list of remaining files was made: an incarnation that is neither running nor being started now has
    // ended.
    const running = machine.running();
    for (const name of remains) {
      const alive = running.find((other) => isSame(other, name));
      if (alive !== undefined) machine.shortenLog(alive);
      else if (!this.#starting().some((order) => isSame(order, name))) {
        const said = await machine.removeRemains(name);
        log.info('incarnation is gone; its files were removed', {
          vm: name.vm,
          generation: name.generation,
          said,
        });
      }
    }
    await this.#network.inTurn(() => machine.removeStaleTaps(this.#starting));
  }
}

function isSame(a: IncarnationName, b: IncarnationName): boolean {
  return a.vm === b.vm && a.generation === b.generation;
}
