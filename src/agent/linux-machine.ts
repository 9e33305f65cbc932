/**
 * The machine an agent stands on, by Linux: /proc for what runs, QEMU for incarnations, a directory per incarnation,
 * the network driver. Guarantees: decides nothing and remembers nothing about incarnations (core/agent/agent-host.ts
 * decides).
 */

import { readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseGeneration, parseVmId } from '../base/ids.ts';
import type { Cancellation } from '../core/agent/cancellation.ts';
import type { IncarnationName, Machine, PreparedStart, ProcessName, Starting } from '../core/agent/machine.ts';
import type { HostCapacity } from '../core/model/cluster.ts';
import type {
  LaunchOrder,
  MachineFigures,
  NetworkPlan,
  ProbeOrder,
  RunningIncarnation,
} from '../core/ports/host-link.ts';
import type { ProbeResult } from '../core/ports/probe-result.ts';
import { removeForeign } from '../os/foreign-files.ts';
import { bootId, isRunning, type ProcessIdentity } from '../os/process-table.ts';
import { probeTcp } from '../os/tcp-probe.ts';
import type { ArtifactCache } from './artifacts.ts';
import type { AgentConfig } from './config.ts';
import { readFigures } from './figures.ts';
import { FIRST_QEMU_UID, findIncarnations, reported } from './incarnations.ts';
import type { NetworkDriver } from './network/driver.ts';
import type { WantedTap } from './network/link-plan.ts';
import type { HostPorts } from './network/port-filter.ts';
import { tapName } from './network/taps.ts';
import { InstalledVersion } from './qemu/installed-version.ts';
import { killProcess, lastWords, launchQemu } from './qemu/launch.ts';
import { needsOf } from './qemu/needs.ts';
import type { AcceleratorProbe } from './qemu/probe.ts';
import { cutToTail, readTail } from './tail.ts';

export interface LinuxMachineOptions {
  readonly config: AgentConfig;
  /** Settles once, soon after the start; never rejects. */
  readonly probe: Promise<AcceleratorProbe>;
  readonly artifacts: ArtifactCache;
  readonly network: NetworkDriver;
  readonly ports: HostPorts;
}

const FETCH_DEADLINE_MS = 30_000;
const START_DEADLINE_MS = 20_000;
const SERIAL_LOG = { limitBytes: 1024 * 1024, keepBytes: 256 * 1024 };
const DIRECTORY = /^(vm-[0-9a-f]{12})-g([1-9]\d{0,15})$/;

/** See the module's comment. */
export class LinuxMachine implements Machine {
  readonly #options: LinuxMachineOptions;
  readonly #qemu = new InstalledVersion();
  #probe: AcceleratorProbe = { accelerator: 'tcg', cpuModels: ['baseline'], reason: null };

  constructor(options: LinuxMachineOptions) {
    this.#options = options;
    void options.probe.then((probe) => {
      this.#probe = probe;
    });
    void this.#qemu.look();
  }

  bootId(): string {
    return bootId();
  }

  /** Says `tcg` until the accelerator was probed (some seconds at most). */
  capacity(): HostCapacity {
    const { memoryBytes, vcpus } = this.#options.config;
    const { accelerator, cpuModels } = this.#probe;
    return { memoryBytes, vcpus: vcpus ?? availableParallelism(), accelerator, cpuModels };
  }

  /** Each report triggers a check, so that an upgraded QEMU is known some seconds later. */
  qemuVersion(): string | null {
    void this.#qemu.look();
    return this.#qemu.version;
  }

  running(): readonly RunningIncarnation[] {
    return findIncarnations().map(reported);
  }

