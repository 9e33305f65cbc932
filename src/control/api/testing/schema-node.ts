/** A JSON schema as tests walk through it. */
import type { TSchema } from 'typebox';

export interface SchemaNode {
  readonly type?: string;
  readonly anyOf?: readonly SchemaNode[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly patternProperties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly pattern?: string;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly maxLength?: number;
}

/** Returns a schema as a node. */
export const asNode = (schema: TSchema): SchemaNode => schema as SchemaNode;
