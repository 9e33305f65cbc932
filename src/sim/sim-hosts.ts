/** Simulated hosts: a kernel, an agent that remembers nothing, QEMU processes, and the two networks that lead to them. */
import { CodedError } from '../base/errors.ts';
import type { HostName, StorageName, VmId } from '../base/ids.ts';
import type {
  HostReport,
  KillOrder,
  KillResult,
  LaunchOrder,
  LaunchResult,
  NetworkPlan,
  Order,
} from '../core/ports/host-link.ts';
import { SimQemu } from './sim-qemu.ts';

/** One host. What is cut is cut in both directions. */
export class SimHost {
  readonly name: HostName;
  readonly memoryBytes: number;
  readonly processes = new Map<string, SimQemu>();
  up = true;
  agentUp = true;
  controlCut = false;
  storageCut = false;
  /** Guests that ignore the power button. */
  deafGuests = false;
  #boots = 1;
  #pids = 100;
  #term = 0;
  #networkRevision = 0;

  constructor(name: HostName, memoryBytes: number) {
    this.name = name;
    this.memoryBytes = memoryBytes;
  }

  /** Power goes: every process with it. */
  kill(): void {
    for (const qemu of this.processes.values()) qemu.ended = true;
    this.processes.clear();
    this.up = false;
    this.restartAgent();
  }

  powerOn(): void {
    if (this.up) return;
    this.up = true;
    this.#boots++;
  }

  /** An agent that starts knows no term and no network. */
  restartAgent(): void {
    this.#term = 0;
    this.#networkRevision = 0;
    this.agentUp = true;
  }

  killAgent(): void {
    this.agentUp = false;
  }

  report(): HostReport {
    return {
      host: this.name,
      bootId: `${this.name}-${this.#boots}`,
      agentVersion: 'simulated',
      capacity: { memoryBytes: this.memoryBytes, vcpus: 64, accelerator: 'tcg', cpuModels: [] },
      incarnations: [...this.processes.values()].map(({ start }) => ({ ...start, startTicks: `${start.pid}` })),
      networkRevision: this.#networkRevision,
    };
  }

  launch(order: LaunchOrder, nodeOf: (disk: LaunchOrder['disks'][number]) => StorageName): LaunchResult {
    this.#accept(order);
    const known = this.processes.get(`${order.vm}:${order.generation}`);
    if (known !== undefined) return { pid: known.start.pid, startTicks: `${known.start.pid}`, already: true };
    if ([...this.processes.values()].some(({ start }) => start.slot === order.slot))
      throw new CodedError('failed', `Slot ${order.slot} of ${this.name} is in use.`);
    const pid = ++this.#pids;
    const qemu = new SimQemu({
      vm: order.vm,
      generation: order.generation,
      slot: order.slot,
      pid,
      incoming: order.incoming,
      patienceMs: Math.max(0, ...order.disks.map(({ patienceMs }) => patienceMs)),
      disks: order.disks.map((disk) => ({ disk: disk.disk, node: nodeOf(disk), readOnly: disk.readOnly })),
    });
    this.processes.set(qemu.key, qemu);
    return { pid, startTicks: `${pid}`, already: false };
  }

  killProcesses(order: KillOrder): KillResult {
    this.#accept(order);
    return { killed: order.generations.filter((generation) => this.end(order.vm, generation)) };
  }

  applyNetwork(order: NetworkPlan & Order): void {
    this.#accept(order);
    if (order.revision < this.#networkRevision) throw new CodedError('stale-order', 'An older network plan.');
    this.#networkRevision = order.revision;
  }

  /** Ends a process; true where there was one. */
  end(vm: VmId, generation: number): boolean {
    const key = `${vm}:${generation}`;
    const qemu = this.processes.get(key);
    if (qemu === undefined) return false;
    qemu.ended = true;
    return this.processes.delete(key);
  }

  #accept({ term }: Order): void {
    if (term < this.#term) throw new CodedError('stale-order', `A leader of term ${this.#term} was heard.`);
    this.#term = term;
  }
}
