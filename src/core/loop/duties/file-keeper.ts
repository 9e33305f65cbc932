/**
 * A leader's care for the files of images and seeds: files that no record names are deleted, storage nodes get the
 * files of images that they lack (because they were away, or joined later), and images' records say which nodes have
 * them.
 * Guarantees: a file that an image, a VM or a disk names is never deleted; a file without a name is deleted when nobody
 * has wanted it for `unnamedMs`, as far as this term saw; files in use (file-use.ts) stay. One round after the other,
 * each step with a deadline; `stop` ends the copy under way, and nothing begins after it.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { Sha256, StorageName } from '../../../base/ids.ts';
import { filesInUse, filesOf, isUseUnclear, type MissingFile, missingFiles } from '../../plan/duties/file-decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Copying, FileLink } from '../../ports/file-link.ts';
import type { Log } from '../../ports/log.ts';
import type { LeaderStore } from '../../ports/store.ts';
import { recordImageNodes } from '../../request/images.ts';
import { FileUse, type FileUsePorts } from './file-use.ts';

const INTERVAL_MS = 15_000;
/** How long a file stays that no record names: its image may be about to be recorded. */
const UNNAMED_MS = 600_000;
/** A copy that failed is tried again after this, in ms. */
const COPY_AGAIN_MS = 600_000;
/** A copy ends when it lasts longer than this. */
const COPY_MS_MAX = 3_600_000;
const DELETE_MS = 10_000;
/** Files deleted in one round. */
const DELETIONS_AT_ONCE = 50;

/** How often the leader looks, and how patient it is, in ms. */
export interface FilePatience {
  readonly intervalMs: number;
  readonly unnamedMs: number;
  readonly copyAgainMs: number;
}

/** The actions of one round, for the log. */
export interface KeptFiles {
  readonly deleted: readonly Sha256[];
  readonly copied: readonly string[];
  readonly failed: readonly string[];
}

export interface FileKeeperPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Pick<LeaderStore, 'snapshot' | 'commit' | 'leads' | 'term'>;
  readonly files: FileLink;
  readonly observer: FileUsePorts['observer'];
  /** By default as in production. */
  readonly patience?: FilePatience | undefined;
}

/** See the module's comment. One for each term, from `start` to `stop`. */
export class FileKeeper {
  readonly use: FileUse;
  readonly #ports: FileKeeperPorts;
  readonly #patience: FilePatience;
  /** When a copy to a node failed last, by node and file. */
  readonly #failedAtMs = new Map<string, number>();
  /** Nodes from which a copy of a file failed, until every holder has failed: a file may be damaged on one of them. */
  readonly #failedFrom = new Map<Sha256, Set<StorageName>>();
  #copying: Copying | null = null;
  #cancel: (() => void) | null = null;
  #isStopped = false;

