/**
 * Persistent reservations of one logical unit (SPC-4 5.12 and 6.16) as a state machine: (state, nexus, command) ->
 * answer. Pure; the state is plain JSON, which the caller keeps in etcd. A nexus is an initiator port and the initiator
 * port is the VM, so a registration outlives connections, hosts and this process. Guarantees (tested by name in
 * reservations.test.ts): R1 a refused command changes nothing; R2 a reservation is held by a registered nexus, or, of
 * an all-registrants type, by at least one registered nexus; R3 a nexus that loses its registration or its access by
 * another nexus' command gets a unit attention; R4 the generation grows by one with every change of registrations,
 * every CLEAR and every PREEMPT, and with nothing else.
 */
import { NO_KEY } from '../../wire/scsi/persistent-reserve.ts';

/** Write exclusive, exclusive access; the same for registrants only; the same with all registrants as holders. */
export const RESERVATION_TYPE = {
  writeExclusive: 1,
  exclusiveAccess: 3,
  writeExclusiveRegistrantsOnly: 5,
  exclusiveAccessRegistrantsOnly: 6,
  writeExclusiveAllRegistrants: 7,
  exclusiveAccessAllRegistrants: 8,
} as const;

export type ReservationType = (typeof RESERVATION_TYPE)[keyof typeof RESERVATION_TYPE];

/** One registered initiator port. `key`: 16 hexadecimal digits, never NO_KEY. */
export interface Registration {
  readonly nexus: string;
  readonly key: string;
  readonly isAllTargetPorts: boolean;
}

/** Everything that is kept of a logical unit's persistent reservations. */
export interface ReservationState {
  /** PRGENERATION: wraps at 2^32. */
  readonly generation: number;
  readonly registrations: readonly Registration[];
  /** `holder`: null for the two types that all registrants hold. */
  readonly reservation: { readonly type: ReservationType; readonly holder: string | null } | null;
}

export const NO_RESERVATIONS: ReservationState = { generation: 0, registrations: [], reservation: null };

/** Registrations that one logical unit keeps: sixteen VMs share a disk, each may be known by several names. */
export const REGISTRATIONS_MAX = 128;

/** A PERSISTENT RESERVE OUT command. `type` as in the CDB, checked here; the scope is the logical unit. */
export type ReservationCommand =
  | {
      readonly kind: 'register';
      readonly key: string;
      readonly newKey: string;
      /** REGISTER AND IGNORE EXISTING KEY. */
      readonly isIgnoringKey: boolean;
      readonly isAllTargetPorts: boolean;
      /** SPEC_I_PT; null without the bit. */
      readonly initiators: readonly string[] | null;
    }
  | { readonly kind: 'reserve' | 'release'; readonly key: string; readonly type: number }
  | { readonly kind: 'clear'; readonly key: string }
  | {
      readonly kind: 'preempt';
      readonly key: string;
      readonly preemptedKey: string;
      readonly type: number;
      /** PREEMPT AND ABORT. */
      readonly isAborting: boolean;
    }
  | {
      readonly kind: 'register-and-move';
      readonly key: string;
      readonly newKey: string;
      readonly isUnregistering: boolean;
      readonly initiator: string;
    };

export type ReservationAttention = 'reservationsPreempted' | 'reservationsReleased' | 'registrationsPreempted';

/** A unit attention for a nexus. */
export interface Attention {
  readonly nexus: string;
  readonly attention: ReservationAttention;
}

export type ReservationRefusal =
  | 'reservation-conflict'
  | 'invalid-cdb'
  | 'invalid-parameter'
  | 'invalid-release'
  | 'no-registration-resources';

/** The effects of a command. `aborted`: nexuses whose commands in flight PREEMPT AND ABORT ends. */
export type ReservationOutcome =
  | {
      readonly result: 'good';
      readonly state: ReservationState;
      readonly attentions: readonly Attention[];
      readonly aborted: readonly string[];
    }
  | { readonly result: ReservationRefusal };

/** Whether a number is one of the six types. */
function isReservationType(type: number): type is ReservationType {
  return type === 1 || type === 3 || (type >= 5 && type <= 8);
}

/** Whether every registered nexus holds a reservation of this type. */
function isAllRegistrants(type: ReservationType): boolean {
  return type === 7 || type === 8;
}

