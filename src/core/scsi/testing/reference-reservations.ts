/**
 * Persistent reservations a second time, for tests: written from SPC-4's tables without a look at reservations.ts, with
 * other means. The state is a mutable map; what a command does is written as steps on it; unit attentions are not
 * decided but derived afterwards, from what each nexus had before and has now.
 */
import type { Attention, ReservationCommand, ReservationState } from '../reservations.ts';

const NONE = '0'.repeat(16);
const ALL = [7, 8];
const SHARED = [5, 6, 7, 8];
const KNOWN = [1, 3, 5, 6, 7, 8];

interface Snapshot {
  readonly keys: ReadonlyMap<string, string>;
  readonly type: number | undefined;
}

/** One logical unit's reservations. */
export class ReferenceReservations {
  generation = 0;
  readonly keys = new Map<string, string>();
  readonly allPorts = new Set<string>();
  type: number | undefined;
  /** The nexus that reserved; for the types of all registrants it means nothing. */
  owner: string | undefined;
  attentions: Attention[] = [];
  aborted: string[] = [];

  /** 'good' or the refusal; the unit attentions of the command are in `attentions` afterwards. */
  run(nexus: string, command: ReservationCommand): string {
    const before: Snapshot = { keys: new Map(this.keys), type: this.type };
    this.aborted = [];
    this.attentions = [];
    const result = this.#dispatch(nexus, command);
    if (result === 'good') this.#derive(before, nexus, command);
    return result;
  }

  /** In the form of the state that is saved. */
  toState(): ReservationState {
    const isShared = this.type !== undefined && ALL.includes(this.type);
    return {
      generation: this.generation,
      registrations: [...this.keys].map(([nexus, key]) => ({ nexus, key, isAllTargetPorts: this.allPorts.has(nexus) })),
      reservation:
        this.type === undefined
          ? null
          : ({ type: this.type, holder: isShared ? null : this.owner } as ReservationState['reservation']),
    };
  }

  #holds(nexus: string): boolean {
    if (this.type === undefined) return false;
    return ALL.includes(this.type) ? this.keys.has(nexus) : this.owner === nexus;
  }

  #dispatch(nexus: string, command: ReservationCommand): string {
    if (command.kind === 'register') return this.#register(nexus, command);
    if (!this.keys.has(nexus) || this.keys.get(nexus) !== command.key) return 'reservation-conflict';
    if (command.kind === 'reserve') return this.#reserve(nexus, command.type);
    if (command.kind === 'release') return this.#release(nexus, command.type);
    if (command.kind === 'preempt') return this.#preempt(nexus, command);
    if (command.kind === 'register-and-move') return this.#move(nexus, command);
    this.generation += 1;
    this.keys.clear();
    this.type = undefined;
    return 'good';
  }

  #register(nexus: string, command: Extract<ReservationCommand, { kind: 'register' }>): string {
    const isKnown = this.keys.has(nexus);
    const isKeyRight = isKnown ? this.keys.get(nexus) === command.key : command.key === NONE;
    if (!command.isIgnoringKey && !isKeyRight) return 'reservation-conflict';
    if (command.initiators !== null && (isKnown || command.isIgnoringKey)) return 'invalid-parameter';
    if (command.newKey === NONE) {
      if (isKnown) this.#leave(nexus);
      return 'good';
    }
    const newcomers = [nexus, ...(command.initiators ?? [])].filter((each) => each === nexus || !this.keys.has(each));
    for (const each of newcomers) {
      this.keys.set(each, command.newKey);
      if (command.isAllTargetPorts) this.allPorts.add(each);
      else this.allPorts.delete(each);
    }
    this.generation += 1;
    return 'good';
  }

  #leave(nexus: string): void {
    const wasHolder = this.#holds(nexus);
    this.keys.delete(nexus);
    this.generation += 1;
    if (!wasHolder || this.type === undefined) return;
    if (!ALL.includes(this.type) || this.keys.size === 0) this.type = undefined;
  }

  #reserve(nexus: string, type: number): string {
    if (!KNOWN.includes(type)) return 'invalid-cdb';
    if (this.type !== undefined) return this.#holds(nexus) && this.type === type ? 'good' : 'reservation-conflict';
    this.type = type;
    this.owner = nexus;
    return 'good';
  }

  #release(nexus: string, type: number): string {
    if (!this.#holds(nexus)) return 'good';
    if (type !== this.type) return 'invalid-release';
    this.type = undefined;
    return 'good';
  }

  #preempt(nexus: string, command: Extract<ReservationCommand, { kind: 'preempt' }>): string {
    const victimKey = command.preemptedKey;
    const isShared = this.type !== undefined && ALL.includes(this.type);
    if (victimKey === NONE && !isShared) return 'invalid-parameter';
    const ownerKey = this.type === undefined || isShared ? undefined : this.keys.get(this.owner ?? '');
    const takesReservation = victimKey === NONE || ownerKey === victimKey;
    if (takesReservation && !KNOWN.includes(command.type)) return 'invalid-cdb';
    const victims = [...this.keys]
      .filter(([name, key]) => (victimKey === NONE || key === victimKey) && !(takesReservation && name === nexus))
      .map(([name]) => name);
    if (victims.length === 0 && !takesReservation) return 'reservation-conflict';
    for (const victim of victims) this.keys.delete(victim);
    this.generation += 1;
    if (takesReservation) {
      this.type = command.type;
      this.owner = nexus;
    } else if (isShared && this.keys.size === 0) this.type = undefined;
    if (command.isAborting) this.aborted = victims.filter((each) => each !== nexus);
    return 'good';
  }

  #move(nexus: string, command: Extract<ReservationCommand, { kind: 'register-and-move' }>): string {
    if (this.type !== undefined && ALL.includes(this.type)) return 'reservation-conflict';
    if (!this.#holds(nexus)) return 'invalid-cdb';
    if (command.newKey === NONE || command.initiator === nexus) return 'invalid-parameter';
    this.keys.delete(command.initiator);
    this.keys.set(command.initiator, command.newKey);
    this.allPorts.delete(command.initiator);
    if (command.isUnregistering) this.keys.delete(nexus);
    this.owner = command.initiator;
    this.generation += 1;
    return 'good';
  }

  /**
   * SPC-4 5.12.11: who lost a registration by another, and who outlived a reservation that they shared in or that
   * changed.
   */
  #derive(before: Snapshot, nexus: string, command: ReservationCommand): void {
    const isPreempt = command.kind === 'preempt';
    for (const name of before.keys.keys()) {
      if (name === nexus) continue;
      if (!this.keys.has(name))
        this.attentions.push({
          nexus: name,
          attention: command.kind === 'clear' ? 'reservationsPreempted' : 'registrationsPreempted',
        });
      else if (before.type !== undefined && before.type !== this.type && (isPreempt || SHARED.includes(before.type)))
        this.attentions.push({ nexus: name, attention: 'reservationsReleased' });
    }
  }
}
