/**
 * Requests to the API of simulated control nodes: validated by the schemas, handed to the leader by a follower, and
 * answered by the handlers of production, in simulated time. HTTP, tokens and streams are left out.
 */
import { Readable } from 'node:stream';
import type { Operation } from '../../api/operation.ts';
import { OPERATIONS, type OperationId } from '../../api/operations.ts';
import type { ParameterName } from '../../api/parameters.ts';
import { CodedError } from '../../base/errors.ts';
import { type Handlers, handlersFor, type Input } from '../../control/api/handlers.ts';
import { schemaOf } from '../../control/api/operation-schema.ts';
import { validatorCompiler } from '../../control/api/request-validator.ts';
import { createBackend } from '../../control/backend/backend.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { Topology } from '../machines/topology.ts';
import type { Hop } from '../network/network.ts';

/** The parts of a request that a person chooses. */
export interface SimRequest {
  readonly params?: Readonly<Partial<Record<ParameterName, string>>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  readonly ifMatch?: string | null;
  /** The body of an operation that takes bytes. */
  readonly bytes?: Buffer;
}

/** A follower waits so long for the leader's answer, in ms. */
const FORWARD_MS = 10_000;
const HEARTBEAT_MS = 15_000;

const compile = validatorCompiler();
const validators = new Map<string, ReturnType<typeof compile>>();
const handlers = new WeakMap<BackendContext, Handlers>();

/**
 * Asks one control node for one operation. CodedError as the API refuses, 'unavailable' while nobody leads or the node
 * does not serve, 'deadline' if the leader's answer is lost.
 */
export async function askNode(
  topology: Topology,
  node: Pick<SimControlNode, 'name' | 'process' | 'context'>,
  id: OperationId,
  request: SimRequest,
): Promise<unknown> {
  const { context, process } = node;
  if (context === null || process === null) throw new CodedError('unavailable', `${node.name} does not serve.`);
  const operation: Operation = OPERATIONS[id];
  if (operation.anyNode === true || context.leading() !== null) return answer(context, id, request);
  const leader = context.leader();
  const there = leader === null ? undefined : topology.controls.get(leader.name);
  if (there === undefined || there.name === node.name)
    throw new CodedError('unavailable', 'No control node leads at the moment.');
  const hop: Hop = { network: 'control', to: there.machine, process: () => there.process };
  const how = { deadlineMs: FORWARD_MS, what: `The leader ${there.name}` };
  return topology.network.call(process, [hop], how, (listener) => {
    const { context: its } = there;
    // A request that was forwarded once is not forwarded again.
    if (listener === null || its === null || its.leading() === null)
      throw new CodedError('unavailable', `${there.name} does not lead.`);
    return answer(its, id, request);
  });
}

async function answer(context: BackendContext, id: OperationId, request: SimRequest): Promise<unknown> {
  const { params = {}, query = {}, body = {}, ifMatch = null, bytes } = request;
  const operation: Operation = OPERATIONS[id];
  const parts = { params, querystring: query, ...(operation.body === null ? {} : { body }) };
  for (const [part, value] of Object.entries(parts)) demandValid(id, part as keyof typeof parts, value);
  const table = handlers.get(context) ?? newHandlers(context);
  const handler = table[id] as (input: Input<OperationId>) => Promise<unknown>;
  const call = { principal: { name: 'people' }, signal: new AbortController().signal };
  return handler({
    ...{ params, query, body, condition: { ifMatch }, call },
    headers: bytes === undefined ? {} : { 'content-length': String(bytes.length) },
    bytes: bytes === undefined ? null : Readable.from([bytes], { objectMode: false }),
  } as unknown as Input<OperationId>);
}

function newHandlers(context: BackendContext): Handlers {
  const made = handlersFor({
    backend: createBackend(context),
    heartbeatMs: HEARTBEAT_MS,
    version: context.version,
    build: () => context.version,
  });
  handlers.set(context, made);
  return made;
}

function demandValid(id: OperationId, part: 'params' | 'querystring' | 'body', value: unknown): void {
  const schema = schemaOf(OPERATIONS[id])[part];
  if (schema === undefined) return;
  const key = `${id} ${part}`;
  const validate = validators.get(key) ?? compile({ schema });
  validators.set(key, validate);
  if (validate(value)) return;
  const findings = (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  throw new CodedError('bad-input', `The request is not valid: ${findings.join('; ')}.`);
}
