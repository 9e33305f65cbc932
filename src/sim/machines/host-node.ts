/** A simulated host: a machine whose kernel keeps QEMUs running, and an agent that may die and come back. */
import type { HostName } from '../../base/ids.ts';
import type { AgentHost } from '../../core/agent/agent-host.ts';
import { answerMetadata } from '../../core/agent/metadata-answer.ts';
import type { HostCapacity } from '../../core/model/cluster.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { LaunchOrder, MetadataGuest, NetworkPlan, ProbeOrder } from '../../core/ports/host-link.ts';
import type { Log } from '../../core/ports/log.ts';
import type { ProbeResult } from '../../core/ports/probe-result.ts';
import type { HostTroubles } from '../agent/agent-machine.ts';
import { HostKernel } from '../agent/host-kernel.ts';
import { startAgent } from '../agent/sim-agent.ts';
import { newerAgent, olderAgent } from '../agent/version-skew.ts';
import { agentService } from '../agent/wire.ts';
import type { Hop } from '../network/network.ts';
import type { WireService } from '../network/wire.ts';
import { QemuProcess, type QemuSurroundings } from '../qemu/qemu-process.ts';
import type { SimRandom } from '../time/sim-random.ts';
import type { Note } from './note.ts';
import type { SimMachine, SimProcess } from './sim-machine.ts';
import type { HostNode } from './topology.ts';

export interface SimHostNodeOptions {
  readonly name: HostName;
  readonly rack: string;
  readonly machine: SimMachine;
  readonly clock: Clock;
  readonly random: SimRandom;
  readonly capacity: HostCapacity;
  readonly troubles: Readonly<HostTroubles>;
  /** How often an agent is of the version before or after the servers', in percent. */
  readonly skewPercent: number;
  readonly qemu: QemuSurroundings;
  /** Called with each QEMU as its process begins. */
  readonly onQemu: (qemu: QemuProcess) => void;
  readonly onHarm: (what: string) => void;
  readonly note: Note;
  /** Whether its agent begins as a member. */
  readonly hasIdentity: boolean;
  /**
   * Becomes a member of the cluster: each attempt with a certificate of another number, as a request is certified anew.
   * Resolves with the number of its own when it is one.
   */
  readonly join: (agent: SimProcess, nextSerial: () => string) => Promise<string>;
  readonly log: Log;
}

/** How often guests look, how long they take to answer, and how many never do. */
const GUEST_LOOK_MS = 500;
const GUEST_MS_MAX = 6_000;
const NEVER_PERCENT = 30;

/** See the module's comment. */
export class SimHostNode implements HostNode {
  readonly name: HostName;
  readonly rack: string;
  readonly machine: SimMachine;
  readonly #options: SimHostNodeOptions;
  readonly #guestRandom: SimRandom;
  readonly #kernel: HostKernel<QemuProcess>;
  #agent: { readonly process: SimProcess; readonly service: WireService } | null = null;
  /** The agent's process, from its start on: one without an identity does not serve yet. */
  #process: SimProcess | null = null;
  /** Whether the agent's certificate is on its disk. */
  #hasIdentity: boolean;
  /** How often it tried to join. */
  #attempts = 0;
  #serial: string;

  constructor(options: SimHostNodeOptions) {
    const { name, rack, machine, clock, capacity, onHarm } = options;
    this.name = name;
    this.rack = rack;
    this.machine = machine;
    this.#options = options;
    this.#hasIdentity = options.hasIdentity;
    this.#serial = `${name}-0`;
    this.#guestRandom = options.random.fork('guests are told');
    this.#kernel = new HostKernel({ machine, clock, capacity, onHarm, spawn: (order) => this.#spawn(order) });
  }

  get serial(): string {
    return this.#serial;
  }

  /** Whether its agent has no identity, or none is left: it asks to join as soon as it runs. */
  get isJoining(): boolean {
    return !this.#hasIdentity;
  }

  /** Also while it does not serve. */
  get agentProcess(): SimProcess | null {
    return this.#process;
  }

  get agent(): { readonly process: SimProcess; readonly service: WireService } | null {
    return this.#agent;
  }

  /** The plan in force since some agent made it; null since the boot. */
  get network(): NetworkPlan | null {
    return this.#kernel.network;
  }

  readonly qemus = (): readonly QemuProcess[] => this.#kernel.qemus;

