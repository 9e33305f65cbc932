/**
 * Steps about what storage nodes serve to a VM's generations: fence, grant, revoke, and the shared disks of a running
 * QEMU.
 */
import type { Generation, StorageName } from '../../../../base/ids.ts';
import { heldSharedDisks, startedSharedDisks, type VmSharedDisk } from '../../../model/vm.ts';
import { SHARED_DISKS } from '../../../ports/host-link.ts';
import { beginIssuing } from './credentials.ts';
import { launchSharedDisk } from './launch-order.ts';
import {
  DEADLINE,
  madeSharedDisks,
  onEveryNode,
  qmpTarget,
  type StepContext,
  type StepHandler,
  sharedDiskOf,
  standing,
} from './step-context.ts';

/** Every storage node of the VM revokes all below, and acknowledges. */
export const fence: StepHandler<'fence'> = async (context, { below }) => {
  const { ports, vm, notes } = context;
  const { storage, store } = ports;
  await onEveryNode(context, async (node, { own, hasShared }) => {
    const order = { term: store.term, vm: vm.id, below, disks: own.map((disk) => disk.id) };
    await storage.fence(node, order, { deadlineMs: DEADLINE.fence });
    if (hasShared) notes.sharedFenced(node, below);
  });
  notes.fenced(below);
};

/** Grants a generation its disks: before its launch, or again while it runs. */
export const grant: StepHandler<'grant'> = async (context, { generation }) => {
  const { ports, vm, notes } = context;
  if (vm.phase.kind === 'running') {
    // A disk that was made since the last sharing is granted with the others: what the nodes have is not what that step
    // named.
    notes.shared = null;
    await grantAgain(context, { generation, held: madeSharedDisks(ports.store, vm) });
  } else {
    if (notes.issuing?.generation !== generation) beginIssuing(context, generation);
    await grantDisks(context, generation, startedSharedDisks(vm));
  }
  notes.granted.add(generation);
};

/** Takes back exactly one generation: the destination of a migration that was given up. */
export const revoke: StepHandler<'revoke'> = async (context, { generation }) => {
  const { ports, vm, notes } = context;
  const { storage, store } = ports;
  await onEveryNode(context, (node, { own }) =>
    storage.revoke(
      node,
      { term: store.term, vm: vm.id, generation, disks: own.map((disk) => disk.id) },
      { deadlineMs: DEADLINE.fence },
    ),
  );
  notes.wasRevoked(generation);
};

/**
 * Gives a running QEMU exactly the shared disks that the step names. QEMU closes a disk that is taken away before
 * storage refuses it, and storage grants a new disk before QEMU opens it. The fence in between is needed for a node
 * that joins the VM's nodes: a node that had nothing of this VM until now has never heard of its older generations, and
 * one of those may still run somewhere.
 */
export const share: StepHandler<'share'> = async (context, { incarnation, disks }) => {
  const { ports, vm, notes } = context;
  const { qmp, store } = ports;
  const { generation } = incarnation;
  // From its beginning on it is unknown what the QEMU and the nodes have: a disk may be wanted again in the meantime.
  notes.shared = null;
  const target = qmpTarget(store, vm, incarnation);
  // Uses the disks of the decision, not those that exist by now: nobody would take back the grant of a disk that the
  // step does not name.
  const named = new Set(disks.split(' '));
  const held = standing(store, heldSharedDisks(vm)).filter(({ disk, lun }) => named.has(`${disk}@${lun}`));
  const open = await qmp.sharedDisks(target);
  for (const { disk } of open) if (!held.some((use) => use.disk === disk)) await qmp.unplug(target, disk);
  await grantAgain(context, { generation, held });
  // A disk that an earlier leader opened and did not plug is plugged now.
  for (const use of held)
    if (!open.some(({ disk, isPlugged }) => isPlugged && disk === use.disk))
      await qmp.plug(target, await launchSharedDisk(context, use, generation));
  notes.shared = { generation, disks };
};

/**
 * A running QEMU may have a shared disk that was added since its start, and a list of grants without that disk would
 * cut it off. The QEMU may also not have the disk yet: then the fence is needed as in `share`. `held`: the shared disks
 * that are granted; a disk that was made since they were named is not.
 */
async function grantAgain(
  context: StepContext,
  { generation, held }: { readonly generation: Generation; readonly held: readonly VmSharedDisk[] },
): Promise<void> {
  await fence(context, { do: 'fence', below: generation });
  await grantDisks(context, generation, held);
}

/** `uses`: the shared disks that the VM has from now on; each is granted on its node. */
async function grantDisks(context: StepContext, generation: Generation, uses: readonly VmSharedDisk[]): Promise<void> {
  const { ports, vm } = context;
  const { storage, store } = ports;
  const sharedOn = (node: StorageName): VmSharedDisk[] =>
    uses.flatMap(({ disk, lun }) => (sharedDiskOf(store, disk).node === node ? [{ disk, lun }] : []));
  const readOnly = new Set(vm.spec.disks.filter((disk) => disk.role === 'seed').map((disk) => disk.disk));
  await onEveryNode(context, (node, { own }) => {
    const shared = sharedOn(node);
    return storage.grant(
      node,
      {
        term: store.term,
        vm: vm.id,
        generation,
        disks: own.map((disk) => ({ disk: disk.id, port: disk.port, readOnly: readOnly.has(disk.id) })),
        ...(shared.length === 0 ? {} : { sharedDisks: shared, needs: [SHARED_DISKS] }),
      },
      { deadlineMs: DEADLINE.grant },
    );
  });
}
