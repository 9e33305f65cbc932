/** What people and misfortune do to a simulated world: a list of actions, each at its time, then everything is repaired. */

import type { DiskId, HostName, StorageName, TaskId, VmId } from '../base/ids.ts';
import { parseDiskId, parseHostName, parseTaskId, parseVmId } from '../base/ids.ts';
import type { DiskRecord, TaskRecord } from '../core/model/cluster.ts';
import type { VmRecord } from '../core/model/vm.ts';
import type { Change } from '../core/ports/store.ts';
import { SimWorld, type WorldOptions } from './sim-world.ts';

/** What people ask of a VM. */
export const WISHES = ['start', 'stop', 'power-off', 'delete', 'suspend', 'resume', 'migrate', 'reset'] as const;
/** What becomes of a guest by itself. */
export const GUEST_FAULTS = ['crash-qemu', 'guest-ends', 'guest-panics'] as const;
/** What befalls hosts, and its repair. */
export const HOST_FAULTS = [
  'kill-host',
  'power-on',
  'kill-agent',
  'start-agent',
  'cut-control',
  'cut-storage',
  'cut-host',
  'join-host',
  'deafen',
] as const;
/** What befalls storage services, and its repair. */
export const STORAGE_FAULTS = ['crash-storage', 'restart-storage'] as const;
/** What befalls the leader. */
export const LEADER_FAULTS = ['crash-leader', 'depose-leader'] as const;

/** Numbers stand for VMs, hosts and nodes, counted round. */
export type Action =
  | { readonly do: (typeof WISHES)[number]; readonly vm: number }
  | { readonly do: 'migrate-to'; readonly vm: number; readonly host: number }
  | { readonly do: (typeof GUEST_FAULTS)[number]; readonly vm: number }
  | { readonly do: (typeof HOST_FAULTS)[number]; readonly host: number }
  | { readonly do: (typeof STORAGE_FAULTS)[number]; readonly node: number }
  | { readonly do: (typeof LEADER_FAULTS)[number] }
  | { readonly do: 'crash-leader-at'; readonly step: number }
  | { readonly do: 'lose'; readonly percent: number };

/** A run: the actions with the pause before each, in ms. */
export interface Scenario {
  readonly seed: number;
  readonly vms: number;
  readonly actions: readonly { readonly afterMs: number; readonly action: Action }[];
}

const HOSTS = 3;
const NODES = 2;
const VM_BYTES = 2 ** 30;
/** With 3 hosts: room for the VMs of any two on the third and the overhead of each, and not for much more. */
const HOST_BYTES = 5 * 2 ** 30;
/** How long a cluster in which everything works may take to be in order, in ms: the longest back-off and a little. */
const CONVERGENCE_MS = 90_000;

/** What a run came to. `stuck`: what was not in order when the time was over. */
export interface Outcome {
  readonly world: SimWorld;
  readonly stuck: readonly string[];
}

/** Plays a scenario to its end. */
export async function play(scenario: Scenario, options: Pick<WorldOptions, 'plant'> = {}): Promise<Outcome> {
  const world = new SimWorld({
    seed: scenario.seed,
    hosts: HOSTS,
    nodes: NODES,
    hostMemoryBytes: HOST_BYTES,
    ...options,
  });
  const people = new People(world);
  for (let i = 0; i < scenario.vms; i++) people.create(i);
  await world.clock.run(4_000);
  for (const { afterMs, action } of scenario.actions) {
    await world.clock.run(world.clock.monotonicMs() + afterMs);
    world.say(`-- ${JSON.stringify(action)}`);
    people.act(action);
  }
  await world.clock.run(world.clock.monotonicMs() + 1_000);
  repair(world);
  const deadline = world.clock.monotonicMs() + CONVERGENCE_MS;
  let calmUntil = 0;
  while (world.clock.monotonicMs() < deadline) {
    const isCalm = world.disorder().length === 0;
    if (!isCalm) calmUntil = 0;
    else if (calmUntil === 0) calmUntil = world.clock.monotonicMs() + 3_000;
    else if (world.clock.monotonicMs() >= calmUntil) break;
    await world.clock.run(world.clock.monotonicMs() + 500);
  }
  return { world, stuck: world.disorder() };
}

