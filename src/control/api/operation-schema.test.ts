import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Operation } from '../../api/operation.ts';
import { OPERATIONS } from '../../api/operations.ts';
import { LIMITS } from '../../core/model/limits.ts';
import { schemaOf } from './operation-schema.ts';
import { asNode, type SchemaNode } from './testing/schema-node.ts';

/** Lists that are longer than others; a body has at most 1,000 values (LIMITS.requestValues). */
const LONG_LISTS: Readonly<Record<string, number>> = {
  'planMaintenance body/hosts': 500,
  'actOnVms body/vms': LIMITS.bulkVms.max,
};

test('every list, map and text of a request has a bound', () => {
  const check = (node: SchemaNode, at: string): void => {
    if (node.type === 'array')
      assert((node.maxItems ?? Number.POSITIVE_INFINITY) <= (LONG_LISTS[at] ?? 64), `${at} has too many items`);
    if (node.patternProperties !== undefined) assert((node.maxProperties ?? 1_000) <= 64, `${at} has too many keys`);
    // An unbounded pattern needs a length beside it.
    const isBounded = node.enum !== undefined || (node.pattern !== undefined && !/[*+]|,\}/.test(node.pattern));
    if (node.type === 'string') assert(isBounded || node.maxLength !== undefined, `${at} has no length`);
    for (const [key, of] of Object.entries(node.properties ?? {})) check(of, `${at}/${key}`);
    for (const of of [...(node.anyOf ?? []), ...Object.values(node.patternProperties ?? {})]) check(of, at);
    if (node.items !== undefined) check(node.items, `${at}/0`);
  };
  for (const [id, operation] of Object.entries<Operation>(OPERATIONS))
    for (const [part, schema] of Object.entries(schemaOf(operation))) check(asNode(schema), `${id} ${part}`);
});