  /** Starts an agent where the machine is up and none runs. */
  startAgent(): void {
    if (!this.machine.up || this.#process !== null) return;
    const { name, join, log } = this.#options;
    const process = this.machine.spawn(`agent ${name}`);
    this.#process = process;
    process.onEnd(() => {
      this.#process = null;
      this.#agent = null;
    });
    if (this.#hasIdentity) {
      this.#serve(process);
      return;
    }
    log.info('joining', {});
    const nextSerial = (): string => `${name}-${++this.#attempts}`;
    void join(process, nextSerial).then((serial) => {
      this.#hasIdentity = true;
      this.#serial = serial;
      this.#serve(process);
    });
  }

  /** The agent loses all that it kept, its identity, and its life. What runs is the kernel's. */
  wipe(): void {
    this.#hasIdentity = false;
    this.#process?.end();
  }

  #serve(process: SimProcess): void {
    const { name, random, troubles, log } = this.#options;
    const probe = (order: ProbeOrder): Promise<ProbeResult> => this.#probe(process, order);
    const host = startAgent({ name, clock: process, kernel: this.#kernel, random, troubles, probe, log });
    this.#agent = { process, service: this.#ofSomeVersion(agentService(host)) };
    this.#guestsLook(process, host, new Set());
    log.info('serving', { incarnations: host.report().incarnations.length });
  }

  /**
   * Guests look now and then for what is about to happen to them, as cluster software does. Some acknowledge it at once,
   * some when their services are elsewhere, some never.
   */
  #guestsLook(process: SimProcess, host: AgentHost, seen: Set<string>): void {
    for (const guest of host.guests.list()) {
      const { event } = guest;
      if (event === null || event.state !== 'scheduled' || seen.has(event.id)) continue;
      seen.add(event.id);
      if (this.#guestRandom.chance(NEVER_PERCENT)) continue;
      process.after(this.#guestRandom.between(0, GUEST_MS_MAX), () => this.#acknowledge(host, guest, event.id));
    }
    process.after(GUEST_LOOK_MS, () => this.#guestsLook(process, host, seen));
  }

  #acknowledge(host: AgentHost, { vni, address }: MetadataGuest, id: string): void {
    const guest = host.guests.find(vni, address);
    if (guest === null) return;
    const url = '/metadata/scheduledevents?api-version=2020-07-01';
    const body = JSON.stringify({ StartRequests: [{ EventId: id }] });
    const { status } = answerMetadata(host.guests, guest, { method: 'POST', url, headers: { metadata: 'true' }, body });
    // An event that is over by now is nobody's to acknowledge.
    const number = (guest.incarnation + 1) / 3;
    if (status === 200) this.#options.note({ kind: 'notice-acknowledged', vm: guest.vm, number });
  }

  /** Disk ports are reached over the storage network; a port accepts while its daemon runs. */
  async #probe(process: SimProcess, { address, port, deadlineMs }: ProbeOrder): Promise<ProbeResult> {
    const { network, storageAt } = this.#options.qemu;
    const storage = storageAt(address);
    if (storage === undefined) return { outcome: 'silent', lateMs: 0 };
    const hop: Hop = { network: 'disks', to: storage.machine, process: () => null };
    try {
      const isServed = await network.call(process, [hop], { deadlineMs, what: address }, () => storage.isServed(port));
      return { outcome: isServed ? 'accepted' : 'refused', lateMs: 0 };
    } catch {
      return { outcome: 'silent', lateMs: 0 };
    }
  }

  /** Every life of an agent may be of another version: hosts are upgraded, and some are put back. */
  #ofSomeVersion(service: WireService): WireService {
    const { random, skewPercent } = this.#options;
    if (skewPercent === 0 || !random.chance(skewPercent)) return service;
    return random.chance(50) ? olderAgent(service) : newerAgent(service);
  }

  #spawn(order: LaunchOrder): QemuProcess {
    const { vm, generation, nics } = order;
    const process = this.machine.spawn(`qemu ${vm}:${generation}`);
    const drops = this.#kernel.network?.drop ?? [];
    if (nics.length > 0) this.#options.note({ kind: 'launched', host: this.name, vm, generation, drops });
    const qemu = new QemuProcess(order, process, this.#options.qemu);
    this.#options.onQemu(qemu);
    return qemu;
  }
}