/** Everything that broke works again. */
function repair(world: SimWorld): void {
  world.say('-- repair');
  world.store.lossPercent = 0;
  world.crashLeaderAtStep(0);
  for (const node of world.storage.values()) node.restart();
  for (const host of world.hosts.values()) {
    host.powerOn();
    if (!host.agentUp) host.restartAgent();
    host.controlCut = false;
    host.storageCut = false;
    host.deafGuests = false;
  }
}

const id = (kind: string, n: number): string => `${kind}-${n.toString(16).padStart(12, '0')}`;

/** The API's part: each act is one transaction, as control/backend/vms.ts makes it. */
class People {
  readonly #world: SimWorld;
  #tasks = 0;

  constructor(world: SimWorld) {
    this.#world = world;
  }

  create(n: number): void {
    const vm = parseVmId(id('vm', n + 1));
    const nodes = [...this.#world.storage.keys()];
    const disks = [n, n + 1].slice(0, 1 + (n % 2)).map((m, i): DiskRecord => {
      const node = nodes[m % nodes.length] as StorageName;
      return {
        id: parseDiskId(id('disk', 2 * n + i + 1)),
        vm,
        node,
        port: 30_000 + 2 * n + i,
        sizeBytes: 2 ** 30,
        source: { kind: 'blank' },
        phase: 'creating',
      };
    });
    const task = this.#task('vm.create', `vm${n}`);
    const value = newVm(
      vm,
      `vm${n}`,
      task.id,
      disks.map((disk) => disk.id),
    );
    this.#world.store.byPeople([
      { kind: 'vm', id: vm, value },
      ...disks.map((disk): Change => ({ kind: 'disk', id: disk.id, value: disk })),
      { kind: 'task', id: task.id, value: task },
    ]);
  }

  act(action: Action): void {
    const world = this.#world;
    if ('vm' in action) this.#onVm(action);
    else if ('host' in action) this.#onHost(action);
    else if ('node' in action) {
      const node = world.storage.get(`s${(action.node % NODES) + 1}` as StorageName);
      if (action.do === 'crash-storage') node?.crash();
      else node?.restart();
    } else if (action.do === 'crash-leader') world.crashLeader();
    else if (action.do === 'crash-leader-at') world.crashLeaderAtStep(action.step);
    else if (action.do === 'lose') world.store.lossPercent = action.percent;
    else world.deposeLeader();
  }

  #onHost(action: Exclude<Extract<Action, { host: number }>, { vm: number }>): void {
    const host = this.#world.hosts.get(hostName(action.host));
    if (host === undefined) return;
    if (action.do === 'kill-host') host.kill();
    else if (action.do === 'power-on') host.powerOn();
    else if (action.do === 'kill-agent') host.killAgent();
    else if (action.do === 'start-agent') host.restartAgent();
    else if (action.do === 'deafen') host.deafGuests = true;
    else {
      host.controlCut = action.do === 'cut-control' || action.do === 'cut-host';
      host.storageCut = action.do === 'cut-storage' || action.do === 'cut-host';
    }
  }

  #onVm(action: Extract<Action, { vm: number }>): void {
    const vm = this.#world.store.get<VmRecord>('vm', id('vm', action.vm + 1));
    if (vm === undefined) return;
    if (action.do === 'crash-qemu' || action.do === 'guest-ends' || action.do === 'guest-panics')
      this.#toQemus(vm.id, action.do);
    else if (!vm.deleting) this.#wish(vm, action);
  }

  #toQemus(vm: VmId, what: 'crash-qemu' | 'guest-ends' | 'guest-panics'): void {
    for (const host of this.#world.hosts.values()) {
      for (const qemu of [...host.processes.values()].filter(({ start }) => start.vm === vm)) {
        if (what === 'crash-qemu') host.end(vm, qemu.start.generation);
        else if (qemu.isLive) qemu.status = what === 'guest-ends' ? 'shutdown' : 'guest-panicked';
        else continue;
        this.#world.announce(host, qemu);
      }
    }
  }

  #wish(vm: VmRecord, action: Extract<Action, { vm: number }>): void {
    const task = this.#task(`vm.${action.do}`, vm.name);
    const wished = wishFor(vm, action, task.id);
    if (wished === null) return;
    const superseded = wished.supersedes.flatMap((old): Change[] => {
      const value = old === null || old === undefined ? undefined : this.#world.store.get<TaskRecord>('task', old);
      if (value === undefined || value.state !== 'running') return [];
      return [{ kind: 'task', id: value.id, value: { ...value, state: 'cancelled', endedAt: 0 } }];
    });
    const state = wished.over ? 'succeeded' : 'running';
    this.#world.store.byPeople([
      { kind: 'vm', id: vm.id, value: wished.vm },
      { kind: 'task', id: task.id, value: { ...task, state } },
      ...superseded,
    ]);
  }

  #task(kind: string, name: string): TaskRecord {
    const taskId = parseTaskId(id('task', ++this.#tasks));
    return {
      id: taskId,
      kind,
      target: { kind: 'vm', name },
      state: 'running',
      progressPercent: null,
      message: '',
      startedAt: 0,
      endedAt: null,
    };
  }
}

