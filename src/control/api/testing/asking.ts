/** For tests of routes: a server over a simulated cluster, and requests that need no socket. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { InjectOptions } from 'fastify';
import { Value } from 'typebox/value';
import { ProblemSchema } from '../../../api/views.ts';
import { ERROR_CODES, type ErrorCode } from '../../../base/errors.ts';
import { type TestApi, testApi } from '../../testing/api-cluster.ts';
import { type ApiServerOptions, createApiServer } from '../server.ts';

type JsonKey =
  | ('code' | 'detail' | 'advice' | 'type' | 'errors')
  | ('id' | 'revision' | 'task' | 'state' | 'body' | 'leader' | 'token' | 'control');

/** The answer of a route. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<
    Partial<Record<'etag' | 'content-type' | 'retry-after' | 'www-authenticate' | 'set-cookie', unknown>>
  >;
  readonly json: Readonly<Partial<Record<JsonKey, unknown>>>;
  readonly text: string;
}

/** Starts a cluster and its API for one test. */
export async function setUp(
  t: TestContext,
  options: Partial<ApiServerOptions> = {},
  shape: Parameters<typeof testApi>[1] = {},
) {
  return serve(t, await testApi(t, shape), options);
}

/** Serves the API of a cluster that runs already. */
export function serve(t: TestContext, { cluster, backend, token }: TestApi, options: Partial<ApiServerOptions> = {}) {
  const server = createApiServer({ backend, version: '1.2.3', ...options });
  t.after(() => server.close());
  const ask = async (route: string, body?: unknown, more: InjectOptions = {}): Promise<Answer> => {
    const [method, url] = route.split(' ') as ['GET', string];
    const answer = await server.app.inject({
      method,
      url,
      ...(body === undefined ? {} : { body: body as object }),
      ...more,
      headers: authorized(token, more.headers),
    });
    const isJson = String(answer.headers['content-type'] ?? '').includes('json');
    return { status: answer.statusCode, headers: answer.headers, text: answer.body, json: isJson ? answer.json() : {} };
  };
  return { cluster, backend, token, server, ask };
}

/** The headers with the administrator's token, unless they say something else; an empty one is not sent. */
function authorized(token: string, headers: InjectOptions['headers'] = {}): Record<string, string> {
  const all = Object.entries({ authorization: `Bearer ${token}`, ...headers });
  return Object.fromEntries(all.filter(([name, value]) => name !== 'authorization' || value !== '')) as Record<
    string,
    string
  >;
}

/** Asserts that an answer is a refusal with this code, as problem details. */
export function assertProblem(answer: Answer, code: ErrorCode): void {
  assert.equal(answer.json.code, code, answer.text);
  assert.equal(answer.status, ERROR_CODES[code].status);
  assert.match(String(answer.headers['content-type']), /^application\/problem\+json/);
  assert(Value.Check(ProblemSchema, answer.json), answer.text);
}
