/** For tests: records with plausible values, and a store on a real etcd. */
import {
  parseDiskId,
  parseHostName,
  parseNetworkName,
  parseStorageName,
  parseTaskId,
  parseVmId,
} from '../../base/ids.ts';
import type { DiskRecord, HostRecord, NetworkRecord, StorageRecord, TaskRecord } from '../../core/model/cluster.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { WatchOptions } from '../../etcd/api.ts';
import { EtcdClient } from '../../etcd/client.ts';
import type { EtcdOptions } from '../../etcd/transport.ts';
import { randomHex } from '../../os/random.ts';
import { ClusterStore } from '../store/cluster-store.ts';

const MIB = 1024 * 1024;
const hex = (number: number): string => number.toString(16).padStart(12, '0');

export function vmRecord(number: number, overrides: Partial<VmRecord> = {}): VmRecord {
  return {
    id: parseVmId(`vm-${hex(number)}`),
    name: `vm${number}`,
    spec: {
      vcpus: 1,
      memoryBytes: 128 * MIB,
      cpuModel: 'baseline',
      boot: { firmware: 'bios' },
      disks: [],
      nics: [],
      restartPolicy: 'on-failure',
      labels: {},
      image: null,
      storagePatienceMs: 30_000,
      antiAffinity: null,
    },
    intent: 'stopped',
    generation: 0,
    phase: { kind: 'stopped' },
    migrationRequest: null,
    stopRequest: null,
    resetRequest: null,
    startTask: null,
    deleting: false,
    failures: null,
    createdAt: 1,
    phaseSince: 1,
    ...overrides,
  };
}

export function diskRecord(number: number, vm: VmRecord, overrides: Partial<DiskRecord> = {}): DiskRecord {
  return {
    id: parseDiskId(`disk-${hex(number)}`),
    vm: vm.id,
    node: parseStorageName('s1'),
    port: 30_000 + number,
    sizeBytes: MIB,
    source: { kind: 'blank' },
    phase: 'ready',
    ...overrides,
  };
}

export function taskRecord(number: number, overrides: Partial<TaskRecord> = {}): TaskRecord {
  return {
    id: parseTaskId(`task-${hex(number)}`),
    kind: 'vm.start',
    target: { kind: 'vm', name: 'vm1' },
    state: 'running',
    progressPercent: null,
    message: 'Starting.',
    startedAt: number,
    endedAt: null,
    ...overrides,
  };
}

export function hostRecord(name: string, overrides: Partial<HostRecord> = {}): HostRecord {
  return {
    name: parseHostName(name),
    addresses: { control: '127.0.0.1', storage: '127.0.0.1', overlay: '127.0.0.1' },
    capacity: { memoryBytes: 1024 * MIB, vcpus: 4, accelerator: 'tcg', cpuModels: ['qemu64'] },
    cordoned: false,
    quarantine: null,
    joinedAt: 1,
    ...overrides,
  };
}

export function storageRecord(name: string): StorageRecord {
  return { name: parseStorageName(name), addresses: { control: '127.0.0.1', storage: '127.0.0.1' }, joinedAt: 1 };
}

export function networkRecord(name: string, overrides: Partial<NetworkRecord> = {}): NetworkRecord {
  return {
    name: parseNetworkName(name),
    vni: 5_000,
    cidr: '10.9.0.0/24',
    gateway: '10.9.0.1',
    dhcp: true,
    nat: false,
    reservations: {},
    createdAt: 1,
    ...overrides,
  };
}

/** A store that follows; `close` ends it. */
export interface RunningStore {
  readonly client: EtcdClient;
  readonly store: ClusterStore;
  /** Settles when following ends. */
  readonly following: Promise<void>;
  close(): Promise<void>;
}

/** `watchLateMs`: by how much its watch lags. */
export async function startStore(options: EtcdOptions, { watchLateMs = 0 } = {}): Promise<RunningStore> {
  const client = watchLateMs === 0 ? new EtcdClient(options) : new LateClient(options, watchLateMs);
  const store = new ClusterStore(client, randomHex);
  const ending = new AbortController();
  const ready = Promise.withResolvers<void>();
  const following = store.follow({ signal: ending.signal, onReady: ready.resolve });
  await Promise.race([ready.promise, following]);
  return {
    client,
    store,
    following,
    close: async () => {
      ending.abort();
      await following.catch(() => undefined);
      client.close();
    },
  };
}

/** A client whose watches bring each change late. */
class LateClient extends EtcdClient {
  readonly #lateMs: number;

  constructor(options: EtcdOptions, lateMs: number) {
    super(options);
    this.#lateMs = lateMs;
  }

  override watch(prefix: string, options: WatchOptions): Promise<void> {
    const onEvents: WatchOptions['onEvents'] = async (...change) => {
      await new Promise<void>((resolve) => void this.clock.after(this.#lateMs, resolve));
      return options.onEvents(...change);
    };
    return super.watch(prefix, { ...options, onEvents });
  }
}

/** Deletes everything, so that each test begins with nothing. */
export async function wipe(client: EtcdClient): Promise<void> {
  await client.txn({ compare: [], success: [{ deletePrefix: '/gp/' }] });
}