/** Whether every registered nexus has the access of the holder. */
export function sharesWithRegistrants(type: ReservationType): boolean {
  return type >= 5;
}

/** The key under which a nexus is registered; undefined: it is not. */
export function keyOf(state: ReservationState, nexus: string): string | undefined {
  return state.registrations.find((each) => each.nexus === nexus)?.key;
}

/** Whether a nexus holds the reservation. */
export function isHolder(state: ReservationState, nexus: string): boolean {
  if (state.reservation === null) return false;
  return state.reservation.holder === null ? keyOf(state, nexus) !== undefined : state.reservation.holder === nexus;
}

/** Carries out one PERSISTENT RESERVE OUT command that came from `nexus`. */
export function changeReservations(
  state: ReservationState,
  nexus: string,
  command: ReservationCommand,
): ReservationOutcome {
  const own = keyOf(state, nexus);
  if (command.kind === 'register') return register({ state, nexus, own }, command);
  if (own === undefined || own !== command.key) return { result: 'reservation-conflict' };
  switch (command.kind) {
    case 'reserve':
      return reserve(state, nexus, command.type);
    case 'release':
      return release(state, nexus, command.type);
    case 'clear':
      return clear(state, nexus);
    case 'preempt':
      return preempt(state, nexus, command);
    case 'register-and-move':
      return move(state, nexus, command);
  }
}

const good = (
  state: ReservationState,
  attentions: readonly Attention[] = [],
  aborted: readonly string[] = [],
): ReservationOutcome => ({ result: 'good', state, attentions, aborted });

const next = (generation: number): number => (generation + 1) % 0x1_0000_0000;

const told = (registrations: readonly Registration[], attention: ReservationAttention, but: string): Attention[] =>
  registrations.filter((each) => each.nexus !== but).map(({ nexus }) => ({ nexus, attention }));

type RegisterCommand = Extract<ReservationCommand, { kind: 'register' }>;

function register(
  { state, nexus, own }: { state: ReservationState; nexus: string; own: string | undefined },
  command: RegisterCommand,
): ReservationOutcome {
  const { newKey, initiators } = command;
  if (!command.isIgnoringKey && command.key !== (own ?? NO_KEY)) return { result: 'reservation-conflict' };
  // SPEC_I_PT belongs to the first registration of a nexus by REGISTER (SPC-4 table 56).
  if (initiators !== null && (command.isIgnoringKey || own !== undefined)) return { result: 'invalid-parameter' };
  if (newKey === NO_KEY) return own === undefined ? good(state) : unregister(state, nexus);
  if (own !== undefined) {
    const registrations = state.registrations.map((each) =>
      each.nexus === nexus ? { ...each, key: newKey, isAllTargetPorts: command.isAllTargetPorts } : each,
    );
    return good({ ...state, generation: next(state.generation), registrations });
  }
  const added = [...new Set([nexus, ...(initiators ?? [])])]
    .filter((each) => keyOf(state, each) === undefined)
    .map((each) => ({ nexus: each, key: newKey, isAllTargetPorts: command.isAllTargetPorts }));
  const registrations = [...state.registrations, ...added];
  if (registrations.length > REGISTRATIONS_MAX) return { result: 'no-registration-resources' };
  return good({ ...state, generation: next(state.generation), registrations });
}

function unregister(state: ReservationState, nexus: string): ReservationOutcome {
  const registrations = state.registrations.filter((each) => each.nexus !== nexus);
  const generation = next(state.generation);
  const { reservation } = state;
  if (reservation === null) return good({ generation, registrations, reservation });
  const isEnding = reservation.holder === null ? registrations.length === 0 : reservation.holder === nexus;
  if (!isEnding) return good({ generation, registrations, reservation });
  const attentions = sharesWithRegistrants(reservation.type) ? told(registrations, 'reservationsReleased', nexus) : [];
  return good({ generation, registrations, reservation: null }, attentions);
}

function reserve(state: ReservationState, nexus: string, type: number): ReservationOutcome {
  if (!isReservationType(type)) return { result: 'invalid-cdb' };
  if (state.reservation === null)
    return good({ ...state, reservation: { type, holder: isAllRegistrants(type) ? null : nexus } });
  if (isHolder(state, nexus) && state.reservation.type === type) return good(state);
  return { result: 'reservation-conflict' };
}

