/**
 * The host's side of every order. Guarantees: an order of an older leader or an older generation is refused; every order
 * may be repeated; a launch that fails leaves nothing; what runs is asked of the process table each time.
 *
 * What is remembered (the highest term, the generations that were ordered) only ever refuses: losing it with the agent
 * makes nothing unsafe, because storage admits current generations only.
 */

import { readdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { CodedError, messageOf } from '../base/errors.ts';
import { type Generation, parseGeneration, parseVmId, type VmId } from '../base/ids.ts';
import type {
  HostReport,
  KillOrder,
  KillResult,
  LaunchOrder,
  LaunchResult,
  NetworkPlan,
  Order,
} from '../core/ports/host-link.ts';
import { anySignal } from '../os/deadline.ts';
import type { Log } from '../os/log.ts';
import { bootId, isRunning } from '../os/process-table.ts';
import type { ArtifactCache } from './artifacts.ts';
import type { AgentConfig } from './config.ts';
import { type Found, findIncarnations, type IncarnationKey, reported } from './incarnations.ts';
import type { NetworkDriver } from './network/driver.ts';
import type { WantedTap } from './network/link-plan.ts';
import { tapName } from './network/taps.ts';
import { killProcess, lastWords, launchQemu } from './qemu/launch.ts';
import type { AcceleratorProbe } from './qemu/probe.ts';
import { cutToTail, readTail } from './tail.ts';

export interface HostOptions {
  readonly config: AgentConfig;
  readonly version: string;
  /** Settles once, soon after the start; never rejects. */
  readonly probe: Promise<AcceleratorProbe>;
  readonly artifacts: ArtifactCache;
  readonly network: (taps: () => readonly WantedTap[]) => NetworkDriver;
  readonly log: Log;
}

interface Launching extends IncarnationKey {
  readonly taps: readonly WantedTap[];
  readonly cancel: AbortController;
  readonly result: Promise<LaunchResult>;
}

/** The user of the QEMU in slot 0; the next slots' follow. */
export const FIRST_QEMU_UID = 600_000;
const FETCH_DEADLINE_MS = 30_000;
const START_DEADLINE_MS = 20_000;
const SERIAL_LOG = { limitBytes: 1024 * 1024, keepBytes: 256 * 1024 };
const SERIAL_TAIL_BYTES_MAX = 1024 * 1024;
const DIRECTORY = /^(vm-[0-9a-f]{12})-g([1-9]\d{0,15})$/;

/**
 * What the agent does with incarnations. Guarantees: per VM one launch at a time; an order of an older term, of a generation
 * that was ordered to end, or older than one that was ordered, is refused with CodedError 'stale-order'; a repeated order
 * finds what runs and starts nothing. Nothing is remembered on disk: what runs is read from the process table.
 */
export class AgentHost {
  readonly #options: HostOptions;
  readonly #network: NetworkDriver;
  readonly #launching = new Map<VmId, Launching>();
  /** The highest generation that was ordered, and the highest that was ordered to end. */
  readonly #ordered = new Map<VmId, Generation>();
  readonly #ended = new Map<VmId, Generation>();
  #term = 0;
  #probe: AcceleratorProbe = { accelerator: 'tcg', cpuModels: ['baseline'], reason: null };
  #tidying: Promise<void> | null = null;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#network = options.network(() => this.#wantedTaps());
    void options.probe.then((probe) => {
      this.#probe = probe;
    });
  }

  /** What runs now. Until the accelerator was probed (some seconds at most) capacity says `tcg`. */
  report(): HostReport {
    const { config, version } = this.#options;
    return {
      host: config.name,
      bootId: bootId(),
      agentVersion: version,
      capacity: {
        memoryBytes: config.memoryBytes,
        vcpus: config.vcpus ?? availableParallelism(),
        accelerator: this.#probe.accelerator,
        cpuModels: this.#probe.cpuModels,
      },
      incarnations: findIncarnations().map(reported),
      networkRevision: this.#network.revision,
    };
  }

  /** Starts an incarnation, or finds that it runs. CodedError 'stale-order', 'conflict', or why it could not be started. */
  async launch(order: LaunchOrder): Promise<LaunchResult> {
    this.#takeTerm(order);
    const current = this.#launching.get(order.vm);
    if (current?.generation === order.generation) return current.result;
    const running = findIncarnations();
    this.#refuseStale(order, running);
    const same = running.find(({ vm, generation }) => vm === order.vm && generation === order.generation);
    if (same !== undefined)
      return { pid: same.process.pid, startTicks: String(same.process.startTicks), already: true };
    this.#refuseSlot(order, running);
    this.#ordered.set(order.vm, order.generation);
    // An older generation that is still being started here is not wanted any more.
    current?.cancel.abort(new CodedError('stale-order', `Generation ${order.generation} of ${order.vm} was ordered.`));
    return this.#begin(order, current?.result);
  }

  /** Ends what is named and waits until it is gone. */
  async kill(order: KillOrder): Promise<KillResult> {
    this.#takeTerm(order);
    const named = new Set<number>(order.generations);
    for (const generation of order.generations)
      this.#ended.set(order.vm, highest(this.#ended.get(order.vm), generation));
    const launching = this.#launching.get(order.vm);
    if (launching !== undefined && named.has(launching.generation)) {
      launching.cancel.abort(new CodedError('stale-order', `It was ordered to end: ${order.reason}`));
      await launching.result.catch(() => undefined);
    }
    const targets = findIncarnations().filter(({ vm, generation }) => vm === order.vm && named.has(generation));
    await Promise.all(targets.map((target) => killProcess(target.process)));
    for (const { vm, generation, slot } of targets)
      this.#options.log.info('incarnation ended by order', { vm, generation, slot, reason: order.reason });
    // One that began before the kill may have seen them alive.
    await this.#tidying?.catch(() => undefined);
    await this.tidy();
    return { killed: targets.map(({ generation }) => generation) };
  }

  async applyNetwork(order: NetworkPlan & Order): Promise<void> {
    this.#takeTerm(order);
    await this.#network.apply(order);
  }

  /** The tail of an incarnation's serial console; empty when it never ran here, or is gone. */
  serialTail(key: Omit<IncarnationKey, 'slot'>, bytes: number): Promise<string> {
    return readTail(join(this.#directory(key), 'serial.log'), Math.min(bytes, SERIAL_TAIL_BYTES_MAX));
  }

  /**
   * Removes directories and taps of incarnations that are gone, and shortens serial logs. To be called at the start and
   * every few seconds; calls meanwhile join the one under way.
   */
  tidy(): Promise<void> {
    this.#tidying ??= this.#tidy().finally(() => {
      this.#tidying = null;
    });
    return this.#tidying;
  }

  #takeTerm({ term }: Order): void {
    if (term < this.#term) {
      throw new CodedError('stale-order', `The order is of term ${term}; term ${this.#term} has begun.`, {
        advice: 'Nothing was changed.',
      });
    }
    this.#term = term;
  }

  #refuseStale({ vm, generation }: LaunchOrder, running: readonly Found[]): void {
    const advice = 'Nothing was started.';
    const ended = this.#ended.get(vm);
    if (ended !== undefined && generation <= ended)
      throw new CodedError('stale-order', `Generation ${generation} of ${vm} was ordered to end.`, { advice });
    const known = running.filter((found) => found.vm === vm).map((found) => found.generation);
    const newest = [...known, this.#ordered.get(vm) ?? generation].reduce(highest);
    if (generation < newest)
      throw new CodedError('stale-order', `Generation ${newest} of ${vm} was ordered already.`, { advice });
  }

  #refuseSlot({ slot, vm, generation }: LaunchOrder, running: readonly Found[]): void {
    const others = [...running, ...this.#launching.values()];
    const holder = others.find((other) => other.slot === slot && (other.vm !== vm || other.generation !== generation));
    if (holder === undefined) return;
    throw new CodedError('conflict', `Slot ${slot} is held by ${holder.vm}, generation ${holder.generation}.`, {
      advice: 'Nothing was started. End that incarnation first, or use another slot.',
    });
  }

  #begin(order: LaunchOrder, before: Promise<unknown> | undefined): Promise<LaunchResult> {
    const cancel = new AbortController();
    const uid = this.#uidOf(order.slot) ?? process.geteuid?.() ?? 0;
    const taps = order.nics.map(({ mac, vni }, index) => ({ device: tapName(order.slot, index), mac, vni, uid }));
    const result = this.#start(order, { before, signal: cancel.signal });
    const { vm, generation, slot } = order;
    const launching: Launching = { vm, generation, slot, taps, cancel, result };
    this.#launching.set(vm, launching);
    const forget = (): void => {
      if (this.#launching.get(vm) === launching) this.#launching.delete(vm);
    };
    result.then(forget, () => {
      forget();
      void this.tidy();
    });
    return result;
  }

  async #start(
    order: LaunchOrder,
    { before, signal }: { readonly before: Promise<unknown> | undefined; readonly signal: AbortSignal },
  ): Promise<LaunchResult> {
    const { vm, generation, slot, machine } = order;
    const { artifacts, log, probe } = this.#options;
    const directory = this.#directory(order);
    await before?.catch(() => undefined);
    try {
      const fetch = { deadlineMs: FETCH_DEADLINE_MS, signal };
      const [{ accelerator }, kernelFile, initrdFile] = await Promise.all([
        probe,
        machine.kernel === null ? null : artifacts.get(machine.kernel, fetch),
        machine.initrd === null ? null : artifacts.get(machine.initrd, fetch),
        this.#network.prepare(
          order.network,
          order.nics.map(({ vni }) => vni),
        ),
        rm(directory, { recursive: true, force: true }),
      ]);
      signal.throwIfAborted();
      const started = await launchQemu(order, {
        confinement: { uid: this.#uidOf(slot), root: process.geteuid?.() === 0 },
        context: { accelerator, directory, kernelFile, initrdFile },
        deadlineMs: START_DEADLINE_MS,
        signal: anySignal(signal),
      });
      log.info('incarnation started', { vm, generation, slot, pid: started.pid, incoming: order.incoming });
      return { pid: started.pid, startTicks: String(started.startTicks), already: false };
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      log.warn('incarnation could not be started', { vm, generation, slot, reason: messageOf(error) });
      throw error;
    }
  }

  async #tidy(): Promise<void> {
    const { config, log } = this.#options;
    const entries = await readdir(config.runDir);
    // After the directory was read: an incarnation that is neither running nor being started now has ended.
    const running = findIncarnations();
    for (const entry of entries) {
      const [, vm, generation] = DIRECTORY.exec(entry) ?? [];
      if (vm === undefined) continue;
      const key = { vm: parseVmId(vm), generation: parseGeneration(Number(generation)) };
      const is = (other: Omit<IncarnationKey, 'slot'>): boolean =>
        other.vm === key.vm && other.generation === key.generation;
      const found = running.find(is);
      if (found !== undefined) {
        if (isRunning(found.process)) cutToTail(join(this.#directory(key), 'serial.log'), SERIAL_LOG);
        continue;
      }
      if ([...this.#launching.values()].some(is)) continue;
      const said = await lastWords(this.#directory(key));
      log.info('incarnation is gone; its files were removed', { ...key, said });
      await rm(this.#directory(key), { recursive: true, force: true });
    }
    await this.#network.removeStaleTaps();
  }

  #wantedTaps(): readonly WantedTap[] {
    const running = findIncarnations().flatMap(({ taps, slot }) =>
      taps.map((tap) => ({ ...tap, uid: this.#uidOf(slot) ?? process.geteuid?.() ?? 0 })),
    );
    const starting = [...this.#launching.values()].flatMap(({ taps }) => taps);
    const byDevice = new Map([...running, ...starting].map((tap) => [tap.device, tap]));
    return [...byDevice.values()];
  }

  /** The user of a slot's QEMU; null: the agent's own. */
  #uidOf(slot: number): number | null {
    return this.#options.config.qemuUsers === 'per-slot' ? FIRST_QEMU_UID + slot : null;
  }

  #directory({ vm, generation }: Omit<IncarnationKey, 'slot'>): string {
    return join(this.#options.config.runDir, `${vm}-g${generation}`);
  }
}

function highest(a: Generation | undefined, b: Generation): Generation {
  return a === undefined || b > a ? b : a;
}
