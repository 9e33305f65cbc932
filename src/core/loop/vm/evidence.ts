/**
 * Everything one leader knows of one VM's incarnations: the answers and events of their QEMUs, since when reports of
 * their hosts count, what was ordered and acknowledged, how long the VM has been in its phase, and how long ago its
 * notice was given. Decisions read it; every event that changes this knowledge is one method here.
 * Guarantees: an answer of QMP from before a fence says nothing about the fenced incarnation after it; an event of a
 * QEMU counts until the QEMU is asked again; after an order, the QEMU that it changed is asked; a generation that was
 * just committed has no QEMU to ask yet.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { Generation, HostName, VmId } from '../../../base/ids.ts';
import type { IncarnationObservation, MigrationTold, QmpObservation } from '../../model/observation.ts';
import { expectedIncarnations, type Incarnation, type VmPhase, type VmRecord } from '../../model/vm.ts';
import { changedBy, type Step, type StepFailure } from '../../plan/vm/steps.ts';
import type { Clock } from '../../ports/clock.ts';
import { Acknowledgements } from './acknowledgements.ts';

/** Orders to end a process that fail before its VM continues by its fence. */
const END_ATTEMPTS = 3;
/** A guest that ran this long after a disk error is over it, in ms. */
const DISK_ERROR_OVER_MS = 10_000;

/** The generations whose answers no longer count: the next caller that needs them asks their QEMUs. */
export type Doubted = 'all' | ReadonlySet<Generation>;

const NONE: ReadonlySet<Generation> = new Set();

/** A question to a QEMU: what is answered counts as of when it was asked. */
export interface Asked {
  readonly at: number;
  readonly fences: number;
}

/** An answer and its time, by the leader's monotonic clock in ms. */
export interface Answer {
  readonly seen: QmpObservation;
  readonly at: number;
}

/** The knowledge of one incarnation's QEMU. */
interface Known {
  answer: Answer | null;
  /** Events of QEMU since it was last asked. */
  told: { readonly told: MigrationTold; readonly at: number } | null;
  /**
   * When its last launch was acknowledged: older reports of its host say nothing about its process. 0: nobody launched
   * it in this term.
   */
  launchedAt: number;
}

/** The observations of hosts that an observation of a VM needs. */
export interface HostSight {
  see(host: HostName): IncarnationObservation['host'];
  processState(host: HostName, vm: VmId, generation: Generation, sinceMs: number): IncarnationObservation['process'];
}

/** One per VM and leader. Times are of the leader's monotonic clock, in ms. */
export class Evidence {
  readonly acknowledged = new Acknowledgements();
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #known = new Map<Generation, Known>();
  #doubted: Doubted = 'all';
  /** How often this leader has fenced the VM. */
  #fences = 0;
  /** When this leader committed phase switching, and to which generation. */
  #switched: { readonly generation: Generation; readonly at: number } | null = null;
  /** The phase the VM is in, as far as this leader knows, and since when it knows. */
  #phase: { readonly record: VmRecord; readonly since: number } | null = null;
  /** The notice that the VM's guest was given last, as far as this leader knows, and since when it knows. */
  #notice: { readonly number: number; readonly since: number } | null = null;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Earlier answers of QMP no longer count, for one generation or for all. */
  doubt(which: 'all' | Generation): void {
    this.#doubted = this.#doubted === 'all' || which === 'all' ? 'all' : new Set([...this.#doubted, which]);
  }

  /** Returns the generations whose answers no longer count, for the caller that asks them now. */
  takeDoubts(): Doubted {
    const doubted = this.#doubted;
    this.#doubted = NONE;
    return doubted;
  }

