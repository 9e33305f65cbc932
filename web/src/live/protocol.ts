/** The messages between the pages and the worker that holds the event stream. */
import type { Change } from './collection.ts';

/** Whether the stream delivers changes. */
export type LiveState = 'connecting' | 'live' | 'lost' | 'logged-out';

/** From the worker to every page. */
export type FromWorker =
  | { readonly type: 'state'; readonly state: LiveState; readonly version: string | null }
  | { readonly type: 'changes'; readonly changes: readonly Change[] }
  /** Changes were missed: lists are to be read anew. */
  | { readonly type: 'list-again' };

/** From a page to the worker: try again at once (after a log-in, say); the page is closed. */
export interface ToWorker {
  readonly type: 'retry' | 'leave';
}
