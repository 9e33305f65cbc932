/**
 * The cluster's certificate authorities at a control node: their keys in files, which of them issues according to etcd,
 * and how long certificates are valid. Guarantees: a certificate names the identity that the caller decided on, never
 * the one that a request asks for; while two authorities are trusted, each certificate is sent together with its
 * authority's certificate as signed by the other one; a key is on disk before this node reports that it has the key,
 * and is deleted only when its authority is no longer trusted.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import type { PeerIdentity } from '../base/identity.ts';
import { type Generation, parseControlName, parseHostName, parseStorageName, type VmId } from '../base/ids.ts';
import type { IssuedCertificate } from '../base/machine-identity.ts';
import type { AuthoritiesRecord, AuthorityEntry } from '../core/model/authorities.ts';
import { INCARNATION_CERTIFICATE_DAYS, MACHINE_CERTIFICATE_DAYS } from '../core/model/certificate.ts';
import type { Certifier, MachineRef } from '../core/ports/identity-link.ts';
import { readTextBounded, writeFileAtomic } from '../os/files.ts';
import {
  authorityId,
  authorityName,
  type CertifiedKey,
  createAuthority,
  crossSign,
  describeCertificate,
  issue,
  issueForRequest,
} from '../pki/authority.ts';
import type { Credentials } from '../pki/credentials.ts';
import type { AuthorityKeys } from '../rpc/own-identity.ts';

const AUTHORITY_DAYS = 3_650;
const PEM_BYTES_MAX = 64 * 1024;
const NEXT_KEY = /^next-([0-9a-f]{40})-key\.pem$/;

/** See the module's comment. */
export class ClusterAuthority implements Certifier, AuthorityKeys {
  readonly #directory: string | null;
  readonly #keys = new Map<string, CertifiedKey>();
  readonly #first: string;
  #record: AuthoritiesRecord | null = null;
  #last: Promise<unknown> = Promise.resolve();

  /** `directory`: where keys are kept; null keeps none (tests). */
  constructor(own: CertifiedKey, directory: string | null = null) {
    this.#first = authorityId(own.certPem);
    this.#keys.set(this.#first, { certPem: own.certPem, keyPem: own.keyPem });
    this.#directory = directory;
  }

  /** Opens the authorities in a directory. CodedError 'failed' without the first one. */
  static async open(directory: string): Promise<ClusterAuthority> {
    const read = (file: string): Promise<string | undefined> => readTextBounded(join(directory, file), PEM_BYTES_MAX);
    const [certPem, keyPem] = await Promise.all(['ca-cert.pem', 'ca-key.pem'].map(read));
    if (certPem === undefined || keyPem === undefined)
      throw new CodedError('failed', `The cluster's authority is not in ${directory}.`, {
        advice: 'Restore ca-cert.pem and ca-key.pem.',
      });
    const opened = new ClusterAuthority({ certPem, keyPem }, directory);
    for (const file of await readdir(directory)) {
      const id = NEXT_KEY.exec(file)?.[1];
      if (id === undefined) continue;
      const [cert, key] = await Promise.all([read(`next-${id}-cert.pem`), read(file)]);
      if (cert !== undefined && key !== undefined) opened.#keys.set(id, { certPem: cert, keyPem: key });
    }
    return opened;
  }

