/**
 * Mutual TLS between the cluster's processes. Guarantees: TLS 1.3 only; only the cluster's own authorities are trusted,
 * never the system's; the peer's identity is the expected one, or there is no connection.
 */

import { createHash, X509Certificate } from 'node:crypto';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type PeerCertificate,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { CodedError } from '../base/errors.ts';
import {
  ANY_CONTROL_NAME,
  dnsName,
  isEtcdName,
  type PeerIdentity,
  parseCommonName,
  parseDnsName,
  sameIdentity,
} from '../base/identity.ts';
import { withDeadline } from '../os/deadline.ts';
import { certificatesIn } from './authority.ts';
import type { Credentials } from './credentials.ts';

interface PublicServerTls extends TlsOptions {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/**
 * For a server whose every client must have a certificate of the cluster; call `peerIdentity` for the client's
 * identity.
 */
export function serverTlsOptions(credentials: Credentials): TlsOptions {
  return { ...publicServerTlsOptions(credentials), rejectUnauthorized: true };
}

/**
 * Options for a server whose clients are people and joining hosts: they have tokens, no certificates; a client that has
 * a certificate may present it, and `peerIdentity` returns its identity. The authority's certificate is sent along, so
 * that a joining host that knows only its fingerprint can find it.
 */
export function publicServerTlsOptions({ caPem, certPem, keyPem }: Credentials): PublicServerTls {
  // With one authority its certificate is the next in the chain: a client that knows only its fingerprint finds it
  // there.
  const chain = certificatesIn(caPem).length === 1 ? (certificatesIn(certPem)[0] ?? certPem) : certPem;
  const own = { ca: caPem, cert: `${chain}${caPem}`, key: keyPem };
  return { minVersion: 'TLSv1.3', ...own, requestCert: true, rejectUnauthorized: false };
}

/**
 * The same options, with another certificate for browsers that ask for one of these names (TLS server name indication).
 * CodedError 'bad-input' for a certificate and key that do not fit together.
 */
export function withBrowserCertificate(
  own: PublicServerTls,
  { names, certPem, keyPem }: { readonly names: readonly string[]; readonly certPem: string; readonly keyPem: string },
): PublicServerTls {
  const wanted = new Set(names.map((name) => name.toLowerCase()));
  try {
    const context = createSecureContext({ cert: certPem, key: keyPem, minVersion: 'TLSv1.3' });
    return {
      ...own,
      SNICallback: (name, done) => (wanted.has(name.toLowerCase()) ? done(null, context) : done(null)),
    };
  } catch (cause) {
    throw new CodedError('bad-input', 'The certificate for browsers and its key cannot be used.', {
      cause,
      advice: 'See "web" in the configuration: PEM, with the certificates of intermediate authorities after its own.',
    });
  }
}

/**
 * For a client: the server must be exactly `peer`, at whatever address it is reached. Without a certificate of our own
 * (`caPem` alone) only public servers answer.
 */
export function clientTlsOptions(
  credentials: Credentials | Pick<Credentials, 'caPem'>,
  peer: PeerIdentity,
): ConnectionOptions {
  const own = 'keyPem' in credentials ? { cert: credentials.certPem, key: credentials.keyPem } : {};
  return {
    minVersion: 'TLSv1.3',
    ca: credentials.caPem,
    ...own,
    servername: dnsName(peer),
    rejectUnauthorized: true,
    checkServerIdentity: (_hostname, certificate) =>
      identityMismatch(certificate, peer) ?? refusalOf(certificate, 'denies' in credentials ? credentials : {}),
  };
}

/**
 * The identity at the other end, once the handshake is done and the certificate verified; undefined if there is no
 * certificate of the cluster, or one whose two names do not agree.
 */
export function peerIdentity(socket: TLSSocket): PeerIdentity | undefined {
  const known = identities.get(socket);
  if (known !== undefined || !socket.authorized) return known;
  const identity = certificateIdentity(socket.getPeerCertificate());
  if (identity !== undefined) identities.set(socket, identity);
  return identity;
}

/**
 * Whether the peer's certificate is denied: to be checked after the handshake, and when more certificates are denied.
 */
export function isDeniedPeer(socket: TLSSocket, credentials: Pick<Credentials, 'denies'>): boolean {
  return credentials.denies !== undefined && refusalOf(socket.getPeerCertificate(), credentials) !== undefined;
}

function refusalOf(certificate: PeerCertificate, { denies }: Pick<Credentials, 'denies'>): Error | undefined {
  const commonName: unknown = certificate.subject?.CN;
  if (denies === undefined || typeof commonName !== 'string') return undefined;
  if (!denies({ commonName, serial: certificate.serialNumber.toUpperCase() })) return undefined;
  return new CodedError('forbidden', `The certificate of ${commonName} is denied: its machine was removed.`);
}

/**
 * With TLS 1.3 the peer of a connection never changes; parsing its certificate for every request would take a quarter
 * of a millisecond.
 */
const identities = new WeakMap<TLSSocket, PeerIdentity>();

/** SHA-256 of the certificate's DER form, base64url: what a join token pins. */
export function certificateFingerprint(certPem: string): string {
  return createHash('sha256').update(new X509Certificate(certPem).raw).digest('base64url');
}

/**
 * Asks a public server for the authority's certificate and returns it (PEM) if its fingerprint is the expected one;
 * CodedError 'forbidden' if not. Nothing is sent, and this does not make the server trusted: connect again with the
 * result.
 */
export function fetchPinnedAuthority(
  address: { readonly host: string; readonly port: number },
  expectedFingerprint: string,
  { deadlineMs, signal }: { readonly deadlineMs: number; readonly signal?: AbortSignal | undefined },
): Promise<string> {
  const what = `the certificate of ${address.host}:${address.port}`;
  const fetchChain = (inner: AbortSignal): Promise<readonly string[]> =>
    new Promise((resolve, reject) => {
      const name = { servername: ANY_CONTROL_NAME };
      const socket = connect({ ...address, ...name, minVersion: 'TLSv1.3', rejectUnauthorized: false });
      inner.addEventListener('abort', () => socket.destroy(), { once: true });
      socket.once('error', (cause) =>
        reject(new CodedError('unavailable', `${what} could not be fetched: ${cause.message}`, { cause })),
      );
      socket.once('close', () =>
        reject(new CodedError('unavailable', `${what} could not be fetched: the connection was closed.`)),
      );
      socket.once('secureConnect', () => {
        resolve(chainOf(socket));
        socket.destroy();
      });
    });
  return withDeadline(fetchChain, { deadlineMs, signal, what }).then((chain) => {
    const found = chain.find((certPem) => certificateFingerprint(certPem) === expectedFingerprint);
    if (found !== undefined) return found;
    throw new CodedError(
      'forbidden',
      `${address.host}:${address.port} does not belong to the cluster that made this token.`,
      {
        advice: 'Nothing was sent to it. Check the address, or whether somebody is in between.',
      },
    );
  });
}

function chainOf(socket: TLSSocket): readonly string[] {
  const chain: string[] = [];
  const certificatesMax = 8;
  let certificate = socket.getPeerX509Certificate();
  while (certificate !== undefined && chain.length < certificatesMax) {
    chain.push(certificate.toString());
    certificate = certificate.issuerCertificate;
  }
  return chain;
}

function identityMismatch(certificate: PeerCertificate, expected: PeerIdentity): Error | undefined {
  const identity = certificateIdentity(certificate);
  if (identity !== undefined && sameIdentity(identity, expected)) return undefined;
  const found = identity === undefined ? 'a certificate without an identity of this cluster' : dnsName(identity);
  return new CodedError('forbidden', `Expected ${dnsName(expected)} at the other end and found ${found}.`);
}

function certificateIdentity(certificate: PeerCertificate): PeerIdentity | undefined {
  const cn: unknown = certificate.subject?.CN;
  const alternative = certificate.subjectaltname;
  if (typeof cn !== 'string' || alternative === undefined) return undefined;
  const dns = alternative.split(', ').flatMap((name) => (name.startsWith('DNS:') ? [name.slice('DNS:'.length)] : []));
  const own = dns.filter((name) => !isEtcdName(name));
  const identity = own.length === 1 ? parseDnsName(own[0] ?? '') : undefined;
  const subject = parseCommonName(cn);
  return identity !== undefined && subject !== undefined && sameIdentity(identity, subject) ? identity : undefined;
}
