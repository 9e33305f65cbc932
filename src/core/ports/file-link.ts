/** The operations of a leader on the files of images and seeds on storage nodes. */
import type { Sha256, StorageName } from '../../base/ids.ts';
import type { CallOptions, Order } from './host-link.ts';

/** The kind as which a file was taken in. */
export type FileKind = 'disk-qcow2' | 'disk-raw' | 'kernel' | 'initrd';

export interface FileCopy {
  readonly sha256: Sha256;
  readonly kind: FileKind;
  readonly sizeBytes: number;
  readonly from: StorageName;
  readonly to: StorageName;
}

/** A copy that is under way. */
export interface Copying {
  /**
   * Settles when the copy is over: the destination compared the whole file with its hash and keeps it, or nothing is
   * kept.
   */
  readonly done: Promise<void>;
  /** Ends it early. */
  cancel(): void;
}

export interface FileLink {
  copy(copy: FileCopy, options: CallOptions): Copying;
  /** Idempotent. CodedError 'conflict' while a disk there is cloned from the file. */
  remove(node: StorageName, sha256: Sha256, order: Order, options: CallOptions): Promise<void>;
}
