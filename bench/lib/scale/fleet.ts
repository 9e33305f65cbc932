/**
 * The hosts, QEMUs and storage services of a large cluster, as far as a leader sees them: what they answer, and when.
 * Their insides are left out (20,000 guests that write to their disks say nothing about the leader), so that what is
 * measured is the leader.
 *
 * Every question goes as a message over the simulated network and comes back as one, or not at all.
 */
import { present } from '../../../src/base/assert.ts';
import { CodedError } from '../../../src/base/errors.ts';
import type { HostName, StorageName, VmId } from '../../../src/base/ids.ts';
import type { QmpObservation } from '../../../src/core/model/observation.ts';
import { pathsFrom } from '../../../src/core/model/paths.ts';
import type {
  HostLink,
  HostReport,
  LaunchOrder,
  LaunchResult,
  RunningIncarnation,
} from '../../../src/core/ports/host-link.ts';
import type { Paths } from '../../../src/core/ports/paths.ts';
import type { ProbeResult } from '../../../src/core/ports/probe-result.ts';
import type { QmpLink, QmpTarget } from '../../../src/core/ports/qmp-link.ts';
import type { StorageLink, StorageReport } from '../../../src/core/ports/storage-link.ts';
import { SimMachine, type SimProcess } from '../../../src/sim/machines/sim-machine.ts';
import type { Hop, SimNetwork } from '../../../src/sim/network/network.ts';
import type { SimClock } from '../../../src/sim/time/sim-clock.ts';
import { diskRecord, hostCapacity, hostName, type Shape, storageName, vmRecord } from './records.ts';

interface Qemu {
  readonly running: RunningIncarnation;
  status: string;
}

interface Host {
  readonly machine: SimMachine;
  readonly agent: SimProcess;
  readonly qemus: Map<string, Qemu>;
  networkRevision: number;
}

interface Node {
  readonly machine: SimMachine;
  readonly service: SimProcess;
  /** Granted generations by disk. */
  readonly disks: Map<string, { readonly vm: VmId; readonly generations: Set<number> }>;
}

const QMP_MS = 1_000;
/** How much longer than the probe's own deadline a control node waits for a relay (control/links/paths.ts). */
const RELAY_MS = 300;
let pids = 1_000;

/** See the module's comment. */
export class Fleet {
  readonly hosts = new Map<HostName, Host>();
  readonly nodes = new Map<StorageName, Node>();
  /** How often the leader sent each kind of question. */
  readonly asked = new Map<string, number>();
  readonly #network: SimNetwork;
  readonly #shape: Shape;

  constructor(clock: SimClock, network: SimNetwork, shape: Shape) {
    this.#network = network;
    this.#shape = shape;
    for (let n = 0; n < shape.hosts; n++) this.#addHost(hostName(n), clock);
    for (let n = 0; n < shape.storageNodes; n++) this.#addNode(storageName(n), clock);
    for (let n = 0; n < shape.hosts * shape.vmsPerHost; n++) this.#addVm(n);
  }

