/** The counters of a guest's block devices (QMP `query-blockstats`; qapi/block-core.json). */

import type { Execute } from '../ports/qmp-dialer.ts';
import type { BlockFigures } from '../ports/qmp-link.ts';

/** QMP query-blockstats, as far as it is used. */
interface QueryBlockStats {
  readonly 'node-name'?: string;
  readonly stats?: {
    readonly rd_bytes?: number;
    readonly wr_bytes?: number;
    readonly rd_operations?: number;
    readonly wr_operations?: number;
  };
}

/** One entry for each device; a device without a medium has none. */
export async function readBlockFigures(execute: Execute): Promise<readonly BlockFigures[]> {
  const answer = await execute<readonly QueryBlockStats[]>('query-blockstats');
  return answer.flatMap(({ 'node-name': node, stats = {} }) => {
    if (node === undefined) return [];
    const { rd_bytes, wr_bytes, rd_operations, wr_operations } = stats;
    return [
      {
        node,
        ...{ readBytes: count(rd_bytes), writtenBytes: count(wr_bytes) },
        ...{ reads: count(rd_operations), writes: count(wr_operations) },
      },
    ];
  });
}

/** A QEMU is not trusted to count: a value that is no number counts as nothing. */
function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}
