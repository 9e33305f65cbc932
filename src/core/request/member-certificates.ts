/**
 * The certificates of machines that join or are removed, as changes in the same transaction as the machine's own record.
 * Guarantees: what was issued to a name before its machine joined again, or was removed, is denied until it ends; a
 * change that would make more denials than every process of the cluster takes is refused.
 */
import { CodedError } from '../../base/errors.ts';
import { DENIED_MAX, type IssuedCertificate } from '../../base/machine-identity.ts';
import {
  type CertificateRecord,
  DENIED_PER_IDENTITY_MAX,
  deniedBy,
  withJoined,
  withRemoved,
} from '../model/certificate.ts';
import type { MachineRef } from '../ports/identity-link.ts';
import type { Change } from '../ports/store.ts';
import type { Basis } from './basis.ts';

type Seen = Pick<Basis, 'now'> & { readonly records: Pick<Basis['records'], 'certificates'> };

/** The change with which a machine joins by a certificate. CodedError 'no-capacity' for too many denials. */
export function joinedCertificate(basis: Seen, machine: MachineRef, issued: IssuedCertificate): Change {
  return changeOf(basis, machine, (before, id) => withJoined(before, id, { issued, now: basis.now }));
}

/**
 * The change by which everything that a machine has is denied. `tunnel`: overlay address of a host that was declared
 * lost. CodedError 'no-capacity' for too many denials.
 */
export function removedCertificates(
  basis: Seen,
  machine: MachineRef,
  { by, tunnel = null }: { readonly by: string; readonly tunnel?: string | null },
): Change {
  return changeOf(basis, machine, (before, id) => withRemoved(before, id, { by, tunnel, now: basis.now }));
}

function changeOf(
  { records, now }: Seen,
  { kind, name }: MachineRef,
  next: (before: CertificateRecord | undefined, id: string) => CertificateRecord,
): Change {
  const id = `${kind}:${name}`;
  const before = records.certificates.get(id)?.value;
  const value = next(before, id);
  const others = [...records.certificates.values()].flatMap(({ value: one }) => (one.id === id ? [] : [one]));
  const { identities, certificates } = deniedBy([...others, value], now);
  const isTooMany =
    value.denied.length > DENIED_PER_IDENTITY_MAX || identities.length + certificates.length > DENIED_MAX;
  if (isTooMany && value.denied.length > (before?.denied.length ?? 0))
    throw new CodedError(
      'no-capacity',
      `Too many certificates would be denied: ${value.denied.length} of ${kind} ${name}.`,
      {
        advice: 'Nothing was changed. A certificate is denied until it ends, 90 days at most; use another name.',
      },
    );
  return { kind: 'certificate', id, value };
}
