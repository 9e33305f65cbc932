/** A ticket is good for one connection: every attempt needs a new one. */
import { dataOf, http } from '../api/client.ts';

/** How a serial console is wanted: held, or read along where somebody else holds it; or taken from whoever holds it. */
export type Wish = { readonly readOnly: 'if-held' } | { readonly takeOver: true };

/** What a connection ended with. */
export interface Ended {
  readonly code: number;
  /** Why, in the words of the API; empty: for no reason that it knows. */
  readonly reason: string;
}

/** Opens the WebSocket of a console. Throws in the words of the API. */
export async function openSocket(vm: string, console: 'serial' | 'vnc', wish?: Wish): Promise<WebSocket> {
  const body = { console, ...wish };
  const { path } = await dataOf(http.POST('/v1/vms/{vm}/console-tickets', { params: { path: { vm } }, body }));
  const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`);
  socket.binaryType = 'arraybuffer';
  return socket;
}

/** The time between two attempts, in ms. */
const AGAIN_MS = 1_500;

/** Waits until the next attempt. */
export function untilAgain(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
}
