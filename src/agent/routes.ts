/** The agent's HTTP service (core/ports/host-link.ts): control nodes only, every body checked before it is acted on. */

import { parseGeneration, parseVmId } from '../base/ids.ts';
import type { AgentHost } from '../core/agent/agent-host.ts';
import { integerParameter } from '../rpc/parse.ts';
import type { Route } from '../rpc/service.ts';
import { ORDER_BYTES_MAX, parseKillOrder, parseLaunchOrder, parseNetworkOrder, parseProbeOrder } from './orders.ts';

const ALLOW = ['control'] as const;

/**
 * The routes of a host's agent. A malformed body is answered with CodedError 'bad-input' and changes nothing; errors of
 * `host` go to the caller.
 */
export function agentRoutes(host: AgentHost): readonly Route[] {
  return [
    { method: 'GET', path: '/v1/report', allow: ALLOW, handle: async () => ({ json: host.report() }) },
    {
      method: 'POST',
      path: '/v1/launch',
      allow: ALLOW,
      body: ORDER_BYTES_MAX,
      handle: async ({ body }) => ({ json: await host.launch(parseLaunchOrder(body, '')) }),
    },
    {
      method: 'POST',
      path: '/v1/kill',
      allow: ALLOW,
      handle: async ({ body }) => ({ json: await host.kill(parseKillOrder(body, '')) }),
    },
    {
      method: 'POST',
      path: '/v1/network',
      allow: ALLOW,
      body: ORDER_BYTES_MAX,
      handle: async ({ body }) => {
        await host.applyNetwork(parseNetworkOrder(body, ''));
        return { json: {} };
      },
    },
    {
      method: 'POST',
      path: '/v1/probe',
      allow: ALLOW,
      handle: async ({ body }) => ({ json: await host.probe(parseProbeOrder(body, '')) }),
    },
    {
      method: 'GET',
      path: '/v1/figures',
      allow: ALLOW,
      handle: async ({ query }) => {
        const vm = parseVmId(query.get('vm') ?? '');
        const generation = parseGeneration(integerParameter(query, 'generation'));
        return { json: host.figures({ vm, generation }) };
      },
    },
    {
      method: 'GET',
      path: '/v1/log',
      allow: ALLOW,
      handle: async ({ query }) => {
        const vm = parseVmId(query.get('vm') ?? '');
        const generation = parseGeneration(integerParameter(query, 'generation'));
        return { text: await host.serialTail({ vm, generation }, integerParameter(query, 'bytes')) };
      },
    },
  ];
}
