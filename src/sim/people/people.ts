/**
 * People who use the API of some control node, several at once and without asking each other: what they wish
 * contradicts itself. Only the records that a cluster begins with, and VMs as older versions left them (new-vms.ts), are
 * written by hand.
 */

import type { Drain } from '../../api/maintenance-views.ts';
import type { OperationId } from '../../api/operations.ts';
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseVmId, type StorageName } from '../../base/ids.ts';
import { type ChangeContext, change } from '../../control/backend/changes.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import { expectedIncarnations, type VmRecord } from '../../core/model/vm.ts';
import { type Joining, joinChange } from '../../core/request/joining.ts';
import { createNetwork, type NewNetwork } from '../../core/request/networks.ts';
import type { NewVm } from '../../core/request/new-vm.ts';
import { hostJoining } from '../agent/joining.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import { type DeedName, VM_BYTES } from '../faults/swarm.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import { addressOf } from '../network/addresses.ts';
import type { SimRandom } from '../time/sim-random.ts';
import { ApiPeople } from './api-people.ts';
import { GuestPeople } from './guest-people.ts';
import { ImagePeople } from './image-people.ts';
import { MaintenancePeople } from './maintenance-people.ts';
import { MemberPeople } from './member-people.ts';
import { type SimVm, simVm } from './new-vms.ts';
import { type WishName, wishOf } from './wishes.ts';

const VMS_MAX = 12;
/** Machines whose records fit into one transaction of etcd. */
const JOIN_AT_ONCE_MAX = 60;
const DISK_BYTES = 2 ** 30;
const STOP_PATIENCE_MS = 4_000;
/** The network of a cluster that `gp up` made (src/cli/up.ts). */
const LAN: NewNetwork = { name: 'lan', cidr: '10.20.0.0/24', dhcp: true, nat: true, metadata: true };
const CARD_PERCENT = 60;
/** Answers after which nothing was changed, and nothing is to be tried again. */
const REFUSED: ReadonlySet<string> = new Set(['conflict', 'not-found', 'needs-acceptance']);
/** How long a drained host stays cordoned. */
const DRAINED_MS = [2_000, 15_000] as const;
/** A guest's I/O waits so long for its storage, in ms. */
const PATIENCE_MS = [800, 2_000, 5_000] as const;

