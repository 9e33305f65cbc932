/**
 * The identities that a cluster gets at its beginning and keeps: its authority, the administrator's token, and the
 * control nodes' credentials. Guarantees: existing ones are never replaced; no secret is readable by others, not for a
 * moment.
 */
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { etcdNames } from '../base/identity.ts';
import { parseControlName } from '../base/ids.ts';
import { MACHINE_CERTIFICATE_DAYS } from '../core/model/certificate.ts';
import { readTextBounded, writeFileAtomic } from '../os/files.ts';
import { type CertifiedKey, createAuthority, issue } from '../pki/authority.ts';
import { readCredentials, writeCredentials } from '../pki/credentials.ts';
import { createApiToken } from '../pki/join-token.ts';
import type { ControlNode } from './configuration.ts';

const AUTHORITY_DAYS = 3650;
const FILE_BYTES_MAX = 64 * 1024;

/**
 * Returns the authority in `directory` and makes it if there is none. CodedError 'failed' when its certificate is there
 * and its key is not.
 */
export async function ensureAuthority(directory: string, newClusterName: () => string): Promise<CertifiedKey> {
  const certFile = join(directory, 'ca-cert.pem');
  const keyFile = join(directory, 'ca-key.pem');
  const certPem = await readTextBounded(certFile, FILE_BYTES_MAX);
  const keyPem = await readTextBounded(keyFile, FILE_BYTES_MAX);
  if (certPem !== undefined && keyPem !== undefined) return { certPem, keyPem };
  if (certPem !== undefined) {
    throw new CodedError('failed', `The key of the cluster's authority is missing: ${keyFile}.`, {
      advice: 'Nothing was changed. Restore the file, or begin with an empty directory.',
    });
  }
  const authority = await createAuthority({ clusterName: newClusterName(), daysValid: AUTHORITY_DAYS });
  // The certificate last: its presence says that the pair is whole.
  await writeFileAtomic(keyFile, authority.keyPem);
  await writeFileAtomic(certFile, authority.certPem);
  return authority;
}

/**
 * Issues the credentials of a control node if it has none. CodedError 'failed' if it has a certificate that etcd would
 * not accept: one from before etcd required DNS names of its own.
 */
export async function ensureControlCredentials(
  directory: string,
  { name, address }: ControlNode,
  authority: CertifiedKey,
): Promise<void> {
  const existing = await readCredentials(directory);
  if (existing !== undefined) return demandEtcdNames(name, existing.certPem);
  const identity = { kind: 'control', name: parseControlName(name) } as const;
  const own = await issue(authority, {
    identity,
    ipAddresses: [address, '127.0.0.1'],
    daysValid: MACHINE_CERTIFICATE_DAYS,
  });
  await writeCredentials(directory, { caPem: authority.certPem, ...own });
}

/** Returns the administrator's token in `file` and makes it if there is none. */
export async function ensureAdminToken(file: string): Promise<string> {
  const existing = (await readTextBounded(file, FILE_BYTES_MAX))?.trim();
  if (existing !== undefined && existing !== '') return existing;
  const { token } = createApiToken();
  await writeFileAtomic(file, `${token}\n`);
  return token;
}

function demandEtcdNames(name: string, certPem: string): void {
  const names = new X509Certificate(certPem).subjectAltName ?? '';
  if (etcdNames({ kind: 'control', name: parseControlName(name) }).every((each) => names.includes(each))) return;
  throw new CodedError(
    'failed',
    `The certificate of ${name} was made by an older version, and etcd would not let it in.`,
    {
      advice:
        'Nothing was changed. Begin with an empty directory: clusters of versions before 0.1.0 are not taken over.',
    },
  );
}
