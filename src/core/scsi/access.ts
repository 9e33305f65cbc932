/**
 * Which initiator may run which command while a logical unit is reserved: the tables of SPC-4 (table 66) and SBC-3
 * (table 13) as data, and the SPC-2 rules for RESERVE and RELEASE as far as they still apply. A class says under which
 * reservations of *others* a command is allowed.
 */
import type { CommandName } from '../../wire/scsi/opcodes.ts';
import { isHolder, keyOf, type ReservationState, sharesWithRegistrants } from './reservations.ts';

/**
 * `free`: under every reservation. `read`: unless access is exclusive. `write`: for holders, and registrants where they
 * share. `own`: the command's own rules decide (PERSISTENT RESERVE OUT, RESERVE, RELEASE, START STOP UNIT).
 */
export type AccessClass = 'free' | 'read' | 'write' | 'own';

/** The class of each command under persistent reservations. */
export const ACCESS: Readonly<Record<CommandName, AccessClass>> = {
  'test-unit-ready': 'free',
  'request-sense': 'free',
  'read-6': 'read',
  'write-6': 'write',
  inquiry: 'free',
  'mode-select-6': 'write',
  'reserve-6': 'own',
  'release-6': 'own',
  // This differs from the table: see docs/specs/scsi-reservations.md.
  'mode-sense-6': 'free',
  'start-stop-unit': 'own',
  'read-capacity-10': 'free',
  'read-10': 'read',
  'write-10': 'write',
  'write-and-verify-10': 'write',
  'verify-10': 'read',
  'pre-fetch-10': 'read',
  'synchronize-cache-10': 'write',
  'read-defect-data-10': 'read',
  'write-same-10': 'write',
  unmap: 'write',
  'mode-select-10': 'write',
  'reserve-10': 'own',
  'release-10': 'own',
  'mode-sense-10': 'free',
  'read-keys': 'free',
  'read-reservation': 'free',
  'report-capabilities': 'free',
  'read-full-status': 'free',
  register: 'own',
  reserve: 'own',
  release: 'own',
  clear: 'own',
  preempt: 'own',
  'preempt-and-abort': 'own',
  'register-and-ignore-existing-key': 'own',
  'register-and-move': 'own',
  'read-16': 'read',
  'compare-and-write': 'write',
  'write-16': 'write',
  'or-write-16': 'write',
  'write-and-verify-16': 'write',
  'verify-16': 'read',
  'pre-fetch-16': 'read',
  'synchronize-cache-16': 'write',
  'write-same-16': 'write',
  'read-capacity-16': 'free',
  'get-lba-status': 'read',
  'report-luns': 'free',
  'report-supported-operation-codes': 'free',
  'report-supported-task-management-functions': 'free',
  'read-12': 'read',
  'write-12': 'write',
  'write-and-verify-12': 'write',
  'verify-12': 'read',
  'read-defect-data-12': 'read',
};

/**
 * The commands that another nexus may still run while one holds the unit by RESERVE(6) or (10) (SPC-2 table 10): these,
 * and RELEASE without effect.
 */
export const FREE_UNDER_LEGACY: ReadonlySet<CommandName> = new Set([
  'inquiry',
  'request-sense',
  'report-luns',
  'release-6',
  'release-10',
  'read-capacity-10',
  'read-capacity-16',
]);

/** The rights of a nexus for commands of the classes `read` and `write`. */
export interface Access {
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
}

/** The access of `nexus` under persistent reservations. */
export function accessOf(state: ReservationState, nexus: string): Access {
  const { reservation } = state;
  if (reservation === null || isHolder(state, nexus)) return { mayRead: true, mayWrite: true };
  if (sharesWithRegistrants(reservation.type) && keyOf(state, nexus) !== undefined)
    return { mayRead: true, mayWrite: true };
  return { mayRead: isWriteExclusive(reservation.type), mayWrite: false };
}

const isWriteExclusive = (type: number): boolean => type === 1 || type === 5 || type === 7;

/**
 * RESERVE and RELEASE of SPC-2 for a nexus under persistent reservations, with CRH set (SPC-4 5.12.3): `good`, without
 * effect, for a nexus that has the holder's access to a reserved unit; `conflict` for everybody else once anybody is
 * registered; `legacy`: SPC-2's own rules.
 */
export function legacyRule(state: ReservationState, nexus: string): 'good' | 'conflict' | 'legacy' {
  if (state.registrations.length === 0) return 'legacy';
  return state.reservation !== null && accessOf(state, nexus).mayWrite ? 'good' : 'conflict';
}
