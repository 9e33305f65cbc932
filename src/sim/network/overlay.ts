/**
 * Whether guests of one network hear each other, by the plans in force on their hosts and by what is cut now. Frames
 * themselves are not played.
 */
import type { NetworkName } from '../../base/ids.ts';
import type { NetworkPlan } from '../../core/ports/host-link.ts';
import type { SimMachine } from '../machines/sim-machine.ts';
import { addressOf } from './addresses.ts';
import type { SimNetwork } from './network.ts';

/** A host, as far as its tunnels go. */
export interface TunnelEnd {
  readonly name: string;
  readonly machine: SimMachine;
  readonly network: NetworkPlan | null;
}

/** Whether what a guest on `from` says in a network is heard on `to`. */
export function isHeard(
  networks: SimNetwork,
  on: NetworkName,
  { from, to }: { readonly from: TunnelEnd; readonly to: TunnelEnd },
): boolean {
  const floods = from.network?.networks.find(({ name }) => name === on);
  const takes = to.network?.networks.some(({ name }) => name === on) === true;
  if (from === to) return takes;
  const isDropped = to.network?.drop.includes(addressOf('overlay', from.name)) === true;
  const isFlooded = floods?.peers.includes(addressOf('overlay', to.name)) === true;
  return takes && isFlooded && !isDropped && networks.isOpen('overlay', from.machine, to.machine);
}
