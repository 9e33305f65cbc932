/**
 * The faults that can be injected, as one table: what each is for, what it may be done to, how it is done and what
 * undoes it. Guarantees: arguments are checked before anything is done; every fault can be undone by `restore`.
 */

import { CodedError } from '../base/errors.ts';
import type { Role } from '../install/programs.ts';
import type { LabCluster } from './cluster.ts';
import { execOn } from './machine.ts';
import { rolesOf } from './roles.ts';
import type { MachineKind, MachineSpec } from './shape.ts';
import type { CutFrom } from './underlay.ts';

export interface FaultArguments {
  readonly target?: string | undefined;
  /** kill-agent and the like: started again at once. */
  readonly once?: boolean | undefined;
  /** Released after this many seconds, > 0 and at most 3600. */
  readonly forSeconds?: number | undefined;
  /** kill-storage: the service, not the disk servers that it started. */
  readonly serviceOnly?: boolean | undefined;
  /** exec: the program and its arguments. */
  readonly argv?: readonly string[] | undefined;
  /** exec: standard input. */
  readonly input?: string | undefined;
  /** exec: 10 s by default, at most 600 s. */
  readonly deadlineMs?: number | undefined;
}

export interface FaultVerb {
  readonly summary: string;
  /** The machines that the fault applies to; `none`: it takes no machine. */
  readonly on: readonly MachineKind[] | 'none';
  /** Without a machine the fault applies to all of its kinds. */
  readonly targetOptional?: boolean;
  /** The verb that undoes it; undefined if there is nothing to undo. */
  readonly undo?: FaultName;
  /** Other arguments that it takes. */
  readonly takes?: readonly (keyof FaultArguments)[];
  /** Does it, and returns what the caller shall know. */
  do(lab: Lab, machines: readonly MachineSpec[], args: FaultArguments): Promise<unknown>;
}

/** The cluster with the timers of faults that end by themselves. */
export interface Lab {
  readonly cluster: LabCluster;
  /** Calls `undo` after `seconds`, unless `restore` came first. */
  later(machines: readonly MachineSpec[], seconds: number, undo: () => Promise<void>): void;
  /** Forgets what was to be undone later on these machines. */
  cancel(machines: readonly MachineSpec[]): void;
}

export type FaultName =
  | 'kill-host'
  | 'cut-host'
  | 'cut-storage'
  | 'cut-control'
  | 'cut-disks'
  | 'blind-server'
  | 'heal-host'
  | 'kill-agent'
  | 'freeze-agent'
  | 'thaw'
  | 'wipe-host'
  | 'kill-server'
  | 'freeze-server'
  | 'kill-storage'
  | 'kill-etcd'
  | 'kill-everything'
  | 'restore'
  | 'status'
  | 'faults'
  | 'exec';

const ALL: readonly MachineKind[] = ['control', 'storage', 'host'];
/** These verbs change nothing in the lab. */
export const READING: readonly string[] = ['status', 'faults', 'exec'];
const SECONDS_MAX = 3_600;
const EXEC_DEADLINE_MS = 10_000;
const EXEC_DEADLINE_MS_MAX = 600_000;

const restore: FaultVerb['do'] = async (lab, machines) => {
  lab.cancel(machines);
  await lab.cluster.restore(machines);
};

