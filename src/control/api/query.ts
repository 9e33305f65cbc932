/**
 * Converts query strings to the types that their schema names, explicitly: a text that does not look like its type
 * stays text, and the validator refuses it.
 */

import type { TObject, TSchema } from 'typebox';
import { own } from '../../base/own.ts';

/** `raw`: the parsed query string, where a repeated key is an array. */
export function typedQuery(raw: unknown, schema: TObject): Record<string, unknown> {
  const typed: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of Object.entries((raw ?? {}) as Record<string, unknown>)) {
    const property = own(schema.properties, key) as (TSchema & { readonly type?: string }) | undefined;
    typed[key] = property === undefined ? value : typedValue(value, property.type);
  }
  return typed;
}

function typedValue(value: unknown, type: string | undefined): unknown {
  if (type === 'array') return Array.isArray(value) ? value : [value];
  if (typeof value !== 'string') return value;
  if (type === 'integer' && /^(0|[1-9][0-9]{0,14})$/.test(value)) return Number(value);
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true';
  return value;
}
