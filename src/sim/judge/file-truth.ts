/**
 * Which files storage nodes must keep, by what etcd holds: what checkers compare deletions with. Nobody in the
 * simulated cluster sees it.
 */
import type { DiskId, Sha256 } from '../../base/ids.ts';
import type { Change } from '../../core/ports/store.ts';

/** An order to delete a file that was given before a record named the file has arrived by then, in ms. */
const ORDER_MS = 12_000;

/** See the module's comment. */
export class FileTruth {
  /** The files of disks that are cloned from an image, or still to be made from a seed, with the time since when. */
  readonly #needed = new Map<DiskId, { readonly sha256: Sha256; readonly since: number }>();

  /** Takes in what a transaction changed. */
  apply(changes: readonly Change[], at: number): void {
    for (const change of changes) {
      if (change.kind !== 'disk') continue;
      const { id, value } = change;
      const source = value?.source;
      const isNeeded = source?.kind === 'image' || (source?.kind === 'content' && value?.phase === 'creating');
      if (source === undefined || !isNeeded || !('artifact' in source)) this.#needed.delete(id);
      else if (!this.#needed.has(id)) this.#needed.set(id, { sha256: source.artifact, since: at });
    }
  }

  /** The disk because of which a file must not be deleted at this time; null if nobody needs it. */
  neededBy(sha256: Sha256, at: number): DiskId | null {
    for (const [disk, { sha256: file, since }] of this.#needed)
      if (file === sha256 && at - since > ORDER_MS) return disk;
    return null;
  }
}
