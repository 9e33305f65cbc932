/**
 * People who share disks among VMs and make guest clusters of them. What they ask for goes through the admission of
 * production (core/request), and is one transaction, as control/backend makes it; what is refused is not done.
 */
import { CodedError } from '../../base/errors.ts';
import { parseDiskId, parseGuestClusterName, type StorageName } from '../../base/ids.ts';
import { type ChangeContext, change } from '../../control/backend/changes.ts';
import { recordsOf } from '../../core/model/cluster-index.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Change, Snapshot } from '../../core/ports/store.ts';
import { type Basis, newTask, taskChange } from '../../core/request/basis.ts';
import {
  addDiskChanges,
  addMemberChanges,
  adoptDiskChanges,
  createChanges,
  type DiskFate,
  deleteChanges,
  disksOf,
  removeDiskChanges,
  removeMemberChanges,
} from '../../core/request/guest-cluster-changes.ts';
import {
  type Asked,
  attachChanges,
  deletedDisk,
  detachChanges,
  diskChange,
  grownDisk,
  type NewSharedDisk,
  newSharedDisk,
} from '../../core/request/shared-disk-changes.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimRandom } from '../time/sim-random.ts';

const CLUSTERS_MAX = 2;
const DISKS_MAX = 6;
const DISK_BYTES = 2 ** 20;

type Made = readonly Change[] | null;

/** All of them. */
export class GuestPeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  #made = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('guest people');
  }

  /** Somebody asks for something, by what one control node knows. */
  async act(context: ChangeContext): Promise<void> {
    try {
      await change(context, (basis) => ({ changes: this.#asked(basis), result: null }));
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#cluster.say(() => `people: refused: ${error.message}`);
    }
  }

  #asked(basis: Basis): readonly Change[] {
    const { records, now } = basis;
    const vms = [...recordsOf(records.vms)];
    const clusters = [...recordsOf(records.guestClusters)];
    if (vms.length === 0 || records.storage.size === 0) return [];
    const cluster = clusters.length === 0 ? null : this.#random.pick(clusters);
    const isAboutCluster = cluster !== null && this.#random.chance(60);
    const isNew = cluster === null || (clusters.length < CLUSTERS_MAX && this.#random.chance(30));
    const target = { kind: 'guest-cluster', name: cluster?.name ?? 'none' } as const;
    const task = newTask(basis, { kind: 'share', target, message: '' });
    const asked: Asked = { now, task };
    const changes = isAboutCluster
      ? this.#change(records, cluster, asked)
      : isNew && this.#random.chance(60)
        ? this.#create(records, vms, asked)
        : this.#share(records, this.#random.pick(vms), asked);
    if (changes === null) return [];
    this.#cluster.say(() => `people: ${changes.map(({ kind, id }) => `${kind} ${id}`).join(', ')}`);
    return [...changes, taskChange(task)];
  }

  #disk({ storage }: Snapshot): NewSharedDisk {
    const n = ++this.#made;
    const id = parseDiskId(`disk-${(0xa00000000000 + n).toString(16)}`);
    const node = this.#random.pick([...storage.keys()] as StorageName[]);
    return { id, name: `d${n}`, node, sizeBytes: DISK_BYTES, blockBytes: 512 };
  }

  #create(snapshot: Snapshot, vms: readonly VmRecord[], asked: Asked): Made {
    const members = [...new Set([1, 2, 3].map(() => this.#random.pick(vms)))];
    const disks = Array.from({ length: 1 + this.#random.below(2) }, () => this.#disk(snapshot));
    const wanted = {
      name: parseGuestClusterName(`gc${++this.#made}`),
      members,
      disks: snapshot.sharedDisks.size >= DISKS_MAX ? [] : disks,
      heartbeatNetworks: [],
      maxDisturbed: 1 + this.#random.below(2),
      toleratesMs: this.#random.pick([3_000, 60_000]),
      sharesHosts: this.#random.chance(25),
    };
    return createChanges(snapshot, wanted, asked);
  }

  #change(snapshot: Snapshot, cluster: GuestClusterRecord, asked: Asked): Made {
    const disks = disksOf(snapshot, cluster);
    const disk = disks.length === 0 ? null : this.#random.pick(disks);
    const vm = this.#random.pick([...recordsOf(snapshot.vms)]);
    const fate: DiskFate = { keeps: this.#random.chance(30), forces: true };
    switch (this.#random.below(6)) {
      case 0:
        return addMemberChanges(snapshot, { cluster, vm, consents: this.#random.chance(20) }, asked);
      case 1:
        return removeMemberChanges(snapshot, { cluster, vm }, asked);
      case 2:
        if (snapshot.sharedDisks.size >= DISKS_MAX) {
          const loose = [...recordsOf(snapshot.sharedDisks)].find(({ guestCluster }) => guestCluster === null);
          return loose === undefined ? null : adoptDiskChanges(snapshot, { cluster, disk: loose }, asked);
        }
        return addDiskChanges(snapshot, { cluster, disk: this.#disk(snapshot) }, asked);
      case 3:
        return disk === null ? null : removeDiskChanges(snapshot, { cluster, disk, fate }, asked);
      case 4:
        return disk === null ? null : [diskChange(grownDisk(disk, disk.sizeBytes * 2, asked))];
      default:
        return deleteChanges(snapshot, { cluster, fate }, asked);
    }
  }

  /** Disks of no guest cluster. */
  #share(snapshot: Snapshot, vm: VmRecord, asked: Asked): Made {
    const free = [...recordsOf(snapshot.sharedDisks)].filter(({ guestCluster }) => guestCluster === null);
    const disk: SharedDiskRecord | null = free.length === 0 ? null : this.#random.pick(free);
    const percent = this.#random.below(100);
    if (disk === null || (percent < 20 && snapshot.sharedDisks.size < DISKS_MAX))
      return [diskChange(newSharedDisk(snapshot, this.#disk(snapshot), null, asked))];
    // Most of what they ask for is to share: a disk that nobody has shows nothing.
    if (percent >= 92) return [diskChange(deletedDisk(snapshot, disk, asked))];
    return percent >= 80 ? detachChanges({ disk, vm }, asked) : attachChanges(snapshot, { disk, vm, lun: null }, asked);
  }
}
