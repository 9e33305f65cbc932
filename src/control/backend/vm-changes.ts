/** Changes of VMs that exist, through the API: settings at once, the machine's size while there is none, cards from the next start on. */
import type { AddNic, PatchVm } from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import type { NetworkRecord } from '../../core/model/cluster.ts';
import { affinityGroup, type VmRecord } from '../../core/model/vm.ts';
import { membersToNotice, wantedCards, withCard, withoutCard, withoutReservation } from '../../core/plan/vm-change.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Conditional } from '../api/backend.ts';
import type { Write } from '../store/cluster-store.ts';
import { demandBootable, demandMemory, networkWritesOf, newCard } from './admission.ts';
import { change, checkRevision, findVm } from './changes.ts';
import type { BackendContext } from './context.ts';
import { indexOfStore } from './records-index.ts';
import { vmWrite } from './vm-wishes.ts';

/** Changes settings of a VM. CodedError 'not-found', 'stale-revision', 'conflict', 'bad-input'. */
export function patchVm(context: BackendContext, name: string, wish: PatchVm & Conditional): Promise<void> {
  const { ifMatch, ...patch } = wish;
  return changeVm(context, name, ifMatch, (vm) => {
    const resized = patch.vcpus !== undefined || patch.memoryBytes !== undefined;
    if (resized && vm.phase.kind !== 'stopped') {
      throw new CodedError('conflict', `${vm.name} is not stopped; its vCPUs and memory cannot change while it runs.`, {
        advice: 'Nothing was changed. Stop it first.',
      });
    }
    if (patch.memoryBytes !== undefined) {
      const image = context.store.images.get(vm.spec.image ?? '')?.value ?? null;
      demandMemory(image, patch.memoryBytes, 'changed');
      demandBootable(vm.spec.boot, patch.memoryBytes, 'changed');
    }
    const group = patch.antiAffinity ?? null;
    const others =
      group === null || group === affinityGroup(vm) ? [] : membersToNotice(vm, group, indexOfStore(context.store));
    return {
      vm: { ...vm, spec: { ...vm.spec, ...defined(patch) } },
      writes: others.flatMap((other) => touched(context, other)),
    };
  });
}

/** Adds a network card to a VM and reserves its address at once. CodedError as `newCard` and `patchVm`. */
export function addNic(
  context: BackendContext,
  name: string,
  { ifMatch, ...wanted }: AddNic & Conditional,
): Promise<void> {
  return changeVm(context, name, ifMatch, (vm) => {
    const changed = new Map<string, NetworkRecord>();
    const leaving = vm.spec.nics.find((nic) => nic.mac === wanted.mac && nic.network === wanted.network);
    // A card that was to be removed stays: its address is still reserved for it.
    if (
      leaving !== undefined &&
      !wantedCards(vm).includes(leaving) &&
      (wanted.address ?? leaving.address) === leaving.address
    )
      return { vm: withCard(vm, leaving), writes: [] };
    const card = newCard(context, { wanted, vm: vm.id, hostname: vm.name, others: wantedCards(vm) }, changed);
    return { vm: withCard(vm, card), writes: networkWritesOf(context, changed) };
  });
}

/**
 * Removes a network card from a VM. CodedError 'not-found', 'stale-revision', or 'conflict': the VM's guest cluster
 * needs the card.
 */
export function removeNic(
  context: BackendContext,
  name: string,
  { mac, ifMatch }: { readonly mac: string } & Conditional,
): Promise<void> {
  return changeVm(context, name, ifMatch, (vm) => {
    const { vm: next, card, freed } = withoutCard(vm, mac);
    const cluster = indexOfStore(context.store).guestClusterOf(vm);
    const isHeartbeat = cluster?.heartbeatNetworks.includes(card.network) === true;
    if (cluster !== null && isHeartbeat && !wantedCards(next).some(({ network }) => network === card.network))
      throw new CodedError(
        'conflict',
        `${card.network} is a heartbeat network of ${cluster.name}, whose member ${vm.name} is.`,
        {
          advice: `Nothing was changed. Remove it there first: gp guest-cluster remove-member ${cluster.name} ${vm.name}.`,
        },
      );
    const network = context.store.networks.get(card.network)?.value;
    const changed = new Map<string, NetworkRecord>();
    if (freed && network !== undefined) changed.set(network.name, withoutReservation(network, mac));
    return { vm: next, writes: networkWritesOf(context, changed) };
  });
}

interface Changed {
  readonly vm: VmRecord;
  /** Further writes of the same transaction. */
  readonly writes: readonly Write[];
}

function changeVm(
  context: BackendContext,
  name: string,
  ifMatch: string | null,
  make: (vm: VmRecord) => Changed,
): Promise<void> {
  return change(context, () => {
    const entry = findVm(context, name);
    checkRevision(entry, ifMatch, `VM ${entry.value.name}`);
    if (entry.value.deleting)
      throw new CodedError('conflict', `${entry.value.name} is being deleted.`, { advice: 'Nothing was changed.' });
    const { vm, writes } = make(entry.value);
    return { writes: [vmWrite(entry, vm), ...writes], result: undefined };
  });
}

/** Rewrites a record unchanged, so that concurrent transactions notice. */
function touched({ store }: BackendContext, { id }: VmRecord): Write[] {
  const entry: Entry<VmRecord> | undefined = store.vms.get(id);
  return entry === undefined ? [] : [vmWrite(entry, entry.value)];
}

function defined<T extends object>(patch: T): Partial<T> {
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as Partial<T>;
}
