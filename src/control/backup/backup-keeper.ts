/**
 * Makes backups of the cluster's records on this control node, leader or not, and copies them to the other places that
 * are configured.
 *
 * Guarantees: one thing at a time, each with a deadline, after which the other places go on; at a place that hangs
 * nothing more is begun before it answers, so that it holds one thread at most; a page of records is held, whatever
 * there is, and a turn of the event loop is some milliseconds; a failure is kept for people and tried again after a
 * pause; a place holds no more backups, and no more bytes, than it may, and always the newest.
 */
import { join } from 'node:path';
import { CodedError, messageOf } from '../../base/errors.ts';
import {
  BACKUP_FAILURE_CHARS_MAX,
  BACKUPS_SHOWN_MAX,
  type BackupPlaceKind,
  type BackupPlaceList,
  backupFileName,
  oldestFirst,
  type StoredBackup,
  superfluousBackups,
} from '../../core/model/backup.ts';
import { PREFIX, ROOT } from '../../core/model/keys.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Log } from '../../core/ports/log.ts';
import { type BackupHeader, backupOf, type PagedRecords } from '../../etcd/backup-file.ts';
import { EtcdCompacted } from '../../etcd/errors.ts';
import type { BackupPlace, DirectoryPlace } from './backup-place.ts';

export interface BackupKeeperOptions {
  readonly control: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly etcd: PagedRecords;
  readonly local: DirectoryPlace;
  readonly copies: readonly BackupPlace[];
  readonly everyMs: number;
  /** At each place. */
  readonly keep: number;
  readonly bytesMax: number;
}

/** Between two looks, in ms; no longer than a tenth of the pause between backups. */
const LOOK_MS = 15_000;
/** After a failure, before the next attempt, in ms; no longer than the pause between backups. */
const AGAIN_MS = 300_000;
/** Of one backup, and of one copy. */
const DEADLINE_MS = 600_000;
/** Attempts at reading records while etcd's history is compacted under them. */
const READS_MAX = 3;

interface PlaceState {
  backups: readonly StoredBackup[];
  failure: { readonly at: number; readonly message: string } | null;
  /** When the last attempt began that failed, on the monotonic clock; null: the last one did not fail. */
  failedAt: number | null;
  /** An attempt has not ended, although its deadline may have passed: a file system that hangs ends no call. */
  isBusy: boolean;
}

/** One per server, from `start` to `stop`. */
export class BackupKeeper {
  readonly #options: BackupKeeperOptions;
  readonly #places: ReadonlyMap<BackupPlace, PlaceState>;
  readonly #since: number;
  readonly #over = new AbortController();
  #cancel: (() => void) | null = null;
  /** A request reads a backup now. */
  #isRead = false;

  constructor(options: BackupKeeperOptions) {
    this.#options = options;
    this.#since = options.clock.wallMs();
    const places = [options.local, ...options.copies];
    const beginning = { backups: [], failure: null, failedAt: null, isBusy: false };
    this.#places = new Map(places.map((place) => [place, { ...beginning }]));
  }

  start(): void {
    void this.#begin();
  }

  stop(): void {
    this.#over.abort(new CodedError('unavailable', 'The server is stopping.'));
    this.#cancel?.();
  }

