/** New network cards: their MAC addresses and the addresses that are reserved for them. Pure. */
import { CodedError } from '../../base/errors.ts';
import { type NetworkName, parseNetworkName, type VmId } from '../../base/ids.ts';
import { GATEWAY_MAC, type NetworkRecord } from '../model/cluster.ts';
import type { VmNic } from '../model/vm.ts';
import type { Change } from '../ports/store.ts';
import { allocateAddress } from './addresses.ts';
import type { Basis } from './basis.ts';
import { demandCardCount } from './demands.ts';

/** Networks as they are to be: addresses were reserved in them. */
export type ChangedNetworks = Map<NetworkName, NetworkRecord>;

/** A card that a VM is to have. */
export interface CardRequest {
  readonly wanted: {
    readonly network: string;
    readonly address?: string | undefined;
    readonly mac?: string | undefined;
  };
  readonly vm: VmId;
  readonly hostname: string;
  /** The cards that it has. */
  readonly others: readonly VmNic[];
}

/** A new card; its address is reserved in `changed`. CodedError 'not-found', 'bad-input', 'conflict', 'no-capacity'. */
export function newCard(basis: Basis, { wanted, vm, hostname, others }: CardRequest, changed: ChangedNetworks): VmNic {
  demandCardCount(hostname, others.length + 1);
  const name = parseNetworkName(wanted.network);
  const entry = basis.records.networks.get(name);
  if (entry === undefined) {
    throw new CodedError('not-found', `There is no network ${wanted.network}.`, {
      advice: 'Nothing was created. Create it with "gp network create".',
    });
  }
  const network = changed.get(name) ?? entry.value;
  const mac = wanted.mac?.toLowerCase() ?? randomMac(basis);
  if (mac === GATEWAY_MAC) {
    throw new CodedError('bad-input', `The MAC address ${mac} is that of the gateways.`, {
      advice: 'Nothing was changed. Choose another one, or none.',
    });
  }
  if (others.some((nic) => nic.mac === mac) || isMacTaken(basis, network, mac)) {
    throw new CodedError('conflict', `The MAC address ${mac} is taken in network ${network.name}.`, {
      advice: 'Nothing was created. Choose another one, or none.',
    });
  }
  const address = allocateAddress(network, wanted.address ?? null);
  const reservations =
    address === null ? network.reservations : { ...network.reservations, [mac]: { address, vm, hostname } };
  // Written even where nothing is reserved: a network that is deleted at the same time must notice.
  changed.set(name, { ...network, reservations });
  return { network: network.name, mac, address };
}

/** The changes of networks in which addresses were reserved or freed. */
export function networkChanges(changed: ChangedNetworks): Change[] {
  return [...changed.values()].map((value) => ({ kind: 'network', id: value.name, value }));
}

function isMacTaken({ index }: Basis, network: NetworkRecord, mac: string): boolean {
  return Object.hasOwn(network.reservations, mac) || index.isMacUsed(network.name, mac);
}

function randomMac({ randomHex }: Basis): string {
  return ['52', '54', '00', ...(randomHex(3).match(/../g) ?? [])].join(':');
}
