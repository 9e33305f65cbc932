/** Where machines are on the three networks. */
import { NETWORKS, type NetworkName } from './network.ts';

/** A machine's address on a network: each network and each kind of machine has a range of its own. */
export function addressOf(network: NetworkName, name: string): string {
  const number = Number(name.slice(1));
  return `10.${NETWORKS.indexOf(network)}.${name.charCodeAt(0) + (number >> 8)}.${number & 255}`;
}
