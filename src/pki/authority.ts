/**
 * The cluster's certificate authorities: X.509 v3 (RFC 5280), ECDSA P-256 with SHA-256. Guarantees: a certificate
 * contains only what the authority decided, whatever a request asked for; it is valid from an hour before it is made,
 * for clocks that differ, and never longer than its authority; serial numbers are positive and random. An authority has
 * no bound on the length of paths: QEMUs that were started under one accept certificates of the next by a certificate
 * of the next one that the first has signed (`crossSign`).
 */

// First: @peculiar/x509 needs the metadata API when it is loaded.
import 'reflect-metadata';
import { createPublicKey, type KeyObject, randomBytes, webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  type PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { CodedError } from '../base/errors.ts';
import { commonName, dnsName, etcdNames, type PeerIdentity, parseCommonName } from '../base/identity.ts';
import { isName } from '../base/ids.ts';
import type { IssuedCertificate } from '../base/machine-identity.ts';

/** A certificate and its private key (PKCS #8), both PEM. The key is a secret. */
export interface CertifiedKey {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface CertificateContent {
  readonly identity: PeerIdentity;
  /** Addresses at which people's tools may verify it (IP subject alternative names). None by default. */
  readonly ipAddresses?: readonly string[] | undefined;
  /** Days, > 0; cut to what is left of the authority's own time. */
  readonly daysValid: number;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const;
/** How far a machine's clock may be behind that of the control node that issues its certificate, in ms. */
const BACKDATE_MS = 60 * 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;

/** Makes the self-signed authority of a new cluster. CodedError 'bad-input' for an invalid name. */
export async function createAuthority(options: {
  readonly clusterName: string;
  readonly daysValid: number;
}): Promise<CertifiedKey> {
  if (!isName(options.clusterName))
    throw new CodedError('bad-input', `${options.clusterName} is not a valid cluster name.`);
  const keys = await generateKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      name: nameOf(commonName({ kind: 'authority', clusterName: options.clusterName })),
      serialNumber: randomSerial(),
      ...validity(options.daysValid),
      keys,
      signingAlgorithm: SIGNATURE,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return { certPem: pem(certificate), keyPem: await exportKey(keys.privateKey) };
}

/**
 * Returns a certificate of `next` that `signer` has signed: who trusts `signer` alone accepts what `next` issues when
 * this certificate is sent along. It ends with the earlier of the two.
 */
export async function crossSign(signer: CertifiedKey, nextCertPem: string): Promise<string> {
  const issuer = new X509Certificate(signer.certPem);
  const next = new X509Certificate(nextCertPem);
  const certificate = await X509CertificateGenerator.create(
    {
      subject: next.subjectName,
      issuer: issuer.subjectName,
      serialNumber: randomSerial(),
      notBefore: new Date(Date.now() - BACKDATE_MS),
      notAfter: new Date(Math.min(issuer.notAfter.getTime(), next.notAfter.getTime())),
      publicKey: next.publicKey,
      signingKey: await signingKeyOf(signer),
      signingAlgorithm: SIGNATURE,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(next.publicKey, false, webcrypto),
        await AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return pem(certificate);
}

/** Makes a key and a certificate for it: for processes whose credentials are made where the authority is. */
export async function issue(authority: CertifiedKey, content: CertificateContent): Promise<CertifiedKey> {
  const keys = await generateKeys();
  return { certPem: await sign(authority, content, keys.publicKey), keyPem: await exportKey(keys.privateKey) };
}

/**
 * Certifies the key of a request (PKCS #10) under the identity that the authority decided; nothing else of the request
 * is used. The key's holder must have signed it and the key must be ECDSA P-256, or CodedError 'bad-input'.
 */
export async function issueForRequest(
  authority: CertifiedKey,
  requestPem: string,
  content: CertificateContent,
): Promise<string> {
  const publicKey = await requestedKey(requestPem);
  return sign(authority, content, publicKey);
}

/** Makes a key, which never leaves this machine, and the request to certify it. */
export async function createRequest(): Promise<{ readonly requestPem: string; readonly keyPem: string }> {
  const keys = await generateKeys();
  return { requestPem: await requestFor(keys), keyPem: await exportKey(keys.privateKey) };
}

/** Makes the request to certify a key again that this machine has (PKCS #8). */
export async function createRenewalRequest(keyPem: string): Promise<string> {
  const der = createPublicKey(keyPem).export({ type: 'spki', format: 'der' });
  const publicKey = await webcrypto.subtle.importKey('spki', der, ALGORITHM, true, ['verify']);
  return requestFor({ privateKey: await signingKeyOf({ keyPem }), publicKey });
}

async function requestFor(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const named = { name: nameOf('request'), keys, signingAlgorithm: SIGNATURE };
  return pem(await Pkcs10CertificateRequestGenerator.create(named, webcrypto));
}

async function sign(
  authority: CertifiedKey,
  content: CertificateContent,
  publicKey: webcrypto.CryptoKey | PublicKey,
): Promise<string> {
  const issuer = new X509Certificate(authority.certPem);
  const { notBefore, notAfter } = validity(content.daysValid);
  if (issuer.notAfter.getTime() <= Date.now()) {
    throw new CodedError(
      'failed',
      `The certificate authority expired on ${issuer.notAfter.toISOString()}; nothing was issued.`,
      {
        advice: 'Renew the authority.',
      },
    );
  }
  const certificate = await X509CertificateGenerator.create(
    {
      subject: nameOf(commonName(content.identity)),
      issuer: issuer.subjectName,
      serialNumber: randomSerial(),
      notBefore,
      notAfter: new Date(Math.min(notAfter.getTime(), issuer.notAfter.getTime())),
      publicKey,
      signingKey: await signingKeyOf(authority),
      signingAlgorithm: SIGNATURE,
      extensions: await leafExtensions(content, issuer, publicKey),
    },
    webcrypto,
  );
  return pem(certificate);
}

function signingKeyOf({ keyPem }: Pick<CertifiedKey, 'keyPem'>): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', PemConverter.decodeFirst(keyPem), ALGORITHM, false, ['sign']);
}

async function leafExtensions(
  { identity, ipAddresses = [] }: CertificateContent,
  issuer: X509Certificate,
  publicKey: webcrypto.CryptoKey | PublicKey,
): Promise<Extension[]> {
  const names: JsonGeneralNames = [
    ...[dnsName(identity), ...etcdNames(identity)].map((value) => ({ type: 'dns' as const, value })),
    ...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
  ];
  return [
    new BasicConstraintsExtension(false, undefined, true),
    // Not critical: QEMU releases without a late fix (7.2.22 has it) refuse a critical one without keyEncipherment,
    // which RFC 8813 forbids for ECDSA keys.
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, false),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth], false),
    new SubjectAlternativeNameExtension(names, false),
    await SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
    await AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, webcrypto),
  ];
}