  /** A QEMU sent an event, which takes the place of its last answer. */
  heard(generation: Generation, told: MigrationTold): void {
    const known = this.#of(generation);
    known.told = { told, at: this.#clock.monotonicMs() };
    known.answer = null;
  }

  /** A QEMU's last event no longer describes its state: the QEMU has to be asked. */
  hasChanged(generation: Generation): void {
    const known = this.#known.get(generation);
    if (known !== undefined) known.told = null;
    this.doubt(generation);
  }

  /** Call this when a question is asked; `answered` notes its answer. */
  ask(): Asked {
    return { at: this.#clock.monotonicMs(), fences: this.#fences };
  }

  /** Notes an answer of QMP. Returns false, and notes nothing, if the incarnation was fenced since it was asked. */
  answered({ at, fences }: Asked, generation: Generation, seen: QmpObservation): boolean {
    if (this.#fences !== fences && generation < this.acknowledged.fencedBelow) return false;
    const known = this.#of(generation);
    known.answer = { seen, at: this.#clock.monotonicMs() };
    if (known.told !== null && known.told.at <= at) known.told = null;
    return true;
  }

  /** The last answer of a generation's QEMU that still counts, or null. */
  answerOf(generation: Generation): Answer | null {
    return this.#known.get(generation)?.answer ?? null;
  }

  /** When a QEMU of the VM last sent an event that still counts; null if none did. */
  get lastToldAt(): number | null {
    let last: number | null = null;
    for (const { told } of this.#known.values()) if (told !== null && told.at > (last ?? -Infinity)) last = told.at;
    return last;
  }

  /** Notes the phase, and the notice, of the record that is looked at. */
  notePhase(vm: VmRecord): void {
    if (vm.notice !== undefined && vm.notice.number !== this.#notice?.number)
      this.#notice = { number: vm.notice.number, since: this.#clock.monotonicMs() };
    if (this.#phase !== null && isSamePhase(this.#phase.record, vm)) return;
    this.#phase = { record: vm, since: this.#clock.monotonicMs() };
  }

  /** How long this leader has known the VM to be in its phase, in ms; 0 if it has not looked at it. */
  phaseForMs(vm: VmRecord): number {
    return this.#phase !== null && isSamePhase(this.#phase.record, vm)
      ? this.#clock.monotonicMs() - this.#phase.since
      : 0;
  }

  /** How long this leader has known of the VM's last notice, in ms; 0 if it has not looked at it. */
  noticeForMs({ notice }: VmRecord): number {
    const known = this.#notice;
    return known !== null && known.number === notice?.number ? this.#clock.monotonicMs() - known.since : 0;
  }

  /** Notes whether the guest of a migration's source is paused for the end of the migration. */
  noteStanding(isStanding: boolean): void {
    const { acknowledged } = this;
    acknowledged.standingSince = isStanding ? (acknowledged.standingSince ?? this.#clock.monotonicMs()) : null;
  }

  /** Notes that a disk error pauses the guest; returns since when. */
  noteDiskError(): number {
    const { acknowledged } = this;
    acknowledged.diskError ??= { since: this.#clock.monotonicMs(), continuedAt: null };
    return acknowledged.diskError.since;
  }

  /** Notes that the guest runs; returns true if it is over a disk error by that. */
  noteRunning(): boolean {
    const { acknowledged } = this;
    if (this.#clock.monotonicMs() - (acknowledged.diskError?.continuedAt ?? 0) <= DISK_ERROR_OVER_MS) return false;
    acknowledged.diskError = null;
    return true;
  }

  /** A step was carried out and acknowledged. */
  carriedOut(step: Step): void {
    const { acknowledged } = this;
    const now = this.#clock.monotonicMs();
    if (step.do === 'launch') this.#of(step.incarnation.generation).launchedAt = now;
    acknowledged.failure = null;
    const changed = changedBy(step);
    if (changed !== null) this.doubt(changed.generation);
    if (step.do === 'fence') this.#fenced(step.below);
    if (step.do === 'cont') this.#continued(step.incarnation, now);
    if (step.do === 'power-down') acknowledged.poweredDown.set(step.incarnation.generation, now);
    // From here on it is asked once whether it is reached at all. Its answers from before the stream say nothing about
    // that.
    if (step.do === 'send') this.#of(step.destination.generation).answer = null;
  }

  /** A step was not carried out completely; it is unknown which part of it was. */
  failed(step: Step, error: unknown): StepFailure {
    const { acknowledged } = this;
    const before = acknowledged.failure;
    const count = before !== null && before.step.do === step.do ? before.count + 1 : 1;
    if (step.do === 'end' && count >= END_ATTEMPTS) acknowledged.resisted.add(step.incarnation.generation);
    this.doubt('all');
    acknowledged.failure = {
      step,
      message: messageOf(error),
      code: error instanceof CodedError ? error.code : null,
      at: this.#clock.monotonicMs(),
      count,
      host: 'incarnation' in step ? step.incarnation.host : null,
    };
    return acknowledged.failure;
  }

  /**
   * The leader committed the change that follows `before`; null: the record is gone. Returns the generations that no
   * record names any more.
   */
  committed(before: VmRecord, after: VmRecord | null): readonly Generation[] {
    const { acknowledged } = this;
    const at = this.#clock.monotonicMs();
    acknowledged.failure = null;
    acknowledged.reset = null;
    if (after?.phase.kind === 'switching') this.#switched = { generation: after.phase.destination.generation, at };
    if (after?.phase === before.phase) return [];
    const expected = after === null ? [] : generationsOf(after.phase);
    const gone = generationsOf(before.phase).filter((generation) => !expected.includes(generation));
    for (const generation of gone) this.#forget(generation);
    // A generation that this very transaction made has no process yet that could be asked.
    for (const generation of expected.filter((each) => each > before.generation)) {
      this.#of(generation).answer = { seen: { kind: 'unknown' }, at };
      acknowledged.neverContinued.set(generation, null);
    }
    return gone;
  }

  /** The observation of an incarnation, for decisions, verdicts and people. */
  observe(vm: VmId, incarnation: Incarnation, hosts: HostSight): IncarnationObservation {
    const known = this.#known.get(incarnation.generation);
    const answer = known?.answer ?? null;
    const qmp: QmpObservation =
      answer === null ? { kind: 'unknown' } : aged(answer.seen, this.#clock.monotonicMs() - answer.at);
    return observed(vm, incarnation, hosts, {
      qmp,
      told: known?.told?.told ?? null,
      launchedAt: known?.launchedAt ?? 0,
    });
  }

  #of(generation: Generation): Known {
    let known = this.#known.get(generation);
    if (known === undefined) {
      known = { answer: null, told: null, launchedAt: 0 };
      this.#known.set(generation, known);
    }
    return known;
  }

  /**
   * An incarnation that is not below continues as before: a guest that has just moved does not wait for its own QEMU.
   */
  #fenced(below: Generation): void {
    this.#fences++;
    for (const [generation, known] of this.#known)
      if (generation < below) {
        known.answer = null;
        known.told = null;
      }
  }

  #continued({ generation }: Incarnation, now: number): void {
    const { acknowledged } = this;
    if (this.#switched?.generation === generation)
      acknowledged.continued = { generation, afterMs: now - this.#switched.at };
    if (acknowledged.diskError === null) return;
    acknowledged.diskError = { ...acknowledged.diskError, continuedAt: now };
    // A disk that fails again may no longer be served.
    acknowledged.granted.delete(generation);
  }

  #forget(generation: Generation): void {
    this.#known.delete(generation);
    this.acknowledged.forget(generation);
  }
}

/** The observation of an incarnation about which only its host is known. */
export function unaskedObservation(vm: VmId, incarnation: Incarnation, hosts: HostSight): IncarnationObservation {
  return observed(vm, incarnation, hosts, { qmp: { kind: 'unknown' }, told: null, launchedAt: 0 });
}

function observed(
  vm: VmId,
  incarnation: Incarnation,
  hosts: HostSight,
  known: Pick<IncarnationObservation, 'qmp' | 'told'> & { readonly launchedAt: number },
): IncarnationObservation {
  const host = hosts.see(incarnation.host);
  const { kernel, agent } = host;
  return {
    incarnation,
    process: hosts.processState(incarnation.host, vm, incarnation.generation, known.launchedAt),
    qmp: kernel.kind === 'silent' && agent === 'silent' ? { kind: 'silent', paths: kernel.paths, ageMs: 0 } : known.qmp,
    told: known.told,
    host,
  };
}

function generationsOf(phase: VmPhase): Generation[] {
  return expectedIncarnations(phase).map(({ generation }) => generation);
}

/** Returns false if the VM entered its phase again between the two. */
function isSamePhase(one: VmRecord, other: VmRecord): boolean {
  return (
    one === other ||
    (one.phase.kind === other.phase.kind && one.generation === other.generation && one.phaseSince === other.phaseSince)
  );
}

function aged(seen: QmpObservation, ms: number): QmpObservation {
  return seen.kind === 'unknown' ? seen : { ...seen, ageMs: Math.round(ms) };
}
