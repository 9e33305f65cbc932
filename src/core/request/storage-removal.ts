/**
 * Removal of a storage node that is empty, or that is permanently gone with everything on it.
 * Guarantees: a node is removed only while no record of a disk names it and no image has its only copy there; it is
 * marked first, and a transaction that puts a disk on a node depends on the node's record, so that no disk comes in
 * between. A node is declared lost only with a confirmation, and not while it answers; after that transaction no order
 * and no fence concerns the node, no VM with a disk there is started, nobody can join by its name, and it can no longer
 * read etcd. A repeated request finishes the remaining steps.
 */
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import type { StorageName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { keyOf, PREFIX } from '../model/keys.ts';
import { unreadableUser } from '../plan/vm/unreadable.ts';
import type { Change, RequestSnapshot } from '../ports/store.ts';
import { type Admitted, type Basis, checkRevision, type Observed, type OfRevision } from './basis.ts';
import { removedCertificates } from './member-certificates.ts';
import { withoutJoinTokens } from './tokens.ts';

export interface StorageRemoval extends OfRevision {
  readonly name: string;
  /** The request says that the node is permanently gone. */
  readonly isLost: boolean;
  /** The request confirms the loss that was listed before. */
  readonly isConfirmed: boolean;
  /** Name of the API token of the request. */
  readonly by: string;
}

/** The most names of one kind in an answer; their number follows if there are more. */
const NAMES_MAX = 1_000;

/** How many objects of one kind are lost, and the names of the first of them. */
interface LostNames {
  readonly count: number;
  readonly names: readonly string[];
}

/** The objects that are lost with a storage node. */
export interface StorageLoss {
  readonly node: string;
  readonly vms: LostNames;
  readonly disks: LostNames;
  readonly sharedDisks: LostNames;
  readonly images: LostNames;
}

/**
 * Begins the removal of an empty storage node, or declares a node lost. CodedError 'not-found', 'stale-revision';
 * 'conflict': the node is not empty; or, to be declared lost, it answers or `isConfirmed` is false; 'unavailable': the
 * leader does not know yet whether the node answers.
 */
export function removeStorage(
  { records, now: at }: Basis,
  observed: Observed | null,
  { name, ifMatch, isLost, isConfirmed, by }: StorageRemoval,
): Admitted<StorageLoss> {
  const entry = records.storage.get(name as StorageName);
  if (entry === undefined)
    throw new CodedError('not-found', `There is no storage node ${name}.`, { advice: 'Nothing was changed.' });
  checkRevision(entry, ifMatch, `Storage node ${name}`);
  const node = entry.value;
  const found = lossOf(records, node.name);
  if (node.lost !== undefined) return { changes: [], result: found };
  if (!isLost) {
    const refusal = whyKept(records, observed, found);
    if (refusal !== null) throw refusal;
    if (node.leaving === true) return { changes: [], result: found };
    return { changes: [{ kind: 'storage', id: node.name, value: { ...node, leaving: true } }], result: found };
  }
  demandLost(observed, { name: node.name, isConfirmed, found });
  const changes: Change[] = [
    { kind: 'storage', id: node.name, value: { ...node, lost: { at, by } } },
    removedCertificates({ records, now: at }, { kind: 'storage', name: node.name }, { by }),
    ...withoutJoinTokens(records, { role: 'storage', name: node.name }),
  ];
  const message = `Storage node ${name} was declared lost by ${by}. Lost with it: ${lossWords(found)}`;
  return { changes, events: [{ at, kind: 'storage-lost', ...NOBODY, message }], result: found };
}

/**
 * Removes a storage node whose removal began, once everything that was recorded before is in the basis; takes the mark
 * back if the node is not empty, with the refusal for the caller.
 */
export function finishRemoval(
  { records, now: at }: Basis,
  { name, by }: Pick<StorageRemoval, 'name' | 'by'>,
): Admitted<{ readonly loss: StorageLoss; readonly refusal: CodedError | null }> {
  const node = records.storage.get(name as StorageName)?.value;
  const loss = lossOf(records, name as StorageName);
  // Somebody else has finished it, or a machine has joined by the name again.
  if (node?.leaving !== true) return { changes: [], result: { loss, refusal: null } };
  const refusal = whyKept(records, null, loss);
  if (refusal !== null) {
    const { leaving: _, ...kept } = node;
    return { changes: [{ kind: 'storage', id: node.name, value: kept }], result: { loss, refusal } };
  }
  const changes: Change[] = [
    { kind: 'storage', id: node.name, value: null },
    removedCertificates({ records, now: at }, { kind: 'storage', name: node.name }, { by }),
    ...withoutJoinTokens(records, { role: 'storage', name: node.name }),
  ];
  const message = `Storage node ${name} was removed by ${by}. Nothing was on it.`;
  return { changes, events: [{ at, kind: 'storage-removed', ...NOBODY, message }], result: { loss, refusal: null } };
}

const NOBODY = { vm: null, vmName: null, host: null, generation: null } as const;

/** Returns why a node cannot be removed as an empty one; null if it can. */
function whyKept(records: RequestSnapshot, observed: Observed | null, found: StorageLoss): CodedError | null {
  const { node, disks, sharedDisks, images } = found;
  const unread = [PREFIX.disk, PREFIX.sharedDisk, PREFIX.image]
    .map((prefix) => unreadableUser(prefix, records.unreadable))
    .find((user) => user !== null);
  if (unread !== undefined) return new CodedError('conflict', unread, { advice: 'Nothing was changed.' });
  if (disks.count + sharedDisks.count + images.count === 0) return null;
  const isSilent = observed?.storageObserver.isSilent(node as StorageName) === true;
  const gone = isSilent
    ? ` It does not answer: bring it back; or, if it is gone for good: gp storage remove ${node} --lost.`
    : '';
  return new CodedError('conflict', `Storage node ${node} is not empty. On it: ${lossWords(found)}`, {
    advice: `Nothing was changed. Delete those VMs, disks and images first.${gone}`,
  });
}

function demandLost(
  observed: Observed | null,
  {
    name,
    isConfirmed,
    found,
  }: Pick<StorageRemoval, 'isConfirmed'> & { readonly name: StorageName; readonly found: StorageLoss },
): void {
  const observer = observed?.storageObserver;
  if (observer?.answers(name) === true)
    throw new CodedError('conflict', `Storage node ${name} answers: it is not lost.`, {
      advice: `Nothing was changed. Delete its disks and images, then: gp storage remove ${name}.`,
    });
  // A leader that has just begun has not asked it yet.
  if (observer?.isSilent(name) !== true)
    throw new CodedError('unavailable', `Whether storage node ${name} answers is not known yet.`, {
      advice: 'Nothing was changed. Try again in a few seconds.',
    });
  if (!isConfirmed)
    throw new CodedError(
      'conflict',
      `Declaring storage node ${name} lost gives up everything on it. Lost with it: ${lossWords(found)}`,
      {
        advice: `Nothing was changed. If that is so: gp storage remove ${name} --lost --yes. It cannot be taken back.`,
      },
    );
}

/** Lists the disks on a storage node, and the images that no other node has. */
export function lossOf(records: RequestSnapshot, node: StorageName): StorageLoss {
  const disks = [...recordsOf(records.disks)].filter((disk) => disk.node === node);
  const shared = [...recordsOf(records.sharedDisks)].filter((disk) => disk.node === node);
  const isGone = (other: StorageName): boolean => other === node || isGoneNode(records, other);
  const images = [...recordsOf(records.images)].filter(({ nodes }) => nodes.every(isGone));
  return {
    node,
    vms: bounded([...new Set(disks.map(({ vm }) => records.vms.get(vm)?.value.name ?? vm))]),
    disks: bounded(disks.map(({ id }) => id)),
    sharedDisks: bounded(shared.map(({ id, name }) => `${name} (${id})`)),
    images: bounded(images.map(({ name }) => name)),
  };
}

function bounded(names: readonly string[]): LostNames {
  return { count: names.length, names: [...names].sort().slice(0, NAMES_MAX) };
}

/** The lost objects in words: how many of each kind, and their names. */
export function lossWords({ vms, disks, sharedDisks, images }: StorageLoss): string {
  const part = (what: string, { count, names }: LostNames): string =>
    count === 0 ? `no ${what}s` : `${counted(count, what)} (${listed(names)})`;
  return `${part('VM', vms)}, ${part('disk', disks)}, ${part('shared disk', sharedDisks)}, ${part('image', images)}.`;
}

/** Returns true for a node that was declared lost or removed; false if its record cannot be read. */
export function isGoneNode(records: Pick<RequestSnapshot, 'storage' | 'unreadable'>, node: StorageName): boolean {
  const record = records.storage.get(node)?.value;
  return record === undefined ? !records.unreadable.has(keyOf.storage(node)) : record.lost !== undefined;
}
