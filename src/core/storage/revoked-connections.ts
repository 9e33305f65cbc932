/** Whose a connection may be that outlived the removal of a revoked generation's exports. Pure. */
import type { Connection } from '../ports/disk-backend.ts';

/**
 * Whether a connection that outlived the deletion of a revoked generation's exports may be that generation's, by way of
 * another generation's export (while two were granted, the older one's credential could open the newer one's).
 *
 * `before`: established before the exports went. `after`: established when they were gone; those made since the revoked
 * identities left the authorization are harmless, but cannot be told apart, and count as well. `older`: established before
 * the revoked generation was granted. `survivors`: generations still granted; a QEMU opens one connection per disk, and two
 * generations of a VM never share a host.
 */
export function mayBeRevoked(options: {
  readonly before: readonly Connection[];
  readonly after: readonly Connection[];
  readonly older: ReadonlySet<string>;
  readonly survivors: number;
}): boolean {
  const { before, after, older, survivors } = options;
  if (survivors === 0) return after.length > 0;
  const suspects = after.filter(({ key }) => !older.has(key));
  if (suspects.length === 0) return false;
  const left = new Set(after.map(({ key }) => key));
  const gone = new Set(before.filter(({ key }) => !left.has(key)).map(({ address }) => address));
  return suspects.length > survivors || gone.size === 0 || suspects.some(({ address }) => gone.has(address));
}
