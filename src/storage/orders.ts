/**
 * Reads the orders of core/ports/storage-link.ts from unchecked JSON. Guarantees: fields that a newer controller added
 * are ignored, unless the order says in `needs` that they must not be: then it is refused with CodedError 'unsupported'
 * (docs/decisions/0011-versions-side-by-side.md).
 */

import { parseDiskId, parseSha256, parseVmId } from '../base/ids.ts';
import { LIMITS } from '../core/model/limits.ts';
import { DISK_PORT_BASE, DISK_PORTS_PER_NODE } from '../core/model/ports.ts';
import { SHARED_DISKS } from '../core/ports/host-link.ts';
import type { DiskOrder, FenceOrder, GrantOrder, RevokeOrder, SharedDiskOrder } from '../core/ports/storage-link.ts';
import {
  added,
  arrayOf,
  byKind,
  idOf,
  integer,
  oneOf,
  openObject,
  order,
  type Parser,
  parseBoolean,
  parseGenerationField,
  parsePort,
  parseTermField,
  text,
} from '../rpc/parse.ts';

/** More than a VM can have: records of older versions may have more, and must be fenced as well. */
const DISKS_MAX = 64;
/** Features that an order may need and that not every version has; a name stays here for ever. */
const KNOWN = { features: [SHARED_DISKS] } as const;

const term = parseTermField;
const vm = idOf(parseVmId);
const disks = arrayOf(idOf(parseDiskId), { itemsMax: DISKS_MAX });
/** The minimum is 0: seeds and UEFI variables are smaller than the smallest disk of a user. */
const sizeBytes = integer({ min: 0, max: LIMITS.diskBytes.max });

export const parseFenceOrder: Parser<FenceOrder> = order({ term, vm, below: parseGenerationField, disks }, KNOWN);

export const parseRevokeOrder: Parser<RevokeOrder> = order(
  { term, vm, generation: parseGenerationField, disks },
  KNOWN,
);

export const parseGrantOrder: Parser<GrantOrder> = order(
  {
    term,
    vm,
    generation: parseGenerationField,
    disks: arrayOf(
      openObject({
        disk: idOf(parseDiskId),
        port: integer({ min: DISK_PORT_BASE, max: DISK_PORT_BASE + DISK_PORTS_PER_NODE - 1 }),
        readOnly: parseBoolean,
      }),
      { itemsMax: DISKS_MAX },
    ),
    sharedDisks: added(
      arrayOf(openObject({ disk: idOf(parseDiskId), lun: integer(LIMITS.sharedDiskLun) }), {
        itemsMax: LIMITS.vmSharedDisks.max,
      }),
      [],
    ),
  },
  KNOWN,
);

const parseBlockBytes: Parser<512 | 4096> = (value, at) =>
  value === 512 ? 512 : (integer({ min: 4096, max: 4096 })(value, at) as 4096);

export const parseSharedDiskOrder: Parser<SharedDiskOrder> = order(
  { term, sizeBytes: integer({ min: 4096, max: LIMITS.diskBytes.max }), blockBytes: parseBlockBytes },
  KNOWN,
);

export const parseDiskOrder: Parser<DiskOrder> = order(
  {
    term,
    vm,
    sizeBytes,
    source: byKind({
      blank: {},
      image: { artifact: idOf(parseSha256), format: oneOf('qcow2', 'raw') },
      content: { artifact: idOf(parseSha256) },
      nvram: {},
    }),
  },
  KNOWN,
);

export const parseResizeOrder = order({ term, sizeBytes }, KNOWN);

export const parseProbeOrder = openObject({
  address: text({ charsMax: 45, pattern: /^[0-9a-fA-F.:]+$/ }),
  port: parsePort,
  deadlineMs: integer({ min: 1, max: 10_000 }),
});

export const parseArtifactKind = oneOf('disk-qcow2', 'disk-raw', 'kernel', 'initrd', 'seed');
