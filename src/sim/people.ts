/**
 * People who use the API of some control node, several at once and without asking each other: what they wish contradicts itself.
 * Each wish is one transaction, as control/backend/vms.ts makes it.
 */
import type { DiskId, HostName, StorageName, TaskId, VmId } from '../base/ids.ts';
import { parseDiskId, parseTaskId, parseVmId } from '../base/ids.ts';
import type { ClusterStore, Write } from '../control/store/cluster-store.ts';
import type { DiskRecord, HostRecord, StorageRecord, TaskRecord } from '../core/model/cluster.ts';
import { keyOf } from '../core/model/keys.ts';
import { expectedIncarnations, sharedDisksOf, type VmRecord } from '../core/model/vm.ts';
import type { Entry } from '../core/ports/store.ts';
import { addressOf, type SimCluster } from './cluster.ts';
import { GuestPeople } from './guest-people.ts';
import type { SimRandom } from './sim-random.ts';
import { type DeedName, VM_BYTES } from './swarm.ts';

const ATTEMPTS = 8;
const VMS_MAX = 12;
const DISK_BYTES = 2 ** 30;
const STOP_PATIENCE_MS = 4_000;
/** How long a drained host stays cordoned. */
const DRAINED_MS = [2_000, 15_000] as const;
/** A guest's I/O waits so long for its storage, in ms. */
const PATIENCE_MS = [800, 2_000, 5_000] as const;

/** What a wish makes of a record. */
interface Wish {
  readonly vm: VmRecord;
  /** Tasks that this one takes the place of. */
  readonly supersedes: readonly (TaskId | null | undefined)[];
  /** The task is over at once. */
  readonly over: boolean;
}