/** Everybody who has a token. */
export class People {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #sharing: GuestPeople;
  readonly #asking: ApiPeople;
  readonly #images: ImagePeople;
  readonly #maintaining: MaintenancePeople;
  readonly #members: MemberPeople;
  #vms = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('people');
    this.#sharing = new GuestPeople(cluster);
    this.#asking = new ApiPeople(cluster);
    this.#images = new ImagePeople(cluster);
    this.#maintaining = new MaintenancePeople(cluster, {
      create: (node, store) => this.#create(node, store),
      takeBack: (host) => this.takeBack(host),
    });
    this.#members = new MemberPeople(cluster, {
      takeBack: (host) => this.takeBack(host),
      uncordon: (host) => this.uncordon(host),
    });
  }

  get #vmsMax(): number {
    return this.#cluster.swarm.vmsMax ?? VMS_MAX;
  }

  /** The records that joining leaves, hosts and storage nodes, and a network. */
  async join(context: ChangeContext, lan: NewNetwork = LAN): Promise<void> {
    const { hosts, storage } = this.#cluster;
    const joining = [...hosts.keys()].map((name) => hostJoining(name));
    const nodes = [...storage.keys()].map((name): Joining => {
      const addresses = { control: addressOf('control', name), storage: addressOf('storage', name) };
      return { role: 'storage', name, addresses };
    });
    const members = [...joining, ...nodes];
    for (let from = 0; from < members.length; from += JOIN_AT_ONCE_MAX) {
      await change(context, (basis) => {
        const some = members.slice(from, from + JOIN_AT_ONCE_MAX).map((each) => joinChange(basis, each));
        const network = from === 0 ? createNetwork(basis, lan).changes : [];
        return { changes: [...some, ...network], result: undefined };
      });
    }
  }

  /** Somebody does something, if there is anything to do it to and anybody who answers. */
  act(deed: DeedName): void {
    const node = this.#random.pick([...this.#cluster.controls.values()]);
    const { context } = node;
    if (context === null) return;
    void this.#do(deed, node, context).catch((error: unknown) =>
      this.#cluster.say(() => `people: ${deed} was not answered: ${String(error)}`),
    );
  }

  /** Somebody asks for one thing through any control node that answers, with a VM that is named. */
  wishFor(deed: WishName, vm: string, host: HostName | null): void {
    for (const node of this.#cluster.controls.values()) {
      if (node.context?.store.vmNames.get(vm) === undefined) continue;
      this.#wish(vm, deed, node, host).catch(() => undefined);
      return;
    }
  }

  async #do(deed: DeedName, node: SimControlNode, context: BackendContext): Promise<void> {
    const { store } = context;
    if (deed === 'create') return this.#create(node, store);
    if (deed === 'maintain') return this.#maintaining.act(node, context);
    if (deed === 'drain') return this.#random.chance(70) ? this.#drain(node, store) : this.#cordon(node, store);
    if (deed === 'share') return this.#sharing.act(node, context);
    if (deed === 'ask') return this.#asking.act(node, context);
    if (deed === 'image') return this.#images.act();
    if (deed === 'members') {
      this.#members.act();
      return;
    }
    const vms = [...store.vms.values()];
    if (vms.length === 0) return;
    await this.#wish(this.#random.pick(vms).value.name, deed, node);
  }

  async #create(node: SimControlNode, store: BackendContext['store']): Promise<void> {
    if (store.vms.size < this.#vmsMax) await this.#ask(node, 'createVm', { body: this.#newVm(store).request });
  }

  /** A VM that is to run and that the cluster begins with: its disks are on any storage nodes (new-vms.ts). */
  async create(changes: ChangeContext): Promise<void> {
    const { store } = changes;
    if (store.vms.size >= this.#vmsMax) return;
    const { request, nodes, id } = this.#newVm(store);
    const { hasSharedDisks } = this.#cluster.swarm;
    await change(changes, (basis) => simVm(basis, { id, request, nodes, hasSharedDisks }));
  }

  /** Draws a new VM with one to three disks. */
  #newVm(store: BackendContext['store']): Pick<SimVm, 'id' | 'request' | 'nodes'> {
    const n = ++this.#vms;
    const random = this.#random;
    const nodesKnown = [...store.storage.keys()] as StorageName[];
    const nodes = Array.from({ length: 1 + random.below(3) }, () => random.pick(nodesKnown));
    const { hasPlainVms = false } = this.#cluster.swarm;
    const antiAffinity = !hasPlainVms && random.chance(40) ? random.pick(['red', 'blue']) : null;
    const storagePatienceMs = random.pick(PATIENCE_MS);
    const policies = hasPlainVms
      ? (['on-failure'] as const)
      : (['on-failure', 'on-failure', 'always', 'never'] as const);
    const restartPolicy = random.pick<VmRecord['spec']['restartPolicy']>(policies);
    const hasCard = !hasPlainVms && random.chance(CARD_PERCENT);
    const request: NewVm = {
      name: `vm${n}`,
      memoryBytes: VM_BYTES,
      disks: nodes.map(() => ({ sizeBytes: DISK_BYTES })),
      networks: hasCard ? [LAN.name] : [],
      restartPolicy,
      storagePatienceMs,
      ...(antiAffinity === null ? {} : { antiAffinity }),
    };
    this.#cluster.say(() => `people: create ${request.name}`);
    return { request, nodes, id: parseVmId(`vm-${n.toString(16).padStart(12, '0')}`) };
  }

  /** What is refused was not wished: people ask for anything. */
  async #wish(vm: string, deed: WishName, node: SimControlNode, host: HostName | null = null): Promise<void> {
    const to = host ?? this.#random.pick([...this.#cluster.hosts.keys()]);
    this.#cluster.say(() => `people: ${deed} ${vm}${deed === 'migrate-to' ? ` ${to}` : ''}`);
    try {
      await wishOf(this.#cluster, node, { deed, vm, to, patienceMs: STOP_PATIENCE_MS });
    } catch (error) {
      if (!(error instanceof CodedError) || !REFUSED.has(error.code)) throw error;
      this.#cluster.say(() => `people: ${deed} ${vm} is refused: ${error.message}`);
    }
  }

  /**
   * Drains a host, pauses that now and then, and takes the host back some time later, whether it is drained by then or
   * not.
   */
  async #drain(node: SimControlNode, store: BackendContext['store']): Promise<void> {
    const { clock } = this.#cluster;
    const hosts = [...store.hosts.values()].filter(({ value }) => (value.maintenance ?? null) === null);
    if (hosts.length === 0) return;
    // A host with many VMs is what a drain is hard for.
    const host = this.#random.chance(60) ? fullestOf(hosts, store) : this.#random.pick(hosts).value.name;
    const parallel = 1 + this.#random.below(3);
    const [pauseMs, backMs] = [this.#random.between(200, 5_000), this.#random.between(DRAINED_MS[0], DRAINED_MS[1])];
    const isPaused = this.#random.chance(20);
    this.#cluster.say(() => `people: drain ${host}`);
    clock.after(backMs, () => this.takeBack(host));
    const { id: drain } = (await this.#ask(node, 'drainHost', { params: { host }, body: { parallel } })) as Drain;
    if (!isPaused) return;
    await this.#ask(node, 'pauseDrain', { params: { drain } });
    clock.after(pauseMs, () => void this.#ask(node, 'resumeDrain', { params: { drain } }).catch(() => undefined));
  }

  /** Takes a host back into service, through any control node that answers; tries until it has worked. */
  takeBack(host: HostName): void {
    const { clock, truth } = this.#cluster;
    const { maintenance = null } = truth.tables.host.get(host) ?? {};
    if (maintenance === null) return;
    const [id, request] =
      maintenance.isEmpty === true
        ? (['undrainHost', { params: { host } }] as const)
        : (['cancelDrain', { params: { drain: maintenance.drain } }] as const);
    this.#askAny(id, request);
    clock.after(1_000, () => this.takeBack(host));
  }

  /** Cordons a host, asks for all its VMs to go elsewhere, and uncordons it some time later. */
  async #cordon(node: SimControlNode, store: BackendContext['store']): Promise<void> {
    const hosts = [...store.hosts.values()].filter(({ value }) => !value.cordoned);
    if (hosts.length === 0) return;
    const { name: host } = this.#random.pick(hosts).value;
    this.#cluster.say(() => `people: cordon ${host}`);
    this.#cluster.clock.after(this.#random.between(DRAINED_MS[0], DRAINED_MS[1]), () => this.uncordon(host));
    await this.#ask(node, 'patchHost', { params: { host }, body: { cordoned: true } });
    const there = [...store.vms.values()].filter(({ value }) =>
      expectedIncarnations(value.phase).some((incarnation) => incarnation.host === host),
    );
    for (const { value } of there) await this.#wish(value.name, 'migrate', node);
  }

  /** Lets VMs come again, through any control node that answers; tries until it has worked. */
  uncordon(host: HostName): void {
    const { clock, truth } = this.#cluster;
    if (truth.tables.host.get(host)?.cordoned !== true) return;
    this.#askAny('patchHost', { params: { host }, body: { cordoned: false } });
    clock.after(1_000, () => this.uncordon(host));
  }

  /** What people have cut hears the others again. */
  repair(): void {
    this.#members.repair();
  }

  /** The maintenance of all hosts is over. */
  uncordonAll(): void {
    for (const name of this.#cluster.hosts.keys()) {
      this.uncordon(name);
      this.takeBack(name);
    }
  }

  #ask(node: SimControlNode, id: OperationId, request: SimRequest): Promise<unknown> {
    return askNode(this.#cluster, node, id, request);
  }

  /** Asks the leader, or else any control node that answers. */
  #askAny(id: OperationId, request: SimRequest): void {
    const { controls, leader } = this.#cluster;
    const node = leader ?? [...controls.values()].find(({ context }) => context !== null);
    if (node !== undefined) void this.#ask(node, id, request).catch(() => undefined);
  }
}

function fullestOf(
  hosts: readonly { readonly value: { readonly name: HostName } }[],
  store: BackendContext['store'],
): HostName {
  const count = new Map<HostName, number>();
  for (const { value } of store.vms.values())
    for (const { host } of expectedIncarnations(value.phase)) count.set(host, (count.get(host) ?? 0) + 1);
  const names = hosts.map(({ value }) => value.name);
  return names.reduce((best, name) => ((count.get(name) ?? 0) > (count.get(best) ?? 0) ? name : best));
}
