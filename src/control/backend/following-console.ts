/**
 * One client's serial console of a VM, which outlives the incarnation at which it was opened: after a live migration,
 * or a start after a loss, it continues at the next incarnation.
 * Guarantees: input that arrives while no incarnation is connected is kept for the next one; output of the guest in the
 * meantime is lost, and the console says so on a line of its own; the console ends with a sentence if the VM is stopped
 * or deleted, another person takes it over, or waiting for the next incarnation takes too long.
 */
import { Duplex } from 'node:stream';
import type { VmId } from '../../base/ids.ts';
import { currentIncarnation, type Incarnation, type VmRecord } from '../../core/model/vm.ts';
import type { Clock } from '../../core/ports/clock.ts';

/** Pause between two attempts to connect to an incarnation's serial port, in ms. */
const RETRY_MS = 500;
/** How long a console waits for a reachable incarnation, in ms. */
const WAIT_MS = 120_000;
/** How long a client may take to read the last output of a console that ends, in ms. */
export const LAST_WORDS_MS = 5_000;

/** The surroundings of a console. */
export interface ConsolePorts {
  readonly clock: Clock;
  /** Returns the present record of the VM; undefined if the VM is deleted. */
  vm(id: VmId): VmRecord | undefined;
  /** Calls back after changes of the VM's record; the returned function unsubscribes. */
  onChange(id: VmId, listener: () => void): () => void;
  /** Opens the serial port of an incarnation. CodedError 'unavailable' if it cannot be reached. */
  open(vm: VmRecord, incarnation: Incarnation): Promise<Duplex>;
  /** Connects to the display of an incarnation, likewise. */
  openDisplay(vm: VmRecord, incarnation: Incarnation): Promise<Duplex>;
}

interface Attached {
  readonly serial: Duplex;
  readonly incarnation: Incarnation;
}

/** A console as a duplex stream for its client; see the module. */
export class FollowingConsole extends Duplex {
  readonly #ports: ConsolePorts;
  readonly #id: VmId;
  readonly #name: string;
  /** The last incarnation to which the console was connected. */
  #last: Incarnation;
  #attached: Attached | null = null;
  /** Generation of the last migration destination that was seen. */
  #movesTo: number | null = null;
  #isConnecting = false;
  #isEnding = false;
  /** Input that waits for an incarnation. */
  #held: { readonly chunk: Buffer; readonly done: (error?: Error | null) => void } | null = null;
  #unsubscribe: () => void = () => undefined;
  #cancelWait: () => void = () => undefined;
  #cancelRetry: () => void = () => undefined;
  #cancelEnd: () => void = () => undefined;

  private constructor(ports: ConsolePorts, vm: VmRecord, incarnation: Incarnation) {
    super({ allowHalfOpen: false });
    this.#ports = ports;
    this.#id = vm.id;
    this.#name = vm.name;
    this.#last = incarnation;
  }

  /** Connects to the present incarnation, once. Rejects as `ports.open` does. */
  static async open(ports: ConsolePorts, vm: VmRecord, incarnation: Incarnation): Promise<FollowingConsole> {
    const serial = await ports.open(vm, incarnation);
    const following = new FollowingConsole(ports, vm, incarnation);
    following.#attach({ serial, incarnation });
    following.#unsubscribe = ports.onChange(vm.id, () => following.#look());
    // The VM may have changed incarnation while the port was opened.
    following.#look();
    return following;
  }

  /** Whether the console is closed, or about to be. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Ends the console with a sentence for its client. */
  endWith(sentence: string): void {
    if (this.#isEnding || this.destroyed) return;
    this.#isEnding = true;
    this.#say(sentence);
    this.#release();
    this.push(null);
    this.#cancelEnd = this.#ports.clock.after(LAST_WORDS_MS, () => this.destroy());
  }

  override _read(): void {
    this.#attached?.serial.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#attached === null) this.#held = { chunk, done };
    else this.#pass(this.#attached.serial, chunk, done);
  }

  override _final(done: () => void): void {
    this.#release();
    if (!this.#isEnding) this.push(null);
    this.#isEnding = true;
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#isEnding = true;
    this.#cancelEnd();
    this.#release();
    done(error);
  }

  /**
   * Input that an incarnation accepted counts as delivered, even if the incarnation ends right after: whether the guest
   * has read it cannot be known.
   */
  #pass(serial: Duplex, chunk: Buffer, done: (error?: Error | null) => void): void {
    serial.write(chunk, () => done());
  }

  #say(sentence: string): void {
    this.push(`\r\n[groundplane: ${sentence}]\r\n`);
  }

