/**
 * The lab's faults (src/lab/faults.ts) on a simulated cluster, the failpoints of stories, and the service manager of
 * each machine.
 *
 * Guarantees: what was killed on purpose stays dead until it is healed or restored; everything else that ends is
 * started again a little later; `restore` undoes all.
 */

import { CodedError } from '../../base/errors.ts';
import type { HostName, StorageName } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimMachine, SimProcess } from '../machines/sim-machine.ts';
import type { Channel } from '../network/network.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** What runs on a machine, as src/install/programs.ts names it. */
type Role = 'control' | 'etcd' | 'storage' | 'agent';

/** What befalls the leader before a step. */
export interface Failpoint {
  readonly control: string;
  readonly by: 'crash' | 'freeze';
  readonly workflow: string;
  readonly step: string;
}

/** What each verb does, and to which machines, for people who look at a simulated cluster. */
const VERBS: Readonly<Record<string, readonly [summary: string, ...on: string[]]>> = {
  'kill-host': ['pull the plug', 'host'],
  'cut-host': ['cut the host from every network', 'host'],
  'cut-storage': ['cut from the storage network', 'host', 'storage'],
  'cut-disks': ['cut the host from the ports of disks', 'host'],
  'kill-agent': ['kill the agent; VMs run on', 'host'],
  'freeze-agent': ['stop the agent in its tracks', 'host'],
  thaw: ['let frozen processes run on', 'host'],
  'kill-storage': ['kill the storage service and its disk servers', 'storage'],
  'heal-host': ['undo everything on the machine', 'host', 'storage'],
  restore: ['undo all faults', 'control', 'storage', 'host'],
};

const LOOK_MS = 250;
/** A service manager starts what ended after this. */
const RESTART_MS = [50, 1_500] as const;
const BOOT_MS = [200, 1_500] as const;

/** See the module's comment. */
export class LabFaults {
  readonly #sim: SimCluster;
  readonly #random: SimRandom;
  /** `machine role`: dead on purpose. */
  readonly #held = new Set<string>();
  /** `machine role`: about to be started. */
  readonly #starting = new Set<string>();
  readonly #thaws = new Map<string, (() => void)[]>();
  readonly #heals = new Map<string, (() => void)[]>();
  #failpoint: Failpoint | null = null;

  constructor(sim: SimCluster, random: SimRandom) {
    this.#sim = sim;
    this.#random = random;
    sim.onCrashPoint = (process, workflow, step) => this.#atPoint(process, workflow, step);
    const look = (): void => {
      this.#supervise();
      sim.clock.after(LOOK_MS, look);
    };
    look();
  }

  /** The failpoint that was not met yet, or null. */
  get failpoint(): Failpoint | null {
    return this.#failpoint;
  }

  /** Fells a leader before the step given, once. */
  arm(failpoint: Failpoint): void {
    this.#failpoint = failpoint;
  }

