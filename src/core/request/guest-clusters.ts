/**
 * Guest clusters that people make, change and delete. Pure. The rules for the records are in guest-cluster-changes.ts;
 * this module finds what a request names, gives members their cards in the heartbeat networks, and chooses the storage
 * node of new disks.
 */
import { CodedError } from '../../base/errors.ts';
import { type NetworkName, parseGuestClusterName, parseNetworkName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { longestTimeOutside, parseTimeWindow } from '../maintenance/time-window.ts';
import type { TaskRecord } from '../model/cluster.ts';
import type { GuestClusterRecord, ReadyCheck, SharedDiskRecord } from '../model/guest-cluster.ts';
import { cardsOf, type VmRecord } from '../model/vm.ts';
import type { Change, Entry, ObjectRef, RequestSnapshot } from '../ports/store.ts';
import {
  type Admitted,
  type Basis,
  checkRevision,
  findVm,
  newTask,
  type Observed,
  type OfRevision,
  taskChange,
} from './basis.ts';
import { type ChangedNetworks, networkChanges, newCard } from './cards.ts';
import {
  addDiskChanges,
  addMemberChanges,
  adoptDiskChanges,
  createChanges,
  type DiskFate,
  deleteChanges,
  disksOf,
  missingCards,
  removeDiskChanges,
  removeMemberChanges,
} from './guest-cluster-changes.ts';
import type { Asked } from './shared-disk-changes.ts';
import { findSharedDisk, plannedDisk, type SharedDiskRequest } from './shared-disks.ts';
import { chooseNode, roomForShared } from './storage-choice.ts';

/**
 * Corosync's default token, in ms: the longest pause that a guest cluster tolerates unless its request says otherwise.
 */
const TOLERATES_MS = 3_000;

/** A guest cluster that somebody asks for. */
export interface GuestClusterRequest {
  readonly name: string;
  /** Names or ids of VMs. */
  readonly members: readonly string[];
  readonly sharedDisks?: readonly SharedDiskRequest[] | undefined;
  readonly heartbeatNetworks?: readonly string[] | undefined;
  /** Members that may be disturbed at once; 1 by default. */
  readonly maxDisturbed?: number | undefined;
  readonly toleratesMs?: number | undefined;
  /** Members may share a host where they cannot be kept apart. */
  readonly shareHosts?: boolean | undefined;
}

/** A change of a guest cluster by a person. */
export interface GuestClusterPatch extends Pick<GuestClusterRequest, 'maxDisturbed' | 'toleratesMs'> {
  /** How long before its move a guest is given notice; null: no notice. */
  readonly noticeMs?: number | null | undefined;
  /** The check that a member is ready after its move; null: only its keys count. */
  readonly readyCheck?: ReadyCheck | null | undefined;
  /** The weekly windows in which no drain moves a member, all of them; an empty list: none. */
  readonly quiet?: readonly string[] | undefined;
}

/** The fate of disks that leave a guest cluster; by default they are deleted, unless guests use them. */
export interface FateRequest {
  readonly keep?: boolean | undefined;
  readonly force?: boolean | undefined;
}

/** A new guest cluster. CodedError 'not-found', 'exists', 'bad-input', 'conflict', 'no-capacity'. */
export function createGuestCluster(
  basis: Basis,
  observed: Observed | null,
  request: GuestClusterRequest,
): Admitted<TaskRecord['id']> {
  const { records } = basis;
  const name = parseGuestClusterName(request.name);
  const networks = [...new Set(request.heartbeatNetworks ?? [])].map(parseNetworkName);
  return withTask(basis, 'create', { name, message: 'Creating.' }, (asked) => {
    const changed: ChangedNetworks = new Map();
    const there = networksThere(records, networks);
    const members = request.members.map((vm) => withCards(basis, findVm(records, vm).value, { networks, changed }));
    const asks = request.sharedDisks ?? [];
    const node = asks.length === 0 ? null : chooseNode(basis, observed, roomForShared(asks));
    const wanted = {
      name,
      members,
      disks: node === null ? [] : asks.map((disk) => plannedDisk(basis, disk, node)),
      heartbeatNetworks: networks,
      maxDisturbed: request.maxDisturbed ?? 1,
      toleratesMs: request.toleratesMs ?? TOLERATES_MS,
      sharesHosts: request.shareHosts ?? false,
    };
    return withNetworks(createChanges(records, wanted, asked), changed, there);
  });
}

/** Changes the limits of a guest cluster. CodedError 'not-found', 'stale-revision', 'conflict', 'bad-input'. */
export function patchGuestCluster(
  { records, now }: Basis,
  name: string,
  { ifMatch, maxDisturbed, toleratesMs, ...more }: GuestClusterPatch & OfRevision,
): Admitted<null> {
  const cluster = clusterOf(records, name, ifMatch);
  if (cluster.deleting === true)
    throw new CodedError('conflict', `Guest cluster ${name} is being deleted.`, { advice: 'Nothing was changed.' });
  const { noticeMs: noticeBefore, quiet: quietBefore, readyCheck: checkBefore, ...rest } = cluster;
  const noticeMs = more.noticeMs === undefined ? noticeBefore : (more.noticeMs ?? undefined);
  const readyCheck = more.readyCheck === undefined ? checkBefore : (more.readyCheck ?? undefined);
  const quiet = more.quiet ?? quietBefore ?? [];
  if (more.quiet !== undefined) demandQuietHours(more.quiet, now);
  if (typeof more.noticeMs === 'number') demandTold(records, cluster);
  const value: GuestClusterRecord = {
    ...rest,
    maxDisturbed: maxDisturbed ?? cluster.maxDisturbed,
    toleratesMs: toleratesMs ?? cluster.toleratesMs,
    ...(noticeMs === undefined ? {} : { noticeMs }),
    ...(readyCheck === undefined ? {} : { readyCheck }),
    ...(quiet.length === 0 ? {} : { quiet }),
  };
  return { changes: [{ kind: 'guest-cluster', id: value.name, value }], result: null };
}

/**
 * Between quiet hours there must be this much time for maintenance, in ms: quiet hours delay it, and never forbid it.
 */
const MAINTENANCE_MS_MIN = 4 * 3_600_000;

/** CodedError 'bad-input' for what is no weekly window, and for windows that leave no time for maintenance. */
function demandQuietHours(texts: readonly string[], now: number): void {
  const windows = texts.map((text) => {
    const read = parseTimeWindow(text);
    if ('window' in read) return read.window;
    throw new CodedError('bad-input', `"${text}" are not valid quiet hours. ${read.reason}`, {
      advice: 'Nothing was changed.',
    });
  });
  if (longestTimeOutside(windows, now, 'second') >= MAINTENANCE_MS_MIN) return;
  throw new CodedError('bad-input', 'These quiet hours leave no four hours in a row in a week for maintenance.', {
    advice: 'Nothing was changed. Quiet hours delay maintenance for a time; they cannot forbid it.',
  });
}

/** CodedError 'conflict' if a member's guest cannot be given notice. */
function demandTold(records: RequestSnapshot, { name, members }: GuestClusterRecord): void {
  const deaf = members.flatMap((id) => {
    const vm = records.vms.get(id)?.value;
    if (vm === undefined) return [];
    return cardsOf(vm).some(({ network }) => records.networks.get(network)?.value.metadata === true) ? [] : [vm.name];
  });
  if (deaf.length === 0) return;
  throw new CodedError(
    'conflict',
    `Nothing can tell ${listed(deaf)} of ${name}: no card is in a network with the metadata service.`,
    {
      advice: 'Nothing was changed. Turn it on where the members have a card: gp network set NETWORK --metadata.',
    },
  );
}

/** Deletes a guest cluster; its members stay. CodedError 'not-found', 'stale-revision', 'conflict', 'exists'. */
export function deleteGuestCluster(
  basis: Basis,
  name: string,
  { ifMatch, ...fate }: FateRequest & OfRevision,
): Admitted<TaskRecord['id']> {
  const cluster = clusterOf(basis.records, name, ifMatch);
  return withTask(basis, 'delete', { name, message: 'Deleting.' }, (asked) => ({
    changes: deleteChanges(basis.records, { cluster, fate: fateOf(fate) }, asked),
  }));
}

/** One more member. CodedError 'not-found', 'stale-revision', 'bad-input', 'conflict', 'no-capacity'. */
export function addMember(
  basis: Basis,
  name: string,
  { vm, shareHosts, ifMatch }: { readonly vm: string; readonly shareHosts?: boolean | undefined } & OfRevision,
): Admitted<TaskRecord['id']> {
  const { records } = basis;
  const cluster = clusterOf(records, name, ifMatch);
  return withTask(basis, 'add-member', { name, message: 'Adding a member.' }, (asked) => {
    const changed: ChangedNetworks = new Map();
    const networks = cluster.heartbeatNetworks;
    const there = networksThere(records, networks);
    const member = withCards(basis, findVm(records, vm).value, { networks, changed });
    const changes = addMemberChanges(records, { cluster, vm: member, consents: shareHosts ?? false }, asked);
    return withNetworks(changes, changed, there);
  });
}

/** A member leaves. CodedError 'not-found', 'stale-revision', 'conflict'. */
export function removeMember(
  basis: Basis,
  name: string,
  { vm, ifMatch }: { readonly vm: string } & OfRevision,
): Admitted<TaskRecord['id']> {
  const { records } = basis;
  const cluster = clusterOf(records, name, ifMatch);
  return withTask(basis, 'remove-member', { name, message: 'Removing a member.' }, (asked) => ({
    changes: removeMemberChanges(records, { cluster, vm: findVm(records, vm).value }, asked),
  }));
}

/**
 * One more disk for all members: a new one, or an existing one of no guest cluster. CodedError as for a new cluster.
 */
export function addDisk(
  basis: Basis,
  observed: Observed | null,
  name: string,
  { ifMatch, ...request }: (SharedDiskRequest | { readonly disk: string }) & OfRevision,
): Admitted<TaskRecord['id']> {
  const { records } = basis;
  const cluster = clusterOf(records, name, ifMatch);
  return withTask(basis, 'add-disk', { name, message: 'Adding a shared disk.' }, (asked) => {
    if ('disk' in request) {
      const { value: disk } = findSharedDisk(records, request.disk);
      return { changes: adoptDiskChanges(records, { cluster, disk }, asked) };
    }
    const preferred = disksOf(records, cluster)[0]?.node ?? null;
    const disk = plannedDisk(basis, request, chooseNode(basis, observed, roomForShared([request]), preferred));
    return { changes: addDiskChanges(records, { cluster, disk }, asked) };
  });
}

/** A disk is taken from all members. CodedError 'not-found', 'stale-revision', 'conflict', 'exists'. */
export function removeDisk(
  basis: Basis,
  name: string,
  { disk: diskName, ifMatch, ...fate }: { readonly disk: string } & FateRequest & OfRevision,
): Admitted<TaskRecord['id']> {
  const { records } = basis;
  const cluster = clusterOf(records, name, ifMatch);
  return withTask(basis, 'remove-disk', { name, message: 'Removing a shared disk.' }, (asked) => {
    const disk = diskNamed(records, cluster, diskName);
    return { changes: removeDiskChanges(records, { cluster, disk, fate: fateOf(fate) }, asked) };
  });
}

/** A guest cluster by its name. CodedError 'not-found'. */
export function findGuestCluster(
  { guestClusters }: Pick<RequestSnapshot, 'guestClusters'>,
  name: string,
): Entry<GuestClusterRecord> {
  const entry = guestClusters.get(parseGuestClusterName(name));
  if (entry === undefined)
    throw new CodedError('not-found', `There is no guest cluster ${name}.`, {
      advice: 'List them with "gp guest-cluster list".',
    });
  return entry;
}

function clusterOf(records: RequestSnapshot, name: string, ifMatch: string | null): GuestClusterRecord {
  const entry = findGuestCluster(records, name);
  checkRevision(entry, ifMatch, `Guest cluster ${name}`);
  return entry.value;
}

function withTask(
  basis: Basis,
  verb: string,
  { name, message }: { readonly name: string; readonly message: string },
  admit: (asked: Asked) => Pick<Admitted<never>, 'changes' | 'unchanged'>,
): Admitted<TaskRecord['id']> {
  const task = newTask(basis, { kind: `guest-cluster.${verb}`, target: { kind: 'guest-cluster', name }, message });
  const { changes, ...rest } = admit({ now: basis.now, task });
  return { changes: [...changes, taskChange(task)], ...rest, result: task.id };
}

/**
 * A VM with a card in each network: a stopped VM gets the cards that it lacks; a VM that runs would only have them
 * after its next start. CodedError 'conflict'.
 */
function withCards(
  basis: Basis,
  vm: VmRecord,
  { networks, changed }: { readonly networks: readonly NetworkName[]; readonly changed: ChangedNetworks },
): VmRecord {
  const missing = missingCards(vm, networks);
  if (missing.length === 0) return vm;
  if (vm.phase.kind !== 'stopped' || vm.intent !== 'stopped')
    throw new CodedError('conflict', `${vm.name} runs and has no card in network ${missing.join(', ')}.`, {
      advice: `Nothing was changed. Stop it (gp vm stop ${vm.name}): it then gets one; or leave the heartbeat network out.`,
    });
  const nics = [...vm.spec.nics];
  for (const network of missing)
    nics.push(newCard(basis, { wanted: { network }, vm: vm.id, hostname: vm.name, others: nics }, changed));
  return { ...vm, spec: { ...vm.spec, nics } };
}

/** The networks must be there, and still be there when the change is made. CodedError 'not-found'. */
function networksThere({ networks }: RequestSnapshot, names: readonly NetworkName[]): ObjectRef[] {
  return names.map((id) => {
    if (!networks.has(id))
      throw new CodedError('not-found', `There is no network ${id}.`, {
        advice: 'Nothing was changed. Create it with "gp network create".',
      });
    return { kind: 'network', id };
  });
}

function withNetworks(
  changes: readonly Change[],
  changed: ChangedNetworks,
  there: readonly ObjectRef[],
): Pick<Admitted<never>, 'changes' | 'unchanged'> {
  const written = networkChanges(changed);
  return {
    changes: [...changes, ...written],
    // The written form is the one that is compared.
    unchanged: there.filter(({ id }) => !written.some((change) => change.id === id)),
  };
}

function fateOf({ keep, force }: FateRequest): DiskFate {
  return { keeps: keep ?? false, forces: force ?? false };
}

function diskNamed(records: RequestSnapshot, cluster: GuestClusterRecord, name: string): SharedDiskRecord {
  const disks = disksOf(records, cluster);
  const found = disks.find((disk) => disk.name === name || disk.id === name);
  if (found !== undefined) return found;
  const known = disks.map((disk) => disk.name).join(', ');
  throw new CodedError('not-found', `${cluster.name} has no shared disk ${name}.`, {
    advice: `Nothing was changed. ${known === '' ? 'It has none.' : `It has ${known}.`}`,
  });
}
