/**
 * Makes a QEMU that received its guest halted use its disks, without continuing the guest.
 *
 * With `late-block-activate` the disks of a destination stay inactive until `cont`. A guest that was never continued
 * there cannot be sent on: at the end of sending, QEMU 7.2 inactivates its disks and asserts that none is inactive
 * already (block.c, bdrv_inactivate_recurse). QMP of 7.2 has no command that activates a disk, but every request for an
 * export does so first (block/export/export.c, blk_exp_add). This module therefore requests an export while no NBD
 * server runs: the disk becomes active, the export is refused, and no client was ever served.
 */
import { CodedError } from '../../base/errors.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import type { Execute } from '../ports/qmp-dialer.ts';

const EXPORT = 'activation';

/** The used fields of QMP's query-named-block-nodes. */
interface BlockNode {
  readonly 'node-name': string;
}

/** The used fields of QMP's x-debug-query-block-graph: the permissions of each user of a node. */
interface BlockGraph {
  readonly nodes: readonly { readonly id: number; readonly type: string; readonly name: string }[];
  readonly edges: readonly { readonly parent: number; readonly child: number; readonly perm: readonly string[] }[];
}

/**
 * Activates every disk; idempotent. CodedError 'failed' names a disk whose device still has no permission to use it.
 */
export async function activateDisks(execute: Execute): Promise<void> {
  const nodes = await execute<readonly BlockNode[]>('query-named-block-nodes', { flat: true });
  for (const node of nodes) await askForExport(execute, node['node-name']);
  const unused = unusedDisks(await execute<BlockGraph>('x-debug-query-block-graph'));
  if (unused.length > 0)
    throw new CodedError('failed', `QEMU could not take disk ${unused.join(', ')} into use.`, {
      advice: 'The guest stays where it is, halted.',
    });
}

async function askForExport(execute: Execute, node: string): Promise<void> {
  try {
    await execute('block-export-add', { type: 'nbd', id: EXPORT, 'node-name': node, writable: false });
  } catch (error) {
    if (error instanceof QmpError && error.description === 'NBD server not running') return;
    throw error;
  }
  // An NBD server already runs in this QEMU: remove the export that was created only to activate the disk.
  await execute('block-export-del', { id: EXPORT, mode: 'hard' });
}

/**
 * Devices of inactive disks hold no permission at all; devices of active disks hold at least the one to read consistent
 * data.
 */
function unusedDisks({ nodes, edges }: BlockGraph): string[] {
  const name = new Map(nodes.map((node) => [node.id, node]));
  return edges.flatMap(({ parent, child, perm }) =>
    name.get(parent)?.type === 'block-backend' && perm.length === 0 ? (name.get(child)?.name ?? String(child)) : [],
  );
}