  /**
   * Carries out a verb of `gp lab`. CodedError 'bad-input' for one that is not known, 'not-found' for a machine that
   * does not exist.
   */
  inject(verb: string, target: string | undefined): void {
    const act = own(this.#verbs, verb);
    if (act === undefined) throw new CodedError('bad-input', `The simulated lab has no ${verb}.`);
    this.#sim.say(() => `-- ${verb} ${target ?? ''}`);
    for (const machine of this.#targets(verb, target)) {
      this.#sim.touched(machine.name);
      act(machine);
    }
    this.#sim.etcd.topologyChanged();
  }

  /** What is dead, cut or frozen now, as `gp lab status` says it. */
  status() {
    return [...this.#sim.machines.values()].map((machine) => {
      const { name, up } = machine;
      const kind = this.#sim.controls.has(name)
        ? 'control'
        : this.#sim.storage.has(name as StorageName)
          ? 'storage'
          : 'host';
      const isFrozen = (this.#thaws.get(name)?.length ?? 0) > 0;
      const state = (role: Role): string =>
        this.#process(machine, role) === null || this.#held.has(`${name} ${role}`)
          ? 'dead'
          : isFrozen
            ? 'frozen'
            : 'running';
      return {
        ...{
          name,
          kind,
          power: up ? 'on' : 'off',
          cutFrom: (this.#heals.get(name)?.length ?? 0) > 0 ? ['others'] : [],
        },
        processes: Object.fromEntries(
          this.#rolesOf(machine).map((role) => [role, { state: up ? state(role) : 'dead' }]),
        ),
      };
    });
  }

  /** The verbs that it has, as `gp lab faults` lists them. */
  faults() {
    return Object.entries(VERBS).map(([verb, [summary, ...on]]) => ({ verb, summary, on, takes: [] }));
  }

  readonly #verbs: Readonly<Record<string, (machine: SimMachine) => void>> = {
    'kill-host': (machine) => this.#sim.powerOff(machine),
    'kill-everything': (machine) => this.#sim.powerOff(machine),
    'cut-host': (machine) => this.#cut(machine, ['control', 'storage', 'overlay']),
    'cut-storage': (machine) => this.#cut(machine, ['storage']),
    'cut-control': (machine) => this.#cut(machine, ['control']),
    'cut-disks': (machine) => this.#cut(machine, ['disks']),
    'blind-server': (machine) => this.#blind(machine),
    'kill-agent': (machine) => this.#kill(machine, 'agent'),
    'kill-server': (machine) => this.#kill(machine, 'control'),
    'kill-etcd': (machine) => this.#kill(machine, 'etcd'),
    'kill-storage': (machine) => {
      this.#kill(machine, 'storage');
      for (const { process } of this.#sim.storage.get(machine.name as StorageName)?.daemons() ?? []) process.end();
    },
    'freeze-agent': (machine) => this.#freeze(machine, 'agent'),
    'freeze-server': (machine) => this.#freeze(machine, 'control'),
    thaw: (machine) => {
      for (const thaw of this.#thaws.get(machine.name) ?? []) thaw();
      this.#thaws.delete(machine.name);
    },
    'wipe-host': (machine) => {
      this.#sim.hosts.get(machine.name as HostName)?.wipe();
    },
    'heal-host': (machine) => this.#restore(machine),
    restore: (machine) => this.#restore(machine),
  };

  #targets(verb: string, target: string | undefined): readonly SimMachine[] {
    const all = [...this.#sim.machines.values()];
    if (target === undefined && (verb === 'restore' || verb === 'kill-everything')) return all;
    const machine = all.find(({ name }) => name === target);
    if (machine === undefined) throw new CodedError('not-found', `There is no machine ${target ?? '(none given)'}.`);
    return [machine];
  }

  #restore(machine: SimMachine): void {
    const { name } = machine;
    for (const heal of this.#heals.get(name) ?? []) heal();
    this.#heals.delete(name);
    for (const thaw of this.#thaws.get(name) ?? []) thaw();
    this.#thaws.delete(name);
    for (const key of [...this.#held]) if (key.startsWith(`${name} `)) this.#held.delete(key);
    if (!machine.up)
      this.#sim.clock.after(this.#random.between(BOOT_MS[0], BOOT_MS[1]), () => this.#sim.powerOn(machine));
  }

  #blind({ name }: SimMachine): void {
    const { network, hosts, storage } = this.#sim;
    const heals = [...hosts.keys(), ...storage.keys()].flatMap((other) => [
      network.cut('control', name, other),
      network.cut('control', other, name),
    ]);
    this.#heals.set(name, [...(this.#heals.get(name) ?? []), ...heals]);
  }

  #cut({ name }: SimMachine, networks: readonly Channel[]): void {
    const heals = networks.flatMap((network) => [
      this.#sim.network.cut(network, '*', name),
      this.#sim.network.cut(network, name, '*'),
    ]);
    this.#heals.set(name, [...(this.#heals.get(name) ?? []), ...heals]);
  }

  #kill(machine: SimMachine, role: Role): void {
    this.#held.add(`${machine.name} ${role}`);
    this.#process(machine, role)?.end();
  }

  #freeze(machine: SimMachine, role: Role): void {
    const process = this.#process(machine, role);
    if (process === null) throw new CodedError('conflict', `No ${role} runs on ${machine.name}.`);
    this.#thaws.set(machine.name, [...(this.#thaws.get(machine.name) ?? []), process.freeze()]);
  }

  #atPoint(process: SimProcess, workflow: string, step: string): void {
    const wanted = this.#failpoint;
    if (wanted === null || wanted.control !== process.machine.name) return;
    if (wanted.workflow !== workflow || wanted.step !== step) return;
    this.#failpoint = null;
    this.#sim.say(() => `-- ${wanted.by} ${process.name} before ${workflow} ${step}`);
    this.#sim.touched(process.machine.name);
    if (wanted.by === 'crash') process.end();
    else this.#freeze(process.machine, 'control');
  }

  #process({ name }: SimMachine, role: Role): SimProcess | null {
    const { controls, members, storage, hosts } = this.#sim;
    switch (role) {
      case 'control':
        return controls.get(name)?.process ?? null;
      case 'etcd':
        return alive(members.get(name));
      case 'storage':
        return storage.get(name as StorageName)?.serviceProcess ?? null;
      case 'agent':
        return hosts.get(name as HostName)?.agentProcess ?? null;
    }
  }

  #rolesOf({ name }: SimMachine): readonly Role[] {
    const { controls, storage } = this.#sim;
    if (controls.has(name)) return ['etcd', 'control'];
    return storage.has(name as StorageName) ? ['storage'] : ['agent'];
  }

  #start(machine: SimMachine, role: Role): void {
    const { controls, storage, hosts } = this.#sim;
    this.#sim.touched(machine.name);
    if (role === 'control') controls.get(machine.name)?.start();
    else if (role === 'etcd') this.#sim.startMember(machine.name);
    else if (role === 'storage') storage.get(machine.name as StorageName)?.startService();
    else hosts.get(machine.name as HostName)?.startAgent();
  }

  #supervise(): void {
    for (const machine of this.#sim.machines.values()) {
      if (!machine.up) continue;
      for (const role of this.#rolesOf(machine)) {
        const key = `${machine.name} ${role}`;
        if (this.#mustNotRun(machine, role) || this.#starting.has(key) || this.#process(machine, role) !== null)
          continue;
        this.#starting.add(key);
        this.#sim.clock.after(this.#random.between(RESTART_MS[0], RESTART_MS[1]), () => {
          this.#starting.delete(key);
          if (!this.#mustNotRun(machine, role)) this.#start(machine, role);
        });
      }
    }
  }

  #mustNotRun({ name }: SimMachine, role: Role): boolean {
    return this.#held.has(`${name} ${role}`);
  }
}

function alive(process: SimProcess | undefined): SimProcess | null {
  return process?.isAlive === true ? process : null;
}