  #addHost(name: HostName, clock: SimClock): void {
    const machine = new SimMachine(name, clock);
    this.hosts.set(name, { machine, agent: machine.spawn(`agent ${name}`), qemus: new Map(), networkRevision: 0 });
  }

  #addNode(name: StorageName, clock: SimClock): void {
    const machine = new SimMachine(name, clock);
    this.nodes.set(name, { machine, service: machine.spawn(`storage ${name}`), disks: new Map() });
  }

  #addVm(n: number): void {
    const { id, phase } = vmRecord(n, this.#shape);
    const disk = diskRecord(n, this.#shape);
    const { incarnation } = phase as Extract<typeof phase, { kind: 'running' }>;
    const { generation, slot, host } = incarnation;
    const pid = ++pids;
    const running = { vm: id, generation, slot, pid, startTicks: `${pid}`, incoming: false };
    this.hosts.get(host)?.qemus.set(`${id}:${generation}`, { running, status: 'running' });
    this.nodes.get(disk.node)?.disks.set(disk.id, { vm: id, generations: new Set([generation]) });
  }

  /** Cuts the power of these hosts at one instant. */
  lose(names: readonly HostName[]): void {
    for (const name of names) this.#host(name).machine.powerOff();
  }

  hostLink(leader: SimProcess): HostLink {
    const ask = <T>(what: string, name: HostName, deadlineMs: number, serve: (host: Host) => T): Promise<T> => {
      this.#count(what);
      const host = this.#host(name);
      const hop: Hop = { network: 'control', to: host.machine, process: () => host.agent };
      return this.#network.call(leader, [hop], { deadlineMs, what: `The agent of ${name}` }, () => serve(host));
    };
    return {
      report: (name, { deadlineMs }) => ask('report', name, deadlineMs, (host) => this.#report(name, host)),
      launch: (name, order, { deadlineMs }) => ask('launch', name, deadlineMs, (host) => this.#launch(host, order)),
      kill: (name, { vm, generations }, { deadlineMs }) =>
        ask('kill', name, deadlineMs, (host) => {
          return { killed: generations.filter((generation) => host.qemus.delete(`${vm}:${generation}`)) };
        }),
      applyNetwork: (name, { revision }, { deadlineMs }) =>
        ask('network plan', name, deadlineMs, (host) => {
          host.networkRevision = revision;
        }),
      probe: (name, _order, { deadlineMs }) =>
        ask('disk probe', name, deadlineMs, () => ({ outcome: 'accepted', lateMs: 0 }) as const),
    };
  }

  storageLink(leader: SimProcess): StorageLink {
    const ask = <T>(what: string, name: StorageName, deadlineMs: number, serve: (node: Node) => T): Promise<T> => {
      this.#count(what);
      const node = this.#node(name);
      const hop: Hop = { network: 'control', to: node.machine, process: () => node.service };
      return this.#network.call(leader, [hop], { deadlineMs, what: `Storage node ${name}` }, () => serve(node));
    };
    return {
      report: (name, { deadlineMs }) => ask('storage report', name, deadlineMs, (node) => storageReport(name, node)),
      fence: (name, { below, disks }, { deadlineMs }) =>
        ask('fence', name, deadlineMs, (node) => {
          for (const disk of disks) {
            const granted = node.disks.get(disk)?.generations ?? new Set<number>();
            for (const generation of granted) if (generation < below) granted.delete(generation);
          }
          return { revoked: [] };
        }),
      grant: (name, { generation, disks }, { deadlineMs }) =>
        ask('grant', name, deadlineMs, (node) => {
          for (const { disk } of disks) node.disks.get(disk)?.generations.add(generation);
          return { exports: disks.map(({ disk, port }) => ({ disk, port, name: `g${generation}` })) };
        }),
      revoke: unexpected,
      createDisk: (name, disk, { vm }, { deadlineMs }) =>
        ask('create disk', name, deadlineMs, (node) => {
          node.disks.set(disk, { vm, generations: new Set() });
        }),
      deleteDisk: unexpected,
      createSharedDisk: unexpected,
      deleteSharedDisk: unexpected,
      diskFacts: unexpected,
    };
  }

  qmpLink(leader: SimProcess): QmpLink {
    const ask = <T>(what: string, { host: name }: QmpTarget, serve: (host: Host) => T): Promise<T> => {
      this.#count(what);
      const host = this.#host(name);
      const hop: Hop = { network: 'control', to: host.machine, process: () => host.agent };
      return this.#network.call(leader, [hop], { deadlineMs: QMP_MS, what: `QMP on ${name}` }, () => serve(host));
    };
    const observe = async (target: QmpTarget): Promise<QmpObservation> => {
      const key = `${target.vm}:${target.generation}`;
      try {
        const status = await ask('query-status', target, (host) => host.qemus.get(key)?.status ?? null);
        if (status === null) return { kind: 'refused', via: 'direct', ageMs: 0 };
        return { kind: 'answers', status, via: 'direct', ageMs: 0, migration: null, sentTo: null };
      } catch {
        return { kind: 'silent', paths: ['direct'], ageMs: 0 };
      }
    };
    const cont = (target: QmpTarget): Promise<void> =>
      ask('cont', target, (host) => {
        const qemu = host.qemus.get(`${target.vm}:${target.generation}`);
        if (qemu !== undefined) qemu.status = 'running';
      });
    const other = { halt: unexpected, reset: unexpected, powerDown: unexpected, quit: unexpected, listen: unexpected };
    const sending = { activate: unexpected, send: unexpected, allowPause: unexpected, cancelSend: unexpected };
    const rest = { ...sending, certificateEndsAt: () => null, onEvent: () => undefined, forget: () => undefined };
    const shared = {
      plug: unexpected,
      unplug: unexpected,
      sharedDisks: unexpected,
      dirtyRate: unexpected,
      blockFigures: unexpected,
      machineFacts: unexpected,
    };
    return { observe, cont, ...other, ...shared, ...rest };
  }

  /** Directly, and through each storage node. */
  paths(leader: SimProcess): Paths {
    const paths = pathsFrom({ self: '', controls: [], storage: this.nodes.keys() });
    return {
      list: () => paths,
      probe: async ({ storage }, { name }, deadlineMs) => {
        this.#count('probe');
        const { machine } = this.#host(name);
        if (storage === null) return this.#probe(leader, { network: 'control', to: machine }, deadlineMs);
        const node = this.#node(storage);
        const relay: Hop = { network: 'control', to: node.machine, process: () => node.service };
        const how = { deadlineMs: deadlineMs + RELAY_MS, what: storage };
        try {
          const attempt = () => this.#probe(node.service, { network: 'storage', to: machine }, deadlineMs);
          return await this.#network.call(leader, [relay], how, attempt);
        } catch {
          // The leader itself was late: an attempt that nobody waited for says nothing about the host.
          return { outcome: 'no-path', lateMs: 0 };
        }
      },
    };
  }

  async #probe(prober: SimProcess, to: Pick<Hop, 'network' | 'to'>, deadlineMs: number): Promise<ProbeResult> {
    try {
      const how = { deadlineMs, what: to.to.name };
      await this.#network.call(prober, [{ ...to, process: () => null }], how, () => undefined);
      return { outcome: 'refused', lateMs: 0 };
    } catch {
      return { outcome: 'silent', lateMs: 0 };
    }
  }

  /** A new object each time, like one that was parsed. */
  #report(name: HostName, host: Host): HostReport {
    return {
      host: name,
      bootId: `${name}-1`,
      agentVersion: 'simulated',
      capacity: hostCapacity(this.#shape.vmsPerHost),
      incarnations: [...host.qemus.values()].map(({ running }) => ({ ...running })),
      networkRevision: host.networkRevision,
    };
  }

  #launch(host: Host, { vm, generation, slot, incoming }: LaunchOrder): LaunchResult {
    const known = host.qemus.get(`${vm}:${generation}`);
    if (known !== undefined) return { ...known.running, already: true, listens: false };
    if ([...host.qemus.values()].some(({ running }) => running.slot === slot))
      throw new CodedError('failed', `Slot ${slot} is in use.`);
    const pid = ++pids;
    const running = { vm, generation, slot, pid, startTicks: `${pid}`, incoming };
    host.qemus.set(`${vm}:${generation}`, { running, status: 'prelaunch' });
    return { ...running, already: false, listens: incoming };
  }

  #count(what: string): void {
    this.asked.set(what, (this.asked.get(what) ?? 0) + 1);
  }

  #host(name: HostName): Host {
    return present(this.hosts.get(name), `host ${name}`);
  }

  #node(name: StorageName): Node {
    return present(this.nodes.get(name), `storage node ${name}`);
  }
}

function storageReport(node: StorageName, { disks }: Node): StorageReport {
  return {
    node,
    pool: { totalBytes: 2 ** 45, freeBytes: 2 ** 44 },
    artifacts: [],
    disks: [...disks].map(([disk, { vm, generations }]) => ({
      disk: disk as StorageReport['disks'][number]['disk'],
      grants: [...generations].map((generation) => ({
        vm,
        generation: generation as StorageReport['disks'][number]['grants'][number]['generation'],
        connections: [{ address: '10.1.0.1', idleMs: 100 }],
      })),
    })),
  };
}

async function unexpected(): Promise<never> {
  throw new CodedError('failed', 'This benchmark has no such order.');
}
