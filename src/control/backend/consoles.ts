/**
 * Serial consoles that are open through this control node. A QEMU serves one client at a time, so each console has one
 * holder.
 * Guarantees: a console that is held through any control node that answers is refused with the holder's name, or taken
 * over: the old holder is told who took it, and is disconnected before the new one is connected.
 */
import type { Duplex } from 'node:stream';
import { CodedError } from '../../base/errors.ts';
import type { VmId } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import { currentIncarnation, type VmRecord } from '../../core/model/vm.ts';
import { systemClock } from '../../os/clock.ts';
import type { Call } from '../api/call.ts';
import { showDisplay } from './display.ts';
import { type ConsolePorts, FollowingConsole, reachable } from './following-console.ts';

/** The holder of a console. */
export interface ConsoleHolder {
  /** Name of the holder's API token. */
  readonly name: string;
  /** When the console was opened (RFC 3339). */
  readonly since: string;
  /** Name of the control node through which the console is open. */
  readonly node: string;
}

/** Asks the other control nodes for the holder of a console; with `takenBy`, each of them ends its console. */
export type AskPeers = (vm: VmId, takenBy: string | null) => Promise<ConsoleHolder | null>;

export interface ConsolesOptions {
  /** Name of this control node. */
  readonly node: string;
  readonly ports: ConsolePorts;
  readonly askPeers: AskPeers;
}

/** QEMU accepts its next client in its main loop: a port that was just released may refuse for a moment. */
const RETRY_MS = 100;
/** How long an opener waits for a held console to become free, in ms. */
const LEAVING_MS = 500;

interface Held {
  readonly holder: ConsoleHolder;
  /** Null while the console is being opened. */
  console: FollowingConsole | null;
  /** Name of the token that takes the console over. */
  takenBy: string | null;
}

/** The consoles of one control node; see the module. */
export class Consoles {
  readonly #options: ConsolesOptions;
  readonly #held = new Map<VmId, Held>();

  constructor(options: ConsolesOptions) {
    this.#options = options;
  }

  /**
   * Opens the console of a running VM. CodedError 'conflict' if the VM does not run, or if the console is held and not
   * to be taken over; 'unavailable'.
   */
  async open(vm: VmRecord, call: Call, { takeOver }: { readonly takeOver: boolean }): Promise<Duplex> {
    const { node, ports, askPeers } = this.#options;
    if (currentIncarnation(vm.phase) === null)
      throw new CodedError('conflict', `${vm.name} does not run, so it has no console.`, {
        advice: `Start it with "gp vm start ${vm.name}".`,
      });
    if (!takeOver) await this.#untilFree(vm, call.signal);
    const there = this.#held.get(vm.id);
    if (there !== undefined && !takeOver) throw heldBy(vm.name, there.holder);
    if (there !== undefined) this.#end(vm.id, there, call.principal.name);
    const since = new Date(ports.clock.wallMs()).toISOString();
    const held: Held = { holder: { name: call.principal.name, since, node }, console: null, takenBy: null };
    this.#held.set(vm.id, held);
    try {
      if (takeOver) await askPeers(vm.id, call.principal.name);
      held.console = await this.#connect(vm, held, { signal: call.signal, isPatient: takeOver });
    } catch (error) {
      this.#forget(vm.id, held);
      const holder = takeOver ? null : await askPeers(vm.id, null).catch(() => null);
      if (holder !== null) throw heldBy(vm.name, holder);
      throw error;
    }
    held.console.once('close', () => this.#forget(vm.id, held));
    return held.console;
  }

  /**
   * Connects to the display of a running VM, beside whoever looks at it already. The stream emits `moved` when the VM
   * continues as another incarnation: the picture drawn until then belongs to the old incarnation. CodedError
   * 'conflict' if the VM does not run, or has no display; 'unavailable'.
   */
  async openDisplay(vm: VmRecord, { signal }: Pick<Call, 'signal'>): Promise<Duplex> {
    const { ports } = this.#options;
    if (vm.spec.display === undefined)
      throw new CodedError('conflict', `${vm.name} has no display.`, {
        advice: `Its serial console has what its guest says there: "gp vm console ${vm.name}".`,
      });
    for (;;) {
      const now = ports.vm(vm.id);
      if (now === undefined || currentIncarnation(now.phase) === null)
        throw new CodedError('conflict', `${vm.name} does not run, so it shows nothing.`, {
          advice: `Start it with "gp vm start ${vm.name}".`,
        });
      const incarnation = reachable(now);
      if (incarnation !== null) return showDisplay(ports, now, incarnation);
      await sleep(systemClock, RETRY_MS, { signal });
      signal.throwIfAborted();
    }
  }

  /** Answers another control node: who holds the console here; with `takenBy` the console ends. */
  asked(id: VmId, takenBy: string | null): ConsoleHolder | null {
    const held = this.#held.get(id);
    if (held === undefined) return null;
    if (takenBy !== null) this.#end(id, held, takenBy);
    return held.holder;
  }

  /**
   * Waits a moment for the previous console to close, so that a client that reconnects is not refused because of its
   * own old connection.
   */
  async #untilFree({ id }: VmRecord, signal: AbortSignal): Promise<void> {
    for (let waitedMs = 0; waitedMs < LEAVING_MS && this.#held.has(id); waitedMs += RETRY_MS) {
      await sleep(systemClock, RETRY_MS, { signal });
      signal.throwIfAborted();
    }
  }

  async #connect(
    vm: VmRecord,
    held: Held,
    { signal, isPatient }: { readonly signal: AbortSignal; readonly isPatient: boolean },
  ): Promise<FollowingConsole> {
    const { ports } = this.#options;
    for (;;) {
      const now = ports.vm(vm.id) ?? vm;
      const incarnation = currentIncarnation(now.phase) ?? currentIncarnation(vm.phase);
      if (incarnation === null) throw new CodedError('conflict', `${vm.name} does not run any more.`);
      try {
        const opened = await FollowingConsole.open(ports, now, incarnation);
        if (held.takenBy === null) return opened;
        opened.destroy();
        throw new CodedError('conflict', `The console of ${vm.name} was taken over by ${held.takenBy} meanwhile.`);
      } catch (error) {
        const isBusy = error instanceof CodedError && error.code === 'unavailable';
        if (!isPatient || !isBusy || signal.aborted || held.takenBy !== null) throw error;
        await sleep(systemClock, RETRY_MS, { signal });
        signal.throwIfAborted();
      }
    }
  }

  #end(id: VmId, held: Held, takenBy: string): void {
    held.takenBy = takenBy;
    held.console?.endWith(`${takenBy} took this console over`);
    this.#forget(id, held);
  }

  #forget(id: VmId, held: Held): void {
    if (this.#held.get(id) === held) this.#held.delete(id);
  }
}

function heldBy(vm: string, { name, since, node }: ConsoleHolder): CodedError {
  return new CodedError('conflict', `The console of ${vm} is held by ${name}, since ${since}, through ${node}.`, {
    advice: `Nothing was changed. Take it over with "gp vm console ${vm} --take-over": ${name} is told, and that console ends.`,
  });
}