export const FAULTS: Readonly<Record<FaultName, FaultVerb>> = {
  'kill-host': {
    summary: 'pull the plug: all processes of the host end at once, and its links are down',
    on: ['host'],
    undo: 'heal-host',
    do: (lab, machines) => lab.cluster.powerOff(machines),
  },
  'cut-host': {
    summary: 'cut the host from every network; its processes run on',
    on: ['host'],
    undo: 'heal-host',
    do: (lab, machines, args) => cut(lab, machines, args, ['control', 'storage', 'overlay']),
  },
  'cut-storage': {
    summary: 'cut a host or a storage node from the storage network',
    on: ['host', 'storage'],
    undo: 'heal-host',
    takes: ['forSeconds'],
    do: (lab, machines, args) => cut(lab, machines, args, ['storage']),
  },
  'cut-control': {
    summary: 'cut a machine from the control network',
    on: ALL,
    undo: 'heal-host',
    takes: ['forSeconds'],
    do: (lab, machines, args) => cut(lab, machines, args, ['control']),
  },
  'cut-disks': {
    summary: 'drop what goes between a host and the ports that disks are served on; all other ports answer',
    on: ['host'],
    undo: 'heal-host',
    takes: ['forSeconds'],
    do: (lab, machines, args) => cut(lab, machines, args, ['disks']),
  },
  'blind-server': {
    summary: 'cut a control node from all hosts and storage nodes; it keeps etcd and the other control nodes',
    on: ['control'],
    undo: 'heal-host',
    takes: ['forSeconds'],
    do: (lab, machines, args) => cut(lab, machines, args, ['hosts and storage nodes']),
  },
  'heal-host': {
    summary: 'links up again; a killed machine boots, keeping its identity; dead and frozen processes run again',
    on: ALL,
    do: restore,
  },
  'kill-agent': {
    summary: 'kill the agent of a host; its VMs run on. It stays dead',
    on: ['host'],
    undo: 'heal-host',
    takes: ['once', 'forSeconds'],
    do: (lab, machines, args) => kill(lab, machines, args, 'agent'),
  },
  'freeze-agent': {
    summary: 'stop the agent of a host in its tracks (SIGSTOP)',
    on: ['host'],
    undo: 'thaw',
    takes: ['forSeconds'],
    do: (lab, machines, args) => freeze(lab, machines, args, 'agent'),
  },
  thaw: {
    summary: 'let frozen processes of a machine run on (SIGCONT)',
    on: ALL,
    do: async ({ cluster }, machines) => {
      for (const machine of machines) for (const role of rolesOf(machine)) await cluster.process(machine, role).thaw();
    },
  },
  'wipe-host': {
    summary: 'erase the host’s whole state, with its identity, while its VMs run; its agent joins anew',
    on: ['host'],
    do: async ({ cluster }, machines) => {
      for (const machine of machines) await cluster.reinstallAgent(machine);
    },
  },
  'kill-server': {
    summary: 'kill the server of a control node; its etcd member runs on. It stays dead',
    on: ['control'],
    undo: 'restore',
    takes: ['once', 'forSeconds'],
    do: (lab, machines, args) => kill(lab, machines, args, 'control'),
  },
  'freeze-server': {
    summary: 'stop the server of a control node in its tracks (SIGSTOP)',
    on: ['control'],
    undo: 'thaw',
    takes: ['forSeconds'],
    do: (lab, machines, args) => freeze(lab, machines, args, 'control'),
  },
  'kill-storage': {
    summary: 'kill the storage service of a node and its disk servers. They stay dead',
    on: ['storage'],
    undo: 'restore',
    takes: ['once', 'forSeconds', 'serviceOnly'],
    do: killStorage,
  },
  'kill-etcd': {
    summary: 'kill the etcd member of a control node. It stays dead',
    on: ['control'],
    undo: 'restore',
    takes: ['once', 'forSeconds'],
    do: (lab, machines, args) => kill(lab, machines, args, 'etcd'),
  },
  'kill-everything': {
    summary: 'a power failure of the whole site: every process of every machine ends at once',
    on: 'none',
    undo: 'restore',
    do: (lab) => lab.cluster.powerOff(lab.cluster.machines),
  },
  restore: {
    summary: 'undo all faults of a machine, or of all machines, and start dead processes',
    on: ALL,
    targetOptional: true,
    do: restore,
  },
  status: {
    summary: 'show what is dead, cut or frozen now',
    on: ALL,
    targetOptional: true,
    do: async ({ cluster }, machines) => machines.map((machine) => statusOf(cluster, machine)),
  },
  faults: {
    summary: 'which faults there are, and to which machines they may be done',
    on: 'none',
    do: async () =>
      Object.entries(FAULTS)
        .filter(([verb]) => !READING.includes(verb))
        .map(([verb, { summary, on, takes = [] }]) => ({ verb, summary, on: on === 'none' ? [] : on, takes })),
  },
  exec: {
    summary: 'run a program on a machine',
    on: ALL,
    takes: ['argv', 'input', 'deadlineMs'],
    do: ({ cluster }, [machine], args) => exec(cluster, machine, args),
  },
};

/** The entry of a machine in `status`. */
export interface MachineStatus {
  readonly name: string;
  readonly kind: MachineKind;
  readonly power: 'on' | 'off';
  /** Its init in the room's numbering; null if it is off. */
  readonly initPid: number | null;
  readonly cutFrom: readonly string[];
  readonly addresses: Readonly<Record<string, string>>;
  readonly processes: Readonly<Record<string, { readonly state: string; readonly starts: number }>>;
}

/**
 * Checks a request and carries it out. CodedError 'bad-input' for an unknown verb or argument, 'not-found' for a
 * machine that does not exist, 'conflict' for one that is off.
 */
export async function injectFault(lab: Lab, verb: string, args: FaultArguments): Promise<unknown> {
  if (!isFaultName(verb)) {
    throw new CodedError('bad-input', `There is no fault ${JSON.stringify(verb.slice(0, 40))}.`, {
      advice: `There are: ${Object.keys(FAULTS).join(', ')}.`,
    });
  }
  const fault = FAULTS[verb];
  checkArguments(verb, fault, args);
  return (await fault.do(lab, targets(lab.cluster, verb, args), args)) ?? null;
}

function isFaultName(verb: string): verb is FaultName {
  return Object.hasOwn(FAULTS, verb);
}

