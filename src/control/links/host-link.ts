/** The controller's side of the agents' service (core/ports/host-link.ts). Answers are checked: a host is not trusted with the server's types. */
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseHostName, parseVmId } from '../../base/ids.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { HostLink, HostReport, KillResult, LaunchResult } from '../../core/ports/host-link.ts';
import type { Snapshot } from '../../core/ports/store.ts';
import type { RpcClient } from '../../rpc/client.ts';
import {
  arrayOf,
  idOf,
  integer,
  object,
  oneOf,
  type Parser,
  parseBoolean,
  parseGenerationField,
  text,
} from '../../rpc/parse.ts';
import type { RpcClients } from './clients.ts';

/** More than any reader asks for. */
const LOG_BYTES_MAX = 1024 * 1024;

const short = text({ charsMax: 200 });

const parseReport: Parser<HostReport> = object({
  host: idOf(parseHostName),
  bootId: short,
  agentVersion: short,
  capacity: object({
    memoryBytes: integer({ min: 0 }),
    vcpus: integer({ min: 0 }),
    accelerator: oneOf('kvm', 'tcg'),
    cpuModels: arrayOf(short, { itemsMax: 500 }),
  }),
  incarnations: arrayOf(
    object({
      vm: idOf(parseVmId),
      generation: parseGenerationField,
      slot: integer({ min: 0 }),
      pid: integer({ min: 1 }),
      startTicks: short,
      incoming: parseBoolean,
    }),
    { itemsMax: 2_000 },
  ),
  networkRevision: integer({ min: 0 }),
});

const parseLaunched: Parser<LaunchResult> = object({
  pid: integer({ min: 1 }),
  startTicks: short,
  already: parseBoolean,
});
const parseKilled: Parser<KillResult> = object({ killed: arrayOf(parseGenerationField, { itemsMax: 1_000 }) });
const anything: Parser<void> = () => undefined;

/** Agents, reached at their control addresses. */
export function createHostLink(
  clients: RpcClients,
  snapshot: Pick<Snapshot, 'hosts'>,
): HostLink & { log(host: HostName, query: string, deadlineMs: number): Promise<string> } {
  const to = (host: HostName): RpcClient => {
    const record = snapshot.hosts.get(host);
    if (record === undefined) throw new CodedError('not-found', `Host ${host} is not in the cluster.`);
    return clients.to({
      address: record.value.addresses.control,
      port: PORTS.agent,
      identity: { kind: 'host', name: host },
    });
  };
  return {
    report: async (host, { deadlineMs }) => {
      const report = await to(host).call({ method: 'GET', path: '/v1/report', deadlineMs, parse: parseReport });
      // Its certificate says who it is; a report in another's name would speak for VMs that it cannot know of.
      if (report.host !== host) throw new CodedError('failed', `Host ${host} reported as ${report.host}.`);
      return report;
    },
    launch: async (host, order, { deadlineMs }) =>
      to(host).call({ method: 'POST', path: '/v1/launch', body: order, deadlineMs, parse: parseLaunched }),
    kill: async (host, order, { deadlineMs }) =>
      to(host).call({ method: 'POST', path: '/v1/kill', body: order, deadlineMs, parse: parseKilled }),
    applyNetwork: async (host, order, { deadlineMs }) =>
      to(host).call({ method: 'POST', path: '/v1/network', body: order, deadlineMs, parse: anything }),
    log: async (host, query, deadlineMs) => {
      const { stream } = await to(host).download(`/v1/log?${query}`, { deadlineMs });
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        size += chunk.length;
        // Leaving the loop ends the download: a host is not trusted to send no more than it was asked for.
        if (size > LOG_BYTES_MAX) throw new CodedError('too-large', `Host ${host} sent more log than was asked for.`);
        chunks.push(chunk);
      }
      return Buffer.concat(chunks).toString('utf8');
    },
  };
}
