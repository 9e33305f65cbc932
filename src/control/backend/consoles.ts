/**
 * Serial consoles that are open through this control node. A QEMU serves one client at a time, so one connection serves
 * everybody who has the console open here: one holder, who writes and whose name others are told, and people who read
 * along (shared-console.ts).
 *
 * Guarantees: a console that somebody holds through any control node that answers is refused with the holder's name, or
 * taken over: the holder is told who took it, and nothing that the holder types then reaches the guest. Reading along
 * ends nobody's console; through another control node than the holder's it is refused, because the port is there.
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
import { type ConsoleHolder, SharedConsole } from './shared-console.ts';

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

/** How a console is opened. */
export interface ConsoleWish {
  /** Take it from whoever holds it. */
  readonly takeOver?: boolean;
  /** Read along: whatever happens, or where somebody holds it. */
  readonly readOnly?: 'always' | 'if-held';
}

interface Held {
  /** The person who opened the console. */
  readonly opener: ConsoleHolder;
  readonly opening: Promise<SharedConsole>;
  /** Null while the console is being opened. */
  console: SharedConsole | null;
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
   * Opens the console of a running VM. CodedError 'conflict' if the VM does not run, or if the console is held and
   * neither to be taken over nor to be read; 'unavailable'.
   */
  async open(vm: VmRecord, call: Call, wish: ConsoleWish): Promise<Duplex> {
    const { node, ports } = this.#options;
    const { takeOver = false, readOnly } = wish;
    if (currentIncarnation(vm.phase) === null)
      throw new CodedError('conflict', `${vm.name} does not run, so it has no console.`, {
        advice: `Start it with "gp vm start ${vm.name}".`,
      });
    if (!takeOver && readOnly === undefined) await this.#untilFree(vm, call.signal);
    const { name } = call.principal;
    const me: ConsoleHolder = { name, since: new Date(ports.clock.wallMs()).toISOString(), node };
    for (;;) {
      const held = this.#held.get(vm.id) ?? this.#begin(vm, call, { me, takeOver });
      const shared = await held.opening.catch((error: unknown) => {
        // The person who opened the console may have left meanwhile. That ends the console for nobody else.
        if (held.opener === me || call.signal.aborted) throw error;
        return null;
      });
      if (shared === null) continue;
      if (call.signal.aborted) shared.closeIfEmpty();
      call.signal.throwIfAborted();
      // It may have ended meanwhile: then it is opened anew, or refused with the reason.
      if (shared.isOver) {
        this.#forget(vm.id, held);
        continue;
      }
      if (readOnly === 'always' || (readOnly === 'if-held' && shared.writer !== null)) return shared.read(me);
      if (shared.writer !== null && !takeOver) throw heldBy(vm.name, shared.writer, node);
      return shared.write(me);
    }
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
    const holder = held.console?.holder ?? held.opener;
    if (takenBy !== null) this.#end(id, held, takenBy);
    return holder;
  }

  /**
   * Waits a moment for the previous console to close, so that a client that reconnects is not refused because of its
   * own old connection.
   */
  async #untilFree({ id }: VmRecord, signal: AbortSignal): Promise<void> {
    const isHeld = (): boolean => (this.#held.get(id)?.console?.writer ?? null) !== null;
    for (let waitedMs = 0; waitedMs < LEAVING_MS && isHeld(); waitedMs += RETRY_MS) {
      await sleep(systemClock, RETRY_MS, { signal });
      signal.throwIfAborted();
    }
  }

  /** Begins to open the console. Others who want it wait for the same connection. */
  #begin(vm: VmRecord, call: Call, { me, takeOver }: { readonly me: ConsoleHolder; readonly takeOver: boolean }): Held {
    const { node, ports, askPeers } = this.#options;
    const opened = Promise.withResolvers<SharedConsole>();
    // A failure is reported to each caller that awaits `opening`; without a caller it must not end the process.
    opened.promise.catch(() => undefined);
    const held: Held = { opener: me, opening: opened.promise, console: null, takenBy: null };
    this.#held.set(vm.id, held);
    const open = async (): Promise<SharedConsole> => {
      try {
        if (takeOver) await askPeers(vm.id, me.name);
        const following = await this.#connect(vm, held, { signal: call.signal, isPatient: takeOver });
        held.console = new SharedConsole(following, ports.clock, () => this.#forget(vm.id, held));
        return held.console;
      } catch (error) {
        this.#forget(vm.id, held);
        const holder = takeOver ? null : await askPeers(vm.id, null).catch(() => null);
        throw holder === null ? error : heldBy(vm.name, holder, node);
      }
    };
    open().then(opened.resolve, opened.reject);
    return held;
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

function heldBy(vm: string, { name, since, node }: ConsoleHolder, here: string): CodedError {
  const along =
    node === here ? 'Read along with --read-only, or take' : `Reading along works through ${node} alone. Take`;
  return new CodedError('conflict', `The console of ${vm} is held by ${name}, since ${since}, through ${node}.`, {
    advice: `Nothing was changed. ${along} it over with "gp vm console ${vm} --take-over": ${name} is told, and that console ends.`,
  });
}
