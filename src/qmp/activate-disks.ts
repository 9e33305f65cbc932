/**
 * Makes a QEMU that received its guest halted use its disks, without continuing the guest.
 *
 * With `late-block-activate` the disks of a destination stay inactive until `cont`. A guest that is never continued there cannot be sent on:
 * QEMU 7.2 gives up its disks at the end of sending, and asserts that none of them is inactive already (block.c, bdrv_inactivate_recurse). QMP
 * of 7.2 has no command that activates a disk; what every request for an export does first is just that (block/export/export.c, blk_exp_add).
 * So an export is asked for while no NBD server runs: the disk becomes active, the export is refused, and nobody was ever served anything.
 */
import { CodedError } from '../base/errors.ts';
import { type Execute, QmpError } from './session.ts';

const EXPORT = 'activation';

/** QMP query-named-block-nodes, as far as it is used. */
interface BlockNode {
  readonly 'node-name': string;
}

/** QMP x-debug-query-block-graph, as far as it is used: who holds which rights on what. */
interface BlockGraph {
  readonly nodes: readonly { readonly id: number; readonly type: string; readonly name: string }[];
  readonly edges: readonly { readonly parent: number; readonly child: number; readonly perm: readonly string[] }[];
}

/** Activates every disk; idempotent. CodedError 'failed' names a disk that its device still has no right to use. */
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
  // Somebody runs an NBD server in this QEMU: what was asked for in passing must not stay.
  await execute('block-export-del', { id: EXPORT, mode: 'hard' });
}

/** Devices of inactive disks hold no right at all; those of active ones at least that to read what was written. */
function unusedDisks({ nodes, edges }: BlockGraph): string[] {
  const name = new Map(nodes.map((node) => [node.id, node]));
  return edges.flatMap(({ parent, child, perm }) =>
    name.get(parent)?.type === 'block-backend' && perm.length === 0 ? (name.get(child)?.name ?? String(child)) : [],
  );
}
