/** The addresses of this machine. */
import { networkInterfaces } from 'node:os';

/** Those of all interfaces that are up, loopback included. */
export function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((of = []) => of.map(({ address }) => address));
}
