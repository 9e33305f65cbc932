/**
 * NBD as far as it matters: what a simulated QEMU (sim-qemu.ts) asks of the daemons of a storage node (sim/storage). Calls are made at the
 * storage node, when a message of the QEMU has arrived there; the way there and back is the network's.
 */
import type { DiskId, Generation } from '../base/ids.ts';

/** One connection to the export of one generation on one disk. */
export interface DiskConnection {
  /**
   * Writes block number `sequence`. Resolves when it is on the disk for good, or the disk is full, or when the connection has ended: then
   * nobody who holds this connection knows whether it is there.
   */
  write(sequence: number): Promise<'ok' | 'no-space' | 'broken'>;
  /** The highest number n for which blocks 1 to n are on the disk; 0 for none. */
  read(): Promise<number | 'broken'>;
  /** Tells once that the other end is gone: revoked, or its daemon or machine died. At once where it is gone already. */
  onBroken(listener: () => void): void;
  /** The QEMU's end is gone. What has arrived already is carried out. */
  close(): void;
}

/** A storage node's daemons, as connections meet them. */
export interface DiskWire {
  /** Opens an export; null where nobody listens on that port, or whoever does knows no such export or does not admit this generation. */
  connect(to: {
    readonly disk: DiskId;
    readonly port: number;
    readonly generation: Generation;
    /** The QEMU's host, as the storage node's kernel sees it. */
    readonly address: string;
  }): DiskConnection | null;
}
