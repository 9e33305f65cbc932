/**
 * Changes to an existing VM that people ask for: settings at once, the size of its machine while there is none, cards
 * from its next start on. Pure; nothing is written here.
 * Guarantees: a change of groups never leaves two VMs of a group on one host; a machine that is running, moving or
 * starting keeps its cards, and the address of a removed card is not reused before the machine that has the card has
 * ended.
 */
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseHostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { NetworkRecord } from '../model/cluster.ts';
import type { ClusterIndex } from '../model/cluster-index.ts';
import { affinityGroup, cardsOf, expectedIncarnations, type VmNic, type VmRecord, type VmSpec } from '../model/vm.ts';
import type { Change } from '../ports/store.ts';
import { type Admitted, type Basis, checkRevision, findVm, type OfRevision, vmChange } from './basis.ts';
import { type CardRequest, type ChangedNetworks, networkChanges, newCard } from './cards.ts';
import { demandBootable, demandHost, demandMemory } from './new-vm.ts';

/** The most members of a group whose records one transaction can touch: etcd accepts 128 operations. */
const MEMBERS_TOUCHED_MAX = 100;

/** New settings of a VM; what is absent stays. */
export interface VmPatch {
  readonly antiAffinity?: string | null | undefined;
  /** The only host that it may be on, from its next placement on; null: any. */
  readonly pin?: string | null | undefined;
  readonly labels?: VmSpec['labels'] | undefined;
  readonly restartPolicy?: VmSpec['restartPolicy'] | undefined;
  readonly migrationPolicy?: VmSpec['migrationPolicy'] | undefined;
  readonly vcpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
}

/** Changes settings of a VM. CodedError 'not-found', 'stale-revision', 'conflict', 'bad-input'. */
export function patchVm(basis: Basis, name: string, wish: VmPatch & OfRevision): Admitted<null> {
  const { ifMatch, ...patch } = wish;
  return changeVm(basis, name, ifMatch, (vm) => {
    const resized = patch.vcpus !== undefined || patch.memoryBytes !== undefined;
    if (resized && vm.phase.kind !== 'stopped') {
      throw new CodedError('conflict', `${vm.name} is not stopped; its vCPUs and memory cannot change while it runs.`, {
        advice: 'Nothing was changed. Stop it first.',
      });
    }
    if (patch.memoryBytes !== undefined) {
      const image = vm.spec.image === null ? null : (basis.records.images.get(vm.spec.image)?.value ?? null);
      demandMemory(image, patch.memoryBytes, 'changed');
      demandBootable(vm.spec.boot, patch.memoryBytes, 'changed');
    }
    const { pin, ...settings } = patch;
    if (typeof pin === 'string') demandHost(basis, pin, 'changed');
    const group = patch.antiAffinity ?? null;
    const others = group === null || group === affinityGroup(vm) ? [] : membersToNotice(vm, group, basis.index);
    return {
      vm: { ...pinned(vm, pin), spec: { ...pinned(vm, pin).spec, ...defined(settings) } },
      // Rewritten as they are, so that transactions which place them at the same time notice.
      others: others.map(vmChange),
    };
  });
}

/** The VM with another pin; the tie that was signed for the old pin ends. Absent, or the present pin: unchanged. */
function pinned(vm: VmRecord, pin: string | null | undefined): VmRecord {
  if (pin === undefined || pin === (vm.spec.pin ?? null)) return vm;
  const spec = { ...vm.spec, pin: pin === null ? null : parseHostName(pin) };
  return { ...vm, spec, ...(vm.debts === undefined ? {} : { debts: vm.debts.filter(({ kind }) => kind !== 'pin') }) };
}

/** Adds a network card to a VM and reserves its address at once. CodedError as `newCard` and `patchVm`. */
export function addNic(
  basis: Basis,
  name: string,
  { ifMatch, ...wanted }: CardRequest['wanted'] & OfRevision,
): Admitted<null> {
  return changeVm(basis, name, ifMatch, (vm) => {
    const changed: ChangedNetworks = new Map();
    const leaving = vm.spec.nics.find((nic) => nic.mac === wanted.mac && nic.network === wanted.network);
    // A card that was to be removed stays: its address is still reserved for it.
    if (
      leaving !== undefined &&
      !wantedCards(vm).includes(leaving) &&
      (wanted.address ?? leaving.address) === leaving.address
    )
      return { vm: withCard(vm, leaving), others: [] };
    const card = newCard(basis, { wanted, vm: vm.id, hostname: vm.name, others: wantedCards(vm) }, changed);
    return { vm: withCard(vm, card), others: networkChanges(changed) };
  });
}

/**
 * Removes a network card from a VM. CodedError 'not-found', 'stale-revision', or 'conflict': the VM's guest cluster
 * needs the card.
 */
export function removeNic(
  basis: Basis,
  name: string,
  { mac, ifMatch }: { readonly mac: string } & OfRevision,
): Admitted<null> {
  return changeVm(basis, name, ifMatch, (vm) => {
    const { vm: next, card, freed } = withoutCard(vm, mac);
    const cluster = basis.index.guestClusterOf(vm);
    const isHeartbeat = cluster?.heartbeatNetworks.includes(card.network) === true;
    if (cluster !== null && isHeartbeat && !wantedCards(next).some(({ network }) => network === card.network))
      throw new CodedError(
        'conflict',
        `${card.network} is a heartbeat network of ${cluster.name}, whose member ${vm.name} is.`,
        {
          advice: `Nothing was changed. Remove it there first: gp guest-cluster remove-member ${cluster.name} ${vm.name}.`,
        },
      );
    const network = basis.records.networks.get(card.network)?.value;
    const changed: ChangedNetworks = new Map();
    if (freed && network !== undefined) changed.set(network.name, withoutReservation(network, mac));
    return { vm: next, others: networkChanges(changed) };
  });
}

