/**
 * Removal of a storage node that is permanently gone, with everything that was on it.
 *
 * Guarantees: nothing is given up without confirmation, nor while the node answers; after the transaction no order and
 * no fence concerns the node, no VM with a disk there is started, nobody can join by its name, and it can no longer
 * read etcd. Repeating the request finishes what was left undone.
 */
import type { StorageLoss } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { parseStorageName, type StorageName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import type { ClusterStore, Write } from '../store/cluster-store.ts';
import { change, checkRevision } from './changes.ts';
import type { BackendContext } from './context.ts';

export interface StorageRemoval {
  readonly name: string;
  readonly ifMatch: string | null;
  /** The request says that the node is permanently gone. */
  readonly isLost: boolean;
  /** The request confirms the loss that was listed before. */
  readonly isConfirmed: boolean;
  /** Name of the API token of the request. */
  readonly by: string;
}

/** The most names of one kind in an answer; their number follows if there are more. */
const NAMES_MAX = 1_000;

/**
 * Declares a storage node lost. CodedError 'not-found', 'stale-revision'; 'conflict': `isLost` or `isConfirmed` is
 * false, or the node answers; 'unavailable': the leader does not know yet whether the node answers.
 */
export async function removeStorage(context: BackendContext, removal: StorageRemoval): Promise<StorageLoss> {
  const { name, ifMatch, isLost, isConfirmed, by } = removal;
  const loss = await change(context, () => {
    const { store, clock } = context;
    const entry = store.storage.get(name);
    if (entry === undefined)
      throw new CodedError('not-found', `There is no storage node ${name}.`, { advice: 'Nothing was changed.' });
    checkRevision(entry, ifMatch, `Storage node ${name}`);
    const found = lossOf(store, name);
    if (entry.value.lost !== undefined) return { writes: [], result: found };
    refuse(context, { name: entry.value.name, isLost, isConfirmed, found });
    const at = clock.wallMs();
    const about = { vm: null, vmName: null, host: null, generation: null };
    const message = `Storage node ${name} was declared lost by ${by}. ${lossWords(found)}`;
    const tokens = [...store.tokens.values()].filter(
      ({ value }) => value.kind === 'join' && value.role === 'storage' && value.name === name,
    );
    const writes: Write[] = [
      { key: keyOf.storage(entry.value.name), value: { ...entry.value, lost: { at, by } }, expect: entry.revision },
      ...tokens.map(({ value }): Write => ({ key: PREFIX.token + value.id, value: null, expect: null })),
      store.eventWrite({ at, kind: 'storage-lost', ...about, message }),
    ];
    return { writes, result: found };
  });
  // After the transaction, so that a repeated request finishes it.
  await context.etcdReaders.revoke(parseStorageName(name));
  return loss;
}

function refuse(
  context: BackendContext,
  {
    name,
    isLost,
    isConfirmed,
    found,
  }: Pick<StorageRemoval, 'isLost' | 'isConfirmed'> & { readonly name: StorageName; readonly found: StorageLoss },
): void {
  const observer = context.leading()?.controller.storageObserver;
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
function lossOf(store: ClusterStore, node: string): StorageLoss {
  const disks = [...store.disks.values()].map(({ value }) => value).filter((disk) => disk.node === node);
  const shared = [...store.sharedDisks.values()].map(({ value }) => value).filter((disk) => disk.node === node);
  const isGone = (other: string): boolean => other === node || store.storage.get(other)?.value.lost !== undefined;
  const images = [...store.images.values()].map(({ value }) => value).filter(({ nodes }) => nodes.every(isGone));
  return {
    node,
    vms: bounded([...new Set(disks.map(({ vm }) => store.vms.get(vm)?.value.name ?? vm))]),
    disks: bounded(disks.map(({ id }) => id)),
    sharedDisks: bounded(shared.map(({ id, name }) => `${name} (${id})`)),
    images: bounded(images.map(({ name }) => name)),
  };
}

function bounded(names: readonly string[]): StorageLoss['vms'] {
  return { count: names.length, names: [...names].sort().slice(0, NAMES_MAX) };
}

function lossWords({ vms, disks, sharedDisks, images }: StorageLoss): string {
  const part = (what: string, { count, names }: StorageLoss['vms']): string =>
    count === 0 ? `no ${what}` : `${count} ${what} (${listed(names)})`;
  return `Lost with it: ${part('VMs', vms)}, ${part('disks', disks)}, ${part('shared disks', sharedDisks)}, ${part('images', images)}.`;
}
