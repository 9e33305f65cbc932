/** People who share disks among VMs and make guest clusters of them, through the API. What is refused is not done. */
import type { OperationId } from '../../api/operations.ts';
import { CodedError } from '../../base/errors.ts';
import { change } from '../../control/backend/changes.ts';
import type { BackendContext } from '../../control/backend/context.ts';
import { snapshotOf } from '../../control/store/leader-store.ts';
import { recordsOf } from '../../core/model/cluster-index.ts';
import type { GuestClusterRecord } from '../../core/model/guest-cluster.ts';
import type { Change } from '../../core/ports/store.ts';
import type { Basis } from '../../core/request/basis.ts';
import { disksOf } from '../../core/request/guest-cluster-changes.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimControlNode } from '../machines/control-node.ts';
import type { SimRandom } from '../time/sim-random.ts';

const CLUSTERS_MAX = 2;
const DISKS_MAX = 6;
const DISK_BYTES = 2 ** 20;
const TELLS_PERCENT = 40;
const NOTICES_MS = [null, 1_000, 3_000, 8_000] as const;
/** How long a ready-check is waited for. */
const CHECKS_MS = [null, 2_000, 60_000] as const;
const QUIET_PERCENT = 25;
/** Some minutes: longer than most of a run. */
const QUIET_MS = 120_000;

type Ask = readonly [OperationId, SimRequest] | null;
type Store = BackendContext['store'];

/** The time of day after some time, as windows are written. */
const laterBy = (now: number, ms: number): string => new Date(now + ms).toISOString().slice(11, 16);

/** Passes what is no refusal on. */
function passUnlessRefused(error: unknown): void {
  if (!(error instanceof CodedError)) throw error;
}

/** All of them. */
export class GuestPeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #telling: SimRandom;
  #made = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('guest people');
    this.#telling = cluster.random.fork('guests are told');
  }

  /** Somebody asks a control node for something, by what that node knows. */
  async act(node: SimControlNode, context: BackendContext): Promise<void> {
    const ask = this.#ask(context.store);
    // Whatever becomes of what they ask for besides.
    if (this.#telling.chance(TELLS_PERCENT)) await this.#tell(node, context).catch(passUnlessRefused);
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

  /** Declares what a guest cluster's guests are told, and moves a member, which is told. */
  async #tell(node: SimControlNode, context: BackendContext): Promise<void> {
    await change(context, (basis) => ({ changes: this.#told(basis), result: null }));
    const members = [...context.store.guestClusters.values()].flatMap(({ value }) => value.members);
    if (members.length === 0) return;
    const vm = this.#telling.pick(members);
    await askNode(this.#cluster, node, 'migrateVm', { params: { vm } });
  }

  /**
   * Notices and quiet hours of a guest cluster; not through admission, which wants every member to have a card in a
   * network with the metadata service: cards go, and guests that nobody can tell are what there is to try.
   */
  #told({ records, now }: Basis): readonly Change[] {
    const clusters = [...recordsOf(records.guestClusters)];
    if (clusters.length === 0) return [];
    const { noticeMs: _, quiet: __, readyCheck: ___, ...cluster } = this.#telling.pick(clusters);
    const noticeMs = this.#telling.pick(NOTICES_MS);
    const day = new Date(now).toISOString().slice(11, 16);
    const quiet = this.#telling.chance(QUIET_PERCENT) ? [`Mon-Sun ${day}-${laterBy(now, QUIET_MS)} UTC`] : null;
    const withinMs = this.#telling.pick(CHECKS_MS);
    const value = {
      ...cluster,
      ...(noticeMs === null ? {} : { noticeMs }),
      ...(withinMs === null ? {} : { readyCheck: { command: 'is-ready', withinMs } }),
      ...(quiet === null ? {} : { quiet }),
    };
    this.#cluster.say(() => `people: ${cluster.name} is told of moves ${noticeMs ?? 0} ms before`);
    return [{ kind: 'guest-cluster', id: cluster.name, value }];
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
