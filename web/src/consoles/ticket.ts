/** A ticket is good for one connection: every attempt needs a new one. */
import { dataOf, http } from '../api/client.ts';

/** The address of the WebSocket of a console. Throws in the words of the API. */
export async function socketUrl(vm: string, console: 'serial' | 'vnc', takeOver = false): Promise<string> {
  const body = takeOver ? { console, takeOver } : { console };
  const { path } = await dataOf(http.POST('/v1/vms/{vm}/console-tickets', { params: { path: { vm } }, body }));
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`;
}

/** The time between two attempts, in ms. */
const AGAIN_MS = 1_500;

/** Waits until the next attempt. */
export function untilAgain(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
}
