/**
 * Credentials on disk, in the layout of QEMU's tls-creds-x509 object, which our own processes read too.
 * Guarantees: the directory is 0700 and its files 0600 from their first byte on; each file is replaced whole.
 */

import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { makePrivateDirectory, readTextBounded, type WriteOptions, writeFileAtomic } from '../os/files.ts';

/** The credentials with which one process proves its identity and checks that of others. PEM; the key is a secret. */
export interface Credentials {
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
  /** Calls the listener after each change of what is here or denied; absent: nothing changes. */
  readonly onChange?: ((listener: () => void) => void) | undefined;
  /** Whether a certificate of the cluster is refused although it is valid; absent: no certificate is. */
  readonly denies?: ((peer: { readonly commonName: string; readonly serial: string }) => boolean) | undefined;
}

/** Returns the present texts of credentials that may be renewed. */
export function pemsOf({ caPem, certPem, keyPem }: Credentials): Pick<Credentials, 'caPem' | 'certPem' | 'keyPem'> {
  return { caPem, certPem, keyPem };
}

const PEM_BYTES_MAX = 64 * 1024;

/**
 * Not secret: the group ffdhe2048 (RFC 7919, appendix A.1) as PKCS #3. QEMU generates a group for every server that
 * finds none (crypto/tlscreds.c, 7.2), which takes 0.1 to 3 s of processor time at each start of a QEMU or a storage
 * daemon; our handshakes use elliptic curves nevertheless.
 */
const DH_PARAMETERS_PEM = `-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
`;

/**
 * Writes ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem and dh-params.pem: the same
 * certificate for both roles, because who one is does not depend on who called. `owner` gives all of it to the user
 * QEMU runs as.
 */
export async function writeCredentials(
  directory: string,
  credentials: Credentials,
  options: Pick<WriteOptions, 'owner' | 'durable'> = {},
): Promise<void> {
  await makePrivateDirectory(directory, options);
  const files = [
    ['ca-cert.pem', credentials.caPem],
    ['server-cert.pem', credentials.certPem],
    ['server-key.pem', credentials.keyPem],
    ['client-cert.pem', credentials.certPem],
    ['client-key.pem', credentials.keyPem],
    ['dh-params.pem', DH_PARAMETERS_PEM],
  ] as const;
  const write = ([name, content]: (typeof files)[number]): Promise<void> =>
    writeFileAtomic(join(directory, name), content, { ...options, mode: 0o600 });
  await Promise.all(files.map(write));
}

/**
 * Reads the files of `writeCredentials`; undefined if there are none, CodedError 'failed' if a part of them is missing.
 */
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
