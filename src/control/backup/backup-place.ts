/**
 * Where copies of backups are kept (core/model/backup.ts): a directory here; s3-place.ts has the other kind. Guarantees of
 * either: a file is whole or absent; every call ends; what a place refuses is a CodedError.
 */
import { createReadStream } from 'node:fs';
import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../../base/errors.ts';
import { type BackupPlaceKind, parseBackupFileName, type StoredBackup } from '../../core/model/backup.ts';
import { BACKUP_CHARS_MAX } from '../../etcd/backup-file.ts';
import { makePrivateDirectory, writePiecesAtomic } from '../../os/files.ts';

export interface BackupPlace {
  readonly kind: BackupPlaceKind;
  /** As people know it. */
  readonly where: string;
  /** The backups of this control node, in any order; what else is there is passed over. */
  list(signal: AbortSignal): Promise<readonly StoredBackup[]>;
  /** Keeps a copy of `path` as `file`; in the place of one of that name, if there is one. */
  copy(path: string, file: string, signal: AbortSignal): Promise<void>;
  /** No error where it is gone. */
  delete(file: string, signal: AbortSignal): Promise<void>;
}

/** The most entries of a directory that are looked at. */
const ENTRIES_MAX = 100_000;
const MIB = 1024 ** 2;
/** Room that a backup leaves in its file system: a member of etcd may be in the same. */
const RESERVE_BYTES = 256 * MIB;
/** What writePiecesAtomic leaves of a backup when its process is killed. */
const LEFTOVER = /^(.+)\.[0-9a-f]{12}\.tmp$/;

/** A directory of this machine. */
export class DirectoryPlace implements BackupPlace {
  readonly kind: 'local' | 'directory';
  readonly where: string;
  readonly #control: string;
  readonly #bytesMax: number;
  readonly #reserveBytes: number;

  /** `bytesMax`: of one backup; never more than can be read again. `reserveBytes`: what stays free there. */
  constructor(options: {
    readonly kind: 'local' | 'directory';
    readonly where: string;
    readonly control: string;
    readonly bytesMax: number;
    readonly reserveBytes?: number;
  }) {
    this.kind = options.kind;
    this.where = options.where;
    this.#control = options.control;
    this.#bytesMax = Math.min(options.bytesMax, BACKUP_CHARS_MAX);
    this.#reserveBytes = options.reserveBytes ?? RESERVE_BYTES;
  }

  async list(): Promise<readonly StoredBackup[]> {
    const entries = (await readdir(this.where)).slice(0, ENTRIES_MAX);
    const found: StoredBackup[] = [];
    for (const file of entries) {
      const name = parseBackupFileName(file);
      if (name?.control !== this.#control) continue;
      const sizeBytes = (await stat(join(this.where, file)).catch(() => null))?.size;
      if (sizeBytes !== undefined) found.push({ ...name, file, sizeBytes });
    }
    return found;
  }

  /**
   * Makes the directory of this server's own backups, and takes away what an attempt left that was cut off. Another
   * directory is never made: where it is missing, a file system is not mounted.
   */
  async prepare(): Promise<void> {
    await makePrivateDirectory(this.where);
    for (const entry of await readdir(this.where))
      if (entry.endsWith('.tmp')) await rm(join(this.where, entry), { force: true });
  }

  /** Keeps the pieces of a backup. Returns its size in bytes. CodedError 'no-capacity', 'too-large', or what they throw. */
  async write(file: string, pieces: AsyncIterable<string | Uint8Array>): Promise<number> {
    const { bavail, bsize } = await statfs(this.where);
    const within = this.#within(bavail * bsize - this.#reserveBytes, pieces);
    return writePiecesAtomic(join(this.where, file), within, { sizeBytesMax: this.#bytesMax });
  }

  /** Passes the pieces on. CodedError 'no-capacity' beyond `roomBytes`. */
  async *#within(
    roomBytes: number,
    pieces: AsyncIterable<string | Uint8Array>,
  ): AsyncGenerator<string | Uint8Array, void> {
    let bytes = 0;
    for await (const piece of pieces) {
      bytes += Buffer.byteLength(piece);
      if (bytes > roomBytes)
        throw new CodedError(
          'no-capacity',
          `The file system of ${this.where} would have less than ${this.#reserveBytes / MIB} MiB of room left.`,
          { advice: 'Nothing was kept. Make room there.' },
        );
      yield piece;
    }
  }

  async copy(path: string, file: string, signal: AbortSignal): Promise<void> {
    for (const entry of await readdir(this.where)) {
      const [, backup = ''] = LEFTOVER.exec(entry) ?? [];
      if (parseBackupFileName(backup)?.control === this.#control) await rm(join(this.where, entry), { force: true });
    }
    await this.write(file, createReadStream(path, { signal }));
  }

  async delete(file: string): Promise<void> {
    await rm(join(this.where, file), { force: true });
  }
}
