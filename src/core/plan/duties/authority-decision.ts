/**
 * The phases of a change of the certificate authority (model/authorities.ts), as decisions. Pure. Guarantees: the next
 * authority issues only when every machine trusts it and every control node has its key; the old one is trusted until
 * no machine and no QEMU has a certificate of it.
 */
import type { MachineIdentity } from '../../../base/machine-identity.ts';
import {
  type AuthoritiesRecord,
  OLD_RUNS_AFTER_MS,
  OLD_TRUSTED_MS,
  oldRunsLeft,
  runsOf,
} from '../../model/authorities.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { Snapshot } from '../../ports/store.ts';

/**
 * The conditions that a change of the authority waits for at one machine, after its name; null: none. `said`: null if
 * the machine does not answer.
 */
export function machineWaitsFor(
  record: AuthoritiesRecord,
  { kind, said, tag }: { readonly kind: string; readonly said: MachineIdentity | null; readonly tag: string },
): string | null {
  if (said === null) return 'does not answer';
  if (said.trust !== tag) return 'has not been told yet which authorities to trust';
  const next = record.authorities.at(-1)?.id ?? '';
  if (record.phase === 'trusting')
    return kind === 'control' && said.authorities?.includes(next) !== true
      ? 'does not have the key of the next authority'
      : null;
  return said.certificate.authority === record.issuing ? null : 'has a certificate of the old authority';
}

/** The reasons why the old authority stays trusted although all machines are renewed, as sentences. */
export function oldWaitsFor(record: AuthoritiesRecord, { vms }: Pick<Snapshot, 'vms'>, now: number): readonly string[] {
  const left = oldRunsLeft(
    record,
    Array.from(vms.values(), ({ value }) => value),
  );
  const restMs = record.since + OLD_TRUSTED_MS - now;
  return [
    ...(record.oldRuns === null ? ['The VMs that run are not listed yet.'] : []),
    ...left.map((vm) => `VM ${vm} has run since before: move it (gp vm migrate ${vm}).`),
    ...(restMs > 0 ? [`The old authority is trusted for ${Math.ceil(restMs / 3_600_000)} hours more.`] : []),
  ];
}

/** Returns the record of the next phase, with the text of its event if there is one; null: nothing yet. */
export function nextPhase(
  record: AuthoritiesRecord,
  { vms, waits, now }: { readonly vms: readonly VmRecord[]; readonly waits: boolean; readonly now: number },
): { readonly record: AuthoritiesRecord; readonly message: string | null } | null {
  const { phase, since, oldRuns } = record;
  const version = record.version + 1;
  if (phase === 'renewing' && oldRuns === null && now >= since + OLD_RUNS_AFTER_MS)
    return { record: { ...record, version, oldRuns: runsOf(vms) }, message: null };
  const next = record.authorities.at(-1);
  if (phase === 'steady' || next === undefined || waits) return null;
  if (phase === 'trusting')
    return {
      record: { ...record, version, phase: 'renewing', issuing: next.id, since: now, oldRuns: null },
      message: 'Every machine trusts the next authority: it issues from now on, and all machines are renewed.',
    };
  return {
    record: { ...record, version, phase: 'steady', authorities: [next], since: now, oldRuns: null },
    message: 'No certificate of the old authority is in use any more: it is no longer trusted.',
  };
}
