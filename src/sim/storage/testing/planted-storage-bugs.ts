/** Known mistakes of a storage service, made on purpose, to show that they are noticed. */
import { FIRST_EPOCH } from '../../../core/model/record-shapes.ts';
import type { Daemon, DiskBackend } from '../../../core/ports/disk-backend.ts';
import type { TargetDaemon } from '../../../core/ports/target-backend.ts';
import { FencingLedger } from '../../../core/storage/fencing-ledger.ts';
import type { StorageServiceOptions } from '../../../core/storage/storage-service.ts';
import type { StormOptions } from './storage-storm.ts';

/** A mistake, and how it is made. */
export interface PlantedStorageBug {
  readonly name: string;
  readonly plant: Omit<StormOptions, 'seed'>;
}

class NoFloors extends FencingLedger {
  override checkGeneration(): void {}
}

const withLedger = (ledger: () => FencingLedger): PlantedStorageBug['plant'] => ({
  plant: (parts) => ({ ...parts, ledger: ledger() }),
});

/** Replaces methods of the node, or of every daemon on it. */
const withDisks = (
  change: (disks: DiskBackend) => Partial<DiskBackend>,
  changeDaemon: (daemon: Daemon) => Partial<Daemon> = () => ({}),
): PlantedStorageBug['plant'] => ({
  plant: (parts: StorageServiceOptions): StorageServiceOptions => {
    const changed = (daemon: Daemon): Daemon => overridden(daemon, changeDaemon(daemon));
    const disks = overridden(parts.disks, {
      adoptDaemon: async (running) => changed(await parts.disks.adoptDaemon(running)),
      startDaemon: async (disk, options) => changed(await parts.disks.startDaemon(disk, options)),
    });
    return { ...parts, disks: overridden(disks, change(parts.disks)) };
  },
});

/** The same object with some of its methods replaced. */
function overridden<T extends object>(object: T, changes: Partial<T>): T {
  return new Proxy(object, {
    get: (target, name) => {
      const value: unknown = Reflect.get(name in changes ? changes : target, name);
      return typeof value === 'function' && !(name in changes) ? value.bind(target) : value;
    },
  });
}

const withoutWaiting = (daemon: TargetDaemon): TargetDaemon =>
  overridden(daemon, { kill: async () => void daemon.kill().catch(() => undefined) });

/** One for each guarantee that the service gets from its parts. */
export const PLANTED_STORAGE_BUGS: readonly PlantedStorageBug[] = [
  { name: 'an export is gone before its writes are', plant: { mistakes: { removesWithoutDraining: true } } },
  { name: 'a write is acknowledged before it is on the disk', plant: { mistakes: { acknowledgesFirst: true } } },
  { name: 'a fenced generation is granted again', plant: withLedger(() => new NoFloors()) },
  {
    name: 'the target acknowledges a fence before the writes it cut are over',
    plant: { targetMistakes: { cutsWithoutDraining: true } },
  },
  { name: 'the target leaves the sessions of who is fenced', plant: { targetMistakes: { keepsSessions: true } } },
  {
    name: 'a target that was killed is not waited for',
    plant: {
      plant: (parts) => ({
        ...parts,
        target: overridden(parts.target, {
          killTarget: async (running) => void parts.target.killTarget(running).catch(() => undefined),
          startTarget: async () => withoutWaiting(await parts.target.startTarget()),
          adoptTarget: async (running) => withoutWaiting(await parts.target.adoptTarget(running)),
        }),
      }),
    },
  },
  {
    name: 'a fence is acknowledged before it is carried out',
    plant: {
      plantOrders: (orders) =>
        overridden(orders, {
          fence: async (order) => {
            void orders.fence(order).catch(() => undefined);
            return { revoked: [] };
          },
        }),
    },
  },
  {
    name: 'nobody looks who is connected after a fence',
    plant: withDisks(() => ({ connectionsTo: async () => [] })),
  },
  {
    name: 'who may connect is not changed by a fence',
    plant: withDisks(
      () => ({}),
      () => ({ admit: async () => undefined }),
    ),
  },
  {
    name: 'exports of fenced generations stay',
    plant: withDisks(
      () => ({}),
      () => ({ removeExport: async () => undefined }),
    ),
  },
  {
    name: 'a daemon that was killed is not waited for',
    plant: withDisks(
      (disks) => ({
        killDaemon: async (daemon) => void disks.killDaemon(daemon).catch(() => undefined),
      }),
      (daemon) => ({ kill: async () => void daemon.kill().catch(() => undefined) }),
    ),
  },
  {
    name: 'orders are obeyed before etcd was read',
    plant: {
      plant: (parts) => ({
        ...parts,
        readCluster: async () => ({
          history: { epoch: 0, id: '', revision: 0 },
          epoch: FIRST_EPOCH,
          disks: new Map(),
          vms: new Map(),
          unreadableVms: new Set(),
        }),
      }),
    },
  },
];
