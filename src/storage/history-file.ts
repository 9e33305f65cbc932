/** A storage node's memory of etcd's histories, in its own directory (core/storage/history-guard.ts). */
import { join } from 'node:path';
import type { History } from '../core/storage/cluster-view.ts';
import type { HistoryMemory } from '../core/storage/history-guard.ts';
import { readJsonFile, writeFileAtomic } from '../os/files.ts';
import { integer, object, text } from '../rpc/parse.ts';

const parseHistory = object({
  epoch: integer({ min: 0 }),
  id: text({ charsMax: 16, pattern: /^([0-9a-f]{16})?$/ }),
  revision: integer({ min: 0 }),
});

/** `read` rejects with CodedError 'bad-input' for a file that cannot be understood: nothing is followed then. */
export function historyIn(stateDir: string): HistoryMemory {
  const file = join(stateDir, 'history.json');
  return {
    read: async () => {
      const value = await readJsonFile(file);
      return value === undefined ? null : parseHistory(value, file);
    },
    write: ({ epoch, id, revision }: History) => writeFileAtomic(file, `${JSON.stringify({ epoch, id, revision })}\n`),
  };
}