  async prepare(order: LaunchOrder, cancellation: Cancellation): Promise<PreparedStart> {
    const { artifacts, probe, ports } = this.#options;
    const { kernel, initrd } = order.machine;
    const directory = this.#directory(order);
    const signal = signalOf(cancellation);
    ports.starting(directory, { uid: FIRST_QEMU_UID + order.slot, ...needsOf(order) });
    const fetch = { deadlineMs: FETCH_DEADLINE_MS, signal };
    const [{ accelerator }, kernelFile, initrdFile] = await Promise.all([
      probe,
      kernel === null ? null : artifacts.get(kernel, fetch),
      initrd === null ? null : artifacts.get(initrd, fetch),
      removeForeign(directory),
      ports.put(order.network),
    ]);
    const start = async (): Promise<ProcessName> => {
      const { pid, startTicks } = await launchQemu(order, {
        confinement: { uid: this.#uidOf(order.slot), root: process.geteuid?.() === 0 },
        context: { accelerator, directory, kernelFile, initrdFile },
        deadlineMs: START_DEADLINE_MS,
        signal,
      }).finally(() => ports.over(directory));
      return { pid, startTicks: String(startTicks) };
    };
    return { start };
  }

  kill(process: ProcessName): Promise<void> {
    return killProcess(identityOf(process));
  }

  async makeNetwork(plan: NetworkPlan, starting: () => readonly Starting[]): Promise<void> {
    await this.#options.ports.put(plan);
    await this.#options.network.make(plan, () => this.#wantedTaps(starting));
  }

  removeStaleTaps(starting: () => readonly Starting[]): Promise<void> {
    return this.#options.network.removeStaleTaps(() => this.#wantedTaps(starting));
  }

  async remains(): Promise<readonly IncarnationName[]> {
    const entries = await readdir(this.#options.config.runDir);
    return entries.flatMap((entry) => {
      const [, vm, generation] = DIRECTORY.exec(entry) ?? [];
      return vm === undefined ? [] : [{ vm: parseVmId(vm), generation: parseGeneration(Number(generation)) }];
    });
  }

  shortenLog(running: RunningIncarnation): void {
    if (isRunning(identityOf(running))) cutToTail(this.#serialLog(running), SERIAL_LOG);
  }

  probe({ deadlineMs, ...target }: ProbeOrder): Promise<ProbeResult> {
    return probeTcp(target, deadlineMs);
  }

  async removeRemains(name: IncarnationName): Promise<string> {
    const directory = this.#directory(name);
    // Also after a start that failed before its QEMU ran: its slot may belong to another incarnation from now on.
    this.#options.ports.over(directory);
    const said = await lastWords(directory);
    await removeForeign(directory);
    return said;
  }

  figures({ vm, generation }: IncarnationName): MachineFigures | null {
    const found = findIncarnations().find((each) => each.vm === vm && each.generation === generation);
    return found === undefined ? null : readFigures(found.process.pid, found.taps);
  }

  serialTail(name: IncarnationName, bytes: number): Promise<string> {
    return readTail(this.#serialLog(name), bytes);
  }

  #wantedTaps(starting: () => readonly Starting[]): readonly WantedTap[] {
    const running = findIncarnations().flatMap(({ taps, slot }) =>
      taps.map((tap) => ({ ...tap, uid: this.#tapOwner(slot) })),
    );
    const wanted = starting().flatMap(({ slot, nics }) =>
      nics.map(({ mac, vni }, index) => ({ device: tapName(slot, index), mac, vni, uid: this.#tapOwner(slot) })),
    );
    return [...new Map([...running, ...wanted].map((tap) => [tap.device, tap])).values()];
  }

  /** The user of a slot's QEMU; null: the agent's own. */
  #uidOf(slot: number): number | null {
    return this.#options.config.qemuUsers === 'per-slot' ? FIRST_QEMU_UID + slot : null;
  }

  #tapOwner(slot: number): number {
    return this.#uidOf(slot) ?? process.geteuid?.() ?? 0;
  }

  #serialLog(name: IncarnationName): string {
    return join(this.#directory(name), 'serial.log');
  }

  #directory({ vm, generation }: IncarnationName): string {
    return join(this.#options.config.runDir, `${vm}-g${generation}`);
  }
}

function identityOf({ pid, startTicks }: ProcessName): ProcessIdentity {
  return { pid, startTicks: Number(startTicks) };
}

/** A signal that fires when the work is cancelled, with the same reason. */
function signalOf(cancellation: Cancellation): AbortSignal {
  const controller = new AbortController();
  cancellation.onCancel((reason) => controller.abort(reason));
  return controller.signal;
}
