/** The addresses of this machine. */
import { networkInterfaces } from 'node:os';

/** The addresses of all interfaces that are up, loopback included. */
export function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((of = []) => of.map(({ address }) => address));
}

/** The interfaces that are up, with the IPv4 addresses of each. */
export function ownInterfaces(): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    Object.entries(networkInterfaces()).map(([name, of = []]) => [
      name,
      of.filter(({ family }) => family === 'IPv4').map(({ address }) => address),
    ]),
  );
}
