/**
 * A leader's knowledge of the files on storage nodes: which node has which file, and for which request a file is kept
 * although no record names the file yet. The knowledge lives for one term: it does not include what another leader did
 * in between.
 */
import type { Sha256, StorageName } from '../../../base/ids.ts';
import { fileNamed, type NamedFile } from '../../plan/duties/file-decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { StorageReport } from '../../ports/storage-link.ts';
import type { Snapshot } from '../../ports/store.ts';

/** Uploads remembered for the image that will name them. */
const UPLOADS_MAX = 256;

/** A file that was uploaded. */
export interface Uploaded extends NamedFile {
  /** The storage nodes that kept the file when it was uploaded. */
  readonly nodes: readonly StorageName[];
}

export interface FileUsePorts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly snapshot: Pick<Snapshot, 'images' | 'storage'>;
  readonly observer: {
    answers(node: StorageName): boolean;
    report(node: StorageName): Pick<StorageReport, 'artifacts' | 'pool'> | null;
  };
}

/** See the module's comment. */
export class FileUse {
  readonly #ports: FileUsePorts;
  readonly #uploads = new Map<Sha256, Uploaded>();
  /** When a file was last named, sent or asked for; or first seen. */
  readonly #wantedAtMs = new Map<Sha256, number>();
  /** How many transfers and records being written need a file now. */
  readonly #held = new Map<Sha256, number>();
  /**
   * Deletions that are under way: a file that is sent in the meantime could be deleted by an order that is older than
   * the file.
   */
  readonly #deleting = new Map<Sha256, Promise<void>>();

  constructor(ports: FileUsePorts) {
    this.#ports = ports;
  }

  /** Storage nodes that answer. */
  aliveNodes(): readonly StorageName[] {
    const { snapshot, observer } = this.#ports;
    return [...snapshot.storage.keys()].filter((name) => observer.answers(name));
  }

  /** The nodes that get new files: nodes that are out of service get none. */
  takingNodes(): readonly StorageName[] {
    const { storage } = this.#ports.snapshot;
    return this.aliveNodes().filter((name) => storage.get(name)?.value.maintenance === undefined);
  }

  /** A node's last report; null before the first. */
  report(node: StorageName): Pick<StorageReport, 'artifacts' | 'pool'> | null {
    return this.#ports.observer.report(node);
  }

  /** Whether the node reports the file, or took it in a moment ago. */
  holds(node: StorageName, sha256: Sha256): boolean {
    return (
      this.#uploads.get(sha256)?.nodes.includes(node) === true ||
      (this.report(node)?.artifacts.includes(sha256) ?? false)
    );
  }

  /** Nodes that answer and hold all of these files. */
  nodesWith(files: readonly Sha256[]): readonly StorageName[] {
    return this.aliveNodes().filter((node) => files.every((sha256) => this.holds(node, sha256)));
  }

  /** A file that was uploaded, or that an image names. */
  known(sha256: Sha256): NamedFile | undefined {
    return this.#uploads.get(sha256) ?? fileNamed(this.#ports.snapshot, sha256);
  }

  /** A file was taken in. */
  uploaded(sha256: Sha256, upload: Uploaded): void {
    const [oldest] = this.#uploads.keys();
    if (this.#uploads.size >= UPLOADS_MAX && oldest !== undefined) this.#uploads.delete(oldest);
    this.#uploads.set(sha256, upload);
  }

  /**
   * A file's deletion was ordered; `ended` resolves when no node carries the order out any more, or did not answer in
   * time.
   */
  deleting(sha256: Sha256, ended: Promise<unknown>): void {
    this.#uploads.delete(sha256);
    this.#wantedAtMs.delete(sha256);
    const over = (): void => {
      if (this.#deleting.get(sha256) === settled) this.#deleting.delete(sha256);
    };
    const settled = ended.then(over, over);
    this.#deleting.set(sha256, settled);
  }

  /** Forgets the times of files that are nowhere. */
  keepTimesOf(stored: ReadonlySet<Sha256>): void {
    for (const sha256 of this.#wantedAtMs.keys())
      if (!stored.has(sha256) && !this.#uploads.has(sha256)) this.#wantedAtMs.delete(sha256);
  }

  /** Somebody names, sends or asks for the file now. */
  wanted(sha256: Sha256): void {
    this.#wantedAtMs.set(sha256, this.#ports.clock.monotonicMs());
  }

  /** For how long nobody has wanted the file, in ms; null for a file that is seen for the first time. */
  unwantedMs(sha256: Sha256): number | null {
    const wantedAtMs = this.#wantedAtMs.get(sha256);
    return wantedAtMs === undefined ? null : this.#ports.clock.monotonicMs() - wantedAtMs;
  }

  isHeld(sha256: Sha256): boolean {
    return this.#held.has(sha256);
  }

  /** Keeps these files from deletion until `act` has ended; `act` begins when no deletion of them is under way. */
  async holding<T>(files: readonly Sha256[], act: () => Promise<T>): Promise<T> {
    for (const sha256 of files) this.#held.set(sha256, (this.#held.get(sha256) ?? 0) + 1);
    try {
      await Promise.all(files.flatMap((sha256) => this.#deleting.get(sha256) ?? []));
      return await act();
    } finally {
      for (const sha256 of files) {
        const left = (this.#held.get(sha256) ?? 1) - 1;
        if (left === 0) this.#held.delete(sha256);
        else this.#held.set(sha256, left);
        this.wanted(sha256);
      }
    }
  }
}
