/**
 * The most expensive bodies for every operation, generated from the schemas: the cost of a request grows only with its
 * bytes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Operation } from '../../api/operation.ts';
import { OPERATIONS } from '../../api/operations.ts';
import { testApi } from '../testing/api-cluster.ts';
import { createApiServer } from './server.ts';
import { asNode, type SchemaNode } from './testing/schema-node.ts';

/** The promise is 50 ms on an idle machine; before findings were bounded, 1 MB took minutes. */
const BUSY_MS_MAX = 150;
/** The most values that the server accepts. */
const VALUES = 990;

/** Returns a minimal value of the schema's type. */
function sample(node: SchemaNode): unknown {
  if (node.const !== undefined) return node.const;
  if (node.enum !== undefined) return node.enum[0];
  if (node.anyOf !== undefined) return sample(node.anyOf[0] ?? {});
  if (node.type === 'object')
    return Object.fromEntries(Object.entries(node.properties ?? {}).map(([key, of]) => [key, sample(of)]));
  if (node.type === 'array') return [sample(node.items ?? {})];
  if (node.type === 'string') return 'a';
  return node.type === 'boolean' ? true : (node.minimum ?? 1);
}

const ITEMS = ['{}', '0', '[]', '""', 'null', '{"x":1}', '{"image":"A"}', '{"network":"A"}', '"a"'] as const;
const PARTS = ['a', '-', 'a-', '\\u0000', '.', '1.', '\u{1f600}', '\\"', '\\\\'] as const;

/** Returns invalid JSON texts for `node`, each of about `bytes` bytes, or of as many values as the server accepts. */
function* worstOf(node: SchemaNode, bytes: number): Generator<string> {
  const list = (item: string, count: number): string => `[${new Array(count).fill(item).join(',')}]`;
  const object = (key: string, count: number): string =>
    `{${Array.from({ length: count }, (_, i) => `"${key}${i}":0`).join(',')}}`;
  for (const item of [...ITEMS, JSON.stringify(sample(node.items ?? node))]) {
    yield list(item, Math.ceil(bytes / (item.length + 1)));
    const values = item.split(/[,[{]/).length;
    yield list(item, Math.floor(VALUES / values));
  }
  yield list(`"${'a'.repeat(bytes / VALUES)}"`, VALUES);
  for (const key of ['a', 'A.', '\\u001b', 'k'.repeat(bytes / VALUES)]) {
    yield object(key, Math.ceil(bytes / (key.length + 10)));
    yield object(key, VALUES);
  }
  yield '['.repeat(bytes / 2) + ']'.repeat(bytes / 2);
  yield `${'{"a":'.repeat(bytes / 6)}0${'}'.repeat(bytes / 6)}`;
  for (const part of node.type === 'string' ? PARTS : PARTS.slice(0, 1))
    yield `"${part.repeat(bytes / Buffer.byteLength(part))}"`;
  yield '9'.repeat(bytes);
  yield `{"${'k'.repeat(bytes)}":0}`;
}

/** Returns every place in a body that can hold a value, as a body with that value left open. */
function* placesOf(
  node: SchemaNode,
  wrap: (inner: string) => string,
): Generator<[SchemaNode, (inner: string) => string]> {
  yield [node, wrap];
  for (const alternative of node.anyOf ?? []) yield* placesOf(alternative, wrap);
  for (const [key, of] of Object.entries(node.properties ?? {})) {
    const others = Object.fromEntries(
      Object.entries(node.properties ?? {}).flatMap(([other, s]) => (other === key ? [] : [[other, sample(s)]])),
    );
    const rest = JSON.stringify(others).slice(1, -1);
    yield* placesOf(of, (inner) => wrap(`{"${key}":${inner}${rest === '' ? '' : `,${rest}`}}`));
  }
  if (node.items !== undefined) yield* placesOf(node.items, (inner) => wrap(`[${inner}]`));
  for (const of of Object.values(node.patternProperties ?? {}))
    yield* placesOf(of, (inner) => wrap(`{"key":${inner}}`));
}

test('the worst body of every operation keeps the event loop busy for a moment only', async (t) => {
  const { backend, token } = await testApi(t, { speed: 1 });
  const server = createApiServer({ backend, version: '1.2.3' });
  t.after(() => server.close());
  const worst = { busyMs: 0, what: '' };
  for (const [id, operation] of Object.entries<Operation>(OPERATIONS)) {
    if (operation.body === null) continue;
    const url = operation.path.replaceAll(/\{\w+\}/g, 'a');
    const send = async (payload: string) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const before = process.threadCpuUsage();
      const answer = await server.app.inject({ method: operation.method, url, payload, headers });
      const { user, system } = process.threadCpuUsage(before);
      return { status: answer.statusCode, bytes: answer.payload.length, busyMs: (user + system) / 1_000 };
    };
    // Validators are made by the first request that needs them.
    await send('{"none":0}');
    for (const [node, wrap] of placesOf(asNode(operation.body), (inner) => inner)) {
      for (const value of worstOf(node, operation.bodyBytesMax - 4_096)) {
        const body = wrap(value);
        if (Buffer.byteLength(body) > operation.bodyBytesMax) continue;
        const { status, bytes, busyMs } = await send(body);
        const what = `${id}: ${body.slice(0, 80)}…`;
        assert(status < 500, `${what} ${status}`);
        assert(bytes < 16_384, `${what}: the answer has ${bytes} bytes`);
        if (busyMs > worst.busyMs) Object.assign(worst, { busyMs, what });
        assert(busyMs < BUSY_MS_MAX, `${what}: ${busyMs} ms`);
      }
    }
  }
  t.diagnostic(`${worst.busyMs} ms: ${worst.what}`);
});
