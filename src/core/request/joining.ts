/**
 * The record of a machine that joins, for the first time or again: the cluster's facts about it are kept, above all a
 * quarantine. Guarantees: an address of a member is one that a machine can have, no other member's, and in no guest
 * network: quarantine drops tunnels by address, fences and filters tell machines apart by it.
 */
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseControlName, parseHostName, parseStorageName } from '../../base/ids.ts';
import { tunnelsOfLost } from '../model/certificate.ts';
import type { HostRecord, StorageRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { keyOf, PREFIX } from '../model/keys.ts';
import { LIMITS } from '../model/limits.ts';
import { demandReadable } from '../plan/vm/unreadable.ts';
import type { Change, RequestSnapshot } from '../ports/store.ts';
import { ipv4ToNumber, notForUse, parseRange } from './addresses.ts';
import type { Basis } from './basis.ts';
import { demandCount } from './demands.ts';

/** The roles of a machine in a cluster. One machine may have several of them, under one name. */
export type NodeRole = 'host' | 'storage' | 'control';

/**
 * The machine that joins, and its addresses: the storage and overlay addresses are the control address if not stated.
 */
export interface Joining {
  readonly role: NodeRole;
  readonly name: string;
  readonly addresses: { readonly control: string; readonly storage?: string; readonly overlay?: string };
}

/** Returns the addresses of a joining machine, by network. */
export function addressesOf({ role, addresses }: Joining): {
  readonly control: string;
  readonly storage: string;
  readonly overlay?: string;
} {
  const { control, storage = control, overlay = storage } = addresses;
  if (role === 'control') return { control, storage: control };
  return role === 'host' ? { control, storage, overlay } : { control, storage };
}

/**
 * Returns the change that makes a machine a member. CodedError 'bad-input' or 'conflict' for an address that cannot be
 * the machine's own; further errors as joinUnchecked.
 */
export function joinChange(basis: Pick<Basis, 'records' | 'now'>, joining: Joining): Change {
  const { records } = basis;
  const { role, name } = joining;
  // The record says whether the machine is quarantined: replacing a record that cannot be read would lose that.
  const key =
    role === 'control'
      ? PREFIX.control + name
      : role === 'storage'
        ? keyOf.storage(parseStorageName(name))
        : keyOf.host(parseHostName(name));
  demandReadable(records.unreadable, [key]);
  for (const [network, address] of Object.entries(addressesOf(joining))) {
    const block = notForUse({ first: ipv4ToNumber(address), size: 1 });
    if (block !== null) throw refusal('bad-input', `The ${network} address ${address} is in ${block}.`);
    const owner = memberWith(records, address, { name });
    if (owner !== null) throw refusal('conflict', `The ${network} address ${address} is that of ${owner}.`);
    const guests = networkWith(records, address);
    if (guests !== null)
      throw refusal('conflict', `The ${network} address ${address} is in the range of network ${guests}.`);
  }
  return joinUnchecked(basis, joining);
}

/**
 * Returns the error of a join that is refused because of an address: what was found, and that the token is still valid.
 */
export function refusal(code: 'bad-input' | 'conflict', what: string): CodedError {
  return new CodedError(code, what, {
    advice: 'Nothing was changed; the token is still good. Correct the addresses in the configuration of the machine.',
  });
}

/**
 * Returns the member that has an address, other than the joining machine itself, which has one name in all its roles;
 * null if there is none.
 */
function memberWith(records: RequestSnapshot, address: string, self: { readonly name: string }): string | null {
  const members = [
    ...[...records.hosts.values()].map(({ value }) => ({ kind: 'host', name: value.name, of: value.addresses })),
    ...[...records.storage.values()]
      .filter(({ value }) => value.lost === undefined)
      .map(({ value }) => ({ kind: 'storage', name: value.name, of: value.addresses })),
    ...[...records.controls.values()].map(({ value }) => ({ kind: 'control', name: value.name, of: [value.address] })),
  ];
  const owner = members.find(({ name, of }) => name !== self.name && Object.values(of).includes(address));
  return owner === undefined ? null : `${owner.kind} ${owner.name}`;
}

/**
 * CodedError 'conflict' for the name of a storage node that was declared lost: the lost node's certificate is valid for
 * years and would also be the new node's.
 */
export function refuseLost(record: StorageRecord | undefined): void {
  if (record?.lost === undefined) return;
  throw new CodedError('conflict', `A storage node named ${record.name} was declared lost by ${record.lost.by}.`, {
    advice: 'Nothing was changed; the token is still good. Let the machine join under a name that no storage node had.',
  });
}

function networkWith(records: RequestSnapshot, address: string): string | null {
  for (const { value } of records.networks.values()) {
    if (value.cidr === null) continue;
    const { first, size } = parseRange(value.cidr);
    const at = ipv4ToNumber(address) - first;
    if (at >= 0 && at < size) return value.name;
  }
  return null;
}

/**
 * Returns the change that makes a machine a member, without checking its addresses. The agent reports a host's
 * capacity. CodedError 'no-capacity' if the cluster has no place for another machine.
 */
export function joinUnchecked(
  { records, now }: Pick<Basis, 'records' | 'now'>,
  { role, name, addresses }: Joining,
): Change {
  const { control } = addresses;
  if (role === 'control') {
    const id = parseControlName(name);
    if (!records.controls.has(id)) demandCount(records.controls.size, LIMITS.controlNodes);
    return {
      kind: 'control',
      id,
      value: { ...records.controls.get(id)?.value, name: id, address: control, startedAt: now },
    };
  }
  const storage = addresses.storage ?? control;
  if (role === 'storage') {
    const id = parseStorageName(name);
    const known = records.storage.get(id)?.value;
    refuseLost(known);
    // Records of lost nodes stay for ever, and do not block a name or address.
    const standing = [...recordsOf(records.storage)].filter(({ lost }) => lost === undefined).length;
    if (known === undefined) demandCount(standing, LIMITS.storageNodes);
    const value: StorageRecord = {
      name: id,
      addresses: { control, storage },
      joinedAt: known?.joinedAt ?? now,
    };
    return { kind: 'storage', id, value };
  }
  const id = parseHostName(name);
  const known = records.hosts.get(id)?.value;
  if (known === undefined) demandCount(records.hosts.size, LIMITS.hosts);
  if (known?.lost !== undefined)
    throw new CodedError('conflict', `Host ${name} was declared lost by ${known.lost.by}, and is not removed yet.`, {
      advice: `Nothing was changed; the token is still good. What the removal waits for: gp host show ${name}.`,
    });
  const overlay = addresses.overlay ?? storage;
  const value: HostRecord = {
    capacity: { memoryBytes: 0, vcpus: 0, accelerator: 'tcg', cpuModels: [] },
    cordoned: false,
    quarantine: wasLost(records, id, overlay) ? { since: now, reason: WAS_LOST } : null,
    joinedAt: now,
    // A host that joins again is the same one, whatever else its record says.
    ...known,
    name: id,
    addresses: { control, storage, overlay },
  };
  return { kind: 'host', id, value };
}

const WAS_LOST = 'a host of its name or address was declared lost, and something may still run there';

/**
 * Returns true if a host of the name or overlay address was declared lost: its machine may have run on, and the others
 * drop its tunnel until it is seen clean.
 */
function wasLost({ certificates }: Pick<RequestSnapshot, 'certificates'>, name: HostName, overlay: string): boolean {
  const removed = certificates.get(`host:${name}`)?.value.removed;
  return removed?.tunnel !== undefined || tunnelsOfLost(recordsOf(certificates)).has(overlay);
}
