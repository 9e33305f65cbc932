/**
 * The receiving end of a live migration, set up over the existing session with its QEMU: the agent's while it starts,
 * or a control node's. Guarantees: it takes the stream of the named source only, over TLS; an earlier set-up is left as
 * it is.
 */

import { type PeerIdentity, qemuAuthzName } from '../../base/identity.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import type { Execute } from '../ports/qmp-dialer.ts';

const AUTHZ = 'migration-authz';

/**
 * Makes a QEMU that was started with `-incoming defer` wait on TCP `port` for the stream of `source` (QMP
 * migrate-incoming). Idempotent.
 */
export async function receiveMigration(
  execute: Execute,
  { port, source }: { readonly port: number; readonly source: PeerIdentity },
): Promise<void> {
  const identity = qemuAuthzName(source);
  // The port is opened only once QEMU has accepted all settings: until then anybody could send, and in the clear.
  await Promise.all([
    setMigrationCapabilities(execute, ['events', 'return-path', 'late-block-activate']),
    unlessDone(/duplicate/, () => execute('object-add', { 'qom-type': 'authz-simple', id: AUTHZ, identity })),
    execute('migrate-set-parameters', { 'tls-creds': 'tls-server', 'tls-authz': AUTHZ }),
  ]);
  await unlessDone(/already been started/, () => execute('migrate-incoming', { uri: `tcp:0.0.0.0:${port}` }));
}

/**
 * Switches migration capabilities on, and `others` on or off; one under way keeps those that it has. An earlier move
 * may have left one switched on.
 */
export function setMigrationCapabilities(
  execute: Execute,
  names: readonly string[],
  others: Readonly<Record<string, boolean>> = {},
): Promise<void> {
  return unlessDone(/in progress|migration is in/i, () =>
    execute('migrate-set-capabilities', {
      capabilities: [
        ...names.map((capability) => ({ capability, state: true })),
        ...Object.entries(others).map(([capability, state]) => ({ capability, state })),
      ],
    }),
  );
}

/** Runs `action`; a refusal that says it was done before is no failure: orders may be repeated. */
async function unlessDone(done: RegExp, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof QmpError) || !done.test(error.description)) throw error;
  }
}