interface Changed {
  readonly vm: VmRecord;
  /** Further changes of the same transaction. */
  readonly others: readonly Change[];
}

function changeVm(
  { records }: Basis,
  name: string,
  ifMatch: string | null,
  make: (vm: VmRecord) => Changed,
): Admitted<null> {
  const entry = findVm(records, name);
  checkRevision(entry, ifMatch, `VM ${entry.value.name}`);
  if (entry.value.deleting)
    throw new CodedError('conflict', `${entry.value.name} is being deleted.`, { advice: 'Nothing was changed.' });
  const { vm, others } = make(entry.value);
  return { changes: [vmChange(vm), ...others], result: null };
}

type Defined<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(patch: T): Defined<T> {
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as Defined<T>;
}

/**
 * Returns the other members of `group`, which a VM is about to join. Their records are written unchanged in the VM's
 * transaction, so that a member that is being placed at the same time notices the new member. Empty if the VM has no
 * machine, since it is placed later, apart from all members. CodedError 'conflict' if a member is on one of the VM's
 * hosts.
 */
export function membersToNotice(vm: VmRecord, group: string, index: ClusterIndex): readonly VmRecord[] {
  const hosts = hostsOf(vm);
  if (hosts.size === 0) return [];
  const others = [...index.groupMembers(group)].filter(({ id }) => id !== vm.id);
  for (const other of others) {
    const host = [...hostsOf(other)].find((each) => hosts.has(each));
    if (host === undefined) continue;
    throw new CodedError('conflict', `${vm.name} and ${other.name} of group ${group} are both on ${host}.`, {
      advice: `Nothing was changed. Move one of them away first (gp vm migrate ${vm.name}), or stop it.`,
    });
  }
  if (others.length > MEMBERS_TOUCHED_MAX)
    throw new CodedError(
      'conflict',
      `Group ${group} has ${others.length} other VMs: one that runs can join a group of at most ${MEMBERS_TOUCHED_MAX}.`,
      { advice: `Nothing was changed. Stop ${vm.name} first: then it can join.` },
    );
  return others;
}

function hostsOf({ phase }: VmRecord): ReadonlySet<HostName> {
  return new Set(expectedIncarnations(phase).map(({ host }) => host));
}

/** Returns true if the VM has a machine, whose cards cannot change. */
function hasMachine({ phase }: VmRecord): boolean {
  return phase.kind !== 'stopped';
}

/** Returns the cards that the VM is to have in the end. */
export function wantedCards({ spec, nextNics }: VmRecord): readonly VmNic[] {
  return nextNics ?? spec.nics;
}

/** Returns the VM with one more card: at once without a machine, otherwise from its next start on. */
export function withCard(vm: VmRecord, card: VmNic): VmRecord {
  return withCards(vm, [...wantedCards(vm), card]);
}

/** Removes the card with `mac`. `freed`: whether its address is free at once. CodedError 'not-found'. */
export function withoutCard(
  vm: VmRecord,
  mac: string,
): { readonly vm: VmRecord; readonly card: VmNic; readonly freed: boolean } {
  const card = wantedCards(vm).find((each) => each.mac === mac);
  if (card === undefined) {
    const known = wantedCards(vm).map((each) => `${each.mac} (${each.network})`);
    throw new CodedError('not-found', `${vm.name} has no card ${mac}.`, {
      advice: `Nothing was changed. ${known.length === 0 ? 'It has none.' : `Its cards: ${listed(known)}.`}`,
    });
  }
  const isInUse = hasMachine(vm) && vm.spec.nics.some((each) => each.mac === mac);
  const next = withCards(
    vm,
    wantedCards(vm).filter((each) => each !== card),
  );
  return { vm: next, card, freed: !isInUse };
}

function withCards(vm: VmRecord, cards: readonly VmNic[]): VmRecord {
  if (!hasMachine(vm)) return { ...vm, spec: { ...vm.spec, nics: cards } };
  const { nextNics: _before, ...rest } = vm;
  const isAsItWas =
    cards.length === vm.spec.nics.length && cards.every((card, index) => card.mac === vm.spec.nics[index]?.mac);
  return isAsItWas ? rest : { ...rest, nextNics: cards };
}

/** Returns the network without the reservation of `mac`. */
export function withoutReservation(network: NetworkRecord, mac: string): NetworkRecord {
  return {
    ...network,
    reservations: Object.fromEntries(Object.entries(network.reservations).filter(([of]) => of !== mac)),
  };
}

/** Returns the network without the reservations of cards that existing VMs no longer have; null if there are none. */
export function withoutUnused(
  network: NetworkRecord,
  vmOf: (id: string) => VmRecord | undefined,
): NetworkRecord | null {
  const entries = Object.entries(network.reservations);
  const used = entries.filter(([mac, { vm: id }]) => {
    const vm = vmOf(id);
    return vm === undefined || cardsOf(vm).some((card) => card.network === network.name && card.mac === mac);
  });
  return used.length === entries.length ? null : { ...network, reservations: Object.fromEntries(used) };
}
