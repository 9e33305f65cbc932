/**
 * A page's end of the event stream. Guarantees: changes reach the query cache together, once per frame at most; a page
 * that nobody looks at takes them once a second; after missed changes everything is read anew.
 */
import type { QueryClient } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import type { Change } from './collection.ts';
import { affectedQueries } from './derived.ts';
import { takeChanges } from './lists.ts';
import type { FromWorker, LiveState, ToWorker } from './protocol.ts';
import { LiveStream } from './stream.ts';

const HIDDEN_MS = 1_000;
/**
 * Data that a change makes outdated is read again after this time in ms, and not more often: one answer serves all
 * changes until then.
 */
const AGAIN_MS = 700;

interface Connection {
  readonly say: (message: ToWorker) => void;
}

/** The state of the stream, and its listeners. */
interface Known {
  state: LiveState;
  /** Version of the server that the page was loaded from, and of the one that answers now. */
  firstVersion: string | null;
  version: string | null;
}

const known: Known = { state: 'connecting', firstVersion: null, version: null };
const listeners = new Set<() => void>();
let connection: Connection | null = null;

/** Connects the page to the stream; further calls do nothing. */
export function connectLive(cache: QueryClient): void {
  if (connection !== null) return;
  const waiting: Change[] = [];
  let isPlanned = false;
  const again = new Map<string, ReturnType<typeof setTimeout>>();
  const readAgain = (queryKey: readonly string[]): void => {
    const name = queryKey.join(' ');
    if (again.has(name)) return;
    const due = (): void => {
      again.delete(name);
      void cache.invalidateQueries({ queryKey });
    };
    again.set(name, setTimeout(due, AGAIN_MS));
  };
  const take = (): void => {
    isPlanned = false;
    const changes = waiting.splice(0);
    takeChanges(cache, changes);
    for (const queryKey of affectedQueries(changes)) readAgain(queryKey);
  };
  const hear = (message: FromWorker): void => {
    if (message.type === 'state') become(message);
    else if (message.type === 'list-again') void cache.invalidateQueries();
    else {
      waiting.push(...message.changes);
      if (isPlanned) return;
      isPlanned = true;
      if (document.hidden) setTimeout(take, HIDDEN_MS);
      else requestAnimationFrame(take);
    }
  };
  connection = 'SharedWorker' in window ? throughWorker(hear) : alone(hear);
}

/** Asks the stream to try again at once: after a log-in, or because a person wants it. */
export function retryLive(): void {
  connection?.say({ type: 'retry' });
}

/** Whether changes arrive. */
export function useLiveState(): LiveState {
  return useSyncExternalStore(subscribe, () => known.state);
}

/** Whether the server was upgraded since the page was loaded. */
export function useIsOutdated(): boolean {
  return useSyncExternalStore(subscribe, () => known.firstVersion !== known.version);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function become({ state, version }: { readonly state: LiveState; readonly version: string | null }): void {
  known.state = state;
  known.firstVersion ??= version;
  known.version = version ?? known.version;
  for (const listener of listeners) listener();
}

function throughWorker(hear: (message: FromWorker) => void): Connection {
  const worker = new SharedWorker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'groundplane' });
  worker.port.onmessage = ({ data }: MessageEvent<FromWorker>) => hear(data);
  const say = (message: ToWorker): void => worker.port.postMessage(message);
  addEventListener('pagehide', () => say({ type: 'leave' }));
  return { say };
}

/** Browsers without shared workers hold a stream per page. */
function alone(hear: (message: FromWorker) => void): Connection {
  const stream = new LiveStream({ fetch: (path, init) => fetch(path, init), tell: hear });
  void stream.run();
  return { say: () => stream.retry() };
}
