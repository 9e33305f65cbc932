/**
 * Finds out which incarnation of each VM runs after a restore, and settles its record (plan/restore/adoption.ts
 * decides). Its whole state is in the records: a new leader continues with the VMs that are left.
 * Guarantees: one round at a time, some VMs at once, at most PER_TURN decisions per turn of the event loop; nothing
 * begins after `stop`; without restored VMs it does nothing.
 */
import { epochOf } from '../../../base/epoch.ts';
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { DiskId, Generation, HostName, StorageName, VmId } from '../../../base/ids.ts';
import { sleep } from '../../../base/sleep.ts';
import { keyOf } from '../../model/keys.ts';
import type { KernelObservation } from '../../model/observation.ts';
import { sharedDisksOf, type VmRecord } from '../../model/vm.ts';
import {
  type Adoption,
  type AdoptionSituation,
  decideAdoption,
  type SeenDisk,
  type SeenProcess,
} from '../../plan/restore/adoption.ts';
import { isSilentFor } from '../../plan/vm/verdict.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { StorageLink } from '../../ports/storage-link.ts';
import type { Entry, LeaderStore } from '../../ports/store.ts';
import type { HostObserver } from '../observe/host-observer.ts';
import type { StorageObserver } from '../observe/storage-observer.ts';
import { changesOf, eventOf } from '../vm/transaction.ts';

export interface AdoptionLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly storage: StorageLink;
  readonly observer: Pick<HostObserver, 'report' | 'see'>;
  readonly storageObserver: Pick<StorageObserver, 'report' | 'answers'>;
  /** The record of a VM says again what is true. */
  readonly onSettled: (vm: VmId) => void;
}

const ROUND_MS = 400;
const ORDER_MS = 3_000;
const AT_ONCE = 16;
/** VMs decided upon in one turn of the event loop. */
const PER_TURN = 200;
/** How long networks stay unchanged while some VM is not settled, in ms. */
const PLAN_PATIENCE_MS = 60_000;

/** The reports of all hosts and storage nodes at one time. */
interface Sight {
  readonly processes: ReadonlyMap<VmId, readonly SeenProcess[]>;
  readonly unheardHosts: readonly HostName[];
  /** The results of attempts at the kernels of silent hosts; hosts that were declared lost have none, and count as silent. */
  readonly kernels: ReadonlyMap<HostName, KernelObservation>;
  /** Grants by disk, of the nodes that follow this epoch. */
  readonly nodes: ReadonlyMap<StorageName, ReadonlyMap<DiskId, ReadonlyMap<VmId, readonly Generation[]>>>;
}

type Settling = Extract<Adoption, { kind: 'settle' }>;

/** One per leader; `stop` is final. */
export class AdoptionLoop {
  readonly #ports: AdoptionLoopPorts;
  /** Restored VMs that are not settled yet. */
  readonly #left = new Set<VmId>();
  readonly #whys = new Map<VmId, string>();
  #startedAt = 0;
  #isRunning = false;
  #isStopped = false;

  constructor(ports: AdoptionLoopPorts) {
    this.#ports = ports;
  }

