/** What the pages and the worker that holds the event stream say to each other. */
import type { Change } from './collection.ts';

/** Whether the stream brings changes. */
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