function release(state: ReservationState, nexus: string, type: number): ReservationOutcome {
  if (state.reservation === null || !isHolder(state, nexus)) return good(state);
  if (state.reservation.type !== type) return { result: 'invalid-release' };
  const isTold = sharesWithRegistrants(state.reservation.type);
  return good({ ...state, reservation: null }, isTold ? told(state.registrations, 'reservationsReleased', nexus) : []);
}

function clear(state: ReservationState, nexus: string): ReservationOutcome {
  return good(
    { generation: next(state.generation), registrations: [], reservation: null },
    told(state.registrations, 'reservationsPreempted', nexus),
  );
}

type PreemptCommand = Extract<ReservationCommand, { kind: 'preempt' }>;

function preempt(state: ReservationState, nexus: string, command: PreemptCommand): ReservationOutcome {
  const { reservation } = state;
  if (reservation?.holder === null && command.preemptedKey === NO_KEY) return takeOver(state, nexus, command);
  if (command.preemptedKey === NO_KEY) return { result: 'invalid-parameter' };
  if (reservation !== null && reservation.holder !== null && keyOf(state, reservation.holder) === command.preemptedKey)
    return takeOver(state, nexus, command);
  return removeRegistrations(state, nexus, command);
}

/** The reservation becomes the preempting nexus' own (SPC-4 5.12.11.2.5). */
function takeOver(state: ReservationState, nexus: string, command: PreemptCommand): ReservationOutcome {
  const { type, preemptedKey } = command;
  if (!isReservationType(type)) return { result: 'invalid-cdb' };
  const isRemoved = (each: Registration): boolean =>
    each.nexus !== nexus && (preemptedKey === NO_KEY || each.key === preemptedKey);
  const removed = state.registrations.filter(isRemoved);
  const registrations = state.registrations.filter((each) => !isRemoved(each));
  const isChanged = state.reservation?.type !== type;
  return good(
    {
      generation: next(state.generation),
      registrations,
      reservation: { type, holder: isAllRegistrants(type) ? null : nexus },
    },
    [
      ...told(removed, 'registrationsPreempted', nexus),
      ...(isChanged ? told(registrations, 'reservationsReleased', nexus) : []),
    ],
    command.isAborting ? removed.map((each) => each.nexus) : [],
  );
}

/**
 * Only registrations are removed, the caller's own too if it has the key (SPC-4 5.12.11.2.4); the reservation stays
 * unless no registrant is left to hold it.
 */
function removeRegistrations(state: ReservationState, nexus: string, command: PreemptCommand): ReservationOutcome {
  const removed = state.registrations.filter((each) => each.key === command.preemptedKey);
  if (removed.length === 0) return { result: 'reservation-conflict' };
  const registrations = state.registrations.filter((each) => each.key !== command.preemptedKey);
  const isEnding = state.reservation?.holder === null && registrations.length === 0;
  return good(
    { generation: next(state.generation), registrations, reservation: isEnding ? null : state.reservation },
    told(removed, 'registrationsPreempted', nexus),
    command.isAborting ? removed.map((each) => each.nexus).filter((each) => each !== nexus) : [],
  );
}

type MoveCommand = Extract<ReservationCommand, { kind: 'register-and-move' }>;

function move(state: ReservationState, nexus: string, command: MoveCommand): ReservationOutcome {
  if (state.reservation?.holder === null) return { result: 'reservation-conflict' };
  if (state.reservation === null || state.reservation.holder !== nexus) return { result: 'invalid-cdb' };
  if (command.newKey === NO_KEY || command.initiator === nexus) return { result: 'invalid-parameter' };
  const kept = state.registrations.filter(
    (each) => each.nexus !== command.initiator && !(command.isUnregistering && each.nexus === nexus),
  );
  const registrations = [...kept, { nexus: command.initiator, key: command.newKey, isAllTargetPorts: false }];
  if (registrations.length > REGISTRATIONS_MAX) return { result: 'no-registration-resources' };
  return good({
    generation: next(state.generation),
    registrations,
    reservation: { type: state.reservation.type, holder: command.initiator },
  });
}
