/**
 * The identity of a running process, renewed while it runs (core/ports/identity-link.ts), and the peers that it
 * refuses.
 * Guarantees: every holder of the object sees the present credentials; the key never changes, so that certificate and
 * key fit at any moment, in memory and on disk; a certificate is taken only if it is for this key and this identity, is
 * valid now, and was issued by an authority of the same order; an accepted certificate is on disk before the order is
 * answered; the tag of a trust is reported, also after a crash, only when all of that trust is on disk.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import type { Term } from '../base/ids.ts';
import {
  DENIED_MAX,
  type Denied,
  type IdentityOrder,
  type MachineIdentity,
  type Trust,
} from '../base/machine-identity.ts';
import { readJsonFile, writeFileAtomic } from '../os/files.ts';
import { certificatesIn, createRenewalRequest, describeCertificate } from '../pki/authority.ts';
import { type Credentials, readCredentials, writeCredentials } from '../pki/credentials.ts';
import { arrayOf, integer, nullable, openObject, optional, order, type Parser, text } from './parse.ts';
import type { Route } from './service.ts';

/** Bytes of an order: some certificates, and everything that can be denied. */
const ORDER_BYTES_MAX = 4 * 1024 * 1024;
const PEM_CHARS_MAX = 64 * 1024;

const parsePem = text({ charsMax: PEM_CHARS_MAX, pattern: /^-----BEGIN CERTIFICATE-----/ });
const parseDenied: Parser<Denied> = openObject({
  identities: arrayOf(text({ charsMax: 100 }), { itemsMax: DENIED_MAX }),
  certificates: arrayOf(openObject({ id: text({ charsMax: 100 }), serial: text({ charsMax: 64 }) }), {
    itemsMax: DENIED_MAX,
  }),
});
const trust = {
  tag: text({ charsMax: 200 }),
  caPem: parsePem,
  denied: parseDenied,
};
const parseTerm = integer({ min: 0 }) as Parser<Term>;
const parseOrder: Parser<IdentityOrder> = order(
  {
    term: parseTerm,
    certPem: nullable(parsePem),
    trust: openObject(trust),
    authority: optional(
      openObject({
        certPem: parsePem,
        keyPem: text({ charsMax: PEM_CHARS_MAX, pattern: /^-----BEGIN PRIVATE KEY-----/ }),
      }),
    ),
  },
  { features: [] },
);
const { caPem: _, ...kept } = trust;
const parseKept = openObject(kept);

/** The keys of authorities, at a control node. */
export interface AuthorityKeys {
  readonly ids: readonly string[];
  take(authority: { readonly certPem: string; readonly keyPem: string }): Promise<void>;
}

/** See the module's comment. */
export class OwnIdentity implements Credentials {
  readonly keyPem: string;
  /** Set at a control node. */
  authorities: AuthorityKeys | null = null;
  readonly #directory: string;
  #certPem: string;
  #caPem: string;
  #tag: string | null = null;
  #identities: ReadonlySet<string> = new Set();
  /** `IDENTITY SERIAL`. */
  #certificates: ReadonlySet<string> = new Set();
  #term: Term | 0 = 0;
  #last: Promise<unknown> = Promise.resolve();
  readonly #listeners = new Set<() => void>();

  constructor(directory: string, { certPem, caPem, keyPem }: Credentials) {
    this.#directory = directory;
    this.#certPem = certPem;
    this.#caPem = caPem;
    this.keyPem = keyPem;
  }

