/**
 * Removal of a storage node that is permanently gone, with everything that was on it.
 *
 * Guarantees: nothing is given up without confirmation, nor while the node answers; after the transaction no order and
 * no fence concerns the node, no VM with a disk there is started, nobody can join by its name, and it can no longer
 * read etcd. Repeating the request finishes what was left undone.
 */
import { CodedError } from '../../base/errors.ts';
import type { StorageName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { recordsOf } from '../model/cluster-index.ts';
import type { Change, RequestSnapshot } from '../ports/store.ts';
import { type Admitted, type Basis, checkRevision, type Observed, type OfRevision } from './basis.ts';

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

/** What is lost with a storage node. */
export interface StorageLoss {
  readonly node: string;
  readonly vms: LostNames;
  readonly disks: LostNames;
  readonly sharedDisks: LostNames;
  readonly images: LostNames;
}

/**
 * Declares a storage node lost. CodedError 'not-found', 'stale-revision'; 'conflict': `isLost` or `isConfirmed` is
 * false, or the node answers; 'unavailable': the leader does not know yet whether the node answers.
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
  refuse(observed, { name: node.name, isLost, isConfirmed, found });
  const tokens = [...recordsOf(records.tokens)].filter(
    (token) => token.kind === 'join' && token.role === 'storage' && token.name === name,
  );
  const changes: Change[] = [
    { kind: 'storage', id: node.name, value: { ...node, lost: { at, by } } },
    ...tokens.map(({ id }): Change => ({ kind: 'token', id, value: null })),
  ];
  const about = { vm: null, vmName: null, host: null, generation: null };
  const message = `Storage node ${name} was declared lost by ${by}. ${lossWords(found)}`;
  return { changes, events: [{ at, kind: 'storage-lost', ...about, message }], result: found };
}

function refuse(
  observed: Observed | null,
  {
    name,
    isLost,
    isConfirmed,
    found,
  }: Pick<StorageRemoval, 'isLost' | 'isConfirmed'> & { readonly name: StorageName; readonly found: StorageLoss },
): void {
  const observer = observed?.storageObserver;
  if (observer?.answers(name) === true)
    throw new CodedError('conflict', `Storage node ${name} answers: it is not lost.`, {
      advice: 'Nothing was changed. Delete what is on it; a storage node that answers cannot be removed.',
    });
  // A leader that has just begun has not asked it yet.
  if (observer?.isSilent(name) !== true)
    throw new CodedError('unavailable', `Whether storage node ${name} answers is not known yet.`, {
      advice: 'Nothing was changed. Try again in a few seconds.',
    });
  if (!isLost)
    throw new CodedError('conflict', `Storage node ${name} does not answer, which may pass.`, {
      advice: `Nothing was changed. Bring it back; or, if it is gone for good: gp storage remove ${name} --lost.`,
    });
  if (!isConfirmed)
    throw new CodedError(
      'conflict',
      `To declare storage node ${name} lost gives up what was on it. ${lossWords(found)}`,
      {
        advice: `Nothing was changed. If that is so: gp storage remove ${name} --lost --yes. It cannot be taken back.`,
      },
    );
}

/** Lists the disks on a storage node, and the images that no other node has. */
function lossOf(records: RequestSnapshot, node: StorageName): StorageLoss {
  const disks = [...recordsOf(records.disks)].filter((disk) => disk.node === node);
  const shared = [...recordsOf(records.sharedDisks)].filter((disk) => disk.node === node);
  const isGone = (other: StorageName): boolean =>
    other === node || records.storage.get(other)?.value.lost !== undefined;
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

function lossWords({ vms, disks, sharedDisks, images }: StorageLoss): string {
  const part = (what: string, { count, names }: LostNames): string =>
    count === 0 ? `no ${what}` : `${count} ${what} (${listed(names)})`;
  return `Lost with it: ${part('VMs', vms)}, ${part('disks', disks)}, ${part('shared disks', sharedDisks)}, ${part('images', images)}.`;
}