  /** How backups are at each place. */
  places(): readonly BackupPlaceList[] {
    return [...this.#places].map(([{ kind, where }, { backups, failure }]) => ({
      ...{ place: kind satisfies BackupPlaceKind, where, failure, since: this.#since },
      lastAt: backups.at(-1)?.takenAt ?? null,
      backups: backups.slice(-BACKUPS_SHOWN_MAX),
    }));
  }

  /**
   * The pieces of a backup of now, for somebody who asks. CodedError 'unavailable' while another one is read: each costs
   * etcd a walk over all it holds.
   */
  async *read(signal: AbortSignal): AsyncGenerator<string, void> {
    if (this.#isRead)
      throw new CodedError('unavailable', 'This control node hands out another backup now.', {
        advice: 'Nothing was made. Try again when that one is there.',
      });
    this.#isRead = true;
    try {
      const ending = AbortSignal.any([signal, this.#over.signal]);
      yield* backupOf(this.#options.etcd, { ...this.#what(), signal: ending });
    } finally {
      this.#isRead = false;
    }
  }

  #what() {
    return { prefix: ROOT, without: PREFIX.election, takenAt: this.#options.clock.wallMs() };
  }

  async #begin(): Promise<void> {
    const { local } = this.#options;
    await this.#attempt(local, async (signal) => {
      await local.prepare();
      await this.#look(local, signal);
    });
    await this.#round();
  }

  async #round(): Promise<void> {
    const { local, copies, clock, everyMs } = this.#options;
    if (this.#isDue(local)) await this.#attempt(local, (signal) => this.#take(signal));
    const newest = this.#state(local).backups.at(-1);
    for (const place of copies)
      if (newest !== undefined && this.#lacks(place, newest))
        await this.#attempt(place, (signal) => this.#copy(place, newest, signal));
    if (this.#over.signal.aborted) return;
    this.#cancel = clock.after(Math.min(LOOK_MS, everyMs / 10), () => void this.#round());
  }

  #state(place: BackupPlace): PlaceState {
    const state = this.#places.get(place);
    if (state === undefined) throw new CodedError('failed', `${place.where} is no place of backups.`);
    return state;
  }

  /** Whether a new backup is to be made: the newest is old, or says a time to come, and nothing keeps it from it. */
  #isDue(local: DirectoryPlace): boolean {
    const { clock, everyMs } = this.#options;
    const takenAt = this.#state(local).backups.at(-1)?.takenAt ?? null;
    const ageMs = takenAt === null ? everyMs : clock.wallMs() - takenAt;
    return (ageMs >= everyMs || ageMs < 0) && !this.#rests(local);
  }

  #lacks(place: BackupPlace, { file }: StoredBackup): boolean {
    return !this.#state(place).backups.some((backup) => backup.file === file) && !this.#rests(place);
  }

  /** Whether nothing is begun there now: an attempt has just failed, or has not ended. */
  #rests(place: BackupPlace): boolean {
    const { failedAt, isBusy } = this.#state(place);
    const { clock, everyMs } = this.#options;
    if (isBusy) return true;
    return failedAt !== null && clock.monotonicMs() - failedAt < Math.min(AGAIN_MS, everyMs);
  }

  async #take(signal: AbortSignal): Promise<void> {
    const { local, control, log, etcd } = this.#options;
    await local.prepare();
    for (let reads = 1; ; reads++) {
      try {
        // The revision, which is a part of the name, is known with the first piece.
        const what = this.#what();
        const header = Promise.withResolvers<BackupHeader>();
        const pieces = backupOf(etcd, { ...what, signal, onHeader: (of) => header.resolve(of) });
        const first = await pieces.next();
        if (first.done === true) throw new CodedError('failed', 'etcd handed out no records.');
        const { revision } = await header.promise;
        const file = backupFileName({ control, takenAt: what.takenAt, revision });
        const sizeBytes = await local.write(file, following(first.value, pieces));
        log.info('the cluster’s records are backed up', { file, sizeBytes });
        break;
      } catch (error) {
        if (!(error instanceof EtcdCompacted) || reads === READS_MAX) throw error;
      }
    }
    await this.#tidy(local, signal);
  }

  async #copy(place: BackupPlace, { file }: StoredBackup, signal: AbortSignal): Promise<void> {
    const { local, log } = this.#options;
    await this.#look(place, signal);
    if (!this.#state(place).backups.some((backup) => backup.file === file)) {
      await place.copy(join(local.where, file), file, signal);
      log.info('a backup is copied', { file, to: place.where });
    }
    await this.#tidy(place, signal);
  }

  /** Looks at what is there, and deletes what is too much. */
  async #tidy(place: BackupPlace, signal: AbortSignal): Promise<void> {
    await this.#look(place, signal);
    const now = this.#options.clock.wallMs();
    const superfluous = superfluousBackups(this.#state(place).backups, { ...this.#options, now });
    for (const { file } of superfluous) await place.delete(file, signal);
    if (superfluous.length > 0) await this.#look(place, signal);
  }

  async #look(place: BackupPlace, signal: AbortSignal): Promise<void> {
    const backups = await place.list(signal);
    this.#state(place).backups = oldestFirst(backups, this.#options.clock.wallMs());
  }

  async #attempt(place: BackupPlace, act: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, log } = this.#options;
    const state = this.#state(place);
    const deadline = new AbortController();
    const late = Promise.withResolvers<never>();
    const cancel = clock.after(DEADLINE_MS, () => {
      const what = `${place.where} did not take it within ${DEADLINE_MS / 1_000} s. See whether what is there answers.`;
      const error = new CodedError('deadline', what);
      deadline.abort(error);
      late.reject(error);
    });
    state.isBusy = true;
    const acting = act(AbortSignal.any([deadline.signal, this.#over.signal])).finally(() => {
      state.isBusy = false;
    });
    try {
      await Promise.race([acting, late.promise]);
      [state.failure, state.failedAt] = [null, null];
    } catch (error) {
      if (this.#over.signal.aborted) return;
      const message = messageOf(error).slice(0, BACKUP_FAILURE_CHARS_MAX);
      [state.failure, state.failedAt] = [{ at: clock.wallMs(), message }, clock.monotonicMs()];
      log.warn('a backup failed', { where: place.where, error: message });
    } finally {
      cancel();
    }
  }
}

async function* following(first: string, rest: AsyncIterable<string>): AsyncGenerator<string, void> {
  yield first;
  yield* rest;
}