/** Everybody who has a token. */
export class People {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #sharing: GuestPeople;
  #vms = 0;
  #tasks = 0;
  #disks = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('people');
    this.#sharing = new GuestPeople(cluster, (kind, target) => this.#task(kind, target));
  }

  /** The records that joining leaves: hosts and storage nodes. */
  join(store: ClusterStore): Promise<unknown> {
    const { hosts, storage, swarm } = this.#cluster;
    const hostWrites = [...hosts.keys()].map((name): Write => {
      const addresses = {
        control: addressOf('control', name),
        storage: addressOf('storage', name),
        overlay: addressOf('overlay', name),
      };
      const capacity = { memoryBytes: swarm.hostMemoryBytes, vcpus: 64, accelerator: 'tcg', cpuModels: [] } as const;
      const value: HostRecord = { name, addresses, capacity, cordoned: false, quarantine: null, joinedAt: 0 };
      return { key: keyOf.host(name), value, expect: 0 };
    });
    const storageWrites = [...storage.keys()].map((name): Write => {
      const addresses = { control: addressOf('control', name), storage: addressOf('storage', name) };
      const value: StorageRecord = { name, addresses, joinedAt: 0 };
      return { key: keyOf.storage(name), value, expect: 0 };
    });
    return store.transact([...hostWrites, ...storageWrites], null);
  }

  /** Somebody does something, if there is anything to do it to and anybody who answers. */
  act(deed: DeedName): void {
    const node = this.#random.pick([...this.#cluster.controls.values()]);
    const { store } = node;
    if (store === null) return;
    void this.#do(deed, store).catch((error: unknown) =>
      this.#cluster.say(() => `people: ${deed} was not answered: ${String(error)}`),
    );
  }

  /** Somebody asks for one thing through any control node that answers, with a VM that is named. */
  wishFor(deed: DeedName, vm: string, host: HostName | null): void {
    for (const { store } of this.#cluster.controls.values()) {
      const id = store?.vmNames.get(vm)?.value;
      if (store === null || id === undefined) continue;
      this.#wish(parseVmId(id), deed, store, host).catch(() => undefined);
      return;
    }
  }

  async #do(deed: DeedName, store: ClusterStore): Promise<void> {
    if (deed === 'create') return this.create(store);
    if (deed === 'drain') return this.#drain(store);
    if (deed === 'share') return this.#sharing.act(store);
    const vms = [...store.vms.values()];
    if (vms.length === 0) return;
    await this.#wish(this.#random.pick(vms).value.id, deed, store);
  }

  /** A new VM that is to run, with one to three disks on any storage nodes. */
  async create(store: ClusterStore): Promise<void> {
    if (store.vms.size >= VMS_MAX) return;
    const n = ++this.#vms;
    const vm = parseVmId(id('vm', n));
    const nodes = [...store.storage.keys()] as StorageName[];
    const random = this.#random;
    const disks = Array.from({ length: 1 + random.below(3) }, (): DiskRecord => {
      const number = ++this.#disks;
      const diskId = parseDiskId(id('disk', number));
      const node = random.pick(nodes);
      const source = { kind: 'blank' } as const;
      return { id: diskId, vm, node, port: 30_000 + number, sizeBytes: DISK_BYTES, source, phase: 'creating' };
    });
    const task = this.#task('vm.create', `vm${n}`);
    const { hasPlainVms = false } = this.#cluster.swarm;
    const antiAffinity = !hasPlainVms && random.chance(40) ? random.pick(['red', 'blue']) : null;
    const patienceMs = random.pick(PATIENCE_MS);
    const policies = hasPlainVms
      ? (['on-failure'] as const)
      : (['on-failure', 'on-failure', 'always', 'never'] as const);
    const restartPolicy = random.pick<VmRecord['spec']['restartPolicy']>(policies);
    const ids = disks.map((disk) => disk.id);
    const value = newVm({
      id: vm,
      name: `vm${n}`,
      startTask: task.id,
      disks: ids,
      antiAffinity,
      patienceMs,
      restartPolicy,
      hasSharedDisks: this.#cluster.swarm.deeds.has('share'),
    });
    this.#cluster.say(() => `people: create ${value.name}`);
    await store.transact(
      [
        { key: keyOf.vm(vm), value, expect: 0 },
        { key: keyOf.vmName(value.name), value: vm, expect: 0 },
        ...disks.flatMap((disk): Write[] => [
          { key: keyOf.disk(disk.id), value: disk, expect: 0 },
          { key: keyOf.diskPort(disk.node, disk.port), value: disk.id, expect: 0 },
        ]),
        { key: keyOf.task(task.id), value: task, expect: 0 },
      ],
      null,
    );
  }

  async #wish(id: VmId, deed: DeedName, store: ClusterStore, to: HostName | null = null): Promise<void> {
    const host = to ?? this.#random.pick([...this.#cluster.hosts.keys()]);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const entry = store.vms.get(id);
      if (entry === undefined || entry.value.deleting) return;
      const task = this.#task(`vm.${deed}`, entry.value.name);
      const wish = wishFor(entry.value, { deed, host }, task.id);
      if (wish === null) return;
      // After a conflict a record may be newer than the watch: its tasks must be known, or they would never be ended.
      await tasksKnown(wish.supersedes, store);
      if (store.vms.get(id)?.revision !== entry.revision) continue;
      const ended: TaskRecord = { ...task, state: 'succeeded', progressPercent: 100, endedAt: 0 };
      this.#cluster.say(() => `people: ${deed} ${entry.value.name}${deed === 'migrate-to' ? ` ${host}` : ''}`);
      const outcome = await store.transact(
        [
          { key: keyOf.vm(id), value: wish.vm, expect: entry.revision },
          { key: keyOf.task(task.id), value: wish.over ? ended : task, expect: 0 },
          ...wish.supersedes.flatMap((old) => superseded(old, store)),
        ],
        null,
      );
      if (outcome.kind === 'committed') return;
    }
  }

  /** Cordons a host, asks for all its VMs to go elsewhere, and uncordons it some time later. */
  async #drain(store: ClusterStore): Promise<void> {
    const hosts = [...store.hosts.values()].filter(({ value }) => !value.cordoned);
    if (hosts.length === 0) return;
    const { name } = this.#random.pick(hosts).value;
    this.#cluster.say(() => `people: drain ${name}`);
    this.#cluster.clock.after(this.#random.between(DRAINED_MS[0], DRAINED_MS[1]), () => this.uncordon(name));
    await this.#cordon(name, true, store);
    const there = [...store.vms.values()].filter(({ value }) =>
      expectedIncarnations(value.phase).some(({ host }) => host === name),
    );
    for (const { value } of there) await this.#wish(value.id, 'migrate', store);
  }

  /** Lets VMs come again, through any control node that answers; tries until it has worked. */
  uncordon(name: HostName): void {
    const { controls, clock, truth } = this.#cluster;
    if (truth.tables.host.get(name)?.cordoned !== true) return;
    const store = [...controls.values()].map((node) => node.store).find((known) => known !== null);
    if (store !== null && store !== undefined) this.#cordon(name, false, store).catch(() => undefined);
    clock.after(1_000, () => this.uncordon(name));
  }

  /** The maintenance of all hosts is over. */
  uncordonAll(): void {
    for (const name of this.#cluster.hosts.keys()) this.uncordon(name);
  }

  async #cordon(name: HostName, cordoned: boolean, store: ClusterStore): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const entry = store.hosts.get(name);
      if (entry === undefined || entry.value.cordoned === cordoned) return;
      const outcome = await store.transact([hostWrite(entry, { ...entry.value, cordoned })], null);
      if (outcome.kind === 'committed') return;
    }
  }

  #task(kind: string, of: string | TaskRecord['target']): TaskRecord {
    const target = typeof of === 'string' ? ({ kind: 'vm', name: of } as const) : of;
    const taskId = parseTaskId(id('task', ++this.#tasks));
    return {
      id: taskId,
      kind,
      target,
      state: 'running',
      progressPercent: null,
      message: '',
      startedAt: 0,
      endedAt: null,
    };
  }
}