  /** Closes the serial port and drops everything that waits. */
  #release(): void {
    this.#unsubscribe();
    this.#cancelWait();
    this.#cancelRetry();
    const attached = this.#attached;
    this.#attached = null;
    attached?.serial.destroy();
    this.#held?.done();
    this.#held = null;
  }

  #attach(attached: Attached): void {
    this.#attached = attached;
    this.#last = attached.incarnation;
    this.#cancelWait();
    const { serial } = attached;
    serial.on('data', (chunk: Buffer) => {
      if (this.#attached === attached && !this.push(chunk)) serial.pause();
    });
    const lost = (): void => this.#lost(attached);
    serial.once('end', lost);
    serial.once('close', lost);
    // An error is followed by the end of the port, which is handled already.
    serial.on('error', lost);
    const held = this.#held;
    this.#held = null;
    if (held !== null) this.#pass(serial, held.chunk, held.done);
  }

  #lost(attached: Attached): void {
    if (this.#attached !== attached) return;
    this.#attached = null;
    attached.serial.destroy();
    if (this.#isEnding) return;
    this.#cancelWait = this.#ports.clock.after(WAIT_MS, () =>
      this.endWith(`${this.#name} could not be reached for ${WAIT_MS / 1_000} s, so this console ended`),
    );
    this.#look();
  }

  /** Decides after a change whether to reconnect, to wait, or to end. */
  #look(): void {
    if (this.#isEnding) return;
    const vm = this.#ports.vm(this.#id);
    if (vm === undefined || (vm.phase.kind === 'stopped' && vm.intent === 'stopped')) {
      this.endWith(`${this.#name} was ${vm === undefined ? 'deleted' : 'stopped'}`);
      return;
    }
    const { phase } = vm;
    if (phase.kind === 'migrating' || phase.kind === 'switching') this.#movesTo = phase.destination.generation;
    const next = reachable(vm);
    if (next === null) return;
    if (this.#attached?.incarnation.generation === next.generation) return;
    void this.#connect();
  }

  /** Connects to the running incarnation; tries again while there is one. */
  async #connect(): Promise<void> {
    if (this.#isConnecting) return;
    this.#isConnecting = true;
    try {
      const vm = this.#ports.vm(this.#id);
      const incarnation = vm === undefined ? null : reachable(vm);
      if (vm === undefined || incarnation === null) return;
      const serial = await this.#ports.open(vm, incarnation).catch(() => null);
      if (this.#isEnding) return void serial?.destroy();
      if (serial === null) return this.#tryAgain();
      const before = this.#attached;
      const from = this.#last;
      this.#attached = null;
      before?.serial.destroy();
      this.#say(this.#newsOf(from, incarnation));
      this.#attach({ serial, incarnation });
    } finally {
      this.#isConnecting = false;
    }
    this.#look();
  }

  #tryAgain(): void {
    this.#cancelRetry();
    this.#cancelRetry = this.#ports.clock.after(RETRY_MS, () => this.#look());
  }

  #newsOf(from: Incarnation, to: Incarnation): string {
    const missing = 'what it printed in between is not shown here';
    if (from.generation === to.generation) return `the connection to ${this.#name} was lost and is back; ${missing}`;
    const how = this.#movesTo === to.generation ? 'moved' : 'was started again';
    const where = from.host === to.host ? `on ${to.host}` : `from ${from.host} to ${to.host}`;
    return `${this.#name} ${how} ${where}, generation ${to.generation}; ${missing}`;
  }
}

/** Returns the incarnation whose serial port should answer. The destination of a migration counts only once it runs. */
export function reachable({ phase }: VmRecord): Incarnation | null {
  return phase.kind === 'switching' ? null : currentIncarnation(phase);
}
