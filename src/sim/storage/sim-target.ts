/**
 * A simulated target for shared disks: who is admitted, connections, and the writes that are under way.
 *
 * As src/iscsi does it: who may log in is asked once; what a new state does not admit is cut at once, and the state is
 * acknowledged when the last write of what was cut has been carried out. Writes here are those with FUA: acknowledged
 * when they are on stable storage. A killed process is gone only when the kernel has finished what was handed to it;
 * what was not handed over is lost.
 */
import type { DiskId, Generation, VmId } from '../../base/ids.ts';
import type { TargetProcess, TargetSession, TargetState } from '../../core/ports/target-backend.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { SimDiskPath, WriteOutcome } from './sim-daemon.ts';
import type { DiskWrite } from './sim-pool.ts';

/** The client: an incarnation, by its account. */
export interface SharedClient {
  readonly vm: VmId;
  readonly generation: Generation;
  readonly address: string;
}

/** The target's end of a session. */
export interface SharedSession {
  readonly isOpen: boolean;
  /** A write arrives: the answer goes back to the guest. 'broken' also for a disk that the VM has not. */
  write(disk: DiskId, sequence: number): Promise<WriteOutcome>;
  close(): void;
  /** Calls back once, at the instant the target or its death ends it; at once when it has ended. Not after `close`. */
  onCut(listener: () => void): void;
}

/** What a wrong target would do; for showing that checkers notice. */
export interface SimTargetMistakes {
  /** Acknowledges a state while writes of what it cut are under way. */
  cutsWithoutDraining?: boolean;
  /** Leaves the sessions of who is not admitted any more. */
  keepsSessions?: boolean;
}

interface Flight {
  readonly write: DiskWrite;
  readonly submittedAtMs: number;
  readonly session: Session;
  isLost: boolean;
}

/** From the socket to the kernel, in ms. */
const SUBMIT_MS = 0.3;

/** One target process. `process` is alive until it is killed; `isGone` when the kernel has let go of its last write. */
export class SimTarget {
  readonly identity: TargetProcess;
  readonly process: SimProcess;
  readonly #path: SimDiskPath & { readonly targetMistakes: SimTargetMistakes };
  readonly #sessions = new Set<Session>();
  readonly #flights = new Set<Flight>();
  readonly #commands: (() => void)[] = [];
  readonly #onLanded = new Set<() => void>();
  #state: TargetState = { units: [], vms: [] };

