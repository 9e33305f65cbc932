/** Steps about a VM's own disks: made before its first start, deleted with it. */
import type { StepHandler } from './step-context.ts';
import { DEADLINE, isLostNode } from './step-context.ts';

/** Makes the file on its storage node, then records the disk as ready. */
export const createDisk: StepHandler<'create-disk'> = async ({ ports: { store, storage } }, { disk: id }) => {
  const entry = store.snapshot.disks.get(id);
  if (entry === undefined) return;
  const disk = entry.value;
  await storage.createDisk(
    disk.node,
    id,
    { term: store.term, vm: disk.vm, sizeBytes: disk.sizeBytes, source: disk.source },
    { deadlineMs: DEADLINE.disk },
  );
  await store.commit({ changes: [{ kind: 'disk', id, value: { ...disk, phase: 'ready' } }], events: [] });
};

/** Deletes the file, then its record. With a lost node the file is gone. */
export const deleteDisk: StepHandler<'delete-disk'> = async ({ ports: { store, storage } }, { disk: id }) => {
  const entry = store.snapshot.disks.get(id);
  if (entry === undefined) return;
  const { node } = entry.value;
  if (!isLostNode(store, node)) await storage.deleteDisk(node, id, { term: store.term }, { deadlineMs: DEADLINE.disk });
  await store.commit({ changes: [{ kind: 'disk', id, value: null }], events: [] });
};
