import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outdatedFiles } from '../../scripts/generate-openapi.ts';
import { isName } from '../base/ids.ts';
import { NAME_PATTERN } from './common.ts';
import { buildOpenApi } from './openapi.ts';
import type { Operation } from './operation.ts';
import { OPERATIONS } from './operations.ts';

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId: string }>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, { readonly additionalProperties?: unknown }>> };
}

const document = buildOpenApi('1.0.0') as unknown as Document;

test('openapi.json and the client’s types are those of the schemas', async () => {
  assert.deepEqual(await outdatedFiles(), [], 'run: node scripts/generate-openapi.ts');
});

test('the document is OpenAPI 3.1 with every operation once', () => {
  assert.match(document.openapi, /^3\.1\./);
  const ids = Object.values(document.paths).flatMap((item) =>
    Object.values(item).map((operation) => operation.operationId),
  );
  assert.deepEqual(ids.toSorted(), Object.keys(OPERATIONS).toSorted());
});

test('every reference leads to a component, and every component refuses unknown properties', () => {
  const referred = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(
    (match) => match[1] ?? '',
  );
  assert.deepEqual([...new Set(referred)].toSorted(), Object.keys(document.components.schemas).toSorted());
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    const alternatives = 'anyOf' in schema && Array.isArray(schema.anyOf) ? schema.anyOf : [schema];
    for (const one of alternatives) assert.equal(one.additionalProperties, false, name);
  }
});

test('no two operations share a method and path', () => {
  const routes = Object.values<Operation>(OPERATIONS).map((operation) => `${operation.method} ${operation.path}`);
  assert.equal(new Set(routes).size, routes.length);
});

test('the pattern of names is the rule of the core', () => {
  const pattern = new RegExp(NAME_PATTERN);
  for (const name of [
    'a',
    'web1',
    'a-b',
    'x'.repeat(40),
    'x'.repeat(41),
    '',
    '-a',
    'a-',
    'A',
    'a.b',
    'a/b',
    'a\n',
    'ä',
    '0',
  ]) {
    assert.equal(pattern.test(name), isName(name), JSON.stringify(name));
  }
});
