/**
 * The sending end of a simulated live migration, as QEMU 7.2 has it (migration/migration.c): memory is copied pass by
 * pass, the vCPUs stop when the rest can be sent in the pause that is allowed, and the source waits for the destination
 * to say that it has everything.
 *
 * Guarantees: what was begun for an older stream changes nothing; a source whose stream breaks goes on by itself; a
 * destination that has not got everything ends when it hears that its stream has ended.
 */
import type { DiskId, Generation } from '../../base/ids.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { SimNetwork } from '../network/network.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** A guest's memory, as far as it matters: per disk the number of the next block to write; 0 before it has looked. */
export type GuestMemory = ReadonlyMap<DiskId, number>;

/** The machine whose guest is sent. */
export interface SendingMachine {
  readonly process: SimProcess;
  readonly generation: Generation;
  /** Writes about as fast as it is copied. */
  readonly isBusy: boolean;
  /** Of how many migrations in a hundred the source does not hear that they are complete. */
  readonly lostEndPercent: number;
  /** The parameter `downtime-limit`, in ms. */
  allowedPauseMs(): number;
  /** Stops the vCPUs for the end; returns the run state before. */
  stopForEnd(): string;
  /** Calls back once no disk request is under way. */
  whenIdle(then: () => void): void;
  /** Releases the disks. QEMU ends if they are not in use. Returns true if the process goes on. */
  releaseDisks(): boolean;
  memory(): GuestMemory;
  /**
   * Takes the disks into use again; a guest that ran before continues, a halted one stays halted
   * (migration_iteration_finish).
   */
  goOn(ranBefore: boolean): void;
  /** Everything was received at the other end: the run state follows a moment later, and no event tells of it. */
  complete(): void;
  /** QMP event MIGRATION. */
  tell(status: string): void;
}

/** The machine at the other end, if any. */
export interface ReceivingMachine {
  readonly process: SimProcess;
  /** Whether it waits for the stream of this generation. */
  waitsFor(source: Generation): boolean;
  /** Takes everything; false where it no longer waits for it. `isLive`: the guest ran before. */
  load(memory: GuestMemory, status: string, source: Generation, isLive: boolean): boolean;
}

/** QMP query-migrate of the source. */
export interface OutgoingState {
  readonly status: 'setup' | 'active' | 'completed' | 'failed' | 'cancelled';
  readonly passes: number;
  readonly downtimeMs: number | null;
  readonly error: string | null;
}

/** From the wish to migrate until the destination is connected, at the latest. */
const STREAM_CONNECT_MS = 3_000;
const COPY_MS = [80, 1_600] as const;
/** Every pass after the first. */
const PASS_MS = 250;
/** The shortest pause in which the rest of a guest's memory can be sent. */
const REST_MS = [5, 280] as const;
/** How long a source waits for the destination to say that it has everything. */
const STREAM_END_MS = 6_000;
/** What a source says of how long its guest stood still. */
const DOWNTIME_MS = 30;

interface Stream {
  readonly there: ReceivingMachine;
  readonly restMs: number;
  readonly isCurrent: () => boolean;
}

/** See the module's comment. One for the life of a machine: it may send, be cancelled, and send again. */
export class OutgoingMigration {
  readonly #machine: SendingMachine;
  readonly #network: SimNetwork;
  readonly #random: SimRandom;
  #state: OutgoingState | null = null;
  /** Whether the guest ran when the end of the present stream began. */
  #ranBefore = false;
  /** Counts streams: what was begun for an older one is nobody's any more. */
  #stream = 0;
  /** At the other end of the present stream. */
  #receiver: ReceivingMachine | null = null;

  constructor(
    machine: SendingMachine,
    { network, random }: { readonly network: SimNetwork; readonly random: SimRandom },
  ) {
    this.#machine = machine;
    this.#network = network;
    this.#random = random;
  }

  /** Null before the first. */
  get state(): OutgoingState | null {
    return this.#state;
  }

  get isUnderWay(): boolean {
    return this.#state?.status === 'setup' || this.#state?.status === 'active';
  }