const id = (kind: string, n: number): string => `${kind}-${n.toString(16).padStart(12, '0')}`;

function hostWrite(entry: Entry<HostRecord>, value: HostRecord): Write {
  return { key: keyOf.host(value.name), value, expect: entry.revision };
}

const TASK_LATE_MS = 15_000;

async function tasksKnown(tasks: Wish['supersedes'], store: ClusterStore): Promise<void> {
  const areKnown = (): true | undefined =>
    tasks.every((task) => task === null || task === undefined || store.tasks.get(task) !== undefined) || undefined;
  if (areKnown() === true) return;
  const { signal } = new AbortController();
  await store.waitFor(areKnown, { deadlineMs: TASK_LATE_MS, signal, what: 'a task' }).catch(() => undefined);
}

/** The writes that cancel a task which another one takes the place of. */
export function superseded(task: TaskId | null | undefined, store: ClusterStore): Write[] {
  const entry = task === null || task === undefined ? undefined : store.tasks.get(task);
  if (entry === undefined || entry.value.state !== 'running') return [];
  const value: TaskRecord = { ...entry.value, state: 'cancelled', endedAt: 0 };
  return [{ key: keyOf.task(value.id), value, expect: entry.revision }];
}

/** What each command of the API writes into a record, or null where it is refused. */
export function wishFor(
  vm: VmRecord,
  { deed, host }: { readonly deed: DeedName; readonly host: HostName },
  taskId: TaskId,
): Wish | null {
  const runs = vm.intent !== 'stopped' && vm.phase.kind !== 'stopped';
  const pending = [vm.startTask, vm.stopRequest?.taskId, vm.migrationRequest?.taskId, vm.resetRequest?.taskId];
  const wish = (change: Partial<VmRecord>, supersedes: Wish['supersedes'] = [], over = false): Wish => ({
    vm: { ...vm, ...change },
    supersedes,
    over,
  });
  switch (deed) {
    case 'start':
      if (vm.phase.kind !== 'stopped' && vm.phase.kind !== 'stopping' && vm.intent !== 'stopped') return null;
      return wish({ intent: 'running', startTask: taskId, failures: null }, [vm.startTask]);
    case 'stop':
    case 'power-off': {
      if (vm.phase.kind === 'stopped') {
        const nothing = { startTask: null, stopRequest: null, migrationRequest: null, resetRequest: null };
        return wish({ intent: 'stopped', ...nothing }, pending, true);
      }
      const mode = deed === 'stop' ? 'acpi' : 'hard';
      const stopRequest = { mode, patienceMs: mode === 'hard' ? 0 : STOP_PATIENCE_MS, taskId } as const;
      const before = [vm.stopRequest?.taskId, vm.migrationRequest?.taskId];
      return wish({ intent: 'stopped', stopRequest, migrationRequest: null }, before);
    }
    case 'delete':
      if ((vm.spec.guestCluster ?? null) !== null || sharedDisksOf(vm).length > 0) return null;
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
      const to = deed === 'migrate-to' ? host : null;
      return to === vm.phase.incarnation.host ? null : wish({ migrationRequest: { to, taskId } });
    }
    default:
      return null;
  }
}

/** A VM that is to run and never did. */
export function newVm(options: {
  readonly id: VmId;
  readonly name: string;
  readonly startTask: TaskId | null;
  readonly disks: readonly DiskId[];
  readonly antiAffinity: string | null;
  readonly patienceMs: number;
  readonly restartPolicy: VmRecord['spec']['restartPolicy'];
  /** Whether its machine has a place for shared disks. */
  readonly hasSharedDisks?: boolean;
}): VmRecord {
  const { id: vmId, name, startTask, disks, antiAffinity, patienceMs, restartPolicy } = options;
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
      restartPolicy,
      labels: {},
      image: null,
      storagePatienceMs: patienceMs,
      antiAffinity,
      ...(options.hasSharedDisks === true ? { sharedDisks: [] } : {}),
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
