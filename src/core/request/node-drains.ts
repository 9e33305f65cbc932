/**
 * Taking control nodes and storage nodes out of service, and back. Pure: each request changes one record; the leader
 * hands over when its own node is drained (lead-watch.ts), and nothing new is put on a drained storage node.
 * Guarantees: a control node is drained only while another one can lead, and while etcd keeps a majority without it and
 * without every control node that is drained already; a storage node is drained only while none of its disks exists
 * nowhere else, which today every disk does.
 */
import { CodedError } from '../../base/errors.ts';
import type { StorageName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import type { ControlRecord, NodeMaintenance, StorageRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { keyOf, PREFIX } from '../model/keys.ts';
import { demandReadable, unreadableUser } from '../plan/vm/unreadable.ts';
import type { Change, Entry, RequestSnapshot } from '../ports/store.ts';
import type { Admitted, Basis } from './basis.ts';
import { lossOf, lossWords } from './storage-removal.ts';

export interface NodeDrain {
  readonly name: string;
  /** Name of the token that asks. */
  readonly who: string;
  readonly reason?: string | undefined;
  /** The change that it belongs to. */
  readonly change?: string | undefined;
}

/** A member of etcd, as far as its loss matters. */
export interface EtcdSeat {
  /** Its address, for people. */
  readonly endpoint: string;
  /** The control node that it runs on; null: on none. */
  readonly control: string | null;
  /** Why it does not count; null: it answers, and its data are whole. */
  readonly fault: string | null;
}

/** The leader's observation of control nodes. */
export interface ControlSight {
  /** Control nodes whose servers answer. */
  readonly alive: ReadonlySet<string>;
  /** Every member of etcd; empty: they were not looked at yet. */
  readonly etcd: readonly EtcdSeat[];
}

const NOTHING = { advice: 'Nothing was changed.' };
const NOBODY = { vm: null, vmName: null, host: null, generation: null } as const;

/** Takes a control node out of service. CodedError 'not-found', 'conflict' with the reasons, 'unavailable'. */
export function drainControl(basis: Basis, sight: ControlSight, request: NodeDrain): Admitted<null> {
  const { records, now } = basis;
  const { value: control } = findControl(records, request.name);
  if (control.maintenance !== undefined) return { changes: [], result: null };
  // A record that cannot be read may be of a node that is drained already.
  const unread = unreadableUser(PREFIX.control, records.unreadable);
  if (unread !== null) throw new CodedError('conflict', unread, NOTHING);
  const others = [...recordsOf(records.controls)].filter(({ name }) => name !== control.name);
  demandSuccessor(control, others, sight);
  demandQuorum(control, others, sight);
  const next: ControlRecord = { ...control, maintenance: maintenanceOf(basis, request) };
  const message = `${request.who} takes control node ${control.name} out of service.`;
  return {
    changes: [{ kind: 'control', id: control.name, value: next }],
    // Two control nodes must not be drained at once by requests that do not see each other.
    unchanged: others.map(({ name }) => ({ kind: 'control', id: name })),
    events: [{ at: now, kind: 'control-drained', ...NOBODY, message }],
    result: null,
  };
}

/**
 * The result of a dry run of draining a control node, a sentence each; changes nothing. The errors of `drainControl`.
 */
export function planControlDrain(
  basis: Basis,
  sight: ControlSight & { readonly leader: string | undefined },
  request: NodeDrain,
): string[] {
  const { name, maintenance } = findControl(basis.records, request.name).value;
  if (maintenance !== undefined) return [`${name} is out of service already.`];
  drainControl(basis, sight, request);
  const others = [...recordsOf(basis.records.controls)].filter((other) => other.name !== name);
  const next = others.filter((other) => other.maintenance === undefined && sight.alive.has(other.name));
  const lead = `the lead passes to ${next.map((other) => other.name).join(' or ')}`;
  const seats = sight.etcd.length;
  const left = seats - membersAway(name, others, sight).length;
  return [
    sight.leader === name ? `${name} leads: ${lead}.` : `${name} does not lead: the lead stays where it is.`,
    `etcd is left with ${left} of its ${seats} members, and needs ${majorityOf(seats)}.`,
  ];
}

/** Takes a control node back. CodedError 'not-found', 'conflict'. */
export function undrainControl({ records, now }: Basis, { name, who }: NodeDrain): Admitted<null> {
  const { value: control } = findControl(records, name);
  const { maintenance, ...back } = control;
  if (maintenance === undefined) throw new CodedError('conflict', `Control node ${name} is not drained.`, NOTHING);
  const message = `${who} takes control node ${name} back into service.`;
  return {
    changes: [{ kind: 'control', id: name, value: back }],
    events: [{ at: now, kind: 'control-undrained', ...NOBODY, message }],
    result: null,
  };
}

/**
 * Marks a storage node: nothing new is put there. A disk that was on its way is recorded soon after:
 * `confirmStorageDrain` checks again then. CodedError 'not-found', 'conflict' with the disks and files on it.
 */
export function drainStorage(basis: Basis, request: NodeDrain): Admitted<null> {
  const { records } = basis;
  const { value: node } = findStorage(records, request.name);
  if (node.lost !== undefined) throw new CodedError('conflict', `Storage node ${node.name} is lost.`, NOTHING);
  if (node.leaving === true) throw new CodedError('conflict', `Storage node ${node.name} is being removed.`, NOTHING);
  const refusal = whyNeeded(records, node.name);
  if (refusal !== null) throw refusal;
  if (node.maintenance !== undefined) return { changes: [], result: null };
  return { changes: [storageChange({ ...node, maintenance: maintenanceOf(basis, request) })], result: null };
}

/**
 * The result of a dry run of draining a storage node, a sentence each; changes nothing. The errors of `drainStorage`.
 */
export function planStorageDrain(basis: Basis, request: NodeDrain): string[] {
  const { name, maintenance } = findStorage(basis.records, request.name).value;
  if (maintenance !== undefined) return [`${name} is out of service already.`];
  drainStorage(basis, request);
  const others = [...recordsOf(basis.records.storage)].filter((node) => node.name !== name && isInService(node));
  return [
    `No disk is on ${name}, and no image has its only copy there.`,
    others.length === 0
      ? 'No other storage node is in service: no disk can be made and no image uploaded until one is.'
      : `New disks and images go to ${listed(others.map((node) => node.name))}.`,
  ];
}

function isInService({ lost, leaving, maintenance }: StorageRecord): boolean {
  return lost === undefined && leaving !== true && maintenance === undefined;
}

/**
 * Confirms that a storage node is drained, or, if a disk came there before the mark, takes the mark back with the
 * refusal.
 */
export function confirmStorageDrain({ records, now }: Basis, { name, who }: NodeDrain): Admitted<CodedError | null> {
  const node = records.storage.get(name as StorageName)?.value;
  if (node?.maintenance === undefined || node.maintenance.isConfirmed === true) return { changes: [], result: null };
  const refusal = whyNeeded(records, node.name);
  if (refusal !== null) {
    const { maintenance: _, ...kept } = node;
    return { changes: [storageChange(kept)], result: refusal };
  }
  const message = `${who} takes storage node ${name} out of service. No disk is on it.`;
  return {
    changes: [storageChange({ ...node, maintenance: { ...node.maintenance, isConfirmed: true } })],
    events: [{ at: now, kind: 'storage-drained', ...NOBODY, message }],
    result: null,
  };
}

/** Takes a storage node back. CodedError 'not-found', 'conflict'. */
export function undrainStorage({ records, now }: Basis, { name, who }: NodeDrain): Admitted<null> {
  const { value: node } = findStorage(records, name);
  const { maintenance, ...back } = node;
  if (maintenance === undefined) throw new CodedError('conflict', `Storage node ${name} is not drained.`, NOTHING);
  const message = `${who} takes storage node ${name} back into service.`;
  return {
    changes: [storageChange(back)],
    events: [{ at: now, kind: 'storage-undrained', ...NOBODY, message }],
    result: null,
  };
}

function storageChange(value: StorageRecord): Change {
  return { kind: 'storage', id: value.name, value };
}

function maintenanceOf({ now }: Basis, { who, reason, change }: NodeDrain): NodeMaintenance {
  return { since: now, who, reason: reason ?? null, change: change ?? null };
}

function demandSuccessor(control: ControlRecord, others: readonly ControlRecord[], { alive }: ControlSight): void {
  if (others.some(({ name, maintenance }) => maintenance === undefined && alive.has(name))) return;
  const whys = others.map(
    ({ name, maintenance }) => `${name} ${maintenance === undefined ? 'does not answer' : 'is drained'}`,
  );
  const none = whys.length === 0 ? 'it is the only control node' : listed(whys);
  throw new CodedError('conflict', `Without control node ${control.name} nobody could lead: ${none}.`, {
    advice: 'Nothing was changed. Bring another control node into service first.',
  });
}

/** Members of etcd that would not count without a control node, each with why. */
function membersAway(name: string, others: readonly ControlRecord[], { etcd }: ControlSight): string[] {
  const drained = new Set(others.flatMap((other) => (other.maintenance === undefined ? [] : [other.name])));
  return etcd.flatMap(({ endpoint, control: at, fault }) => {
    if (at === name) return [`${at} would be away`];
    if (at !== null && drained.has(at)) return [`${at} is drained`];
    return fault === null ? [] : [`${at ?? endpoint} ${fault}`];
  });
}

const majorityOf = (members: number): number => Math.floor(members / 2) + 1;

function demandQuorum(control: ControlRecord, others: readonly ControlRecord[], sight: ControlSight): void {
  const { etcd } = sight;
  if (etcd.length === 0)
    throw new CodedError('unavailable', 'Which members of etcd answer is not known yet.', {
      advice: 'Nothing was changed. Try again in a few seconds.',
    });
  const away = membersAway(control.name, others, sight);
  const needed = majorityOf(etcd.length);
  const left = etcd.length - away.length;
  if (left >= needed) return;
  throw new CodedError(
    'conflict',
    `Without control node ${control.name} etcd would have ${left} of its ${etcd.length} members and needs ${needed}: ${listed(away)}.`,
    { advice: 'Nothing was changed: without a majority no VM could be recovered. Bring the others back first.' },
  );
}

/** Returns why a storage node cannot be away: what exists only there; null: nothing does. */
function whyNeeded(records: RequestSnapshot, node: StorageName): CodedError | null {
  const unread = [PREFIX.disk, PREFIX.sharedDisk, PREFIX.image]
    .map((prefix) => unreadableUser(prefix, records.unreadable))
    .find((user) => user !== null);
  if (unread !== undefined) return new CodedError('conflict', unread, NOTHING);
  const found = lossOf(records, node);
  if (found.disks.count + found.sharedDisks.count + found.images.count === 0) return null;
  return new CodedError('conflict', `The contents of storage node ${node} exist nowhere else: ${lossWords(found)}`, {
    advice: 'Nothing was changed. Delete those VMs, disks and images first, or leave the node in service.',
  });
}

function findControl({ controls, unreadable }: RequestSnapshot, name: string): Entry<ControlRecord> {
  const entry = controls.get(name);
  if (entry !== undefined) return entry;
  demandReadable(unreadable, [`${PREFIX.control}${name}`]);
  throw new CodedError('not-found', `There is no control node ${name}.`, {
    advice: `Nothing was changed. Control nodes: ${listed([...controls.keys()])}.`,
  });
}

function findStorage({ storage, unreadable }: RequestSnapshot, name: string): Entry<StorageRecord> {
  const entry = storage.get(name as StorageName);
  if (entry !== undefined) return entry;
  demandReadable(unreadable, [keyOf.storage(name as StorageName)]);
  throw new CodedError('not-found', `There is no storage node ${name}.`, {
    advice: `Nothing was changed. Storage nodes: ${listed([...storage.keys()])}.`,
  });
}
