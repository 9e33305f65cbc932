/**
 * Where copies of backups are kept (core/model/backup.ts): a directory here; s3-place.ts has the other kind. Guarantees of
 * either: a file is whole or absent; every call ends; what a place refuses is a CodedError.
 */
import { createReadStream } from 'node:fs';
import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../../base/errors.ts';
import { type BackupPlaceKind, parseBackupFileName, type StoredBackup } from '../../core/model/backup.ts';
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
/** Room that a backup leaves in its file system: a member of etcd may be in the same. */
const RESERVE_BYTES = 256 * 1024 ** 2;

/** A directory of this machine. */
export class DirectoryPlace implements BackupPlace {
  readonly kind: 'local' | 'directory';
  readonly where: string;
  readonly #control: string;
  readonly #bytesMax: number;

  /** `bytesMax`: of one backup. */
  constructor(options: {
    readonly kind: 'local' | 'directory';
    readonly where: string;
    readonly control: string;
    readonly bytesMax: number;
  }) {
    this.kind = options.kind;
    this.where = options.where;
    this.#control = options.control;
    this.#bytesMax = options.bytesMax;
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
    if (bavail * bsize < RESERVE_BYTES)
      throw new CodedError('no-capacity', `The file system of ${this.where} has less than 256 MiB of room left.`, {
        advice: 'Nothing was written. Make room there.',
      });
    return writePiecesAtomic(join(this.where, file), pieces, { sizeBytesMax: this.#bytesMax });
  }

  async copy(path: string, file: string, signal: AbortSignal): Promise<void> {
    await this.write(file, createReadStream(path, { signal }));
  }

  async delete(file: string): Promise<void> {
    await rm(join(this.where, file), { force: true });
  }
}
