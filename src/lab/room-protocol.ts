/**
 * The messages between the outer process and the room: lines of JSON on the room's standard input and output. The end
 * of the room's input means that the outer process is gone: the room ends at once.
 */

import type { WireError } from '../base/wire-error.ts';
import type { Progress } from './cluster.ts';
import type { RoleCommands } from './roles.ts';
import type { ClusterShape } from './shape.ts';

/** The first line to the room. */
export interface RoomOptions {
  readonly dir: string;
  readonly shape: ClusterShape;
  readonly commands: RoleCommands;
  readonly bare: boolean;
  readonly hostMemoryBytes: number;
}

/** Later lines to the room. */
export type RoomOrder = { readonly order: 'end' } | { readonly order: 'open-outside'; readonly device: string };

/** Lines from the room. */
export type RoomEvent =
  | { readonly event: 'hello' }
  | { readonly event: 'progress'; readonly progress: Progress }
  | { readonly event: 'ready' }
  | { readonly event: 'failed'; readonly error: WireError }
  | { readonly event: 'say'; readonly line: string };

/** Cuts a stream of text into lines; an unfinished one is kept for the next chunk. */
export function lineReader(onLine: (line: string) => void): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') onLine(line);
  };
}
