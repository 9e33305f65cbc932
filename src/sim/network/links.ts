/** A control node's links to agents, storage services and hosts' kernels, over simulated networks (core/ports). */
import { present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName, StorageName } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import type { Path } from '../../core/model/paths.ts';
import type { CallOptions, HostLink } from '../../core/ports/host-link.ts';
import type { Paths } from '../../core/ports/paths.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
import type { Reach, ReachTarget } from '../../core/ports/reach.ts';
import type { StorageLink } from '../../core/ports/storage-link.ts';
import { type Carry, hostLinkOver } from '../agent/wire.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import { pathsOf, relayOf, type Topology } from '../machines/topology.ts';
import type { StorageOrders } from '../storage/sim-storage-node.ts';
import type { Hop } from './network.ts';

/** Who calls: a control node's server. */
export interface Caller {
  readonly control: string;
  readonly process: SimProcess;
}

/** Agents on the control network: the link of production, its words carried by simulated messages. */
export function simHostLink(topology: Topology, { control, process }: Caller): HostLink {
  const carry: Carry = (name, request, { deadlineMs }) => {
    const node = machineNamed(topology.hosts, name);
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

/** Storage services on the control network. */
export function simStorageLink(topology: Topology, { process }: Caller): StorageLink {
  const onNode = <T>(
    name: StorageName,
    { deadlineMs }: CallOptions,
    serve: (service: StorageOrders) => T | Promise<T>,
  ): Promise<T> => {
    const node = machineNamed(topology.storage, name);
    const hop: Hop = { network: 'control', to: node.machine, process: () => node.listener };
    return topology.network.call(process, [hop], { deadlineMs, what: `Storage node ${name}` }, (listener) => {
      const { orders } = node;
      if (listener === null || orders === null) throw new CodedError('unavailable', `Nobody listens on ${name}.`);
      return serve(orders);
    });
  };
  return {
    report: (name, options) => onNode(name, options, (service) => service.report()),
    fence: (name, order, options) => onNode(name, options, (service) => service.fence(order)),
    grant: (name, order, options) => {
      const knownAt = topology.knownAt(order.term);
      return onNode(name, options, (service) => service.grant(order, knownAt));
    },
    revoke: (name, order, options) => onNode(name, options, (service) => service.revoke(order)),
    createDisk: (name, disk, order, options) => onNode(name, options, (service) => service.createDisk(disk, order)),
    deleteDisk: (name, disk, order, options) => onNode(name, options, (service) => service.deleteDisk(disk, order)),
    createSharedDisk: (name, disk, order, options) =>
      onNode(name, options, (service) => service.createSharedDisk(disk, order)),
    deleteSharedDisk: (name, disk, order, options) =>
      onNode(name, options, (service) => service.deleteSharedDisk(disk, order)),
  };
}

/** As os/tcp-probe.ts: a timer later than this says that the prober was not running. */
const LATE_MS_MAX = 150;
/** What a control node grants a relay beyond the probe's own deadline, as control/links/paths.ts does. */
const RELAY_MS = 300;

/** The paths to hosts' kernels, with attempts on each. */
export function simPaths(topology: Topology, { control, process }: Caller): Paths {
  return {
    list: () => pathsOf(topology, control),
    probe: async (path, { name }, deadlineMs) => {
      const machine = topology.hosts.get(name)?.machine;
      if (machine === undefined) return unanswered(process, deadlineMs);
      const probed = await probeAlong(topology, { process, path, machine, deadlineMs });
      const { outcome } = probed;
      if (outcome !== 'void')
        topology.note({
          kind: 'probe',
          by: control,
          host: name,
          path: path.name,
          met: outcome === 'no-path' ? null : outcome !== 'silent',
        });
      return probed;
    },
  };
}

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
      return { target, ...(await probeKernel(topology, prober, { network: 'control', to: machine }, deadlineMs)) };
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

async function unanswered(prober: SimProcess, deadlineMs: number): Promise<ProbeResult> {
  await sleep(prober, deadlineMs);
  return { outcome: 'silent', lateMs: 0 };
}

interface Probe {
  readonly process: SimProcess;
  readonly path: Path;
  readonly machine: SimMachine;
  readonly deadlineMs: number;
}

async function probeAlong(topology: Topology, probe: Probe): Promise<Awaited<ReturnType<Paths['probe']>>> {
  const { process, path, machine, deadlineMs } = probe;
  const relay = relayOf(topology, path);
  if (relay === null) return probeKernel(topology, process, { network: path.network, to: machine }, deadlineMs);
  const how = { deadlineMs: deadlineMs + RELAY_MS, what: path.name };
  try {
    return await topology.network.call(process, [relay], how, (prober) => {
      if (prober === null) throw new CodedError('unavailable', `Nobody listens at ${path.name}.`);
      return probeKernel(topology, prober, { network: path.network, to: machine }, deadlineMs);
    });
  } catch {
    return { outcome: 'no-path', lateMs: 0 };
  }
}

async function probeKernel(
  topology: Topology,
  prober: SimProcess,
  to: Pick<Hop, 'network' | 'to'>,
  deadlineMs: number,
): Promise<ProbeResult> {
  const startedAt = prober.monotonicMs();
  try {
    const hop: Hop = { ...to, process: () => null };
    await topology.network.call(prober, [hop], { deadlineMs, what: to.to.name }, () => undefined);
    return { outcome: 'refused', lateMs: 0 };
  } catch {
    const lateMs = Math.max(0, Math.round(prober.monotonicMs() - startedAt - deadlineMs));
    return { outcome: lateMs > LATE_MS_MAX ? 'void' : 'silent', lateMs };
  }
}
