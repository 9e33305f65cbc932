/**
 * The key from which the secrets of all accounts at the iSCSI targets follow (docs/decisions/0014). Guarantees: it is
 * made once, by whichever control node comes first, and never replaced: an incarnation that runs logs in again by it
 * for as long as it exists.
 */
import { randomBytes } from 'node:crypto';
import { CodedError } from '../base/errors.ts';
import { TARGET_SECRET_KEY } from '../core/model/keys.ts';
import type { Etcd } from '../etcd/api.ts';
import { targetSecret } from '../pki/target-secret.ts';

const KEY_BYTES = 32;
const DEADLINE_MS = 2_000;

/** The accounts' secrets, by the key in etcd. */
export class TargetAccounts {
  readonly #etcd: Pick<Etcd, 'get' | 'txn'>;
  #key: Promise<Uint8Array> | null = null;

  constructor(etcd: Pick<Etcd, 'get' | 'txn'>) {
    this.#etcd = etcd;
  }

  /**
   * The secret of an account. Throws what reading the key throws, or CodedError 'failed' where what is there is no key
   * of ours.
   */
  async secretOf(account: string): Promise<string> {
    return targetSecret(await this.ensureKey(), account);
  }

  /** Makes the key if there is none, and reads it once. */
  ensureKey(): Promise<Uint8Array> {
    this.#key ??= this.#readOrMake().catch((error: unknown) => {
      this.#key = null;
      throw error;
    });
    return this.#key;
  }

  async #readOrMake(): Promise<Uint8Array> {
    const made = JSON.stringify({ key: randomBytes(KEY_BYTES).toString('base64') });
    const options = { deadlineMs: DEADLINE_MS };
    await this.#etcd.txn(
      {
        compare: [{ key: TARGET_SECRET_KEY, exists: false }],
        success: [{ put: TARGET_SECRET_KEY, value: made }],
        failure: [],
      },
      options,
    );
    const found = await this.#etcd.get(TARGET_SECRET_KEY, options);
    return keyOf(found?.value ?? '');
  }
}

function keyOf(text: string): Uint8Array {
  try {
    const { key } = JSON.parse(text) as { readonly key: string };
    const bytes = Buffer.from(key, 'base64');
    if (bytes.length === KEY_BYTES) return bytes;
  } catch {
    // Reported below, with keys of a wrong length.
  }
  throw new CodedError(
    'failed',
    `The value in etcd at ${TARGET_SECRET_KEY} is not the targets’ key: another program wrote it.`,
    {
      advice: 'Restore it from a backup of etcd: running QEMUs could not log in again with another key.',
    },
  );
}