interface Wish {
  readonly vm: VmRecord;
  /** Tasks that this one takes the place of. */
  readonly supersedes: readonly (TaskId | null | undefined)[];
  /** The task is over at once. */
  readonly over: boolean;
}

/** What each command of the API writes into a record, or null where it is refused. */
function wishFor(vm: VmRecord, action: Extract<Action, { vm: number }>, taskId: TaskId): Wish | null {
  const runs = vm.intent !== 'stopped' && vm.phase.kind !== 'stopped';
  const pending = [vm.startTask, vm.stopRequest?.taskId, vm.migrationRequest?.taskId, vm.resetRequest?.taskId];
  const wish = (change: Partial<VmRecord>, supersedes: Wish['supersedes'] = [], over = false): Wish => ({
    vm: { ...vm, ...change },
    supersedes,
    over,
  });
  switch (action.do) {
    case 'start':
      return vm.intent !== 'stopped'
        ? null
        : wish({ intent: 'running', startTask: taskId, failures: null }, [vm.startTask]);
    case 'stop':
    case 'power-off': {
      if (vm.phase.kind === 'stopped') return wish({ intent: 'stopped', startTask: null }, pending, true);
      const mode = action.do === 'stop' ? 'acpi' : 'hard';
      const stopRequest = { mode, patienceMs: mode === 'hard' ? 0 : 5_000, taskId } as const;
      return wish({ intent: 'stopped', stopRequest, migrationRequest: null }, [
        vm.stopRequest?.taskId,
        vm.migrationRequest?.taskId,
      ]);
    }
    case 'delete':
      return wish({ deleting: true, intent: 'stopped', migrationRequest: null }, pending);
    case 'suspend':
      return runs ? wish({ intent: 'suspended' }, [], true) : null;
    case 'resume':
      return runs ? wish({ intent: 'running' }, [], true) : null;
    case 'reset':
      return runs ? wish({ resetRequest: { taskId } }, [vm.resetRequest?.taskId]) : null;
    case 'migrate':
    case 'migrate-to': {
      if (!runs || vm.phase.kind !== 'running' || vm.migrationRequest !== null) return null;
      const to = action.do === 'migrate-to' ? hostName(action.host) : null;
      return to === vm.phase.incarnation.host ? null : wish({ migrationRequest: { to, taskId } });
    }
    default:
      return null;
  }
}

function hostName(n: number): HostName {
  return parseHostName(`h${(n % HOSTS) + 1}`);
}

function newVm(vmId: VmId, name: string, startTask: TaskId, disks: readonly DiskId[]): VmRecord {
  return {
    id: vmId,
    name,
    spec: {
      vcpus: 1,
      memoryBytes: VM_BYTES,
      cpuModel: 'baseline',
      boot: { firmware: 'bios' },
      disks: disks.map((disk) => ({ disk, role: 'data', bus: 'virtio' })),
      nics: [],
      restartPolicy: 'on-failure',
      labels: {},
      image: null,
      storagePatienceMs: 1_500,
      antiAffinity: null,
    },
    intent: 'running',
    generation: 0,
    phase: { kind: 'stopped' },
    migrationRequest: null,
    stopRequest: null,
    resetRequest: null,
    startTask,
    deleting: false,
    failures: null,
    createdAt: 0,
    phaseSince: 0,
  };
}
