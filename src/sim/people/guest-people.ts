/** People who share disks among VMs and make guest clusters of them, through the API. What is refused is not done. */
import type { OperationId } from '../../api/operations.ts';
import { CodedError } from '../../base/errors.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import { snapshotOf } from '../../control/store/leader-store.ts';
import type { GuestClusterRecord } from '../../core/model/guest-cluster.ts';
import { disksOf } from '../../core/request/guest-cluster-changes.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { SimRandom } from '../time/sim-random.ts';

const CLUSTERS_MAX = 2;
const DISKS_MAX = 6;
const DISK_BYTES = 2 ** 20;

type Ask = readonly [OperationId, SimRequest] | null;
type Store = BackendContext['store'];

/** All of them. */
export class GuestPeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  #made = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('guest people');
  }

  /** Somebody asks a control node for something, by what that node knows. */
  async act(node: SimControlNode, { store }: BackendContext): Promise<void> {
    const ask = this.#ask(store);
    if (ask === null) return;
    const [id, request] = ask;
    this.#cluster.say(() => `people: ${id} ${JSON.stringify(request)}`);
    try {
      await askNode(this.#cluster, node, id, request);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#cluster.say(() => `people: ${id} is refused: ${error.message}`);
    }
  }

  #ask(store: Store): Ask {
    const vms = [...store.vms.values()].map(({ value }) => value.name);
    const clusters = [...store.guestClusters.values()].map(({ value }) => value);
    if (vms.length === 0 || store.storage.size === 0) return null;
    const cluster = clusters.length === 0 ? null : this.#random.pick(clusters);
    const isAboutCluster = cluster !== null && this.#random.chance(60);
    const isNew = cluster === null || (clusters.length < CLUSTERS_MAX && this.#random.chance(30));
    if (isAboutCluster) return this.#change(store, cluster, vms);
    return isNew && this.#random.chance(60) ? this.#create(store, vms) : this.#share(store, this.#random.pick(vms));
  }

  #disk(): object {
    return { name: `d${++this.#made}`, sizeBytes: DISK_BYTES };
  }

  #create(store: Store, vms: readonly string[]): Ask {
    const members = [...new Set([1, 2, 3].map(() => this.#random.pick(vms)))];
    const disks = Array.from({ length: 1 + this.#random.below(2) }, () => this.#disk());
    const body = {
      name: `gc${++this.#made}`,
      members,
      sharedDisks: store.sharedDisks.size >= DISKS_MAX ? [] : disks,
      maxDisturbed: 1 + this.#random.below(2),
      toleratesMs: this.#random.pick([3_000, 60_000]),
      shareHosts: this.#random.chance(25),
    };
    return ['createGuestCluster', { body }];
  }

  #change(store: Store, cluster: GuestClusterRecord, vms: readonly string[]): Ask {
    const disks = disksOf(snapshotOf(store), cluster);
    const disk = disks.length === 0 ? null : this.#random.pick(disks);
    const vm = this.#random.pick(vms);
    const query = { keep: this.#random.chance(30), force: true };
    const params = { guestCluster: cluster.name };
    switch (this.#random.below(6)) {
      case 0:
        return ['addGuestClusterMember', { params, body: { vm, shareHosts: this.#random.chance(20) } }];
      case 1:
        return ['removeGuestClusterMember', { params: { ...params, vm } }];
      case 2: {
        if (store.sharedDisks.size < DISKS_MAX) return ['addGuestClusterDisk', { params, body: this.#disk() }];
        const loose = looseDisks(store)[0];
        return loose === undefined ? null : ['addGuestClusterDisk', { params, body: { disk: loose } }];
      }
      case 3:
        return disk === null
          ? null
          : ['removeGuestClusterDisk', { params: { ...params, sharedDiskName: disk.name }, query }];
      case 4:
        return disk === null
          ? null
          : ['patchSharedDisk', { params: { sharedDisk: disk.id }, body: { sizeBytes: disk.sizeBytes * 2 } }];
      default:
        return ['deleteGuestCluster', { params, query }];
    }
  }

  #share(store: Store, vm: string): Ask {
    const free = looseDisks(store);
    const sharedDisk = free.length === 0 ? null : this.#random.pick(free);
    const percent = this.#random.below(100);
    if (sharedDisk === null || (percent < 20 && store.sharedDisks.size < DISKS_MAX))
      return ['createSharedDisk', { body: this.#disk() }];
    // Most of what they ask for is to share: a disk that nobody has shows nothing.
    if (percent >= 92) return ['deleteSharedDisk', { params: { sharedDisk } }];
    if (percent >= 80) return ['detachSharedDisk', { params: { sharedDisk, vm } }];
    return ['attachSharedDisk', { params: { sharedDisk }, body: { vm } }];
  }
}

/** The ids of the shared disks of no guest cluster. */
function looseDisks({ sharedDisks }: Store): readonly string[] {
  return [...sharedDisks.values()].flatMap(({ value }) => (value.guestCluster === null ? value.id : []));
}