  /** Takes in etcd's record of the authorities. */
  follow(record: AuthoritiesRecord | undefined): void {
    if (record === undefined || record.version === this.#record?.version) return;
    this.#record = record;
    if (record.phase === 'steady')
      this.#last = this.#last.then(() => this.#settle(record.issuing)).catch(() => undefined);
  }

  get issuer(): string {
    return this.#record?.issuing ?? this.#first;
  }

  get bundle(): string {
    return `${this.issuer}.${this.#record?.version ?? 0}`;
  }

  get certPem(): string {
    return this.#entry.certPem;
  }

  /** CodedError 'failed' if the key of the authority that issues is not here. */
  get keyPem(): string {
    const key = this.#keys.get(this.issuer);
    if (key !== undefined) return key.keyPem;
    throw new CodedError('failed', `The key of authority ${this.issuer} is not at this control node.`, {
      advice: 'Nothing was issued. Drain this control node until the leader has brought it the key.',
    });
  }

  /** The certificate that join tokens pin: it is in what every server of the cluster sends. */
  get pinPem(): string {
    return this.#record?.authorities[0]?.certPem ?? this.certPem;
  }

  get caPem(): string {
    return this.#record?.authorities.map(({ certPem }) => certPem).join('') ?? this.certPem;
  }

  get #entry(): Pick<AuthorityEntry, 'certPem' | 'crossPem'> {
    const entry = this.#record?.authorities.find(({ id }) => id === this.issuer);
    return entry ?? { certPem: this.#keys.get(this.#first)?.certPem ?? '', crossPem: null };
  }

  /** Ids of the authorities whose keys are here. */
  get ids(): readonly string[] {
    return [...this.#keys.keys()];
  }

  /** The key of an authority; null if it is not here. */
  keyOf(id: string): CertifiedKey | null {
    return this.#keys.get(id) ?? null;
  }

  /** Keeps the key of an authority. */
  async take({ certPem, keyPem }: CertifiedKey): Promise<void> {
    const id = authorityId(certPem);
    if (this.#keys.has(id)) return;
    if (this.#directory !== null) {
      await writeFileAtomic(join(this.#directory, `next-${id}-cert.pem`), certPem, { mode: 0o600 });
      await writeFileAtomic(join(this.#directory, `next-${id}-key.pem`), keyPem, { mode: 0o600 });
    }
    this.#keys.set(id, { certPem, keyPem });
  }

  /** Makes the next authority and keeps its key here. */
  async makeNext(): Promise<{ readonly present: AuthorityEntry; readonly next: AuthorityEntry }> {
    const old = { certPem: this.certPem, keyPem: this.keyPem };
    const made = await createAuthority({ clusterName: authorityName(old.certPem), daysValid: AUTHORITY_DAYS });
    const crossPem = await crossSign(old, made.certPem);
    await this.take(made);
    const entry = (certPem: string, cross: string | null): AuthorityEntry => ({
      id: authorityId(certPem),
      certPem,
      crossPem: cross,
      notAfter: describeCertificate(certPem).notAfter,
    });
    return { present: entry(old.certPem, this.#entry.crossPem), next: entry(made.certPem, crossPem) };
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
    const own = await issueForRequest({ certPem: this.certPem, keyPem: this.keyPem }, requestPem, content);
    return { certPem: own + (this.#entry.crossPem ?? ''), issued: describeCertificate(own) };
  }

  /** Issues the credentials of one run of a VM. */
  async issueIncarnation(vmId: VmId, generation: Generation): Promise<Credentials> {
    const identity = { kind: 'incarnation', vmId, generation } as const;
    const authority = { certPem: this.certPem, keyPem: this.keyPem };
    const own = await issue(authority, { identity, daysValid: INCARNATION_CERTIFICATE_DAYS });
    return { caPem: this.caPem, keyPem: own.keyPem, certPem: own.certPem + (this.#entry.crossPem ?? '') };
  }

  /** Resolves when the files match etcd's last record. */
  async settled(): Promise<void> {
    await this.#last;
  }

  /** The only authority that is left is the cluster's, and the others' keys go. */
  async #settle(id: string): Promise<void> {
    const own = this.#keys.get(id);
    const directory = this.#directory;
    if (own === undefined || directory === null) return;
    const present = await readTextBounded(join(directory, 'ca-cert.pem'), PEM_BYTES_MAX);
    if (present !== own.certPem) {
      await writeFileAtomic(join(directory, 'ca-key.pem'), own.keyPem, { mode: 0o600 });
      await writeFileAtomic(join(directory, 'ca-cert.pem'), own.certPem, { mode: 0o600 });
    }
    for (const old of [...this.#keys.keys()]) if (old !== id) this.#keys.delete(old);
    for (const file of await readdir(directory)) if (file.startsWith('next-')) await rm(join(directory, file));
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
