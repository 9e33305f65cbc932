/** A control node's links to agents, storage services and hosts' kernels, over simulated networks (core/ports). */
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName, StorageName } from '../../base/ids.ts';
import { probeFrom } from '../../control/links/paths.ts';
import { storageOrders } from '../../control/links/storage-link.ts';
import { type ProbeAttempt, pathProbes } from '../../core/loop/observe/path-probes.ts';
import type { Path } from '../../core/model/paths.ts';
import type { HostLink } from '../../core/ports/host-link.ts';
import type { Paths } from '../../core/ports/paths.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
import type { Reach, ReachTarget } from '../../core/ports/reach.ts';
import type { GrantOrder, StorageLink } from '../../core/ports/storage-link.ts';
import type { RpcClient } from '../../rpc/client.ts';
import { demandAdmitted } from '../agent/denial.ts';
import { type Carry, hostLinkOver } from '../agent/wire.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import { pathsOf, relayOf, type Topology } from '../machines/topology.ts';
import type { Hop } from './network.ts';
import { probeAddress, probeKernel, unanswered } from './probes.ts';

/** The caller: a control node's server. */
export interface Caller {
  readonly control: string;
  readonly process: SimProcess;
}

/** Agents on the control network: the link of production, its words carried by simulated messages. */
export function simHostLink(topology: Topology, { control, process }: Caller): HostLink {
  const carry: Carry = async (name, request, { deadlineMs }) => {
    const node = machineNamed(topology.hosts, name);
    demandAdmitted(topology, control, { id: `host:${name}`, serial: node.serial });
    const hop: Hop = { network: 'control', to: node.machine, process: () => node.agent?.process ?? null };
    return topology.network.call(process, [hop], { deadlineMs, what: `The agent of ${name}` }, (listener) => {
      if (listener === null || node.agent?.process !== listener)
        throw new CodedError('unavailable', `Nobody listens on ${name}.`);
      return node.agent.service(request);
    });
  };
  const link = hostLinkOver(carry);
  return {
    ...link,
    report: async (name, options) => {
      const report = await link.report(name, options);
      topology.note({ kind: 'probe', by: control, host: name, path: 'direct', met: true });
      return report;
    },
    launch: (name, order, options) => {
      topology.say(
        () => `${control} orders ${order.vm}:${order.generation} on ${name}${order.incoming ? ' to receive' : ''}`,
      );
      return link.launch(name, order, options);
    },
  };
}

/** Storage services on the control network: the link of production, its words carried by simulated messages. */
export function simStorageLink(topology: Topology, caller: Caller): StorageLink {
  return storageOrders((name) => storageClient(topology, caller, name));
}

/** Requests from a process to the service of a storage node. */
function storageClient(topology: Topology, { control, process }: Caller, name: StorageName): Pick<RpcClient, 'call'> {
  const node = machineNamed(topology.storage, name);
  const hop: Hop = { network: 'control', to: node.machine, process: () => node.listener };
  return {
    call: async ({ method, path, body, deadlineMs, parse }) => {
      demandAdmitted(topology, control, { id: `storage:${name}`, serial: null });
      // An order to grant is as good as what its sender knew.
      const term = path === '/v1/grant' ? (body as GrantOrder).term : null;
      const knownAt = term === null ? undefined : topology.knownAt(term);
      const how = { deadlineMs, what: `Storage node ${name}` };
      const answer = await topology.network.call(process, [hop], how, () =>
        node.serve({ method, path, body }, knownAt),
      );
      return parse(answer, 'answer');
    },
  };
}

/** The paths to hosts' kernels, with attempts on each that are told to the trace. */
export function simPaths(topology: Topology, { control, process }: Caller): Paths {
  const attempt = async (path: Path, to: ProbeAttempt): Promise<ProbeResult> => {
    const { address, port, deadlineMs, relayDeadlineMs } = to;
    const { network, storage } = path;
    if (storage !== null) {
      const relay = storageClient(topology, { control, process }, storage);
      return probeFrom(relay, { address, port, deadlineMs }, relayDeadlineMs);
    }
    const relay = relayOf(topology, path);
    if (relay === null) return probeAddress(topology, process, { network, address }, deadlineMs);
    const how = { deadlineMs: relayDeadlineMs, what: path.name };
    return topology.network.call(process, [relay], how, (prober) => {
      if (prober === null) throw new CodedError('unavailable', `Nobody listens at ${path.name}.`);
      return probeAddress(topology, prober, { network, address }, deadlineMs);
    });
  };
  const paths = pathProbes({ list: () => pathsOf(topology, control), attempt });
  return {
    ...paths,
    probe: async (path, host, deadlineMs) => {
      const probed = await paths.probe(path, host, deadlineMs);
      const { outcome } = probed;
      const met = outcome === 'no-path' ? null : outcome !== 'silent';
      if (outcome !== 'void' && topology.hosts.has(host.name))
        topology.note({ kind: 'probe', by: control, host: host.name, path: path.name, met });
      return probed;
    },
  };
}

/** What a control node grants another one beyond the attempts' own deadline, as control/links/reach.ts does. */
const RELAY_MS = 300;

/** Measures which machines control nodes reach, as control/links/reach.ts does. */
export function simReach(topology: Topology, { control, process }: Caller): Reach {
  const tryAll = async (
    prober: SimProcess,
    targets: readonly ReachTarget[],
    deadlineMs: number,
  ): Promise<ReadonlySet<ReachTarget> | null> => {
    const tries = targets.map(async (target) => {
      const machine = machineOf(topology, target);
      if (machine === undefined) return { target, ...(await unanswered(prober, deadlineMs)) };
      return {
        target,
        ...(await probeKernel(topology.network, prober, { network: 'control', to: machine }, deadlineMs)),
      };
    });
    const tried = await Promise.all(tries);
    if (tried.some(({ outcome }) => outcome === 'void')) return null;
    return new Set(tried.flatMap(({ target, outcome }) => (outcome === 'silent' ? [] : [target])));
  };
  return {
    self: control,
    peers: () => [...topology.controls.keys()].filter((name) => name !== control),
    tryFrom: async (from, targets, deadlineMs) => {
      if (from === control) return tryAll(process, targets, deadlineMs);
      const peer = present(topology.controls.get(from), `control node ${from}`);
      const hop: Hop = { network: 'control', to: peer.machine, process: () => peer.process };
      try {
        return await topology.network.call(
          process,
          [hop],
          { deadlineMs: deadlineMs + RELAY_MS, what: from },
          (prober) => (prober === null || peer.context === null ? null : tryAll(prober, targets, deadlineMs)),
        );
      } catch {
        return null;
      }
    },
  };
}

function machineOf({ hosts, storage }: Topology, { kind, name }: ReachTarget): SimMachine | undefined {
  return (kind === 'host' ? hosts.get(name as HostName) : storage.get(name as StorageName))?.machine;
}

/** Members may have joined through the API without a simulated machine: nothing answers there. */
function machineNamed<K, T>(machines: ReadonlyMap<K, T>, name: K): T {
  const found = machines.get(name);
  if (found === undefined) throw new CodedError('unavailable', `Nothing answers at the address of ${String(name)}.`);
  return found;
}
