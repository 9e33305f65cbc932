/**
 * People who use the API itself: whatever they ask is validated, forwarded to the leader and admitted as in production.
 * They create, change and delete VMs, cards, networks, shared disks and guest clusters, several at once and without
 * asking each other.
 */
import { CodedError } from '../../base/errors.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import { VM_BYTES } from '../faults/swarm.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** What people ask for in this way. */
const ASKS = [
  ...(['createVm', 'createVm', 'patchVm', 'patchVm', 'deleteVm'] as const),
  ...(['vmAddNic', 'vmAddNic', 'vmRemoveNic', 'createNetwork', 'deleteNetwork'] as const),
] as const;
/** What they ask for besides, where machines have a place for shared disks. */
const SHARING = [
  ...(['createSharedDisk', 'attachSharedDisk', 'attachSharedDisk', 'detachSharedDisk', 'deleteSharedDisk'] as const),
  ...(['createGuestCluster', 'addGuestClusterMember', 'removeGuestClusterMember', 'deleteGuestCluster'] as const),
] as const;
type Ask = (typeof ASKS)[number];
type Share = (typeof SHARING)[number];

const VMS_MAX = 12;
const NETWORKS_MAX = 3;
const DISK_BYTES = 2 ** 30;
const SHARED_DISKS_MAX = 6;
const CLUSTERS_MAX = 2;
const SHARED_BYTES = 2 ** 20;

/** All of them. */
export class ApiPeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  #made = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('api people');
  }

  /** Somebody asks a control node for one thing, by what that node knows. A refusal changes nothing. */
  async act(node: SimControlNode, { store }: BackendContext): Promise<void> {
    const { random, swarm } = { random: this.#random, swarm: this.#cluster.swarm };
    const shared = swarm.hasSharedDisks && random.chance(40) ? random.pick(SHARING) : null;
    const ask = shared ?? random.pick(ASKS);
    const request = shared === null ? this.#request(ask as Ask, store) : this.#share(shared, store);
    if (request === null) return;
    this.#cluster.say(() => `people: ${ask} ${JSON.stringify(request)}`);
    try {
      await askNode(this.#cluster, node, ask, request);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#cluster.say(() => `people: ${ask} is refused: ${error.message}`);
    }
  }

  #request(ask: Ask, store: BackendContext['store']): SimRequest | null {
    const random = this.#random;
    const vms = [...store.vms.values()].map(({ value }) => value);
    const networks = [...store.networks.keys()];
    if (ask === 'createVm')
      return vms.length >= (this.#cluster.swarm.vmsMax ?? VMS_MAX) ? null : { body: this.#newVm(networks) };
    if (ask === 'createNetwork') return networks.length >= NETWORKS_MAX ? null : { body: this.#newNetwork() };
    if (ask === 'deleteNetwork') return networks.length < 2 ? null : { params: { network: random.pick(networks) } };
    if (vms.length === 0) return null;
    const vm = random.pick(vms);
    const params = { vm: random.chance(50) ? vm.name : vm.id };
    switch (ask) {
      case 'patchVm':
        return { params, body: this.#patch(vm) };
      case 'vmAddNic':
        return networks.length === 0 ? null : { params, body: { network: random.pick(networks) } };
      case 'vmRemoveNic': {
        const [nic] = vm.spec.nics;
        return nic === undefined ? null : { params: { ...params, mac: nic.mac } };
      }
      case 'deleteVm':
        return { params };
    }
  }

  #share(ask: Share, store: BackendContext['store']): SimRequest | null {
    const random = this.#random;
    const vms = [...store.vms.values()].map(({ value }) => value.name);
    const disks = [...store.sharedDisks.values()].map(({ value }) => value.id);
    const clusters = [...store.guestClusters.keys()];
    const isNew = ask === 'createSharedDisk' || ask === 'createGuestCluster';
    const isOfCluster = ask.includes('GuestCluster');
    if (vms.length === 0 || (!isNew && (isOfCluster ? clusters : disks).length === 0)) return null;
    const params = isOfCluster
      ? { guestCluster: isNew ? '' : random.pick(clusters) }
      : { sharedDisk: isNew ? '' : random.pick(disks) };
    const vm = random.pick(vms);
    switch (ask) {
      case 'createSharedDisk':
        return disks.length >= SHARED_DISKS_MAX ? null : { body: this.#newSharedDisk() };
      case 'createGuestCluster':
        return clusters.length >= CLUSTERS_MAX
          ? null
          : {
              body: {
                name: `gc${++this.#made}`,
                members: [...new Set([vm, random.pick(vms)])],
                sharedDisks: disks.length >= SHARED_DISKS_MAX ? [] : [this.#newSharedDisk()],
                shareHosts: random.chance(30),
              },
            };
      case 'attachSharedDisk':
      case 'addGuestClusterMember':
        return { params, body: { vm } };
      case 'detachSharedDisk':
      case 'removeGuestClusterMember':
        return { params: { ...params, vm } };
      case 'deleteSharedDisk':
        return { params };
      case 'deleteGuestCluster':
        return { params, query: { keep: random.chance(30), force: true } };
    }
  }

  #newSharedDisk(): object {
    return { name: `s${++this.#made}`, sizeBytes: SHARED_BYTES };
  }

  #newVm(networks: readonly string[]): object {
    const random = this.#random;
    return {
      name: `a${++this.#made}`,
      memoryBytes: VM_BYTES,
      disks: Array.from({ length: 1 + random.below(2) }, () => ({ sizeBytes: DISK_BYTES })),
      networks: networks.length > 0 && random.chance(70) ? [random.pick(networks)] : [],
      restartPolicy: random.pick(['on-failure', 'always', 'never']),
      labels: { tier: random.pick(['web', 'db']) },
      ...(random.chance(30) ? { antiAffinity: random.pick(['red', 'blue']) } : {}),
      start: random.chance(80),
    };
  }

  #patch({ spec }: VmRecord): object {
    const random = this.#random;
    return random.pick([
      { labels: { ...spec.labels, seen: String(random.below(9)) } },
      { antiAffinity: random.pick(['red', 'blue', null]) },
      { restartPolicy: random.pick(['on-failure', 'always', 'never']) },
      { memoryBytes: random.pick([VM_BYTES, VM_BYTES / 2]) },
    ]);
  }

  /** A range with few addresses, so that they are fought for. */
  #newNetwork(): object {
    const n = ++this.#made;
    return { name: `net${n}`, cidr: `10.${100 + (n % 100)}.0.0/29`, dhcp: this.#random.chance(50) };
  }
}