  constructor(ports: FileKeeperPorts) {
    this.#ports = ports;
    const { clock, store, observer } = ports;
    const { snapshot } = store;
    this.#patience = ports.patience ?? {
      intervalMs: INTERVAL_MS,
      unnamedMs: UNNAMED_MS,
      copyAgainMs: COPY_AGAIN_MS,
    };
    this.use = new FileUse({ clock, snapshot, observer });
  }

  start(): void {
    if (!this.#isStopped)
      this.#cancel = this.#ports.clock.after(this.#patience.intervalMs, () => void this.#roundAndNext());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
    this.#copying?.cancel();
  }

  /** Does everything once that there is to do. */
  async round(): Promise<KeptFiles> {
    const deleted = await this.#sweep();
    const copies = await this.#replicate();
    await this.#recordNodes();
    return { deleted, ...copies };
  }

  /** Whether a file must stay: the reason for people, or null. */
  neededBecause(sha256: Sha256): string | null {
    const { snapshot } = this.#ports.store;
    if (isUseUnclear(snapshot)) return 'a record that cannot be read may name it';
    if (filesInUse(snapshot).has(sha256)) return 'an image, a VM or a disk names it';
    return this.use.isHeld(sha256) ? 'it is being sent, or named just now' : null;
  }

  /** Orders these nodes to delete a file; answers how each of them took it. */
  remove(sha256: Sha256, nodes: readonly StorageName[]): Promise<readonly PromiseSettledResult<void>[]> {
    const { files, store } = this.#ports;
    const order = { term: store.term };
    const removing = nodes.map((node) => files.remove(node, sha256, order, { deadlineMs: DELETE_MS }));
    const ended = Promise.allSettled(removing);
    this.use.deleting(sha256, ended);
    return ended;
  }

  /** Deletes those of `files` that nothing names any more, where nodes answer; a later round finds the others. */
  async drop(files: readonly Sha256[]): Promise<void> {
    for (const sha256 of files)
      if (this.neededBecause(sha256) === null) await this.remove(sha256, this.use.aliveNodes());
  }

  async #roundAndNext(): Promise<void> {
    const { log } = this.#ports;
    try {
      const { deleted, copied, failed } = await this.round();
      if (deleted.length + copied.length > 0) log.info('image files', { deleted, copied });
      if (failed.length > 0) log.warn('image files', { failed });
    } catch (error) {
      if (!this.#isStopped) log.warn('keeping images failed', { error: messageOf(error) });
    }
    this.start();
  }

  /** A leader that has ended, or may have been replaced, begins nothing. */
  get #mayAct(): boolean {
    return !this.#isStopped && this.#ports.store.leads();
  }

  async #sweep(): Promise<readonly Sha256[]> {
    const { snapshot } = this.#ports.store;
    if (isUseUnclear(snapshot)) return [];
    const inUse = filesInUse(snapshot);
    const nodes = this.use.aliveNodes();
    const stored = new Set(nodes.flatMap((node) => this.use.report(node)?.artifacts ?? []));
    this.use.keepTimesOf(stored);
    const unneeded: Sha256[] = [];
    for (const sha256 of stored) {
      const unwantedMs = this.use.unwantedMs(sha256);
      if (inUse.has(sha256) || this.use.isHeld(sha256) || unwantedMs === null) this.use.wanted(sha256);
      else if (unwantedMs >= this.#patience.unnamedMs && unneeded.length < DELETIONS_AT_ONCE) unneeded.push(sha256);
    }
    const deleted: Sha256[] = [];
    for (const sha256 of unneeded) {
      // Somebody may have come to want it while the ones before were deleted.
      const isStillUnwanted = (this.use.unwantedMs(sha256) ?? 0) >= this.#patience.unnamedMs;
      if (!this.#mayAct || !isStillUnwanted || this.neededBecause(sha256) !== null) continue;
      await this.remove(sha256, nodes);
      deleted.push(sha256);
    }
    return deleted;
  }

  async #replicate(): Promise<Omit<KeptFiles, 'deleted'>> {
    const { clock, store } = this.#ports;
    const copied: string[] = [];
    const failed: string[] = [];
    const nodes = this.use.takingNodes().filter((node) => this.use.report(node) !== null);
    for (const missing of missingFiles(store.snapshot, nodes, (node, sha256) => this.use.holds(node, sha256))) {
      const { image, sha256, to } = missing;
      const attempt = `${to} ${sha256}`;
      const failedAtMs = this.#failedAtMs.get(attempt) ?? Number.NEGATIVE_INFINITY;
      if (clock.monotonicMs() - failedAtMs < this.#patience.copyAgainMs) continue;
      if (!this.#mayAct) break;
      const what = `${image} ${sha256.slice(0, 12)} to ${to}`;
      try {
        await this.use.holding([sha256], () => this.#copy(missing));
        this.#failedAtMs.delete(attempt);
        copied.push(what);
      } catch (error) {
        this.#failedAtMs.set(attempt, clock.monotonicMs());
        failed.push(`${what}: ${messageOf(error)}`);
      }
    }
    return { copied, failed };
  }

  async #copy({ sha256, to }: MissingFile): Promise<void> {
    const file = this.use.known(sha256);
    const holders = this.use.nodesWith([sha256]).filter((node) => node !== to);
    const failedFrom = this.#failedFrom.get(sha256);
    if (holders.every((node) => failedFrom?.has(node))) failedFrom?.clear();
    const from = holders.find((node) => failedFrom?.has(node) !== true);
    if (file === undefined || from === undefined)
      throw new CodedError('unavailable', 'no storage node that answers has it');
    const { kind, sizeBytes } = file;
    this.#copying = this.#ports.files.copy({ sha256, kind, sizeBytes, from, to }, { deadlineMs: COPY_MS_MAX });
    try {
      await this.#copying.done;
      this.#failedFrom.delete(sha256);
    } catch (error) {
      this.#failedFrom.set(sha256, (failedFrom ?? new Set()).add(from));
      throw error;
    } finally {
      this.#copying = null;
    }
  }

  /** Adds nodes that got an image's files to its record, and takes out those that were declared lost or removed. */
  async #recordNodes(): Promise<void> {
    const { store } = this.#ports;
    for (const name of [...store.snapshot.images.keys()]) {
      const { changes } = recordImageNodes({ records: store.snapshot }, name, (image) =>
        this.use.nodesWith(filesOf(image)),
      );
      // A commit that is refused because the image changed in the meantime is the next round's.
      if (changes.length > 0 && this.#mayAct) await store.commit({ changes, events: [] });
    }
  }
}
