/**
 * The records that go with a control node whose member of etcd is gone. Guarantees: after the transaction everything
 * that its machine has is denied, and no join token from before brings the machine back. It may be repeated.
 */
import { parseControlName } from '../../base/ids.ts';
import type { Admitted, Basis } from './basis.ts';
import { removedCertificates } from './member-certificates.ts';
import { withoutJoinTokens } from './tokens.ts';

/** Removes the records of a control node. `by`: name of the API token of the request. */
export function removeControl(
  basis: Pick<Basis, 'records' | 'now'>,
  { name, by }: { readonly name: string; readonly by: string },
): Admitted<null> {
  const { records } = basis;
  return {
    changes: [
      ...(records.controls.has(name) ? [{ kind: 'control', id: parseControlName(name), value: null } as const] : []),
      removedCertificates(basis, { kind: 'control', name }, { by }),
      ...withoutJoinTokens(records, { role: 'control', name }),
    ],
    result: null,
  };
}
