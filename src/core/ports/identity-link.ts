/**
 * A leader's requests to every machine of the cluster about its identity: agents, storage services and the servers of
 * control nodes serve the same two operations at their own port, to `control:*` only.
 *   GET /v1/identity                      -> MachineIdentity
 *   PUT /v1/identity  IdentityOrder       -> {}     idempotent
 * A machine of an older version has neither: CodedError 'not-found'.
 */
import type { IdentityOrder, IssuedCertificate, MachineIdentity } from '../../base/machine-identity.ts';
import type { CallOptions } from './host-link.ts';

/** A role of a machine, by its name in the cluster. */
export interface MachineRef {
  readonly kind: 'control' | 'host' | 'storage';
  readonly name: string;
}

/**
 * The port. Every call has a deadline; a failure is a CodedError: 'bad-input', and nothing sent, for an order with an
 * authority to a machine that is no control node. Reports of other machines about authorities are ignored.
 */
export interface IdentityLink {
  read(machine: MachineRef, options: CallOptions): Promise<MachineIdentity>;
  give(machine: MachineRef, order: IdentityOrder, options: CallOptions): Promise<void>;
}

/** The cluster's authorities, at a control node. */
export interface Certifier {
  /** Certificates of the authorities that are trusted. */
  readonly caPem: string;
  /** Names the set of authorities in `caPem`. */
  readonly bundle: string;
  /** Identifier of the key of the authority that issues, as in `IssuedCertificate`. */
  readonly issuer: string;
  /** An authority with its key; null if its key is not at this control node. */
  keyOf(id: string): { readonly certPem: string; readonly keyPem: string } | null;
  /**
   * Certifies the key of a request for a machine. CodedError 'bad-input' if the request is not valid, 'failed' if the
   * authority has ended.
   */
  certify(
    machine: MachineRef,
    requestPem: string,
    address: string,
  ): Promise<{ readonly certPem: string; readonly issued: IssuedCertificate }>;
}
