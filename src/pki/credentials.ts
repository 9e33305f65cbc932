/**
 * Credentials on disk, in the layout of QEMU's tls-creds-x509 object, which our own processes read too.
 * Guarantees: the directory is 0700 and its files 0600 from their first byte on; each file is replaced whole.
 */

import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { makePrivateDirectory, readTextBounded, type WriteOptions, writeFileAtomic } from '../os/files.ts';

/** What one process needs to prove its identity and to check others'. PEM; the key is a secret. */
export interface Credentials {
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
}

const PEM_BYTES_MAX = 64 * 1024;

/**
 * Writes ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem: the same certificate for both
 * roles, because who one is does not depend on who called. `owner` gives all of it to the user QEMU runs as.
 */
export async function writeCredentials(
  directory: string,
  credentials: Credentials,
  options: Pick<WriteOptions, 'owner'> = {},
): Promise<void> {
  await makePrivateDirectory(directory, options);
  const files = [
    ['ca-cert.pem', credentials.caPem],
    ['server-cert.pem', credentials.certPem],
    ['server-key.pem', credentials.keyPem],
    ['client-cert.pem', credentials.certPem],
    ['client-key.pem', credentials.keyPem],
  ] as const;
  for (const [name, content] of files)
    await writeFileAtomic(join(directory, name), content, { ...options, mode: 0o600 });
}

/** Reads what `writeCredentials` wrote; undefined when there is none, CodedError 'failed' when part of it is missing. */
export async function readCredentials(directory: string): Promise<Credentials | undefined> {
  const [caPem, certPem, keyPem] = await Promise.all(
    ['ca-cert.pem', 'client-cert.pem', 'client-key.pem'].map((name) =>
      readTextBounded(join(directory, name), PEM_BYTES_MAX),
    ),
  );
  if (caPem === undefined && certPem === undefined && keyPem === undefined) return undefined;
  if (caPem === undefined || certPem === undefined || keyPem === undefined) {
    throw new CodedError('failed', `The credentials in ${directory} are incomplete; they were left as they are.`, {
      advice: 'Remove the directory and join the cluster again.',
    });
  }
  return { caPem, certPem, keyPem };
}
