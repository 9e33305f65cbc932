/**
 * Lets every storage node of the records read etcd, from the beginning of each term on: users and roles are no records,
 * so a backup does not contain them, and after a restore no storage node may read. Guarantees: permissions that are
 * right already are left alone; one node after the other, each attempt by the deadline of etcd's calls; a node that
 * failed is tried again until it is let in or the term is over, at pauses that grow to `AGAIN_MS_MAX`, and the term
 * waits for none of it; a node that is removed or declared lost in the meantime does not keep the permission.
 */
import { messageOf } from '../base/errors.ts';
import type { StorageName } from '../base/ids.ts';
import { sleep } from '../base/sleep.ts';
import type { Clock } from '../core/ports/clock.ts';
import type { EtcdReaders } from './backend/ports.ts';
import type { ClusterStore } from './store/cluster-store.ts';

export interface ReaderKeeperPorts {
  readonly readers: EtcdReaders;
  readonly store: Pick<ClusterStore, 'storage' | 'caughtUp'>;
  readonly clock: Clock;
  readonly log: { warn(message: string, fields: Readonly<Record<string, string>>): void };
}

const AGAIN_MS = 500;
const AGAIN_MS_MAX = 30_000;
const CATCH_UP_MS = 5_000;

/** See the module's comment. Resolves when every node is let in, or `signal` aborts: the term is over. */
export async function letReadersIn(ports: ReaderKeeperPorts, signal: AbortSignal): Promise<void> {
  const { store, clock } = ports;
  const done = new Set<StorageName>();
  for (let pauseMs = AGAIN_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, AGAIN_MS_MAX)) {
    const left = [...store.storage.keys()].filter((name) => isMember(ports, name) && !done.has(name));
    if (left.length === 0) return;
    for (const name of left) if (!signal.aborted && (await letIn(ports, name))) done.add(name);
    if (left.every((name) => done.has(name))) return;
    await sleep(clock, pauseMs, { signal }).catch(() => undefined);
  }
}

/** Returns whether nothing is left to do for the node. */
async function letIn(ports: ReaderKeeperPorts, name: StorageName): Promise<boolean> {
  const { readers, store, log } = ports;
  try {
    await readers.allow(name);
    // Its removal may have revoked the permission a moment before this call granted it.
    await store.caughtUp(CATCH_UP_MS);
    if (!isMember(ports, name)) await readers.revoke(name);
    return true;
  } catch (error) {
    log.warn('a storage node could not be given the right to read etcd; this is tried again', {
      node: name,
      error: messageOf(error),
    });
    return false;
  }
}

function isMember({ store }: ReaderKeeperPorts, name: StorageName): boolean {
  const entry = store.storage.get(name);
  return entry !== undefined && entry.value.lost === undefined;
}
