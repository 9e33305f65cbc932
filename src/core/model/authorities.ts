/**
 * The certificate authorities of the cluster, as etcd holds them: without their keys. One record, from the first
 * rotation on; before that the authority of the cluster's beginning is the only one.
 *
 *   steady ──rotate──► trusting ──all machines trust both──► renewing ──nothing of the old is in use──► steady
 *
 * trusting: the old one issues, and every machine hears of the next one. renewing: the next one issues, and every
 * machine is renewed; what an old QEMU trusts is reached by a certificate of the next that the old one has signed.
 */

/** Id of the only record. */
export const AUTHORITIES = 'cluster';

export interface AuthorityEntry {
  /** Identifier of its key. */
  readonly id: string;
  readonly certPem: string;
  /** Its certificate as signed by the authority before it; null: there was none before. */
  readonly crossPem: string | null;
  /** Unix ms. */
  readonly notAfter: number;
}

export interface AuthoritiesRecord {
  readonly id: string;
  /** Grows with each change. */
  readonly version: number;
  readonly phase: 'steady' | 'trusting' | 'renewing';
  /** Id of the one that issues. */
  readonly issuing: string;
  /** All trusted authorities, the oldest first; two at most. */
  readonly authorities: readonly AuthorityEntry[];
  /** When the phase began (Unix ms). */
  readonly since: number;
  /**
   * `VM:GENERATION` of each VM that ran, or was about to, when the next authority began to issue, with spaces between:
   * its QEMU has a certificate of the old one, and trusts what was trusted when it began. Null: not listed yet.
   */
  readonly oldRuns: string | null;
}

/** An old authority is trusted for at least this long, in ms: disk daemons are restarted one after the other. */
export const OLD_TRUSTED_MS = 24 * 3_600_000;

/**
 * How long after the next authority began to issue running VMs are listed, in ms: launches that were under way at that
 * time are in the list then.
 */
export const OLD_RUNS_AFTER_MS = 60_000;

/** Returns the names of VMs with runs from before that still go on. */
export function oldRunsLeft(
  { oldRuns }: Pick<AuthoritiesRecord, 'oldRuns'>,
  vms: Iterable<{
    readonly id: string;
    readonly name: string;
    readonly generation: number;
    readonly phase: { readonly kind: string };
  }>,
): readonly string[] {
  if (oldRuns === null || oldRuns === '') return [];
  const old = new Set(oldRuns.split(' '));
  return [...vms].flatMap(({ id, name, generation, phase }) =>
    phase.kind !== 'stopped' && old.has(`${id}:${generation}`) ? [name] : [],
  );
}

/** Returns the runs of these VMs, as `AuthoritiesRecord.oldRuns` holds them. */
export function runsOf(
  vms: Iterable<{ readonly id: string; readonly generation: number; readonly phase: { readonly kind: string } }>,
): string {
  return [...vms]
    .flatMap(({ id, generation, phase }) => (phase.kind === 'stopped' ? [] : [`${id}:${generation}`]))
    .join(' ');
}
