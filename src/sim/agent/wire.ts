/**
 * The host protocol between a simulated agent and the real controller's side: the real routes and parsers at both ends
 * (network/wire.ts).
 */
import { agentRoutes } from '../../agent/routes.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { createHostLink, type HostClients } from '../../control/links/host-link.ts';
import type { AgentHost } from '../../core/agent/agent-host.ts';
import type { CallOptions, HostLink } from '../../core/ports/host-link.ts';
import { serveRoutes, type WireRequest, type WireService } from '../network/wire.ts';

/** Carries a request to a host's agent and its answer back. */
export type Carry = (host: HostName, request: WireRequest, how: CallOptions) => Promise<unknown>;

/** The service of one life of an agent. */
export function agentService(host: AgentHost): WireService {
  return serveRoutes(agentRoutes(host));
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
