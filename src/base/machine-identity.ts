/** What a machine and the cluster's leader tell each other about the machine's certificate (core/ports/identity-link.ts). */
import type { Term } from './ids.ts';

/** A certificate of a machine, without its key. */
export interface IssuedCertificate {
  /** Hexadecimal, upper case. */
  readonly serial: string;
  /** Unix ms. */
  readonly notBefore: number;
  /** Unix ms. */
  readonly notAfter: number;
  /** Identifier of the key of the authority that issued it. */
  readonly authority: string;
}

/**
 * A certificate by its identity and number: a machine that reports another identity's number cannot deny that identity.
 */
export interface DeniedCertificate {
  /** Common name. */
  readonly id: string;
  /** Hexadecimal, upper case. */
  readonly serial: string;
}

/** The identities and certificates that every process of the cluster refuses in handshakes. */
export interface Denied {
  /** Common names that are denied whatever certificate they show. */
  readonly identities: readonly string[];
  /** Only where both agree. */
  readonly certificates: readonly DeniedCertificate[];
}

/** The most identities and certificates that are denied at a time: every process has all of them in memory. */
export const DENIED_MAX = 20_000;

/** A machine's report about itself. */
export interface MachineIdentity {
  /** The certificate that it uses now. */
  readonly certificate: IssuedCertificate;
  /** A request (PKCS #10) to certify its key again. */
  readonly requestPem: string;
  /** The tag of the last trust that the machine got; null: none. */
  readonly trust: string | null;
  /** Ids of the authorities whose keys the machine has: control nodes. Absent: it does not report them. */
  readonly authorities?: readonly string[] | undefined;
}

/** The authorities that a machine trusts, and the certificates that it refuses. */
export interface Trust {
  /** Names this content: a machine that has another tag has another content. */
  readonly tag: string;
  /** Certificates of the authorities. */
  readonly caPem: string;
  readonly denied: Denied;
}

/** The machine keeps both before it answers, and uses them from then on without ending a connection that is good. */
export interface IdentityOrder {
  readonly term: Term;
  /**
   * The machine's new certificate, for the key that it has, perhaps with certificates of authorities after it; null:
   * the machine keeps its certificate.
   */
  readonly certPem: string | null;
  readonly trust: Trust;
  /**
   * An authority that is to issue, with its key: for control nodes. Absent: the machine has all authorities that it
   * needs.
   */
  readonly authority?: { readonly certPem: string; readonly keyPem: string } | undefined;
}
