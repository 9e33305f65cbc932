/**
 * The controller's side of the agents' service (core/ports/host-link.ts). Answers are checked: a host is not trusted
 * with the server's types. Guarantees: of an agent of a newer version the fields known here are read, an older agent is
 * read as its version meant it; a missing field is never taken for evidence
 * (docs/decisions/0011-versions-side-by-side.md).
 */
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseHostName, parseVmId } from '../../base/ids.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import { PORTS } from '../../core/model/ports.ts';
import type { HostLink, HostReport, KillResult, LaunchResult, MachineFigures } from '../../core/ports/host-link.ts';
import type { RpcClient, RpcTarget } from '../../rpc/client.ts';
import {
  added,
  arrayOf,
  idOf,
  integer,
  oneOf,
  openObject,
  optional,
  type Parser,
  parseBoolean,
  parseGenerationField,
  text,
} from '../../rpc/parse.ts';
import type { HostLogs } from '../backend/ports.ts';
import { parseProbe } from './storage-link.ts';

/** More than any reader asks for. */
const LOG_BYTES_MAX = 1024 * 1024;

const short = text({ charsMax: 200 });

const parseReport: Parser<HostReport> = openObject({
  host: idOf(parseHostName),
  bootId: short,
  agentVersion: added(short, 'unknown'),
  qemuVersion: optional(short),
  capacity: openObject({
    memoryBytes: integer({ min: 0 }),
    vcpus: integer({ min: 0 }),
    accelerator: oneOf('kvm', 'tcg'),
    cpuModels: added(arrayOf(short, { itemsMax: 500 }), []),
  }),
  incarnations: arrayOf(
    openObject({
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
  wallMs: optional(integer({ min: 0 })),
  acknowledgedNotices: optional(arrayOf(short, { itemsMax: 2_000 })),
});

const parseLaunched: Parser<LaunchResult> = openObject({
  pid: integer({ min: 1 }),
  startTicks: short,
  already: added(parseBoolean, false),
  listens: added(parseBoolean, false),
});
const parseKilled: Parser<KillResult> = openObject({ killed: arrayOf(parseGenerationField, { itemsMax: 1_000 }) });
const count = integer({ min: 0 });
const parseFigures: Parser<MachineFigures> = openObject({
  cpuMs: count,
  residentBytes: count,
  nics: arrayOf(openObject({ mac: short, receivedBytes: count, sentBytes: count }), { itemsMax: 100 }),
});
const anything: Parser<void> = () => undefined;

/** The way to call agents: RpcClients, or a simulated network. */
export interface HostClients {
  to(target: RpcTarget): Pick<RpcClient, 'call' | 'download'>;
}

/** Agents, reached at their control addresses. */
export function createHostLink(
  clients: HostClients,
  snapshot: { readonly hosts: { get(host: HostName): { readonly value: Pick<HostRecord, 'addresses'> } | undefined } },
): HostLink & HostLogs {
  const to = (host: HostName): ReturnType<HostClients['to']> => {
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
      // The certificate says who the agent is; a report in another host's name would speak for VMs of which this agent
      // cannot know.
      if (report.host !== host) throw new CodedError('failed', `Host ${host} reported as ${report.host}.`);
      return report;
    },
    launch: async (host, order, { deadlineMs }) =>
      to(host).call({ method: 'POST', path: '/v1/launch', body: order, deadlineMs, parse: parseLaunched }),
    kill: async (host, order, { deadlineMs }) =>
      to(host).call({ method: 'POST', path: '/v1/kill', body: order, deadlineMs, parse: parseKilled }),
    applyNetwork: async (host, order, { deadlineMs }) =>
      to(host).call({ method: 'POST', path: '/v1/network', body: order, deadlineMs, parse: anything }),
    probe: async (host, order, { deadlineMs }) =>
      to(host).call({ method: 'POST', path: '/v1/probe', body: order, deadlineMs, parse: parseProbe }),
    figures: async (host, query, deadlineMs) =>
      to(host).call({ method: 'GET', path: `/v1/figures?${query}`, deadlineMs, parse: parseFigures }),
    log: async (host, query, deadlineMs) => {
      const { stream } = await to(host).download(`/v1/log?${query}`, { deadlineMs });
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        size += chunk.length;
        // Leaving the loop ends the download: a host is not trusted to send only as much as it was asked for.
        if (size > LOG_BYTES_MAX) throw new CodedError('too-large', `Host ${host} sent more log than was asked for.`);
        chunks.push(chunk);
      }
      return Buffer.concat(chunks).toString('utf8');
    },
  };
}
