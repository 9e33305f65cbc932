/**
 * The meaning of QEMU's answers: the state of a live migration, and the incarnation to which its memory was sent. Pure.
 */

import { parseDnsName } from '../../base/identity.ts';
import type { Generation, VmId } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import type { MigrationState } from '../model/observation.ts';
import { LONGEST_PAUSE_MS } from '../model/pause-allowance.ts';

/** QMP query-status, as far as it is used. */
export interface QueryStatus {
  readonly status: string;
}

/** QMP query-migrate, as far as it is used (QEMU 7.2, MigrationInfo). */
export interface QueryMigrate {
  readonly status?: string;
  readonly downtime?: number;
  readonly 'error-desc'?: string;
  readonly ram?: { readonly 'dirty-sync-count': number };
}

/** QMP query-migrate-parameters, as far as it is used. */
export interface MigrateParameters {
  readonly 'tls-hostname'?: string;
  readonly 'downtime-limit'?: number;
}

const ENDED: Readonly<Record<string, MigrationState['status']>> = {
  completed: 'completed',
  failed: 'failed',
  cancelled: 'cancelled',
  none: 'none',
};

/** Whether a migration in QEMU's state `status` has ended. */
export function isEndOfMigration(status: string): boolean {
  return Object.hasOwn(ENDED, status);
}

/** The status of a migration; everything between its beginning and its end is `active`. */
export function statusOf({ status }: QueryMigrate): MigrationState['status'] {
  return status === undefined ? 'none' : (own(ENDED, status) ?? 'active');
}

/** The state of a migration. `pauseLimitMs`: QEMU's `downtime-limit`; undefined if it was not asked for. */
export function migrationState(info: QueryMigrate, pauseLimitMs: number | undefined): MigrationState {
  return {
    status: statusOf(info),
    passes: info.ram?.['dirty-sync-count'] ?? 0,
    pauseLimitMs: pauseLimitMs ?? LONGEST_PAUSE_MS,
    downtimeMs: info.downtime ?? null,
    error: info['error-desc'] ?? null,
  };
}

/**
 * The generation of `vm` to which a QEMU was last told to send; null if it was told of none. The receiver is identified
 * by the name that only the certificate of that incarnation holds.
 */
export function generationSentTo(vm: VmId, parameters: MigrateParameters): Generation | null {
  const receiver = parseDnsName(parameters['tls-hostname'] ?? '');
  return receiver?.kind === 'incarnation' && receiver.vmId === vm ? receiver.generation : null;
}