/** Describes the first certificate of a PEM text. CodedError 'bad-input' if there is none. */
export function describeCertificate(pemText: string): IssuedCertificate {
  try {
    const [own = ''] = certificatesIn(pemText);
    const certificate = new X509Certificate(own);
    const issuer = certificate.getExtension(AuthorityKeyIdentifierExtension)?.keyId ?? '';
    return {
      serial: certificate.serialNumber.toUpperCase(),
      notBefore: certificate.notBefore.getTime(),
      notAfter: certificate.notAfter.getTime(),
      authority: issuer,
    };
  } catch (cause) {
    throw new CodedError('bad-input', 'This is no certificate.', { cause });
  }
}

/** Returns the identifier of an authority's key: what `IssuedCertificate.authority` names. */
export function authorityId(caPem: string): string {
  return new X509Certificate(caPem).getExtension(SubjectKeyIdentifierExtension)?.keyId ?? '';
}

/** Returns the name of the cluster whose authority this is. CodedError 'bad-input' for a certificate of anybody else. */
export function authorityName(caPem: string): string {
  const cn = new X509Certificate(caPem).subjectName.getField('CN')[0] ?? '';
  const identity = parseCommonName(cn);
  if (identity?.kind === 'authority') return identity.clusterName;
  throw new CodedError('bad-input', 'This is no certificate of an authority.');
}

/** Returns the certificates of a PEM text, each by itself. */
export function certificatesIn(pemText: string): readonly string[] {
  return pemText.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];
}

/** Returns the public key of a request (PKCS #10). CodedError 'bad-input' if the request is not valid. */
export async function keyOfRequest(requestPem: string): Promise<KeyObject> {
  const { rawData } = await requestedKey(requestPem);
  return createPublicKey({ key: Buffer.from(rawData), format: 'der', type: 'spki' });
}

async function requestedKey(requestPem: string): Promise<PublicKey> {
  try {
    const request = new Pkcs10CertificateRequest(requestPem);
    // The import refuses every other kind of key and curve.
    await webcrypto.subtle.importKey('spki', request.publicKey.rawData, ALGORITHM, false, ['verify']);
    if (await request.verify(webcrypto)) return request.publicKey;
  } catch (cause) {
    throw new CodedError('bad-input', 'The certificate request is not a PKCS #10 request of an ECDSA P-256 key.', {
      cause,
    });
  }
  throw new CodedError('bad-input', 'The certificate request is not signed by the key it asks for.');
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

function pem(data: { toString(format: 'pem'): string }): string {
  return `${data.toString('pem')}\n`;
}

function nameOf(cn: string): { readonly CN: string[] }[] {
  return [{ CN: [cn] }];
}

function validity(daysValid: number): { readonly notBefore: Date; readonly notAfter: Date } {
  if (!(daysValid > 0)) throw new CodedError('bad-input', `${daysValid} days is not a validity.`);
  const now = Date.now();
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + daysValid * DAY_MS) };
}

/** 127 random bits with the highest set: positive, and always of one length. */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
