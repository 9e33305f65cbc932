/**
 * The sending end of a live migration, over the existing session with its QEMU. Guarantees: no stream is begun while
 * one is under way or complete; QEMU sends to the named incarnation only, over TLS.
 */
import { dnsName, type PeerIdentity } from '../../base/identity.ts';
import { FIRST_PAUSE_MS } from '../model/pause-allowance.ts';
import type { Execute } from '../ports/qmp-dialer.ts';
import { type QueryMigrate, type QueryStatus, statusOf } from './observation.ts';
import { setMigrationCapabilities } from './receive-migration.ts';

/** `slowDown`: a guest that writes faster than it is copied gets less processor time. */
export interface SendOptions {
  readonly slowDown: boolean;
}

/** 8 GiB/s: the network is the limit, not a parameter. */
const MIGRATION_BYTES_PER_S = 8 * 1024 ** 3;

/** Whether a QEMU sends, or has sent everything. */
export async function hasBegunToSend(execute: Execute): Promise<boolean> {
  const [before, { status }] = await Promise.all([
    execute<QueryMigrate>('query-migrate'),
    execute<QueryStatus>('query-status'),
  ]);
  return status === 'postmigrate' || statusOf(before) === 'active';
}

/** Prepares a QEMU to send to `destination`, with the first pause of pause-allowance.ts. */
export async function prepareToSend(
  execute: Execute,
  destination: PeerIdentity,
  { slowDown }: SendOptions,
): Promise<void> {
  await Promise.all([
    setMigrationCapabilities(execute, ['events', 'return-path'], { 'auto-converge': slowDown }),
    execute('migrate-set-parameters', {
      'tls-creds': 'tls-client',
      'tls-hostname': dnsName(destination),
      'max-bandwidth': MIGRATION_BYTES_PER_S,
      'downtime-limit': FIRST_PAUSE_MS,
    }),
  ]);
}
