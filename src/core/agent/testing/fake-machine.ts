/**
 * A machine that a test controls step by step: preparations, starts, kills and networks wait until the test lets them
 * continue.
 */
import {
  parseGeneration,
  parseHostName,
  parseNetworkName,
  parseVmId,
  type Term,
  type VmId,
} from '../../../base/ids.ts';
import type { HostCapacity } from '../../model/cluster.ts';
import type {
  KillOrder,
  LaunchOrder,
  MachineFigures,
  NetworkPlan,
  ProbeOrder,
  RunningIncarnation,
} from '../../ports/host-link.ts';
import type { ProbeResult } from '../../ports/probe-result.ts';
import { AgentHost } from '../agent-host.ts';
import type { Cancellation } from '../cancellation.ts';
import type { IncarnationName, Machine, PreparedStart, ProcessName, Starting } from '../machine.ts';

const HOST = parseHostName('h1');
/** The VM that most orders are about. */
export const VM: VmId = parseVmId('vm-0123456789ab');

/** A point at which the machine waits; closed or open, for everybody who comes. */
class Gate {
  #closed: PromiseWithResolvers<void> | null = null;

  close(): void {
    this.#closed ??= Promise.withResolvers();
  }

  open(): void {
    this.#closed?.resolve();
    this.#closed = null;
  }

  pass(): Promise<void> {
    return this.#closed?.promise ?? Promise.resolve();
  }
}

/** See the module's comment. `said` lists the calls to it, in order. */
export class FakeMachine implements Machine {
  readonly gates = {
    prepare: new Gate(),
    start: new Gate(),
    kill: new Gate(),
    network: new Gate(),
    remains: new Gate(),
  };
  readonly said: string[] = [];
  readonly files = new Set<string>();
  /** Thrown by the step of this name, as long as it is here. */
  readonly failures = new Map<'prepare' | 'start' | 'kill' | 'network' | 'remains', Error>();
  processes: RunningIncarnation[] = [];
  starting: readonly Starting[] = [];
  boots = 1;
  #pids = 100;

  async probe({ address, port }: ProbeOrder): Promise<ProbeResult> {
    this.said.push(`probe ${address}:${port}`);
    return { outcome: 'accepted', lateMs: 0 };
  }

  bootId(): string {
    return `boot-${this.boots}`;
  }

  capacity(): HostCapacity {
    return { memoryBytes: 2 ** 30, vcpus: 4, accelerator: 'tcg', cpuModels: ['baseline'] };
  }

  qemuVersion(): string {
    return '7.2.0';
  }

  running(): readonly RunningIncarnation[] {
    return [...this.processes];
  }

  async prepare(order: LaunchOrder, cancellation: Cancellation): Promise<PreparedStart> {
    this.said.push(`prepare ${order.generation}`);
    await this.#step('prepare', cancellation);
    return { start: () => this.#start(order, cancellation) };
  }

  async kill({ pid }: ProcessName): Promise<void> {
    this.said.push(`kill ${pid}`);
    await this.#step('kill');
    this.processes = this.processes.filter((other) => other.pid !== pid);
  }

  async makeNetwork(plan: NetworkPlan, starting: () => readonly Starting[]): Promise<void> {
    this.said.push(`network ${plan.revision}`);
    await this.#step('network');
    this.starting = starting();
    this.said.push(`network ${plan.revision} made`);
  }

  async removeStaleTaps(starting: () => readonly Starting[]): Promise<void> {
    this.starting = starting();
    this.said.push('taps');
  }

  async remains(): Promise<readonly IncarnationName[]> {
    const names = [...this.files].map((file) => {
      const [vm = '', generation] = file.split(':');
      return { vm: parseVmId(vm), generation: parseGeneration(Number(generation)) };
    });
    await this.#step('remains');
    return names;
  }

  shortenLog({ generation }: RunningIncarnation): void {
    this.said.push(`shorten ${generation}`);
  }

  async removeRemains({ vm, generation }: IncarnationName): Promise<string> {
    this.said.push(`remove ${generation}`);
    this.files.delete(`${vm}:${generation}`);
    return 'last words';
  }

  async serialTail({ generation }: IncarnationName, bytes: number): Promise<string> {
    return `${bytes} bytes of ${generation}`;
  }

  figures({ vm, generation }: IncarnationName): MachineFigures | null {
    const isHere = this.processes.some((each) => each.vm === vm && each.generation === generation);
    return isHere ? { cpuMs: 1_000 * generation, residentBytes: 2 ** 20, nics: [] } : null;
  }

  /** A process that somebody started, with its files. */
  add(vm: VmId, generation: number, slot: number): RunningIncarnation {
    const pid = ++this.#pids;
    const name = { vm, generation: parseGeneration(generation) };
    const process = { ...name, slot, pid, startTicks: `${pid}0`, incoming: false };
    this.processes.push(process);
    this.files.add(`${vm}:${generation}`);
    return process;
  }

  async #start(order: LaunchOrder, cancellation: Cancellation): Promise<ProcessName> {
    this.said.push(`start ${order.generation}`);
    this.files.add(`${order.vm}:${order.generation}`);
    await this.#step('start', cancellation);
    const { pid, startTicks } = this.add(order.vm, order.generation, order.slot);
    return { pid, startTicks };
  }

  /** Waits at the gate of a step, or until it is called off; then fails where it shall. */
  async #step(name: keyof FakeMachine['gates'], cancellation?: Cancellation): Promise<void> {
    const calledOff = new Promise<never>((_, reject) => void cancellation?.onCancel(reject));
    await Promise.race([this.gates[name].pass(), calledOff]);
    const failure = this.failures.get(name);
    if (failure !== undefined) throw failure;
  }
}

/** An agent that has just begun to live on this machine, and what it logs. */
export function agentOn(machine: Machine): { readonly agent: AgentHost; readonly logged: string[] } {
  const logged: string[] = [];
  const log = {
    info: (message: string) => void logged.push(message),
    warn: (message: string, fields?: object) => void logged.push(`! ${message} ${JSON.stringify(fields)}`),
  };
  return { agent: new AgentHost({ name: HOST, version: '1.2.3', machine, clock: { wallMs: () => 0 }, log }), logged };
}

/** A launch of VM in slot 3, term 5, without network cards. */
export function launchOrder(generation: number, changes: Partial<LaunchOrder> = {}): LaunchOrder {
  return {
    term: 5 as Term,
    vm: VM,
    vmName: 'web1',
    generation: parseGeneration(generation),
    slot: 3,
    incoming: false,
    machine: {
      vcpus: 1,
      memoryBytes: 2 ** 26,
      cpuModel: 'baseline',
      firmware: 'bios',
      kernel: null,
      initrd: null,
      append: null,
    },
    disks: [],
    nics: [],
    credentials: { caPem: '', certPem: '', keyPem: '' },
    network: networkPlan(1),
    ...changes,
  };
}

/** A plan with network `lan`, VNI 100. */
export function networkPlan(revision: number): NetworkPlan {
  const lan = { name: parseNetworkName('lan'), vni: 100, peers: [], gateway: null, nat: false, dhcp: null };
  return { revision, networks: [lan], drop: [] };
}

/** A network card in `lan`. */
export const NIC = { mac: '02:00:00:00:00:01', network: parseNetworkName('lan'), vni: 100 };

/** An order to end generations of VM, term 5. */
export function killOrder(generations: readonly number[], changes: Partial<KillOrder> = {}): KillOrder {
  return { term: 5 as Term, vm: VM, generations: generations.map(parseGeneration), reason: 'a test', ...changes };
}