  /** Opens the identity in a directory. CodedError 'not-found' without one, 'failed' if a part of it is missing. */
  static async open(directory: string): Promise<OwnIdentity> {
    const credentials = await readCredentials(directory);
    if (credentials === undefined)
      throw new CodedError('not-found', `There are no credentials in ${directory}.`, {
        advice: 'Restore them, or let the machine join again.',
      });
    const identity = new OwnIdentity(directory, credentials);
    const known = await readJsonFile(identity.#trustFile);
    if (known !== undefined) identity.#deny(parseKept(known, identity.#trustFile));
    return identity;
  }

  get certPem(): string {
    return this.#certPem;
  }

  get caPem(): string {
    return this.#caPem;
  }

  get #trustFile(): string {
    return join(this.#directory, 'denied.json');
  }

  /** See `Credentials`. */
  denies = ({ commonName, serial }: { readonly commonName: string; readonly serial: string }): boolean =>
    this.#identities.has(commonName) || this.#certificates.has(`${commonName} ${serial}`);

  /** Calls `listener` after each change of the credentials or of what is denied. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** This machine's report about itself. */
  async describe(): Promise<MachineIdentity> {
    return {
      certificate: describeCertificate(this.#certPem),
      requestPem: await createRenewalRequest(this.keyPem),
      trust: this.#tag,
      ...(this.authorities === null ? {} : { authorities: this.authorities.ids }),
    };
  }

  /**
   * Takes an order. CodedError 'stale-order' for an order of an earlier leader, 'bad-input' for another machine's
   * certificate.
   */
  take(given: IdentityOrder): Promise<void> {
    const taken = this.#last.then(() => this.#take(given));
    this.#last = taken.catch(() => undefined);
    return taken;
  }

  /** The routes of core/ports/identity-link.ts. */
  get routes(): readonly Route[] {
    const allow = ['control'] as const;
    return [
      { method: 'GET', path: '/v1/identity', allow, handle: async () => ({ json: await this.describe() }) },
      {
        method: 'PUT',
        path: '/v1/identity',
        allow,
        body: ORDER_BYTES_MAX,
        handle: async ({ body }) => {
          await this.take(parseOrder(body, ''));
          return { json: {} };
        },
      },
    ];
  }

  async #take({ term, certPem, trust: given, authority }: IdentityOrder): Promise<void> {
    if (term < this.#term)
      throw new CodedError('stale-order', `The order is of term ${term}; term ${this.#term} has begun.`, {
        advice: 'Nothing was changed.',
      });
    this.#term = term;
    demandOwn(certPem ?? this.#certPem, { before: this.#certPem, keyPem: this.keyPem, caPem: given.caPem });
    if (authority !== undefined) await this.authorities?.take(authority);
    const { caPem, ...deniedNow } = given;
    if (caPem !== this.#caPem || (certPem !== null && certPem !== this.#certPem)) {
      const next = { caPem, certPem: certPem ?? this.#certPem, keyPem: this.keyPem };
      await writeCredentials(this.#directory, next);
      this.#caPem = next.caPem;
      this.#certPem = next.certPem;
    }
    // The tag says that all of the trust is here: it is written last.
    await writeFileAtomic(this.#trustFile, `${JSON.stringify(deniedNow)}\n`, { mode: 0o600 });
    this.#deny(deniedNow);
    for (const listener of this.#listeners) listener();
  }

  #deny({ tag, denied }: Pick<Trust, 'tag' | 'denied'>): void {
    this.#tag = tag;
    this.#identities = new Set(denied.identities);
    this.#certificates = new Set(denied.certificates.map(({ id, serial }) => `${id} ${serial}`));
  }
}

/**
 * CodedError 'bad-input' unless the first certificate of `certPem` is for the same identity as before and for the key,
 * is valid now, and leads to one of the authorities.
 */
function demandOwn(
  certPem: string,
  known: { readonly before: string; readonly keyPem: string; readonly caPem: string },
): void {
  const fault = faultOf(certPem, known);
  if (fault !== null)
    throw new CodedError('bad-input', `The certificate ${fault}.`, { advice: 'Nothing was changed.' });
}

function faultOf(
  certPem: string,
  { before, keyPem, caPem }: { readonly before: string; readonly keyPem: string; readonly caPem: string },
): string | null {
  let own: X509Certificate;
  let authorities: readonly X509Certificate[];
  try {
    own = new X509Certificate(certPem);
    authorities = [...certificatesIn(caPem), ...certificatesIn(certPem).slice(1)].map(
      (pem) => new X509Certificate(pem),
    );
  } catch {
    return 'is none';
  }
  const old = new X509Certificate(before);
  if (own.subject !== old.subject || own.subjectAltName !== old.subjectAltName)
    return `is for ${own.subject} (${own.subjectAltName}), and this is ${old.subject} (${old.subjectAltName})`;
  if (!own.checkPrivateKey(createPrivateKey(keyPem))) return 'is for another key';
  const now = Date.now();
  if (Date.parse(own.validFrom) > now || Date.parse(own.validTo) <= now)
    return `is valid from ${own.validFrom} to ${own.validTo}, and here it is ${new Date(now).toISOString()}`;
  const isIssued = authorities.some((ca) => ca.ca && own.verify(ca.publicKey));
  return isIssued ? null : 'was issued by none of the authorities';
}
