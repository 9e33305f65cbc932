/**
 * The OpenAPI 3.1 document, made of OPERATIONS and of every schema that has a title. Deterministic: the committed file
 * is compared with it.
 */
import type { TSchema } from 'typebox';
import { ERROR_CODES, type ErrorCode } from '../base/errors.ts';
import { PROBLEM_TYPE } from '../base/problem.ts';
import type { Operation } from './operation.ts';
import { OPERATIONS, parametersOf } from './operations.ts';
import { PARAMETERS } from './parameters.ts';
import { ProblemSchema } from './views.ts';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const MEDIA_TYPE = {
  json: 'application/json',
  bytes: 'application/octet-stream',
  text: 'text/plain',
  'event-stream': 'text/event-stream',
};

/** Every request can be refused for these reasons. */
const COMMON_ERRORS: readonly ErrorCode[] = ['bad-input', 'unavailable', 'deadline', 'failed'];
const AUTH_ERRORS: readonly ErrorCode[] = ['unauthorized', 'forbidden', 'too-many'];

/** Builds the document. `version`: of Groundplane. */
export function buildOpenApi(version: string): Json {
  const components = new Map<string, Json>();
  const paths = new Map<string, Map<string, Json>>();
  for (const [operationId, operation] of Object.entries<Operation>(OPERATIONS)) {
    const item = paths.get(operation.path) ?? new Map<string, Json>();
    paths.set(operation.path, item.set(operation.method.toLowerCase(), describe(operationId, operation, components)));
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Groundplane',
      version,
      description: 'A cluster manager for virtual machines whose hosts keep no state.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }, { session: [] }],
    paths: Object.fromEntries([...paths].map(([path, item]) => [path, Object.fromEntries(item)])),
    components: {
      schemas: Object.fromEntries([...components].sort(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        // For browsers only: the name ends with the port, so that two clusters at one address keep separate cookies.
        session: { type: 'apiKey', in: 'cookie', name: '__Host-groundplane-PORT' },
      },
    },
  };
}

function describe(operationId: string, operation: Operation, components: Map<string, Json>): Json {
  return {
    operationId,
    tags: [operation.tag],
    summary: operation.summary,
    ...(operation.auth === 'none' ? { security: [] } : {}),
    parameters: [
      ...parametersOf(operation.path).map((name) => ({
        name,
        in: 'path',
        required: true,
        schema: schemaJson(PARAMETERS[name], components),
      })),
      ...queryParameters(operation, components),
      ...(operation.ifMatch
        ? [
            {
              name: 'If-Match',
              in: 'header',
              required: false,
              description: 'the revision the change is based on',
              schema: { type: 'string' },
            },
          ]
        : []),
    ],
    ...requestBody(operation, components),
    responses: responses(operation, components),
  };
}

function queryParameters(operation: Operation, components: Map<string, Json>): Json[] {
  if (operation.query === null) return [];
  const required: readonly string[] = operation.query.required ?? [];
  return Object.entries(operation.query.properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema: schemaJson(schema, components),
  }));
}

function requestBody(operation: Operation, components: Map<string, Json>): { requestBody?: Json } {
  switch (operation.bodyMedium) {
    case 'none':
      return {};
    case 'bytes':
      return {
        requestBody: {
          required: true,
          content: { [MEDIA_TYPE.bytes]: { schema: { type: 'string', format: 'binary' } } },
        },
      };
    case 'json':
      return operation.body === null
        ? {}
        : {
            requestBody: {
              required: true,
              content: { [MEDIA_TYPE.json]: { schema: schemaJson(operation.body, components) } },
            },
          };
  }
}

function responses(operation: Operation, components: Map<string, Json>): Json {
  const codes = [
    ...new Set([...operation.errors, ...COMMON_ERRORS, ...(operation.auth === 'bearer' ? AUTH_ERRORS : [])]),
  ];
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) {
    const status = ERROR_CODES[code].status;
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const problem = { [PROBLEM_TYPE]: { schema: schemaJson(ProblemSchema, components) } };
  const refusals = [...byStatus]
    .sort(([a], [b]) => a - b)
    .map(([status, of]) => [String(status), { description: of.join(', '), content: problem }] as const);
  return { [String(operation.status)]: success(operation, components), ...Object.fromEntries(refusals) };
}

function success(operation: Operation, components: Map<string, Json>): Json {
  const medium = operation.answerMedium;
  if (medium === 'none') return { description: 'done' };
  if (medium === 'upgrade') return { description: 'switched to the protocol of the header Upgrade' };
  const schema = operation.answer === null ? { type: 'string' } : schemaJson(operation.answer, components);
  return { description: operation.summary, content: { [MEDIA_TYPE[medium]]: { schema } } };
}

/** The schema as JSON, where each titled schema is put among the components and referred to. */
function schemaJson(schema: TSchema, components: Map<string, Json>): Json {
  return referred(JSON.parse(JSON.stringify(schema)) as Json, components);
}

function referred(node: Json, components: Map<string, Json>): Json {
  if (Array.isArray(node)) return node.map((item: Json) => referred(item, components));
  if (node === null || typeof node !== 'object') return node;
  const { title, ...rest } = node as { readonly [key: string]: Json };
  const inner = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, referred(value, components)]));
  // A property that happens to be called "title" holds a schema, not a text.
  if (typeof title !== 'string') return title === undefined ? inner : { ...inner, title: referred(title, components) };
  components.set(title, inner);
  return { $ref: `#/components/schemas/${title}` };
}