  start(): void {
    const { store, clock } = this.#ports;
    for (const [id, { value }] of store.snapshot.vms) if (value.restored !== undefined) this.#left.add(id);
    this.#startedAt = clock.monotonicMs();
    if (this.#left.size > 0) void this.#run();
  }

  /** A record changed: one that says that it is not known what runs is found out about, too. */
  recordChanged(id: VmId): void {
    if (this.#isStopped || this.#ports.store.snapshot.vms.get(id)?.value.restored === undefined) return;
    this.#left.add(id);
    if (!this.#isRunning) void this.#run();
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** The number of restored VMs that are not settled yet. */
  get left(): number {
    return this.#left.size;
  }

  /** Whether networks may be changed: the running incarnations are known, or have been unknown for too long. */
  get mayPlan(): boolean {
    return this.#left.size === 0 || this.#ports.clock.monotonicMs() - this.#startedAt >= PLAN_PATIENCE_MS;
  }

  /** The reason, in words, why it is not known yet which incarnation of a VM runs. */
  whyOf(vm: VmId): string {
    return this.#whys.get(vm) ?? 'It was restored from a snapshot: the cluster is finding out which incarnation runs.';
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#ports;
    this.#isRunning = true;
    while (!this.#isStopped && this.#left.size > 0) {
      try {
        await this.#round();
      } catch (error) {
        log.warn('restored VMs could not be looked at', { error: messageOf(error) });
      }
      await sleep(clock, ROUND_MS);
    }
    this.#isRunning = false;
    if (!this.#isStopped) log.info('every restored VM is adopted or fenced');
  }

  async #round(): Promise<void> {
    const { clock, store } = this.#ports;
    if (!store.leads()) return;
    await this.#announce();
    const sight = this.#look();
    const settling: { readonly entry: Entry<VmRecord>; readonly adoption: Settling }[] = [];
    let decided = 0;
    for (const id of [...this.#left]) {
      const entry = store.snapshot.vms.get(id);
      if (entry?.value.restored === undefined) {
        // A record that cannot be read is looked at again when it can.
        if (entry !== undefined || !store.snapshot.unreadable.has(keyOf.vm(id))) this.#settled(id);
        continue;
      }
      const adoption = decideAdoption(this.#situation(entry.value, sight));
      if (adoption.kind === 'wait') this.#whys.set(id, adoption.why);
      else settling.push({ entry, adoption });
      if (++decided % PER_TURN === 0) await sleep(clock, 0);
    }
    const queue = settling.values();
    const worker = async (): Promise<void> => {
      for (const { entry, adoption } of queue) if (!this.#isStopped) await this.#settle(entry, adoption);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  /** A storage node that hears of a new epoch reads etcd, and refuses orders of leaders from before. */
  async #announce(): Promise<void> {
    const { store, storage, storageObserver, log } = this.#ports;
    const [vm] = this.#left;
    if (vm === undefined) return;
    const epoch = epochOf(store.term);
    const deaf = [...store.snapshot.storage.values()].filter(
      ({ value: { name, lost } }) => lost === undefined && storageObserver.report(name)?.epoch !== epoch,
    );
    await Promise.all(
      deaf.map(({ value: { name } }) =>
        // Revokes nothing: there is no generation below 1.
        storage
          .fence(name, { term: store.term, vm, below: 1 as Generation, disks: [] }, { deadlineMs: ORDER_MS })
          .catch((error: unknown) =>
            log.warn('a storage node does not hear of the epoch', { node: name, error: messageOf(error) }),
          ),
      ),
    );
  }

  #look(): Sight {
    const { store, observer, storageObserver } = this.#ports;
    const { snapshot } = store;
    const processes = new Map<VmId, SeenProcess[]>();
    const unheardHosts: HostName[] = [];
    const kernels = new Map<HostName, KernelObservation>();
    for (const [host, { value }] of snapshot.hosts) {
      const { agent, kernel } = observer.see(host);
      const report = observer.report(host)?.report;
      if (value.lost !== undefined) {
        unheardHosts.push(host);
        continue;
      }
      if (agent !== 'alive' || report === undefined) {
        unheardHosts.push(host);
        kernels.set(host, kernel);
        continue;
      }
      for (const { vm, generation, slot } of report.incarnations)
        if (this.#left.has(vm)) processes.set(vm, [...(processes.get(vm) ?? []), { host, generation, slot }]);
    }
    const nodes = new Map<StorageName, Map<DiskId, Map<VmId, Generation[]>>>();
    for (const name of snapshot.storage.keys()) {
      const report = storageObserver.report(name);
      if (!storageObserver.answers(name) || report?.epoch !== epochOf(store.term)) continue;
      const disks = new Map<DiskId, Map<VmId, Generation[]>>();
      for (const { disk, grants } of [...report.disks, ...(report.sharedDisks ?? [])]) {
        const byVm = new Map<VmId, Generation[]>();
        for (const { vm, generation } of grants) byVm.set(vm, [...(byVm.get(vm) ?? []), generation]);
        disks.set(disk, byVm);
      }
      nodes.set(name, disks);
    }
    return { processes, unheardHosts, kernels, nodes };
  }

  #situation(vm: VmRecord, { processes, unheardHosts, kernels, nodes }: Sight): AdoptionSituation {
    const { store, clock } = this.#ports;
    const disks = store.snapshot.disksOf(vm.id).flatMap((record) => {
      const { id: disk, node } = record;
      if (this.#isLost(node)) return [];
      const onNode = nodes.get(node);
      const state: SeenDisk['state'] = onNode === undefined ? 'unheard' : onNode.has(disk) ? 'there' : 'missing';
      return [{ record, seen: { disk, node, state, grants: onNode?.get(disk)?.get(vm.id) ?? [] } }];
    });
    const shared = this.#sharedNodes(vm);
    const unheardShared = shared.filter((node) => !nodes.has(node));
    const diskNodes = [...disks.map(({ seen }) => seen.node), ...shared];
    const silentHosts = unheardHosts.filter((host) => {
      const kernel = kernels.get(host);
      return kernel === undefined || isSilentFor(kernel, diskNodes);
    });
    return {
      vm,
      disks,
      unheardShared,
      processes: processes.get(vm.id) ?? [],
      unheardHosts,
      silentHosts,
      now: clock.wallMs(),
    };
  }

  #sharedNodes(vm: VmRecord): readonly StorageName[] {
    const { sharedDisks } = this.#ports.store.snapshot;
    const nodes = sharedDisksOf(vm).flatMap(({ disk }) => sharedDisks.get(disk)?.value.node ?? []);
    return [...new Set(nodes)].filter((node) => !this.#isLost(node));
  }

  #isLost(node: StorageName): boolean {
    return this.#ports.store.snapshot.storage.get(node)?.value.lost !== undefined;
  }

  async #settle({ value: vm, revision }: Entry<VmRecord>, adoption: Settling): Promise<void> {
    const { store, log, clock } = this.#ports;
    try {
      await this.#order(vm, adoption);
      if (this.#isStopped || store.snapshot.vms.get(vm.id)?.revision !== revision) return;
      const { commit, corrected } = adoption;
      const now = clock.wallMs();
      const outcome = await store.commit({
        changes: [
          ...changesOf(vm, commit, store.snapshot, now),
          ...corrected.map((disk) => ({ kind: 'disk' as const, id: disk.id, value: disk })),
        ],
        events: [eventOf(vm, commit, now)],
      });
      if (outcome !== 'committed') return;
      log.info(commit.event.message, { vm: vm.id });
      this.#settled(vm.id);
      this.#ports.onSettled(vm.id);
    } catch (error) {
      this.#whys.set(vm.id, `It was restored from a snapshot, and could not be settled: ${messageOf(error)}`);
    }
  }

  /** Waits until every storage node of the VM has acknowledged what it must no longer serve. */
  async #order(vm: VmRecord, { fenceBelow, revoke }: Settling): Promise<void> {
    const { store, storage } = this.#ports;
    const own = store.snapshot.disksOf(vm.id).map(({ node }) => node);
    const nodes = [...new Set([...own, ...this.#sharedNodes(vm)])].filter((node) => !this.#isLost(node));
    const order = { term: store.term, vm: vm.id, disks: [] };
    const options = { deadlineMs: ORDER_MS };
    await Promise.all(
      nodes.map(async (node) => {
        if (!store.leads()) throw new CodedError('stale-order', 'This node no longer leads.');
        await storage.fence(node, { ...order, below: fenceBelow }, options);
        for (const generation of revoke) await storage.revoke(node, { ...order, generation }, options);
      }),
    );
  }

  #settled(id: VmId): void {
    this.#left.delete(id);
    this.#whys.delete(id);
  }
}
