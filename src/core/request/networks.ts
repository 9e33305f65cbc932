/**
 * Networks that people make and delete. Pure. Guarantees: the range of a network overlaps no other network's and holds
 * no address of the cluster's machines; a network that a VM has a card in is not deleted.
 */
import { CodedError } from '../../base/errors.ts';
import { type NetworkName, parseNetworkName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { LIMITS } from '../model/limits.ts';
import { cardsOf } from '../model/vm.ts';
import { demandUsersKnown } from '../plan/vm/unreadable.ts';
import type { Entry, RequestSnapshot } from '../ports/store.ts';
import { demandUsableRange, gatewayOf, type Ipv4Range, ipv4ToNumber, parseRange } from './addresses.ts';
import { type Admitted, type Basis, checkRevision, type OfRevision } from './basis.ts';
import { demandCount } from './demands.ts';

const VNI_MIN = 4_096;
const VNI_MAX = 16_777_216;
/** Identifiers drawn until one is free. */
const DRAWS_MAX = 1_000;

/** A network that somebody asks for. */
export interface NewNetwork {
  readonly name: string;
  /** IPv4 range; without one the cluster gives out no addresses. */
  readonly cidr?: string | undefined;
  readonly dhcp?: boolean | undefined;
  readonly nat?: boolean | undefined;
  /** Serve its guests at 169.254.169.254. */
  readonly metadata?: boolean | undefined;
}

/** A caller must be identified by an address that no other guest can use. */
const WHY_DHCP = 'Addresses are protected only where they are given out.';

/** Admits a new network. CodedError 'bad-input', 'exists', 'conflict', 'no-capacity'. */
export function createNetwork(basis: Basis, request: NewNetwork): Admitted<NetworkName> {
  const { records } = basis;
  const name = parseNetworkName(request.name);
  const range = request.cidr === undefined ? null : parseRange(request.cidr);
  if (range === null && (request.dhcp === true || request.nat === true)) {
    throw new CodedError('bad-input', `Network ${name} needs a range for ${request.dhcp === true ? 'DHCP' : 'NAT'}.`, {
      advice: 'Nothing was created. Give it one with --cidr.',
    });
  }
  if (request.metadata === true && request.dhcp !== true)
    throw new CodedError('bad-input', `Network ${name} needs DHCP for its metadata service. ${WHY_DHCP}`, {
      advice: 'Nothing was created. Give it --dhcp and a range.',
    });
  if (range !== null) demandUsableRange(request.cidr ?? '', range);
  if (records.networks.has(name)) {
    throw new CodedError('exists', `A network named ${name} exists.`, {
      advice: 'Nothing was created. Choose another name.',
    });
  }
  if (range !== null) {
    refuseOverlap(records, name, range);
    refuseClusterAddresses(records, name, range);
  }
  demandCount(records.networks.size, LIMITS.networks);
  const value: NetworkRecord = {
    name,
    vni: freeVni(basis),
    cidr: request.cidr ?? null,
    gateway: range === null ? null : gatewayOf(range),
    dhcp: request.dhcp ?? false,
    nat: request.nat ?? false,
    ...(request.metadata === true ? { metadata: true } : {}),
    reservations: {},
    createdAt: basis.now,
  };
  return { changes: [{ kind: 'network', id: name, value }], result: name };
}

/** Changes what a network offers its guests. CodedError 'not-found', 'stale-revision', 'conflict'. */
export function patchNetwork(
  { records }: Basis,
  name: string,
  { ifMatch, metadata }: { readonly metadata: boolean } & OfRevision,
): Admitted<NetworkName> {
  const entry = findNetwork(records, name);
  checkRevision(entry, ifMatch, `Network ${name}`);
  const { metadata: before = false, ...rest } = entry.value;
  if (metadata && !rest.dhcp)
    throw new CodedError('conflict', `Network ${name} has no DHCP. ${WHY_DHCP}`, {
      advice: 'Nothing was changed. The metadata service is for networks that were created with --dhcp.',
    });
  if (metadata === before) return { changes: [], result: rest.name };
  const value: NetworkRecord = metadata ? { ...rest, metadata } : rest;
  return { changes: [{ kind: 'network', id: rest.name, value }], result: rest.name };
}

/** Deletes a network that no VM has a card in. CodedError 'not-found', 'stale-revision', 'conflict'. */
export function deleteNetwork({ records }: Basis, name: string, { ifMatch }: OfRevision): Admitted<null> {
  const entry = findNetwork(records, name);
  checkRevision(entry, ifMatch, `Network ${name}`);
  demandUsersKnown(records.unreadable);
  const users = [...recordsOf(records.vms)]
    .filter((vm) => cardsOf(vm).some((card) => card.network === name))
    .map((vm) => vm.name);
  if (users.length > 0) {
    throw new CodedError('conflict', `Network ${name} is used by ${listed(users)}.`, {
      advice: 'Nothing was deleted. Delete those VMs first.',
    });
  }
  return { changes: [{ kind: 'network', id: entry.value.name, value: null }], result: null };
}

function findNetwork({ networks }: RequestSnapshot, name: string): Entry<NetworkRecord> {
  const entry = networks.get(name as NetworkName);
  if (entry !== undefined) return entry;
  throw new CodedError('not-found', `There is no network ${name}.`, { advice: 'List them with "gp network list".' });
}

/** Every host has a gateway in each of its networks: two ranges that overlap could not both be reached from it. */
function refuseOverlap({ networks }: RequestSnapshot, name: string, range: Ipv4Range): void {
  for (const value of recordsOf(networks)) {
    if (value.cidr === null) continue;
    const other = parseRange(value.cidr);
    if (range.first + range.size <= other.first || other.first + other.size <= range.first) continue;
    throw new CodedError('conflict', `The range of ${name} overlaps that of network ${value.name} (${value.cidr}).`, {
      advice: 'Nothing was created. Choose another range, or none.',
    });
  }
}

/** A host with such a gateway would look for the cluster's machines among the guests. */
function refuseClusterAddresses({ hosts, storage, controls }: RequestSnapshot, name: string, range: Ipv4Range): void {
  const machines = [
    ...[...hosts.values()].map(({ value }) => ({ of: value.name, addresses: Object.values(value.addresses) })),
    ...[...storage.values()].map(({ value }) => ({ of: value.name, addresses: Object.values(value.addresses) })),
    ...[...controls.values()].map(({ value }) => ({ of: value.name, addresses: [value.address] })),
  ];
  for (const { of, addresses } of machines) {
    const inside = addresses.find((address) => {
      const at = ipv4ToNumber(address) - range.first;
      return at >= 0 && at < range.size;
    });
    if (inside === undefined) continue;
    throw new CodedError('conflict', `The range of ${name} holds addresses of the cluster: ${inside} is ${of}’s.`, {
      advice: 'Nothing was created. Choose another range, or none.',
    });
  }
}

function freeVni({ records, randomHex }: Basis): number {
  for (let draws = 0; draws < DRAWS_MAX; draws++) {
    const vni = VNI_MIN + (Number.parseInt(randomHex(6), 16) % (VNI_MAX - VNI_MIN));
    if (!records.networkVnis.has(String(vni))) return vni;
  }
  throw new CodedError('no-capacity', 'No free VXLAN network identifier was found.');
}
