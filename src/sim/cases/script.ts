/**
 * A run that is written down instead of drawn: what people and misfortune do, each at its time or as soon as something
 * happens. Seeds mean something else after every change of the code; a script says what happened once.
 */
import type { HostName } from '../../base/ids.ts';
import type { TraceEntry } from '../../core/check/trace.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimProcess } from '../machines/sim-machine.ts';
import type { NetworkName } from '../network/network.ts';
import type { People } from '../people/people.ts';
import type { WishName } from '../people/wishes.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';

/**
 * When a line is carried out: so many ms after the one before, or as soon as a leader comes to a step, or a QEMU into a
 * run state.
 */
type When =
  | { readonly afterMs: number }
  | { readonly atStep: string }
  | { readonly atStatus: string; readonly generation: number };

/**
 * What is done. VMs are named `vm1` …, processes `server c1`, `agent h1`, `storage s1`, `qemu vm1:2`; `leader` is the
 * server that leads.
 */
type Act =
  | { readonly wish: WishName; readonly vm: string; readonly host?: string }
  | { readonly end: string }
  | { readonly freeze: string; readonly forMs: number }
  | { readonly powerOff: string; readonly forMs: number }
  /** The wall clock of the machine of a process jumps. */
  | { readonly jump: string; readonly byMs: number }
  /** The guest does not hear the power button from now on. */
  | { readonly deafen: string }
  /** The leader reaches its machines again. */
  | { readonly undeafen: string }
  /** The guest writes about as fast as its memory is copied from now on. */
  | { readonly busy: string }
  /** The record of a VM is overwritten, and later restored. */
  | { readonly spoil: string; readonly forMs: number }
  | { readonly cut: NetworkName; readonly machine: string; readonly forMs: number }
  | { readonly guest: 'shutdown' | 'guest-panicked'; readonly vm: string };

/** One line. */
export type Line = When & Act;

/** How long a line waits for what it waits for, in ms; after that the script no longer fits the code. */
const WAIT_MS_MAX = 30_000;

/** Plays scripts on one cluster. */
export class ScriptPlayer {
  readonly #cluster: SimCluster;
  readonly #people: People;
  #awaited: ((entry: TraceEntry | string) => boolean) | null = null;
  #met = false;

  constructor(cluster: SimCluster, people: People) {
    this.#cluster = cluster;
    this.#people = people;
    cluster.onEntry = (entry) => this.#look(entry);
    cluster.onCrashPoint = (_process, workflow, step) => this.#look(`${workflow} ${step}`);
  }

  /** Carries out all lines; the answer says which one waited in vain, or null. */
  async play(lines: readonly Line[]): Promise<string | null> {
    const { clock } = this.#cluster;
    for (const line of lines) {
      if ('afterMs' in line) {
        await clock.run(clock.monotonicMs() + line.afterMs);
        this.#act(line);
        continue;
      }
      this.#met = false;
      this.#awaited = (entry) => {
        const isIt =
          'atStep' in line
            ? entry === line.atStep
            : typeof entry !== 'string' &&
              entry.kind === 'status' &&
              entry.status === line.atStatus &&
              entry.generation === line.generation;
        if (isIt) this.#act(line);
        return isIt;
      };
      await clock.run(clock.monotonicMs() + WAIT_MS_MAX, () => this.#met);
      this.#awaited = null;
      if (!this.#met) return JSON.stringify(line);
    }
    return null;
  }

  #look(entry: TraceEntry | string): void {
    if (this.#awaited?.(entry) !== true) return;
    this.#awaited = null;
    this.#met = true;
  }

  #act(line: Line): void {
    const cluster = this.#cluster;
    cluster.say(() => `-- ${JSON.stringify(line)}`);
    if ('wish' in line) this.#people.wishFor(line.wish, line.vm, (line.host ?? null) as HostName | null);
    else if ('end' in line) this.#end(this.#process(line.end));
    else if ('freeze' in line) this.#freeze(this.#process(line.freeze), line.forMs);
    else if ('powerOff' in line) this.#powerOff(line.powerOff, line.forMs);
    else if ('jump' in line) this.#jump(this.#process(line.jump), line.byMs);
    else if ('deafen' in line) for (const qemu of this.#qemusOf(line.deafen)) qemu.isDeaf = true;
    else if ('undeafen' in line) for (const qemu of this.#qemusOf(line.undeafen)) qemu.isDeaf = false;
    else if ('busy' in line) for (const qemu of this.#qemusOf(line.busy)) qemu.isBusy = true;
    else if ('spoil' in line) this.#spoil(line.spoil, line.forMs);
    else if ('cut' in line) this.#cut(line.cut, line.machine, line.forMs);
    else for (const qemu of this.#qemusOf(line.vm)) qemu.guestDoes(line.guest);
  }

  #qemusOf(vm: string): QemuProcess[] {
    return [...this.#cluster.qemus].filter(({ order }) => order.vmName === vm);
  }

  #jump(process: SimProcess | undefined, byMs: number): void {
    if (process !== undefined) process.machine.wallErrorMs += byMs;
  }

  #process(name: string): SimProcess | undefined {
    const { leader, machines, qemus } = this.#cluster;
    if (name === 'leader') return leader?.process ?? undefined;
    for (const { order, process } of qemus) if (`qemu ${order.vmName}:${order.generation}` === name) return process;
    return [...machines.values()].flatMap(({ processes }) => [...processes]).find((process) => process.name === name);
  }

  #end(process: SimProcess | undefined): void {
    if (process === undefined) return;
    this.#cluster.touched(process.machine.name);
    process.end();
    this.#cluster.supervise(process.machine, 1_000);
  }

  #freeze(process: SimProcess | undefined, forMs: number): void {
    if (process === undefined) return;
    this.#cluster.touched(process.machine.name);
    process.freezeFor(forMs);
    this.#cluster.clock.after(forMs, () => this.#cluster.touched(process.machine.name));
  }

  #powerOff(name: string, forMs: number): void {
    const machine = this.#cluster.machines.get(name);
    if (machine === undefined) return;
    this.#cluster.powerOff(machine);
    this.#cluster.clock.after(forMs, () => this.#cluster.powerOn(machine));
  }

  #spoil(name: string, forMs: number): void {
    const { truth, etcd, clock } = this.#cluster;
    const vm = [...truth.tables.vm.values()].find((record) => record.name === name);
    const key = vm === undefined ? '' : keyOf.vm(vm.id);
    const value = etcd.state.get(key)?.value;
    if (value === undefined) return;
    this.#cluster.overwriteEtcd(key, 'nonsense');
    clock.after(forMs, () => this.#cluster.overwriteEtcd(key, value));
  }

  #cut(network: NetworkName, machine: string, forMs: number): void {
    const { network: networks, clock } = this.#cluster;
    const heals = [networks.cut(network, machine, '*'), networks.cut(network, '*', machine)];
    this.#cluster.touched(machine);
    clock.after(forMs, () => {
      for (const heal of heals) heal();
      this.#cluster.touched(machine);
    });
  }
}
