/**
 * The record of a shared disk's cached writes, in a file of the disk's directory: it goes with the disk. Guarantees:
 * what was saved survives a loss of power; a file that cannot be read keeps no disk from being served: everybody may
 * have lost writes then.
 */
import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { DiskId } from '../base/ids.ts';
import type { Log } from '../core/ports/log.ts';
import type { CachedWritesStore } from '../core/scsi/cache-keeper.ts';
import { type CachedWrites, NOTHING_CACHED, UNKNOWN_CACHED } from '../core/scsi/cached-writes.ts';
import { readJsonFile, writeFileAtomic } from '../os/files.ts';
import { arrayOf, integer, nullable, openObject, type Parser, parseBoolean, text } from '../rpc/parse.ts';

/** The name of the file in the disk's directory. */
export const CACHED_WRITES_FILE = 'cached.json';

/** More than any list of initiators needs: each VM that ever wrote to the disk is one of some hundred bytes. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;
const GENERATIONS_MAX = 1_000;

const parseRecord: Parser<CachedWrites> = openObject({
  writers: arrayOf(
    openObject({
      nexus: text({ charsMax: 300 }),
      generations: arrayOf(integer({ min: 1 }), { itemsMax: GENERATIONS_MAX }),
      bootId: nullable(text({ charsMax: 100 })),
    }),
    { itemsMax: 100_000 },
  ),
  isComplete: parseBoolean,
});

/** See above. */
export class CachedWritesFile implements CachedWritesStore {
  readonly #path: string;
  readonly #disk: DiskId;
  readonly #log: Log;

  constructor(directory: string, { disk, log }: { readonly disk: DiskId; readonly log: Log }) {
    this.#path = join(directory, CACHED_WRITES_FILE);
    this.#disk = disk;
    this.#log = log;
  }

  async load(): Promise<CachedWrites> {
    try {
      const found = await readJsonFile(this.#path, FILE_BYTES_MAX);
      return found === undefined ? NOTHING_CACHED : parseRecord(found, CACHED_WRITES_FILE);
    } catch (error) {
      const reason = messageOf(error);
      const what = 'the record of cached writes cannot be read: the next flush of every VM fails once';
      this.#log.warn(what, { disk: this.#disk, reason });
      return UNKNOWN_CACHED;
    }
  }

  save(record: CachedWrites): Promise<void> {
    return writeFileAtomic(this.#path, JSON.stringify(record));
  }
}
