/**
 * The cluster's certificate authorities at a control node, and what they issue for how long. Guarantees: a certificate
 * names whom the caller decided, never what a request asks for.
 */
import type { PeerIdentity } from '../base/identity.ts';
import { type Generation, parseControlName, parseHostName, parseStorageName, type VmId } from '../base/ids.ts';
import type { IssuedCertificate } from '../base/machine-identity.ts';
import { MACHINE_CERTIFICATE_DAYS } from '../core/model/certificate.ts';
import type { Certifier, MachineRef } from '../core/ports/identity-link.ts';
import { authorityId, type CertifiedKey, describeCertificate, issue, issueForRequest } from '../pki/authority.ts';
import type { Credentials } from '../pki/credentials.ts';

/** An incarnation's certificate: longer than any run of a VM without a migration or restart should be, in days. */
const INCARNATION_DAYS = 3_650;

/** See the module. */
export class ClusterAuthority implements Certifier {
  readonly certPem: string;
  readonly keyPem: string;
  readonly issuer: string;

  constructor({ certPem, keyPem }: CertifiedKey) {
    this.certPem = certPem;
    this.keyPem = keyPem;
    this.issuer = authorityId(certPem);
  }

  get caPem(): string {
    return this.certPem;
  }

  get bundle(): string {
    return this.issuer;
  }

  /** See `Certifier`. */
  async certify(
    machine: MachineRef,
    requestPem: string,
    address: string,
  ): Promise<{ readonly certPem: string; readonly issued: IssuedCertificate }> {
    // People's tools verify a control node by its address.
    const ipAddresses = machine.kind === 'control' ? [address, '127.0.0.1'] : [];
    const content = { identity: identityOf(machine), ipAddresses, daysValid: MACHINE_CERTIFICATE_DAYS };
    const certPem = await issueForRequest(this, requestPem, content);
    return { certPem, issued: describeCertificate(certPem) };
  }

  /** Issues the credentials of one run of a VM. */
  async issueIncarnation(vmId: VmId, generation: Generation): Promise<Credentials> {
    const identity = { kind: 'incarnation', vmId, generation } as const;
    return { caPem: this.caPem, ...(await issue(this, { identity, daysValid: INCARNATION_DAYS })) };
  }
}

function identityOf({ kind, name }: MachineRef): PeerIdentity {
  switch (kind) {
    case 'control':
      return { kind, name: parseControlName(name) };
    case 'host':
      return { kind, name: parseHostName(name) };
    case 'storage':
      return { kind, name: parseStorageName(name) };
  }
}
