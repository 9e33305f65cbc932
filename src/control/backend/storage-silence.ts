/** Sentences about storage services that do not answer: what is known, and what waits for them. */
import type { StorageName } from '../../base/ids.ts';
import type { StorageSilence } from '../../core/loop/observe/storage-observer.ts';
import { sharedDisksOf, type VmRecord } from '../../core/model/vm.ts';
import type { BackendContext } from './context.ts';

type Context = Pick<BackendContext, 'store' | 'leading'>;

/** Sentences about one storage node; empty if its service answers, or if this node does not lead. */
export function silenceOfNode(context: Context, node: StorageName): string[] {
  const { lost, leaving } = context.store.storage.get(node)?.value ?? {};
  if (lost !== undefined)
    return [
      `It was declared lost by ${lost.by}, ${new Date(lost.at).toISOString()}, with everything on it. Its name is not given again.`,
    ];
  if (leaving === true) return [`Its removal began and was not finished: gp storage remove ${node} finishes it.`];
  const silence = context.leading()?.controller.storageObserver.silences().get(node);
  if (silence === undefined) return [];
  const waits =
    'Fences wait for it, and with them starts, stops, moves and deletions of the VMs that have a disk there.';
  return [`${said(node, silence)} ${waits}`];
}

/** Sentences about the storage nodes that hold disks of a VM. */
export function silenceOfVm(context: Context, vm: VmRecord): string[] {
  const silences = context.leading()?.controller.storageObserver.silences();
  // Usually every service answers, and nothing has to be looked up.
  if (silences === undefined || silences.size === 0) return [];
  const { store } = context;
  const own = store.disksOf(vm.id).map(({ node }) => node);
  const shared = sharedDisksOf(vm).flatMap(({ disk }) => store.sharedDisks.get(disk)?.value.node ?? []);
  return [...new Set([...own, ...shared])].flatMap((node) => {
    const silence = silences.get(node);
    if (silence === undefined) return [];
    return [`${said(node, silence)} Starting, stopping, moving and deleting ${vm.name} wait until it answers.`];
  });
}

function said(node: StorageName, { error, served, ageMs }: StorageSilence): string {
  const since =
    ageMs === null ? 'it has not answered this leader yet' : `its last report is ${Math.round(ageMs / 1_000)} s old`;
  const disks = {
    true: ' Its disks are still served: running guests continue.',
    false: ' Its disks are not served either.',
    null: '',
  }[`${served}`];
  return `The storage service of ${node} does not answer (${since}; ${error.replace(/[.]$/, '')}).${disks}`;
}