  constructor(options: {
    readonly identity: TargetProcess;
    readonly process: SimProcess;
    readonly path: SimDiskPath & { readonly targetMistakes: SimTargetMistakes };
  }) {
    this.identity = options.identity;
    this.process = options.process;
    this.#path = options.path;
    this.process.onEnd(() => this.#die());
  }

  get isGone(): boolean {
    return !this.process.isAlive && this.#flights.size === 0;
  }

  get state(): TargetState {
    return this.#state;
  }

  get sessions(): readonly TargetSession[] {
    return Array.from(this.#sessions, ({ client }) => client);
  }

  /** Calls back when it is gone; at once when it is. */
  whenGone(listener: () => void): void {
    this.#when(() => this.isGone, listener);
  }

  /** A command at its control socket: carried out after those that came before, unless it dies first. */
  command(delayMs: number, effect: () => void): void {
    this.#commands.push(effect);
    this.process.after(delayMs, () => this.#commands.shift()?.());
  }

  /** Makes this the whole state; `onDone` is called when nothing of what is not in it runs any more. */
  apply(state: TargetState, onDone: () => void): void {
    const { targetMistakes } = this.#path;
    const before = this.#state;
    this.#state = state;
    for (const { vm, generations } of state.vms)
      for (const generation of generations)
        if (!isAdmitted(before, { vm, generation })) this.#path.onServed(vm, generation);
    if (targetMistakes.keepsSessions !== true)
      for (const session of [...this.#sessions]) if (!isAdmitted(state, session.client)) session.cut();
    const isUnderWay = ({ write }: Flight): boolean =>
      !isAdmitted(state, write) || !hasDisk(state, write.vm, write.disk);
    const isDrained = (): boolean =>
      targetMistakes.cutsWithoutDraining === true || ![...this.#flights].some(isUnderWay);
    // What the process notices, it notices when it runs.
    this.#when(isDrained, () => this.process.run(onDone));
  }

  /** A log-in: refused unless it is admitted. */
  accept(client: SharedClient): SharedSession | 'refused' {
    if (!isAdmitted(this.#state, client)) return 'refused';
    const session = new Session(this, client);
    this.#sessions.add(session);
    return session;
  }

  forget(session: Session): void {
    this.#sessions.delete(session);
  }

  /** Carries a write out. */
  write(
    session: Session,
    { disk, sequence }: Pick<DiskWrite, 'disk' | 'sequence'>,
    answer: (outcome: WriteOutcome) => void,
  ): void {
    const { clock, pool, node, random } = this.#path;
    const { vm, generation } = session.client;
    if (!hasDisk(this.#state, vm, disk) || pool.isFull) {
      answer(pool.isFull ? 'enospc' : 'broken');
      return;
    }
    const write: DiskWrite = { node, disk, vm, generation, sequence };
    const submittedAtMs = clock.monotonicMs() + random.unit() * SUBMIT_MS;
    const flight: Flight = { write, submittedAtMs, session, isLost: false };
    this.#flights.add(flight);
    clock.after(SUBMIT_MS + this.#path.latencyMs(disk), () => {
      if (flight.isLost) return;
      this.#land(flight);
      this.process.run(() => {
        if (!session.isOpen) return;
        this.#path.onAck(write);
        answer('ok');
      });
    });
  }

  #land(flight: Flight): void {
    if (this.#path.pool.put(flight.write)) this.#path.onWrite(flight.write);
    this.#drop(flight);
  }

  #drop(flight: Flight): void {
    flight.isLost = true;
    this.#flights.delete(flight);
    for (const look of [...this.#onLanded]) look();
  }

  #when(holds: () => boolean, listener: () => void): void {
    const look = (): void => {
      if (!holds()) return;
      this.#onLanded.delete(look);
      listener();
    };
    this.#onLanded.add(look);
    look();
  }

  #die(): void {
    const nowMs = this.#path.clock.monotonicMs();
    this.#commands.length = 0;
    for (const session of [...this.#sessions]) session.cut();
    const hasPower = this.process.machine.up;
    for (const flight of [...this.#flights]) {
      if (flight.submittedAtMs > nowMs) this.#drop(flight);
      // What the kernel had when the power went may or may not have got to the disk.
      else if (!hasPower && this.#path.random.chance(50)) this.#land(flight);
      else if (!hasPower) this.#drop(flight);
    }
    for (const look of [...this.#onLanded]) look();
  }
}

class Session implements SharedSession {
  readonly #target: SimTarget;
  readonly client: SharedClient;
  readonly #waiting = new Set<(outcome: WriteOutcome) => void>();
  readonly #onCut: (() => void)[] = [];
  #isOpen = true;

  constructor(target: SimTarget, client: SharedClient) {
    this.#target = target;
    this.client = client;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  write(disk: DiskId, sequence: number): Promise<WriteOutcome> {
    if (!this.#isOpen) return Promise.resolve('broken');
    return new Promise((resolve) => {
      const answer = (outcome: WriteOutcome): void => {
        this.#waiting.delete(answer);
        resolve(outcome);
      };
      this.#waiting.add(answer);
      // In the socket's buffer until the target runs; gone with the connection.
      this.#target.process.run(() => {
        if (this.#isOpen) this.#target.write(this, { disk, sequence }, answer);
      });
    });
  }

  cut(): void {
    this.close();
    for (const listener of this.#onCut.splice(0)) listener();
  }

  onCut(listener: () => void): void {
    if (this.#isOpen) this.#onCut.push(listener);
    else listener();
  }

  close(): void {
    this.#isOpen = false;
    this.#target.forget(this);
    for (const answer of [...this.#waiting]) answer('broken');
  }
}

function isAdmitted(
  state: TargetState,
  { vm, generation }: { readonly vm: VmId; readonly generation: Generation },
): boolean {
  return state.vms.some((each) => each.vm === vm && each.generations.includes(generation));
}

function hasDisk(state: TargetState, vm: VmId, disk: DiskId): boolean {
  return state.vms.some((each) => each.vm === vm && each.luns.some((lun) => lun.disk === disk));
}