  /** Begins to send to the machine that is at the address; null: nobody is there. What becomes of it is in `state`. */
  begin(there: ReceivingMachine | null): void {
    this.#become('setup');
    const stream = ++this.#stream;
    const isCurrent = (): boolean => this.#stream === stream && this.isUnderWay;
    const { process } = this.#machine;
    let isConnected = false;
    process.after(STREAM_CONNECT_MS, () => {
      if (isCurrent() && !isConnected) this.#fail('connection timed out');
    });
    this.#receiver = there;
    if (there === null) return;
    const { machine } = process;
    const to = there.process.machine;
    this.#network.stream({ network: 'storage', to }, machine, isCurrent, () => {
      const isListening = there.waitsFor(this.#machine.generation);
      this.#network.stream({ network: 'storage', to: machine }, to, isCurrent, () =>
        process.run(() => {
          if (!isCurrent()) return;
          if (!isListening) return this.#fail('connection refused');
          isConnected = true;
          this.#become('active');
          const restMs = this.#machine.isBusy ? REST_MS[1] : this.#random.between(REST_MS[0], REST_MS[1]);
          process.after(this.#random.between(COPY_MS[0], COPY_MS[1]), () =>
            this.#endPass(1, { there, restMs, isCurrent }),
          );
        }),
      );
    });
  }

  cancel(): void {
    if (!this.isUnderWay) return;
    this.breakStream();
    this.#machine.tell('cancelling');
    this.#state = stateOf('cancelled');
    this.#machine.goOn(this.#ranBefore);
    this.#machine.tell('cancelled');
  }

  /** The connection ends. */
  breakStream(): void {
    this.#stream++;
    const receiver = this.#receiver;
    this.#receiver = null;
    if (receiver === null) return;
    const { process, generation } = this.#machine;
    this.#network.stream(
      { network: 'storage', to: receiver.process.machine },
      process.machine,
      () => receiver.process.isAlive,
      () =>
        receiver.process.run(() => {
          if (receiver.waitsFor(generation)) receiver.process.end();
        }),
    );
  }

  /** What is left after a pass can be sent in a pause that is allowed, or is copied once more. */
  #endPass(pass: number, stream: Stream): void {
    if (!stream.isCurrent()) return;
    if (stream.restMs <= this.#machine.allowedPauseMs()) {
      this.#switchover(stream);
      return;
    }
    this.#state = { ...stateOf('active'), passes: pass + 1 };
    this.#machine.process.after(PASS_MS, () => this.#endPass(pass + 1, stream));
  }

  /** Copying is done: the vCPUs stop, disk requests end, and the last of the state is sent. */
  #switchover({ there, isCurrent }: Stream): void {
    const machine = this.#machine;
    const { process, generation } = machine;
    const before = machine.stopForEnd();
    this.#ranBefore = before === 'running';
    machine.whenIdle(() => {
      if (!isCurrent() || !machine.releaseDisks()) return;
      const memory = machine.memory();
      const to = there.process.machine;
      const status = this.#ranBefore ? 'paused' : before;
      const isLost = this.#random.chance(machine.lostEndPercent);
      process.after(STREAM_END_MS, () => {
        if (isCurrent()) this.#fail('the last acknowledgement did not come');
      });
      this.#network.stream({ network: 'storage', to }, process.machine, isCurrent, () =>
        there.process.run(() => {
          if (!there.load(memory, status, generation, before === 'running') || isLost) return;
          this.#network.stream({ network: 'storage', to: process.machine }, to, isCurrent, () =>
            process.run(() => {
              if (isCurrent()) this.#complete();
            }),
          );
        }),
      );
    });
  }

  #complete(): void {
    this.#become('completed');
    this.#machine.complete();
  }

  /** A source whose stream broke goes on by itself. */
  #fail(error: string): void {
    this.breakStream();
    this.#state = stateOf('failed', error);
    this.#machine.tell('failed');
    this.#machine.goOn(this.#ranBefore);
  }

  #become(status: OutgoingState['status']): void {
    this.#state = stateOf(status);
    this.#machine.tell(status);
  }
}

function stateOf(status: OutgoingState['status'], error: string | null = null): OutgoingState {
  return { status, passes: 1, downtimeMs: status === 'completed' ? DOWNTIME_MS : null, error };
}
