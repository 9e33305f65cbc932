/** Decides whose a connection may be that outlived the removal of a revoked generation's exports. Pure. */
import type { Connection } from '../ports/disk-backend.ts';

/**
 * Whether a connection that outlived the deletion of a revoked generation's exports may be that generation's, by way of
 * another generation's export (while two are granted, the credential of one can open the other's). An uncertain
 * connection counts as one that may be. `left`: established when the exports were gone; those made since the revoked
 * identities left the authorization are harmless, but cannot be told apart, and count as well. `older`: the keys of
 * those established before the revoked generations were granted, which are never theirs. `strangers`: the addresses
 * from which the revoked generations were connected before any survivor was granted; empty if that is not known.
 * `survivors`: generations still granted; a QEMU opens one connection per disk, and two generations of a VM never share
 * a host.
 */
export function mayBeRevoked(options: {
  readonly left: readonly Connection[];
  readonly older: ReadonlySet<string>;
  readonly strangers: ReadonlySet<string>;
  readonly survivors: number;
}): boolean {
  const { left, older, strangers, survivors } = options;
  if (survivors === 0) return left.length > 0;
  const suspects = left.filter(({ key }) => !older.has(key));
  if (suspects.length === 0) return false;
  return suspects.length > survivors || strangers.size === 0 || suspects.some(({ address }) => strangers.has(address));
}
