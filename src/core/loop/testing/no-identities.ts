/** For tests about something else: machines that report nothing about their identity. */
import { CodedError } from '../../../base/errors.ts';
import type { Certifier, IdentityLink } from '../../ports/identity-link.ts';

const never = (): Promise<never> => Promise.reject(new CodedError('not-found', 'There is no such operation here.'));

/** A link to machines of a version without renewal, and an authority that issues nothing. */
export const NO_IDENTITIES: { readonly identities: IdentityLink; readonly certifier: Certifier } = {
  identities: { read: never, give: never },
  certifier: { caPem: '', bundle: '', issuer: '', keyOf: () => null, certify: never },
};
