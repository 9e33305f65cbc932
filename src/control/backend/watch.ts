/** Changes of the cluster as a stream, resumable by revision: etcd's own watch, translated into views. */
import { WATCH_KINDS, type WatchChange, type WatchKind } from '../../api/views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import type { EventRecord } from '../../core/model/cluster.ts';
import { type ObjectKind, objectOf, ROOT } from '../../core/model/keys.ts';
import { readRecord } from '../../core/model/record-shapes.ts';
import type { Entry } from '../../core/ports/store.ts';
import { EtcdCompacted } from '../../etcd/errors.ts';
import type { WatchEvent } from '../../etcd/records.ts';
import type { WatchOptions } from '../api/call.ts';
import type { BackendContext } from './context.ts';
import { drainSummary } from './drains.ts';
import { eventFilterOf } from './event-filter.ts';
import { guestClusterView, sharedDiskView } from './guest-cluster-views.ts';
import { rollSummary } from './rolls.ts';
import { diskView, eventView, hostView, imageView, networkView, storageView, taskView, vmView } from './views.ts';

/** Changes that wait for a slow reader; one more ends its stream, which it can resume. */
const WAITING_MAX = 2_000;
const KNOWN_MS = 3_000;

/**
 * Yields every change after `options.after` of the wanted kinds until `signal` aborts; with `since`, kept events come
 * first.
 */
export async function* watchChanges(
  context: BackendContext,
  options: WatchOptions,
  signal: AbortSignal,
): AsyncGenerator<WatchChange> {
  const ended = new AbortController();
  if (options.after !== null) await demandKnown(context, Number(options.after));
  const wanted: Wanted = {
    kinds: options.kinds,
    event: options.filter === null ? () => true : eventFilterOf(context.store, options.filter),
  };
  const waiting: WatchChange[] = options.after === null ? keptEvents(context, options, wanted) : [];
  let wake: () => void = () => undefined;
  const end: { failure: Error | null } = { failure: null };
  const fromRevision = options.after === null ? context.store.completeRevision + 1 : Number(options.after) + 1;
  const watching = context.etcd
    .watch(ROOT, {
      fromRevision,
      signal: AbortSignal.any([signal, ended.signal]),
      onEvents: (events) => {
        for (const event of events) {
          const change = changeOf(context, event, wanted);
          if (change !== null) waiting.push(change);
        }
        if (waiting.length > WAITING_MAX)
          throw new CodedError('unavailable', 'The reader is too slow for the changes.', {
            advice: 'Resume with the last revision that was read.',
          });
        wake();
      },
    })
    .catch((error: unknown) => {
      end.failure =
        error instanceof EtcdCompacted
          ? new CodedError('conflict', 'Changes that old are no longer kept.', {
              cause: error,
              advice: 'Read everything anew, then watch from its revision.',
            })
          : asError(error);
    })
    .finally(() => wake());
  const onAbort = (): void => wake();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    while (!signal.aborted && end.failure === null) {
      const next = waiting.shift();
      if (next !== undefined) {
        yield next;
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (end.failure !== null) throw end.failure;
  } finally {
    signal.removeEventListener('abort', onAbort);
    ended.abort();
    await watching;
  }
}

/**
 * Another control node may be some changes ahead, for moments. A revision that never arrives belongs to a cluster that
 * has been restored since: CodedError 'conflict'.
 */
async function demandKnown({ store }: BackendContext, revision: number): Promise<void> {
  try {
    await store.caughtUp(KNOWN_MS, revision);
  } catch (cause) {
    throw new CodedError('conflict', `No change ${revision} is known: the cluster is at ${store.completeRevision}.`, {
      cause,
      advice: 'Read everything anew, then watch from its revision.',
    });
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new CodedError('failed', messageOf(reason), { cause: reason });
}

interface Wanted {
  /** Wanted kinds; empty for all. */
  readonly kinds: readonly WatchKind[];
  readonly event: (event: EventRecord) => boolean;
}

/** Yields the kept events since a time, oldest first, that the watch which follows will not deliver. */
function keptEvents({ store }: BackendContext, { filter }: WatchOptions, wanted: Wanted): WatchChange[] {
  if (filter?.since === undefined) return [];
  return [...store.events.entries]
    .filter(([, { value, revision }]) => revision <= store.completeRevision && wanted.event(value))
    .sort(([, a], [, b]) => a.revision - b.revision)
    .map(([name, entry]) => ({
      revision: String(entry.revision),
      kind: 'event',
      name,
      object: eventView(entry),
    }));
}

function changeOf(context: BackendContext, event: WatchEvent, { kinds, event: isWanted }: Wanted): WatchChange | null {
  const changed = objectOf(event.key);
  if (changed === null || !isWatched(changed.kind)) return null;
  const { kind, id } = changed;
  if (kinds.length > 0 && !kinds.includes(kind)) return null;
  const revision = String(event.modRevision);
  if (event.type === 'delete') return { revision, kind, name: id, object: null };
  const read = readRecord(event.key, event.kv.value);
  // A value that is not a valid record is skipped: the store reports it with its key, and the watch goes on.
  if ('finding' in read) return null;
  const entry: Entry<never> = { value: read.value as never, revision: event.modRevision };
  if (kind === 'event' && !isWanted(entry.value)) return null;
  return { revision, kind, name: nameOf(entry) ?? id, object: viewOf(context, kind, entry) };
}

function isWatched(kind: ObjectKind): kind is WatchKind {
  return WATCH_KINDS.some((watched) => watched === kind);
}

function viewOf(context: BackendContext, kind: WatchKind, entry: Entry<never>): unknown {
  switch (kind) {
    case 'vm':
      return vmView(context, entry, null);
    case 'host':
      return hostView(context, entry);
    case 'storage':
      return storageView(context, entry);
    case 'network':
      return networkView(context, entry);
    case 'image':
      return imageView(entry);
    case 'disk':
      return diskView(context, entry);
    case 'shared-disk':
      return sharedDiskView(context, entry);
    case 'guest-cluster':
      return guestClusterView(context, entry);
    case 'drain':
      return drainSummary(entry);
    case 'roll':
      return rollSummary(entry, context.clock.wallMs());
    case 'task':
      return taskView(entry);
    case 'event':
      return eventView(entry);
  }
}

function nameOf(entry: Entry<{ readonly name?: string }>): string | undefined {
  return entry.value.name;
}
