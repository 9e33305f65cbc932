/**
 * The host protocol between a simulated agent and the real controller's side: the real routes and parsers at both ends, with JSON values
 * in between. Guarantees: what either end cannot understand fails here as it does over HTTPS.
 */
import { Readable } from 'node:stream';
import { agentRoutes } from '../../agent/routes.ts';
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseControlName } from '../../base/ids.ts';
import { createHostLink, type HostClients } from '../../control/links/host-link.ts';
import type { AgentHost } from '../../core/agent/agent-host.ts';
import type { CallOptions, HostLink } from '../../core/ports/host-link.ts';
import type { RpcRequest } from '../../rpc/service.ts';

/** A request to an agent as it goes over the wire. */
export interface WireRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** JSON, unchecked. */
  readonly body: unknown;
}

/** What answers requests with JSON, unchecked: an agent, alone or behind wrappers (version-skew.ts). Rejects with CodedError. */
export type AgentService = (request: WireRequest) => Promise<unknown>;

/** Carries a request to a host's agent and its answer back. */
export type Carry = (host: HostName, request: WireRequest, how: CallOptions) => Promise<unknown>;

/** What of a request the agent's routes never look at. */
const REST: Omit<RpcRequest, 'body'> = {
  peer: { kind: 'control', name: parseControlName('c1') },
  parameters: {},
  query: new URLSearchParams(),
  stream: Readable.from([]),
  sizeBytes: undefined,
  signal: new AbortController().signal,
};

/** The service of one life of an agent. */
export function agentService(host: AgentHost): AgentService {
  const routes = agentRoutes(host);
  return async ({ method, path, body }) => {
    const route = routes.find((candidate) => candidate.method === method && candidate.path === path);
    if (route === undefined) throw new CodedError('not-found', `There is no ${method} ${path} here.`);
    const answer = await route.handle({ ...REST, body });
    if ('json' in answer) return answer.json;
    throw new CodedError('failed', `${method} ${path} does not answer in JSON.`);
  };
}

/** The controller's side of the protocol, over `carry`; every host is a member of the cluster. */
export function hostLinkOver(carry: Carry): HostLink {
  const clients: HostClients = {
    to: ({ identity }) => ({
      call: async ({ method, path, body, deadlineMs, parse }) => {
        if (identity.kind !== 'host') throw new CodedError('not-found', 'Only agents are reached this way.');
        return parse(await carry(identity.name, { method, path, body }, { deadlineMs }), 'answer');
      },
      download: async (path) => {
        throw new CodedError('unavailable', `Nothing is downloaded in simulated time: ${path}.`);
      },
    }),
  };
  const somewhere = { value: { addresses: { control: '', storage: '', overlay: '' } } };
  return createHostLink(clients, { hosts: { get: () => somewhere } });
}
