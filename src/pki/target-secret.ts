/**
 * The CHAP secret of an incarnation at the iSCSI targets: it follows from the account's name and one key of the
 * cluster, so that nothing per generation has to be stored or sent to storage (docs/decisions/0014).
 */
import { createHmac } from 'node:crypto';

/**
 * 43 characters of base64url: the whole HMAC-SHA-256, in what every initiator takes as a CHAP secret. `key`: 32 bytes.
 */
export function targetSecret(key: Uint8Array, account: string): string {
  return createHmac('sha256', key).update(account, 'utf8').digest('base64url');
}
