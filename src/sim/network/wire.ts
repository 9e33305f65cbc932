/**
 * Requests between simulated processes in the words of production: the real routes and parsers at both ends, with JSON
 * in between. Guarantees: what either end cannot understand fails here as it does over HTTPS; neither end sees an
 * object of the other one.
 */
import { Readable } from 'node:stream';
import { CodedError } from '../../base/errors.ts';
import { parseControlName } from '../../base/ids.ts';
import { matchRoute, type Route, type RpcRequest } from '../../rpc/service.ts';

/** A request as it goes over the wire. */
export interface WireRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With its query. */
  readonly path: string;
  /** JSON, unchecked. */
  readonly body: unknown;
}

/** What answers requests with JSON, unchecked: a service, alone or behind wrappers. Rejects with CodedError. */
export type WireService = (request: WireRequest) => Promise<unknown>;

/** What of a request the routes never look at. */
const REST: Omit<RpcRequest, 'body' | 'parameters' | 'query'> = {
  peer: { kind: 'control', name: parseControlName('c1') },
  stream: Readable.from([]),
  sizeBytes: undefined,
  signal: new AbortController().signal,
};

/** Answers requests by these routes. */
export function serveRoutes(routes: readonly Route[]): WireService {
  return async ({ method, path, body }) => {
    const { route, parameters, query } = matchRoute(routes, { method, url: path });
    const answer = await route.handle({ ...REST, parameters, query, body: copied(body) });
    if ('json' in answer) return copied(answer.json);
    throw new CodedError('failed', `${method} ${path} does not answer in JSON.`);
  };
}

function copied(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
