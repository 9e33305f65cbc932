/** The schemas of an operation's request, part by part, as its table entry has them. */
import { type TSchema, Type } from 'typebox';
import { strict } from '../../api/common.ts';
import type { Operation } from '../../api/operation.ts';
import { parametersOf } from '../../api/operations.ts';
import { PARAMETERS } from '../../api/parameters.ts';

/** The schema of a request of this operation. */
export function schemaOf(operation: Operation): { params?: TSchema; querystring: TSchema; body?: TSchema } {
  const names = parametersOf(operation.path);
  return {
    ...(names.length === 0
      ? {}
      : { params: Type.Object(Object.fromEntries(names.map((name) => [name, PARAMETERS[name]])), strict) }),
    querystring: operation.query ?? Type.Object({}, strict),
    ...(operation.body === null ? {} : { body: operation.body }),
  };
}
