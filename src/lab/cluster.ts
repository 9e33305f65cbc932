/**
 * A running one-machine cluster, inside its namespaces ("room"): machines, links, processes, and the faults that are
 * done to them. Guarantees: the start ends when every role answers, or fails with the name and the log of a role that
 * does not; the end leaves no process.
 */

import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { PAGE_ITEMS_MAX } from '../api/page-size.ts';
import { present } from '../base/assert.ts';
import { CodedError, messageOf } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import type { Role } from '../install/programs.ts';
import { run } from '../os/child-process.ts';
import { systemClock } from '../os/clock.ts';
import { readTextBounded, writeFileAtomic } from '../os/files.ts';
import { monotonicMs } from '../os/monotonic.ts';
import { isRunning, signalProcess, waitGone } from '../os/process-table.ts';
import { type ApiTarget, apiCall } from './api-call.ts';
import { codeCacheDir } from './code-cache.ts';
import { compileAhead } from './compile-ahead.ts';
import type { LabLayout } from './layout.ts';
import { bootMachine, killMachine, type Machine, processesOf } from './machine.ts';
import { type Identities, makeDirectories, needsToken, provision } from './provision.ts';
import { configFile, probeOf, processSpec, type RoleCommands, type RoleContext, roleConfig, rolesOf } from './roles.ts';
import { type ClusterShape, type MachineSpec, machinesOf } from './shape.ts';
import { SupervisedProcess } from './supervisor.ts';
import { Cuts, createUnderlay } from './underlay.ts';

const READY_DEADLINE_MS = 60_000;
const PROBE_EVERY_MS = 50;
const PROBE_DEADLINE_MS = 1_000;
/** One page for a whole list: a one-machine cluster has fewer machines than a page has places. */
const WHOLE = `limit=${PAGE_ITEMS_MAX}`;
const API_EVERY_MS = 100;
const BOOTS_AT_ONCE = 8;
const LOG_TAIL_BYTES = 2_000;
/** While the cluster starts: a role that ended this often less one will not come up (about 6 s). */
const STARTS_MAX = 6;
const LOG_BYTES_MAX = 16 * 1024 * 1024;
/** How long each kind of process gets at the end of the cluster, before it is killed. */
const END_MS = { control: 1_000, storage: 2_000, etcd: 1_000 };

export interface Progress {
  /** From 1. */
  readonly step: number;
  readonly of: number;
  readonly message: string;
}

export interface ClusterOptions {
  readonly layout: LabLayout;
  readonly shape: ClusterShape;
  readonly commands: RoleCommands;
  /** Stand-ins instead of the roles: no certificates, no joining, no calls of the API. */
  readonly bare: boolean;
  readonly hostMemoryBytes: number;
  readonly qemuUsers: 'per-slot' | 'self';
  readonly say: (line: string) => void;
}

/**
 * The machines of a cluster and the processes on them. `start` once; then faults, on machines that `spec` found by
 * name; `end` may be called at any time, and does nothing the second time.
 */
