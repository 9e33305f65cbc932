/**
 * Users of a cluster whose hosts are rolled over: they create VMs, stop them, start them larger or smaller, move them,
 * and form guest clusters. Some want the very host on which a drain was promised memory: they move a VM there, or sign
 * for one that is pinned there, until somebody makes them give it back.
 *
 * When faults end, users leave: pinned VMs are deleted, and VMs that were stopped for another size are started, so that
 * nothing of theirs keeps a roll from its end.
 */
import type { OperationId } from '../../api/operations.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { namedIncarnations } from '../../core/check/records.ts';
import type { DrainMove } from '../../core/model/drain.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import { VM_BYTES } from '../faults/swarm.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** What users do, each as often as it is named. */
const USES = [
  ...(['create', 'resize', 'resize', 'stop', 'start', 'move'] as const),
  ...(['take', 'take', 'move-there', 'move-there', 'form', 'form', 'disband'] as const),
] as const;
type Use = (typeof USES)[number];

const DISK_BYTES = 2 ** 30;
/** Sizes of a VM, in bytes: users share no more than this of the hosts that a roll leaves in service. */
const SIZES = [VM_BYTES / 2, VM_BYTES, 1.5 * VM_BYTES] as const;
const USED_MAX = 0.75;
/** How long a VM is stopped for another size, and how long somebody keeps a host that was signed for, in ms. */
const STOPPED_MS = [1_000, 6_000] as const;
const KEPT_MS = [4_000, 15_000] as const;
/** Until what has to succeed is tried again, in ms. */
const AGAIN_MS = 1_000;
/** Whoever asks a control node waits so long for its answer, in ms. */
const ASK_MS = 12_000;
const CLUSTERS_MAX = 8;
const TOLERATES_MS = 60_000;
/** A day after the simulation's first. */
const UNTIL = '2023-11-16T00:00:00Z';

/** What a VM has to be in the end. `knownMs`: one that is not there by then (simulated time) was never created. */
interface Owed {
  readonly as: 'deleted' | 'running';
  readonly knownMs: number;
}

/** See the module. */
export class RollUsers {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #meanMs: number;
  /** VMs that a user has to see deleted, or running, by name. */
  readonly #owed = new Map<string, Owed>();
  #made = 0;
  #haveLeft = false;