function checkArguments(verb: string, fault: FaultVerb, args: FaultArguments): void {
  const bad = (what: string): never => {
    throw new CodedError('bad-input', `${verb}: ${what}.`, { advice: 'Nothing was changed.' });
  };
  for (const [name, value] of Object.entries(args)) {
    const known =
      name === 'target' ? fault.on !== 'none' : (fault.takes as readonly string[] | undefined)?.includes(name);
    if (value !== undefined && known !== true) bad(`it takes no ${JSON.stringify(name.slice(0, 40))}`);
  }
  const { target, once, forSeconds, serviceOnly, argv, input, deadlineMs } = args;
  if (target !== undefined && typeof target !== 'string') bad('the machine must be a name');
  if (once !== undefined && typeof once !== 'boolean') bad('once must be true or false');
  if (serviceOnly !== undefined && typeof serviceOnly !== 'boolean') bad('serviceOnly must be true or false');
  if (forSeconds !== undefined && !inRange(forSeconds, SECONDS_MAX)) bad(`seconds must be up to ${SECONDS_MAX}`);
  if (once === true && forSeconds !== undefined) bad('either once or a number of seconds');
  if (deadlineMs !== undefined && !inRange(deadlineMs, EXEC_DEADLINE_MS_MAX)) bad('the deadline is 1 to 600000 ms');
  if (input !== undefined && typeof input !== 'string') bad('input must be text');
  const isArgv = Array.isArray(argv) && argv.length > 0 && argv.every((word) => typeof word === 'string');
  if (verb === 'exec' && !isArgv) bad('a program to run is needed');
}

function inRange(value: unknown, max: number): boolean {
  return typeof value === 'number' && value > 0 && value <= max;
}

function targets(cluster: LabCluster, verb: FaultName, { target }: FaultArguments): readonly MachineSpec[] {
  const { on, targetOptional } = FAULTS[verb];
  if (on === 'none') return [];
  if (target === undefined) {
    const candidates = cluster.machines.filter(({ kind }) => on.includes(kind));
    if (targetOptional === true) return candidates;
    throw new CodedError('bad-input', `${verb} needs a machine.`, { advice: `One of ${names(candidates)}.` });
  }
  const machine = cluster.spec(target);
  if (on.includes(machine.kind)) return [machine];
  const candidates = cluster.machines.filter(({ kind }) => on.includes(kind));
  throw new CodedError('bad-input', `${verb} cannot be done to ${target}, a ${machine.kind} machine.`, {
    advice: `It can be done to ${names(candidates)}. Nothing was changed.`,
  });
}

function names(machines: readonly MachineSpec[]): string {
  return machines.map(({ name }) => name).join(', ');
}

async function cut(
  lab: Lab,
  machines: readonly MachineSpec[],
  { forSeconds }: FaultArguments,
  from: readonly CutFrom[],
): Promise<void> {
  for (const machine of machines) lab.cluster.running(machine);
  await lab.cluster.cuts.cut(machines, from);
  if (forSeconds !== undefined) lab.later(machines, forSeconds, () => lab.cluster.cuts.heal(machines));
}

async function kill(lab: Lab, machines: readonly MachineSpec[], args: FaultArguments, role: Role): Promise<void> {
  const processes = machines.map((machine) => lab.cluster.process(machine, role));
  await Promise.all(processes.map((process) => process.kill({ hold: args.once !== true })));
  if (args.forSeconds === undefined) return;
  lab.later(machines, args.forSeconds, async () => {
    for (const process of processes) if (process.state === 'dead') process.start();
  });
}

async function freeze(lab: Lab, machines: readonly MachineSpec[], args: FaultArguments, role: Role): Promise<void> {
  const processes = machines.map((machine) => lab.cluster.process(machine, role));
  await Promise.all(processes.map((process) => process.freeze()));
  if (args.forSeconds === undefined) return;
  lab.later(machines, args.forSeconds, async () => {
    for (const process of processes) if (process.state === 'frozen') await process.thaw();
  });
}

async function killStorage(lab: Lab, machines: readonly MachineSpec[], args: FaultArguments): Promise<void> {
  if (args.serviceOnly === true) return kill(lab, machines, args, 'storage');
  for (const machine of machines) await lab.cluster.killProcesses(machine);
  const start = async (): Promise<void> => {
    for (const machine of machines) lab.cluster.process(machine, 'storage').start();
  };
  if (args.once === true) return start();
  if (args.forSeconds !== undefined) lab.later(machines, args.forSeconds, start);
}

async function exec(cluster: LabCluster, machine: MachineSpec | undefined, args: FaultArguments): Promise<unknown> {
  if (machine === undefined || args.argv === undefined) return undefined;
  return execOn(cluster.running(machine), args.argv, {
    layout: cluster.layout,
    deadlineMs: args.deadlineMs ?? EXEC_DEADLINE_MS,
    input: args.input,
  });
}

function statusOf(cluster: LabCluster, machine: MachineSpec): MachineStatus {
  const off = cluster.isOff(machine);
  return {
    name: machine.name,
    kind: machine.kind,
    power: off ? 'off' : 'on',
    initPid: off ? null : cluster.running(machine).init.pid,
    cutFrom: cluster.cuts.of(machine.name),
    addresses: Object.fromEntries(machine.nics.map(({ network, address }) => [network, address])),
    processes: cluster.roleStates(machine),
  };
}