export class LabCluster {
  readonly machines: readonly MachineSpec[];
  readonly cuts: Cuts;
  readonly #options: ClusterOptions;
  readonly #running = new Map<string, Machine>();
  /** Processes by machine, then by role. */
  readonly #processes = new Map<string, Map<Role, SupervisedProcess>>();
  /** Machines that a fault keeps off. */
  readonly #off = new Set<string>();
  #identities: Identities | undefined;
  #starting = true;
  #ending = false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.machines = machinesOf(options.shape);
    this.cuts = new Cuts(this.machines);
  }

  get layout(): LabLayout {
    return this.#options.layout;
  }

  /** Makes and starts everything; resolves when every role answers. */
  async start(onProgress: (progress: Progress) => void, signal: AbortSignal): Promise<void> {
    const { layout, bare } = this.#options;
    let step = 0;
    const next = (message: string): void => onProgress({ step: ++step, of: 5, message });
    next('making networks, keys and machines');
    await makeDirectories(layout, this.machines);
    await run(['mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', '/run'], { deadlineMs: PROBE_DEADLINE_MS * 10 });
    await createUnderlay();
    const provisioned = bare ? Promise.resolve(undefined) : provision(layout, this.machines);
    const compiled = compileAhead(this.#options.commands, codeCacheDir(layout));
    const [identities] = await Promise.all([provisioned, this.#boot(this.machines), compiled]);
    this.#identities = identities;
    signal.throwIfAborted();

    const control = this.#ofKind('control');
    const members = this.machines.filter(({ kind }) => kind !== 'control');
    const joined: MachineSpec[] = [];
    for (const machine of members) if (bare || !(await needsToken(layout, machine))) joined.push(machine);
    next('starting the cluster store and the control plane');
    for (const machine of control) await rm(layout.machine(machine.name).apiSocket, { force: true });
    await this.#startRoles([...control, ...joined]);
    await this.#answered(control, signal);

    next('joining storage nodes and hosts');
    const fresh = members.filter((machine) => !joined.includes(machine));
    await Promise.all(fresh.map((machine) => this.#giveToken(machine, signal)));
    await this.#startRoles(fresh);
    next('waiting for storage nodes and hosts');
    await this.#answered(members, signal);
    await this.#seenAlive(fresh, signal);
    await Promise.all(members.map(({ name }) => rm(layout.machine(name).joinTokenFile, { force: true })));
    this.#starting = false;
    next('ready');
  }

  /** Ends everything in order: control nodes, hosts, storage nodes, etcd. */
  async end(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    await this.#stopRole('control', END_MS.control);
    await Promise.all(this.#ofKind('host').map((machine) => this.#halt(machine)));
    await this.#stopRole('storage', END_MS.storage);
    await Promise.all(this.#ofKind('storage').map((machine) => this.#endProcesses(machine, END_MS.storage)));
    await this.#stopRole('etcd', END_MS.etcd);
    await Promise.all(this.machines.map((machine) => this.#halt(machine)));
  }

  /** The machine of a name, or CodedError 'not-found' naming those that exist. */
  spec(name: string): MachineSpec {
    const machine = this.machines.find((candidate) => candidate.name === name);
    if (machine !== undefined) return machine;
    throw new CodedError('not-found', `There is no machine ${JSON.stringify(name.slice(0, 40))}.`, {
      advice: `The machines are ${this.machines.map((known) => known.name).join(', ')}. Nothing was changed.`,
    });
  }

  /** The running machine, or CodedError 'conflict' when a fault keeps it off. */
  running(spec: MachineSpec): Machine {
    const machine = this.#running.get(spec.name);
    if (machine !== undefined && !this.#off.has(spec.name)) return machine;
    throw new CodedError('conflict', `${spec.name} is off.`, {
      advice: `Boot it with \`gp lab restore ${spec.name}\`. Nothing was changed.`,
    });
  }

  /** The supervised process, or CodedError 'conflict' when its machine is off. */
  process(spec: MachineSpec, role: Role): SupervisedProcess {
    this.running(spec);
    return present(this.#processes.get(spec.name)?.get(role), `${role} of ${spec.name}`);
  }

  isOff(spec: MachineSpec): boolean {
    return this.#off.has(spec.name);
  }

  /** The states of the roles of a machine. */
  roleStates(spec: MachineSpec): Readonly<Record<string, { state: string; starts: number }>> {
    const processes = [...(this.#processes.get(spec.name) ?? [])];
    return Object.fromEntries(processes.map(([role, { state, starts }]) => [role, { state, starts }]));
  }

  /** Power off: links are cut first, so that no packet announces it, then all processes end at one moment. */
  async powerOff(specs: readonly MachineSpec[]): Promise<void> {
    const hit = specs.filter(({ name }) => !this.#off.has(name));
    await this.cuts.cut(hit, ['control', 'storage', 'overlay']);
    const machines: Machine[] = [];
    for (const spec of hit) {
      this.#off.add(spec.name);
      for (const process of this.#processes.get(spec.name)?.values() ?? []) process.abandon();
      const machine = this.#running.get(spec.name);
      if (machine !== undefined) machines.push(machine);
    }
    for (const { init } of machines) signalProcess(init, 'SIGKILL');
    await Promise.all(machines.map(killMachine));
  }

  /** Undoes every fault of these machines: boots, plugs in, thaws, starts. Control nodes first. */
  async restore(specs: readonly MachineSpec[]): Promise<void> {
    const off = specs.filter(({ name }) => this.#off.has(name));
    await this.#boot(off);
    for (const { name } of off) this.#off.delete(name);
    await this.cuts.heal(specs);
    await this.#startRoles(off);
    for (const spec of specs) {
      if (off.includes(spec)) continue;
      for (const process of this.#processes.get(spec.name)?.values() ?? []) {
        if (process.state === 'frozen') await process.thaw();
        if (process.state === 'dead') process.start();
      }
    }
  }

  /** Erases a host's state, while its VMs run, and installs its agent anew with a new join token. */
  async reinstallAgent(spec: MachineSpec): Promise<void> {
    const machine = this.running(spec);
    const agent = this.process(spec, 'agent');
    await agent.kill({ hold: true });
    const own = this.layout.machine(spec.name);
    await rm(own.stateDir, { recursive: true, force: true });
    // Its /run is on a file system that only the machine itself sees, through its init.
    const runDir = `/proc/${machine.init.pid}/root/run/groundplane`;
    await run(['find', runDir, '-mindepth', '1', '-delete'], { deadlineMs: READY_DEADLINE_MS });
    await makeDirectories(this.layout, [spec]);
    if (!this.#options.bare) await this.#giveToken(spec, AbortSignal.timeout(READY_DEADLINE_MS));
    await this.#writeConfigs([spec]);
    agent.start();
  }

  /**
   * Sends SIGKILL to everything on a machine except its init: to the role's process first, so that it starts nothing
   * anew.
   */
  async killProcesses(spec: MachineSpec): Promise<void> {
    const machine = this.running(spec);
    for (const process of this.#processes.get(spec.name)?.values() ?? []) await process.kill({ hold: true });
    const victims = processesOf(machine);
    for (const victim of victims) signalProcess(victim, 'SIGKILL');
    await Promise.all(victims.map((victim) => waitGone(victim, READY_DEADLINE_MS)));
  }

  #ofKind(kind: MachineSpec['kind']): readonly MachineSpec[] {
    return this.machines.filter((machine) => machine.kind === kind);
  }

  async #boot(specs: readonly MachineSpec[]): Promise<void> {
    const waiting = [...specs];
    const worker = async (): Promise<void> => {
      for (let spec = waiting.shift(); spec !== undefined; spec = waiting.shift()) {
        const machine = await bootMachine(spec, this.layout);
        this.#running.set(spec.name, machine);
      }
    };
    await Promise.all(Array.from({ length: BOOTS_AT_ONCE }, worker));
  }

  get #context(): RoleContext {
    const { layout, commands, hostMemoryBytes, qemuUsers } = this.#options;
    const adminTokenSha256 = this.#identities?.adminTokenSha256 ?? '';
    return { layout, machines: this.machines, commands, hostMemoryBytes, qemuUsers, adminTokenSha256 };
  }

  async #writeConfigs(specs: readonly MachineSpec[]): Promise<void> {
    for (const spec of specs) {
      for (const role of rolesOf(spec)) {
        const config = roleConfig(spec, role, this.#context);
        if (config === undefined) continue;
        await writeFileAtomic(configFile(spec, role, this.layout), `${JSON.stringify(config, null, 2)}\n`);
      }
    }
  }

  async #startRoles(specs: readonly MachineSpec[]): Promise<void> {
    await this.#writeConfigs(specs);
    for (const machine of specs) {
      const processes = new Map<Role, SupervisedProcess>();
      this.#processes.set(machine.name, processes);
      for (const role of rolesOf(machine)) {
        const supervised = new SupervisedProcess({
          machine: present(this.#running.get(machine.name), machine.name),
          spec: processSpec(machine, role, this.#context),
          layout: this.layout,
          say: this.#options.say,
        });
        processes.set(role, supervised);
        supervised.start();
      }
    }
  }

  /** Resolves when the port of every role of these machines is open. */
  async #answered(specs: readonly MachineSpec[], signal: AbortSignal): Promise<void> {
    // A control node's server filters etcd's ports, so that this process cannot connect to etcd; and the server cannot
    // be ready before etcd is.
    const isSeen = (role: Role): boolean => this.#options.bare || role !== 'etcd';
    const roles = specs.flatMap((spec) =>
      rolesOf(spec)
        .filter(isSeen)
        .map((role) => ({ spec, role })),
    );
    await Promise.all(
      roles.map(({ spec, role }) =>
        this.#until(`${role} of ${spec.name}`, signal, PROBE_EVERY_MS, () => portIsOpen(probeOf(spec, role)), {
          spec,
          role,
        }),
      ),
    );
  }

  /**
   * Resolves when the API shows every host's agent and every storage node alive; a host that it does not know any more
   * was removed.
   */
  async #seenAlive(fresh: readonly MachineSpec[], signal: AbortSignal): Promise<void> {
    if (this.#options.bare) return;
    let missing: readonly string[] = [];
    await this.#until('the control plane', signal, API_EVERY_MS, async () => {
      const [hosts, nodes] = await Promise.all([
        apiCall(this.#api, 'GET', `/v1/hosts?${WHOLE}`),
        apiCall(this.#api, 'GET', `/v1/storage-nodes?${WHOLE}`),
      ]);
      const states = new Map([...statesOf(hosts, 'agent'), ...statesOf(nodes, 'state')]);
      missing = this.machines
        .filter((machine) => machine.kind !== 'control' && (fresh.includes(machine) || states.has(machine.name)))
        .map(({ name }) => name)
        .filter((name) => states.get(name) !== 'alive');
      if (missing.length > 0) throw new CodedError('unavailable', `it does not see ${missing.join(', ')} alive.`);
      return true;
    });
  }

  async #giveToken(spec: MachineSpec, signal: AbortSignal): Promise<void> {
    const role = spec.kind === 'host' ? 'host' : 'storage';
    await this.#until(`a join token for ${spec.name}`, signal, API_EVERY_MS, async () => {
      const answer = await apiCall(this.#api, 'POST', '/v1/join-tokens', { role, name: spec.name });
      const token = typeof answer === 'object' && answer !== null && 'token' in answer ? answer.token : undefined;
      if (typeof token !== 'string') throw new CodedError('failed', 'The API answered without a token.');
      await writeFileAtomic(this.layout.machine(spec.name).joinTokenFile, `${token}\n`);
      return true;
    });
  }

  get #api(): ApiTarget {
    const { caPem, adminToken } = present(this.#identities, 'identities');
    const nodes = this.#ofKind('control')
      .filter(({ name }) => !this.#off.has(name))
      .map(({ name }) => ({ name, socketPath: this.layout.machine(name).apiSocket }));
    return { nodes, caPem, token: adminToken };
  }

  /**
   * Repeats `probe` until it says true. CodedError 'deadline' with the last reason, 'failed' when a role ends again and
   * again; both with the end of a log where one is to blame.
   */
  async #until(
    what: string,
    signal: AbortSignal,
    everyMs: number,
    probe: () => Promise<boolean>,
    from?: { readonly spec: MachineSpec; readonly role: Role },
  ): Promise<void> {
    const advice = `The logs are in ${this.layout.machinesDir}/*/log. The cluster's data was not changed.`;
    const startedMs = monotonicMs();
    let last = '';
    while (monotonicMs() - startedMs < READY_DEADLINE_MS) {
      try {
        if (await probe()) return;
      } catch (error) {
        last = ` ${messageOf(error)}`;
      }
      const looping = this.#starting ? this.#looping() : undefined;
      if (looping !== undefined) {
        const name = `${looping.role} of ${looping.spec.name}`;
        throw new CodedError('failed', `${name} ends again and again.${await this.#tail(looping)}`, { advice });
      }
      await sleep(systemClock, everyMs, { signal });
      signal.throwIfAborted();
    }
    const said = from === undefined ? '' : await this.#tail(from);
    throw new CodedError('deadline', `Not ready within ${READY_DEADLINE_MS} ms: ${what}.${last}${said}`, { advice });
  }

  /** While the cluster starts: a role that was started too often to hope for it. */
  #looping(): { readonly spec: MachineSpec; readonly role: Role } | undefined {
    for (const spec of this.machines) {
      for (const [role, { starts, state }] of this.#processes.get(spec.name) ?? [])
        if (starts >= STARTS_MAX && state !== 'dead') return { spec, role };
    }
    return undefined;
  }

  async #tail({ spec, role }: { readonly spec: MachineSpec; readonly role: Role }): Promise<string> {
    const logFile = join(this.layout.machine(spec.name).logDir, `${role}.log`);
    const text = (await readTextBounded(logFile, LOG_BYTES_MAX).catch(() => undefined)) ?? '';
    return text === '' ? ` ${logFile} is empty.` : `\nThe end of ${logFile}:\n${text.slice(-LOG_TAIL_BYTES)}\n`;
  }

  async #stopRole(role: Role, deadlineMs: number): Promise<void> {
    const processes = [...this.#processes.values()].flatMap((roles) => roles.get(role) ?? []);
    await Promise.all(processes.map((process) => process.stop(deadlineMs)));
  }

  /** Asks every process left on a machine to end (storage daemons flush their data), then gives up on them. */
  async #endProcesses(spec: MachineSpec, deadlineMs: number): Promise<void> {
    const machine = this.#running.get(spec.name);
    if (machine === undefined || !isRunning(machine.init)) return;
    const left = processesOf(machine);
    for (const process of left) signalProcess(process, 'SIGTERM');
    await Promise.all(left.map((process) => waitGone(process, deadlineMs).catch(() => undefined)));
  }

  async #halt(spec: MachineSpec): Promise<void> {
    for (const process of this.#processes.get(spec.name)?.values() ?? []) process.abandon();
    const machine = this.#running.get(spec.name);
    if (machine === undefined || !isRunning(machine.init)) return;
    signalProcess(machine.init, 'SIGKILL');
    await waitGone(machine.init, READY_DEADLINE_MS);
  }
}

/** The values of `field`, by name. */
function statesOf(page: unknown, field: string): readonly (readonly [name: string, state: unknown])[] {
  const items = typeof page === 'object' && page !== null && 'items' in page ? page.items : null;
  if (!Array.isArray(items)) return [];
  return items.flatMap((item: unknown) => {
    if (typeof item !== 'object' || item === null) return [];
    const record = item as Readonly<Record<string, unknown>>;
    return typeof record['name'] === 'string' ? [[record['name'], record[field]] as const] : [];
  });
}

function portIsOpen(at: { readonly host: string; readonly port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ ...at, timeout: PROBE_DEADLINE_MS });
    const end = (open: boolean): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
  });
}
