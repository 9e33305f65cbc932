/**
 * Keeps a storage node from following an etcd that went back in time: an etcd restored by other means than `gp cluster
 * restore`, or a restore that took the number of an epoch this node has heard of. Its memory outlives the service
 * (docs/specs/generations.md, Epochs).
 */
import type { History } from './cluster-view.ts';

/** The newest history that this node has followed; kept on its disk, before anything of a new epoch is followed. */
export interface HistoryMemory {
  /** Null: none yet. */
  read(): Promise<History | null>;
  /** Answers when it would survive a power cut. */
  write(history: History): Promise<void>;
}

/** The reason why this etcd must not be followed, as a sentence; null: it continues the known history. */
export function whyNotFollowed(known: History | null, found: History): string | null {
  if (known === null || found.epoch > known.epoch) return null;
  if (found.epoch < known.epoch)
    return `etcd is in epoch ${found.epoch}, and this node has followed epoch ${known.epoch}: etcd is older than what is served here`;
  if (found.id !== known.id)
    return `etcd is in another epoch ${found.epoch} than the one that this node has followed: two restores took the same number`;
  // 0: an etcd whose control nodes are older than epochs does not have one.
  if (found.revision >= known.revision || (found.epoch === 0 && found.revision === 0)) return null;
  return `etcd is at revision ${found.revision}, and this node has read revision ${known.revision}: etcd was restored without a new epoch`;
}
