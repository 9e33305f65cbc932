/** PERSISTENT RESERVE IN and OUT: from CDB and parameter data to the state machine and back (SPC-4 6.15, 6.16). */
import { u16, u32 } from '../../wire/scsi/bytes.ts';
import { RELATIVE_TARGET_PORT } from '../../wire/scsi/inquiry.ts';
import * as wire from '../../wire/scsi/persistent-reserve.ts';
import { CONDITION, STATUS } from '../../wire/scsi/sense.ts';
import { dataAnswer, RESERVATION_CONFLICT, statusAnswer } from './answers.ts';
import { isHolder, keyOf, type ReservationCommand, type ReservationRefusal } from './reservations.ts';
import type { ScsiAnswer, ScsiCommand } from './target-port.ts';
import type { CommandHandler, UnitContext } from './unit-context.ts';

const reading =
  (encode: (unit: UnitContext) => Uint8Array): CommandHandler =>
  (unit, command) =>
    dataAnswer(encode(unit), command, u16(command.cdb, 7));

/** READ KEYS. */
export const readKeys = reading(({ reservations }) =>
  wire.encodeKeys(
    reservations.generation,
    reservations.registrations.map((each) => each.key),
  ),
);

/** READ RESERVATION. */
export const readReservation = reading(({ reservations }) => {
  const { reservation, generation } = reservations;
  if (reservation === null) return wire.encodeReservation(generation, null);
  const key = reservation.holder === null ? wire.NO_KEY : (keyOf(reservations, reservation.holder) ?? wire.NO_KEY);
  return wire.encodeReservation(generation, { key, type: reservation.type });
});

/** REPORT CAPABILITIES. */
export const reportCapabilities = reading(() => wire.encodeCapabilities());

/** READ FULL STATUS. */
export const readFullStatus = reading(({ reservations }) =>
  wire.encodeFullStatus(
    reservations.generation,
    reservations.registrations.map((each) => ({
      name: each.nexus,
      key: each.key,
      type: isHolder(reservations, each.nexus) ? (reservations.reservation?.type ?? null) : null,
      isAllTargetPorts: each.isAllTargetPorts,
      relativeTargetPort: RELATIVE_TARGET_PORT,
    })),
  ),
);

type OutAction = (
  parameters: wire.ReserveOutParameters,
  cdb: Uint8Array,
) => ReservationCommand | 'invalid-parameter' | 'invalid-cdb';

const typeOf = (cdb: Uint8Array): number => (cdb[2] ?? 0) & 0x0f;
/** Only LU_SCOPE exists. */
const hasOtherScope = (cdb: Uint8Array): boolean => (cdb[2] ?? 0) >> 4 !== 0;

const registering =
  (isIgnoringKey: boolean): OutAction =>
  ({ key, serviceActionKey, isAllTargetPorts, initiators }) => ({
    kind: 'register',
    key,
    newKey: serviceActionKey,
    isIgnoringKey,
    isAllTargetPorts,
    initiators,
  });

const holding =
  (kind: 'reserve' | 'release'): OutAction =>
  ({ key }, cdb) =>
    hasOtherScope(cdb) ? 'invalid-cdb' : { kind, key, type: typeOf(cdb) };

const preempting =
  (isAborting: boolean): OutAction =>
  ({ key, serviceActionKey }, cdb) =>
    hasOtherScope(cdb)
      ? 'invalid-cdb'
      : { kind: 'preempt', key, preemptedKey: serviceActionKey, type: typeOf(cdb), isAborting };

const out =
  (action: OutAction): CommandHandler =>
  (unit, command) => {
    const list = parameterList(command);
    if (list === null) return unit.refuse(CONDITION.parameterListLength);
    const parameters = wire.decodeReserveOut(list);
    if (typeof parameters === 'string') return unit.refuse(PARAMETER_CONDITION[parameters]);
    const change = action(parameters, command.cdb);
    if (typeof change === 'string') return refused(unit, change);
    return carriedOut(unit, command, change);
  };

export const register = out(registering(false));
export const registerAndIgnore = out(registering(true));
export const reserve = out(holding('reserve'));
export const release = out(holding('release'));
export const clear = out(({ key }) => ({ kind: 'clear', key }));
export const preempt = out(preempting(false));
export const preemptAndAbort = out(preempting(true));

/** REGISTER AND MOVE: its parameter data is another. */
export const registerAndMove: CommandHandler = (unit, command) => {
  const list = parameterList(command);
  if (list === null) return unit.refuse(CONDITION.parameterListLength);
  const parameters = wire.decodeMove(list);
  if (typeof parameters === 'string') return unit.refuse(PARAMETER_CONDITION[parameters]);
  if (parameters.relativeTargetPort !== RELATIVE_TARGET_PORT) return unit.refuse(CONDITION.invalidParameter);
  return carriedOut(unit, command, {
    kind: 'register-and-move',
    key: parameters.key,
    newKey: parameters.serviceActionKey,
    isUnregistering: parameters.isUnregistering,
    initiator: parameters.initiator,
  });
};

const PARAMETER_CONDITION = {
  'parameter-list-length': CONDITION.parameterListLength,
  'invalid-parameter': CONDITION.invalidParameter,
} as const;

/** As many bytes as PARAMETER LIST LENGTH says; null: fewer arrived. */
function parameterList({ cdb, dataOut }: ScsiCommand): Uint8Array | null {
  const length = u32(cdb, 5);
  return dataOut === null || dataOut.length < length ? null : dataOut.subarray(0, length);
}

async function carriedOut(unit: UnitContext, command: ScsiCommand, change: ReservationCommand): Promise<ScsiAnswer> {
  try {
    const outcome = await unit.changeReservations(command, change);
    return outcome.result === 'good' ? statusAnswer(STATUS.good, u32(command.cdb, 5)) : refused(unit, outcome.result);
  } catch {
    // It is unknown whether the change was saved: the initiator may try again. The unit reads the state anew before the
    // next change.
    return unit.refuse(CONDITION.notSaved);
  }
}

function refused(unit: UnitContext, reason: ReservationRefusal): ScsiAnswer {
  switch (reason) {
    case 'reservation-conflict':
      return RESERVATION_CONFLICT;
    case 'invalid-cdb':
      return unit.refuse(CONDITION.invalidCdb);
    case 'invalid-parameter':
      return unit.refuse(CONDITION.invalidParameter);
    case 'invalid-release':
      return unit.refuse(CONDITION.invalidRelease);
    case 'no-registration-resources':
      return unit.refuse(CONDITION.noRegistrationResources);
  }
}