  constructor(cluster: SimCluster, meanMs: number) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('roll users');
    this.#meanMs = meanMs;
  }

  /** Begins now, and goes on until `leave`. */
  start(): void {
    this.#cluster.clock.after(this.#random.wait(this.#meanMs), () => {
      if (this.#haveLeft) return;
      void this.#use(this.#random.pick(USES));
      this.start();
    });
  }

  /** Nobody wants anything any more, and what was kept is given back. */
  leave(): void {
    this.#haveLeft = true;
    const { vm: vms, 'guest-cluster': clusters } = this.#cluster.truth.tables;
    // While a member is stopped, its guest cluster lets no other member move.
    for (const id of [...clusters.values()].flatMap(({ members }) => members)) {
      const vm = vms.get(id);
      if (vm !== undefined && vm.intent !== 'running' && !this.#owed.has(vm.name)) this.#owe(vm.name, 'running');
    }
    for (const name of this.#owed.keys()) this.#settle(name);
  }

  async #use(use: Use): Promise<void> {
    const vms = [...this.#cluster.truth.tables.vm.values()].filter(({ deleting }) => !deleting);
    const own = vms.filter(({ name }) => !this.#owed.has(name));
    const running = own.filter(({ phase }) => phase.kind === 'running');
    switch (use) {
      case 'create':
        return this.#create(vms, {});
      case 'resize':
        return running.length === 0 ? undefined : this.#resize(this.#random.pick(running), vms);
      case 'stop':
        return running.length === 0 ? undefined : this.#stop(this.#random.pick(running));
      case 'start': {
        const stopped = own.filter(({ intent }) => intent === 'stopped');
        if (stopped.length > 0) await this.#ask('startVm', { params: { vm: this.#random.pick(stopped).name } });
        return;
      }
      case 'move':
        if (running.length > 0) await this.#ask('migrateVm', { params: { vm: this.#random.pick(running).name } });
        return;
      case 'take':
        return this.#take(vms);
      case 'move-there':
        return this.#moveThere(running);
      case 'form':
        return this.#form(running);
      case 'disband': {
        const clusters = [...this.#cluster.truth.tables['guest-cluster'].keys()];
        const query = { force: true };
        if (clusters.length > 0)
          await this.#ask('deleteGuestCluster', { params: { guestCluster: this.#random.pick(clusters) }, query });
      }
    }
  }

  /** Moves of drains that have not begun. */
  get #promised(): readonly DrainMove[] {
    const running = [...this.#cluster.truth.tables.drain.values()].filter(({ state }) => state === 'running');
    return running.flatMap(({ moves }) => moves.filter(({ state }) => state === 'waiting'));
  }

  /** Somebody signs for a VM that only the host of a promise may have. */
  async #take(vms: readonly VmRecord[]): Promise<void> {
    const promised = this.#promised;
    if (promised.length === 0) return;
    const { to } = this.#random.pick(promised);
    const accept = { owner: 'ann', reason: 'a demonstration', until: UNTIL };
    await this.#create(vms, { pin: to, accept });
  }

  async #moveThere(running: readonly VmRecord[]): Promise<void> {
    const promised = this.#promised;
    const moved = new Set(promised.map(({ vm }) => vm));
    const others = running.filter(({ id }) => !moved.has(id));
    if (promised.length === 0 || others.length === 0) return;
    const { to } = this.#random.pick(promised);
    await this.#ask('migrateVm', { params: { vm: this.#random.pick(others).name }, body: { to } });
  }

  async #create(vms: readonly VmRecord[], more: { readonly pin?: HostName; readonly accept?: object }): Promise<void> {
    const memoryBytes = this.#random.pick(SIZES);
    if (!this.#mayUse(vms, memoryBytes)) return;
    const name = `u${++this.#made}`;
    if (more.pin !== undefined) {
      this.#owe(name, 'deleted');
      this.#cluster.clock.after(this.#random.between(...KEPT_MS), () => this.#settle(name));
    }
    await this.#ask('createVm', { body: { name, memoryBytes, disks: [{ sizeBytes: DISK_BYTES }], ...more } });
  }

  /** Stops a VM, gives it another size, and starts it. */
  async #resize(vm: VmRecord, vms: readonly VmRecord[]): Promise<void> {
    const memoryBytes = this.#random.pick(SIZES);
    if (!this.#mayUse(vms, memoryBytes - vm.spec.memoryBytes)) return;
    const params = { vm: vm.name };
    this.#owe(vm.name, 'running');
    this.#cluster.clock.after(this.#random.between(...STOPPED_MS), () => {
      void this.#ask('patchVm', { params, body: { memoryBytes } }).then(() => this.#settle(vm.name));
    });
    await this.#ask('stopVm', { params, body: { mode: 'hard' } });
  }

  async #stop({ name }: VmRecord): Promise<void> {
    this.#owe(name, 'running');
    this.#cluster.clock.after(this.#random.between(...KEPT_MS), () => this.#settle(name));
    await this.#ask('stopVm', { params: { vm: name }, body: { mode: 'acpi', patienceMs: 2_000 } });
  }

  async #form(running: readonly VmRecord[]): Promise<void> {
    const clusters = this.#cluster.truth.tables['guest-cluster'];
    const free = running.filter(({ spec }) => (spec.guestCluster ?? null) === null);
    if (clusters.size >= CLUSTERS_MAX || free.length < 3) return;
    const hosts = new Set<HostName>();
    const members = [0, 1, 2].flatMap(() => {
      const vm = this.#random.pick(free);
      const there = namedIncarnations(vm).map(({ host }) => host);
      if (there.some((host) => hosts.has(host))) return [];
      for (const host of there) hosts.add(host);
      return vm.name;
    });
    const body = { name: `guests${++this.#made}`, members, sharedDisks: [], toleratesMs: TOLERATES_MS };
    await this.#ask('createGuestCluster', { body });
  }

  #owe(name: string, as: Owed['as']): void {
    this.#owed.set(name, { as, knownMs: this.#cluster.now + 2 * ASK_MS });
  }

  /** Sees to it that a VM is as it has to be in the end. */
  #settle(name: string): void {
    const owed = this.#owed.get(name);
    if (owed === undefined) return;
    const vm = [...this.#cluster.truth.tables.vm.values()].find((each) => each.name === name);
    const isGone = vm === undefined ? this.#cluster.now > owed.knownMs : vm.deleting;
    if (isGone || (owed.as === 'running' && vm?.intent === 'running')) {
      this.#owed.delete(name);
      return;
    }
    void this.#give(owed.as, vm).then(() => this.#cluster.clock.after(AGAIN_MS, () => this.#settle(name)));
  }

  /** Starts a VM, or deletes it. One that cannot start becomes smaller, and leaves its guest cluster. */
  async #give(as: Owed['as'], vm: VmRecord | undefined): Promise<void> {
    if (vm === undefined) return;
    const params = { vm: vm.name };
    if (as === 'deleted') return void (await this.#ask('deleteVm', { params }));
    const { guestCluster = null } = vm.spec;
    const id = vm.intent === 'suspended' ? 'resumeVm' : 'startVm';
    if (await this.#ask(id, { params })) return;
    await this.#ask('patchVm', { params, body: { memoryBytes: SIZES[0] } });
    if (this.#haveLeft && guestCluster !== null)
      await this.#ask('deleteGuestCluster', { params: { guestCluster }, query: { force: true } });
  }

  /** Whether VMs leave the roll the room that it needs. */
  #mayUse(vms: readonly VmRecord[], moreBytes: number): boolean {
    const { hosts, hostMemoryBytes, roll } = this.#cluster.swarm;
    const usedBytes = vms.reduce((sum, { spec }) => sum + spec.memoryBytes, 0);
    return usedBytes + moreBytes <= (hosts - (roll?.maxUnavailable ?? 1)) * hostMemoryBytes * USED_MAX;
  }

  /** Asks the leader, or else any control node that answers; false where it is refused or not answered. */
  async #ask(id: OperationId, request: SimRequest): Promise<boolean> {
    const { controls, leader } = this.#cluster;
    const node = leader ?? [...controls.values()].find(({ context }) => context !== null);
    if (node === undefined) return false;
    this.#cluster.say(() => `users: ${id} ${JSON.stringify(request)}`);
    const late = new Promise<never>((_, reject) => {
      const error = new CodedError('deadline', `${node.name} does not answer.`);
      this.#cluster.clock.after(ASK_MS, () => reject(error));
    });
    // Nobody waits for it once there is an answer.
    late.catch(() => undefined);
    try {
      await Promise.race([askNode(this.#cluster, node, id, request), late]);
      return true;
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#cluster.say(() => `users: ${id} is refused: ${error.message}`);
      return false;
    }
  }
}
