/**
 * The protocol of the storage service with the target's process over a Unix socket: one JSON object a line, `{id, do,
 * …}`, answered by `{id, ok}` or `{id, error: {code, message}}`. Both ends are of one version or of neighbouring ones:
 * unknown fields are ignored.
 */
import { parseDiskId, parseVmId } from '../base/ids.ts';
import { LIMITS } from '../core/model/limits.ts';
import type { TargetState } from '../core/ports/target-backend.ts';
import {
  arrayOf,
  byKind,
  idOf,
  integer,
  openObject,
  optional,
  type Parsed,
  type Parser,
  parseGenerationField,
  text,
} from '../rpc/parse.ts';

/** The longest line, in bytes. */
export const LINE_BYTES_MAX = 16 * 1024 * 1024;
const UNITS_MAX = LIMITS.sharedDisksPerNode.max;
const LUNS_MAX = LIMITS.sharedDiskLun.max + 1;
/** A live migration has two. */
const GENERATIONS_MAX = 16;

const parseBlockBytes: Parser<512 | 4096> = (value, at) =>
  value === 512 ? 512 : (integer({ min: 4096, max: 4096 })(value, at) as 4096);

/** A whole state. */
export const parseTargetState: Parser<TargetState> = openObject({
  units: arrayOf(
    openObject({ disk: idOf(parseDiskId), sizeBytes: integer({ min: 512 }), blockBytes: parseBlockBytes }),
    { itemsMax: UNITS_MAX },
  ),
  vms: arrayOf(
    openObject({
      vm: idOf(parseVmId),
      generations: arrayOf(parseGenerationField, { itemsMax: GENERATIONS_MAX }),
      luns: arrayOf(openObject({ disk: idOf(parseDiskId), lun: integer(LIMITS.sharedDiskLun) }), {
        itemsMax: LUNS_MAX,
      }),
      floor: optional(integer({ min: 1 })),
    }),
    { itemsMax: UNITS_MAX },
  ),
});

/** Reads a request of the storage service. */
export const parseControlRequest = openObject({
  id: integer({ min: 0 }),
  order: byKind({ state: {}, apply: { state: parseTargetState }, ready: { vm: idOf(parseVmId) }, sessions: {} }),
});
export type ControlOrder = Parsed<typeof parseControlRequest>['order'];

/** The initiators that are logged in. */
export const parseSessions = arrayOf(
  openObject({ vm: idOf(parseVmId), generation: parseGenerationField, address: text({ charsMax: 100 }) }),
  { itemsMax: 100_000 },
);
