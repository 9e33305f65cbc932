/**
 * Everything a leader does, put together from ports: the same class runs in production and in the simulator. It lives
 * for one term.
 */
import { CodedError } from '../../base/errors.ts';
import type {
  DiskId,
  DrainId,
  GuestClusterName,
  HostName,
  NetworkName,
  RollId,
  StorageName,
  TaskId,
  VmId,
} from '../../base/ids.ts';
import { oneTurn } from '../maintenance/in-turns.ts';
import { tunnelsOfLost } from '../model/certificate.ts';
import type { HostRecord } from '../model/cluster.ts';
import { ClusterIndex, recordsOf } from '../model/cluster-index.ts';
import { keyOf } from '../model/keys.ts';
import { isForgotten } from '../model/record-shapes.ts';
import { expectedIncarnations, type VmRecord } from '../model/vm.ts';
import type { UnknownVm } from '../plan/restore/unknown.ts';
import type { SeenPool } from '../plan/vm/decision.ts';
import type { Clock } from '../ports/clock.ts';
import type { FileLink } from '../ports/file-link.ts';
import type { GuestAgentLink } from '../ports/guest-agent-link.ts';
import type { HostLink } from '../ports/host-link.ts';
import type { Certifier, IdentityLink } from '../ports/identity-link.ts';
import type { Log } from '../ports/log.ts';
import type { Paths } from '../ports/paths.ts';
import type { BlockFigures, MachineFacts, QmpLink } from '../ports/qmp-link.ts';
import type { RandomHex } from '../ports/random.ts';
import type { Reach, ReachTarget } from '../ports/reach.ts';
import type { StorageLink } from '../ports/storage-link.ts';
import type { LeaderStore } from '../ports/store.ts';
import { BulkLoop } from './duties/bulk-loop.ts';
import { CertificateKeeper } from './duties/certificate-keeper.ts';
import { CertificateMoves } from './duties/certificate-moves.ts';
import { FileKeeper, type FileKeeperPorts } from './duties/file-keeper.ts';
import { Housekeeping, type HousekeepingPorts } from './duties/housekeeping.ts';
import { RecordWatch } from './duties/record-watch.ts';
import { HostLoop } from './hosts/host-loop.ts';
import { type LeadHand, LeadWatch } from './lead/lead-watch.ts';
import { DebtWatch } from './maintenance/debt-watch.ts';
import { DirtyRates } from './maintenance/dirty-rates.ts';
import { DrainLoop } from './maintenance/drain-loop.ts';
import { EstateKeeper } from './maintenance/estate-keeper.ts';
import { EvacuabilityWatch } from './maintenance/evacuability-watch.ts';
import { RollLoop } from './maintenance/roll-loop.ts';
import { DiskPaths } from './observe/disk-paths.ts';
import { HostObserver } from './observe/host-observer.ts';
import { PoolWatch } from './observe/pool-watch.ts';
import { StorageObserver } from './observe/storage-observer.ts';
import { AdoptionLoop } from './restore/adoption-loop.ts';
import { UnknownWatch } from './restore/unknown-watch.ts';
import { SharedDiskLoop } from './shared-disks/shared-disk-loop.ts';
import { Executor } from './vm/executor.ts';
import type { CredentialIssuer, ExecutorPorts } from './vm/steps/step-context.ts';
import { VmLoop } from './vm/vm-loop.ts';
import type { CrashPoint } from './vm/workflow-names.ts';

type Changed = Parameters<Parameters<LeaderStore['onChange']>[0]>[0];

export type DutyLimits = Pick<HousekeepingPorts, 'kept' | 'intervalMs'> & Pick<FileKeeperPorts, 'patience'>;

export interface ControllerPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly hosts: HostLink;
  readonly storage: StorageLink;
  readonly files: FileLink;
  readonly qmp: QmpLink;
  readonly guestAgents: GuestAgentLink;
  readonly paths: Paths;
  readonly reach: Reach;
  readonly lead: LeadHand;
  readonly credentials: CredentialIssuer;
  readonly identities: IdentityLink;
  readonly certifier: Certifier;
  readonly storageTlsName: ExecutorPorts['storageTlsName'];
  readonly crashPoint: CrashPoint;
  /** The limits and intervals of the leader's duties; by default as in production. */
  readonly duties?: DutyLimits;
  readonly randomHex: RandomHex;
}

/** One leader's work, from `start` to `stop`; a new term needs a new one. */
export class Controller {
  readonly observer: HostObserver;
  readonly storageObserver: StorageObserver;
  readonly pools: PoolWatch;
  readonly vms: VmLoop;
  readonly sharedDisks: SharedDiskLoop;
  /** Finds out what runs after a restore. */
  readonly adoption: AdoptionLoop;
  /** VMs that no record knows, after a restore. */
  readonly unknown: UnknownWatch;
  /** A second opinion on the records. */
  readonly recordWatch: RecordWatch;
  /** The certificates of machines. */
  readonly certificates: CertificateKeeper;
  /** The certificates of VMs that run. */
  readonly certificateMoves: CertificateMoves;
  /** How fast guests write to their memory, as measured for plans. */
  readonly dirtyRates: DirtyRates;
  /** The kept estate: the basis of plans for maintenance, and the verdict of each host. */
  readonly estate: EstateKeeper;
  readonly #debts: DebtWatch;
  /** Hosts that cannot be drained, or lost, without a signature. */
  readonly evacuability: EvacuabilityWatch;
  readonly #drains: DrainLoop;
  readonly #rolls: RollLoop;
  readonly #bulk: BulkLoop;
  /** The files of images and seeds. */
  readonly files: FileKeeper;
  /** The index of the snapshot; follows it from `start` on. */
  readonly index = new ClusterIndex();
  readonly #hostLoop: HostLoop;
  readonly #housekeeping: Housekeeping;
  readonly #leadWatch: LeadWatch;
  readonly #diskPaths: DiskPaths;
  readonly #executor: Executor;
  readonly #ports: ControllerPorts;
  #isLoaded = false;
  #cancelLoad: () => void = () => undefined;
  /** The tunnels of hosts that were declared lost, as one text. */
  #tunnelsOfLost = '';

  constructor(ports: ControllerPorts) {
    this.#ports = ports;
    const { clock, log, store, hosts, storage, qmp, paths, reach, lead } = ports;
    this.observer = new HostObserver(
      { clock, hosts, paths },
      {
        onReport: (host) => {
          this.#countUnreadable(host);
          this.#hostLoop.reported(host);
        },
        onState: (host) => this.#hostSeen(host),
        onProcesses: (vms) => {
          for (const vm of vms) this.vms.wake(vm, { fresh: 'all' });
          this.vms.wakeWaiting();
        },
      },
    );
    this.pools = new PoolWatch({ clock, log, store });
    this.recordWatch = new RecordWatch({ clock, log, store });
    this.certificates = new CertificateKeeper(ports);
    this.certificateMoves = new CertificateMoves({ ...ports, index: this.index });
    this.#housekeeping = new Housekeeping({ clock, log, store, ...ports.duties });
    this.#diskPaths = new DiskPaths({ hosts, snapshot: store.snapshot, index: this.index, observer: this.observer });
    this.storageObserver = this.#observeStorage(ports);
    this.files = new FileKeeper({
      ...{ clock, log, store, files: ports.files, observer: this.storageObserver },
      patience: ports.duties?.patience,
    });
    const onSettled = (vm: VmId): void => this.vms.wake(vm, { fresh: 'all' });
    this.adoption = new AdoptionLoop({ ...ports, ...this.#observers, onSettled });
    this.unknown = new UnknownWatch({ ...ports, ...this.#observers });
    this.#hostLoop = new HostLoop({ ...this.#around, mayPlan: () => this.adoption.mayPlan });
    this.sharedDisks = new SharedDiskLoop({ clock, log, store, storage, index: this.index });
    this.#leadWatch = new LeadWatch({ clock, log, store, reach, lead, isSilent: (target) => this.#isSilent(target) });
    this.#executor = new Executor({
      store,
      hosts,
      storage,
      qmp,
      credentials: ports.credentials,
      storageTlsName: ports.storageTlsName,
      networkPlan: (host) => this.#hostLoop.planFor(host),
    });
    this.vms = new VmLoop({
      clock,
      log,
      store,
      qmp,
      executor: this.#executor,
      observer: this.observer,
      diskPaths: this.#diskPaths,
      index: this.index,
      storageAnswers: (node) => this.storageObserver.answers(node),
      pool: (node) => this.#poolOf(node),
      crashPoint: ports.crashPoint,
      whyRestored: (vm) => this.adoption.whyOf(vm),
      guestAgents: ports.guestAgents,
    });
    this.dirtyRates = new DirtyRates({ clock, log, qmp, target: (vm) => this.#executor.currentTarget(vm) });
    const seeHost = (host: HostName) => this.observer.see(host);
    const seesRunning = (vm: VmRecord): boolean => this.vms.seesRunning(vm);
    const work = { clock, log, store, index: this.index, randomHex: ports.randomHex, seesRunning };
    this.estate = new EstateKeeper({ clock, snapshot: store.snapshot, index: this.index, seeHost });
    this.#debts = new DebtWatch({ clock, log, store, estate: this.estate });
    this.evacuability = new EvacuabilityWatch({ clock, log, store, estate: this.estate });
    const planning = { ...work, seeHost, estate: this.estate, dirtyRateOf: (vm: VmRecord) => this.dirtyRates.of(vm) };
    this.#drains = new DrainLoop(planning);
    this.#rolls = new RollLoop(planning);
    this.#bulk = new BulkLoop({ ...work, seeHost, estate: this.estate });
  }

  /** The disk counters of a VM since its QEMU began. CodedError 'conflict' if it does not run. */
  blockFigures(vm: VmRecord): Promise<readonly BlockFigures[]> {
    const target = this.#executor.currentTarget(vm);
    if (target === null) throw new CodedError('conflict', `${vm.name} does not run.`);
    return this.#ports.qmp.blockFigures(target);
  }

  get #observers(): Pick<Controller, 'observer' | 'storageObserver'> {
    return { observer: this.observer, storageObserver: this.storageObserver };
  }

  get #around(): ControllerPorts & Pick<Controller, 'observer' | 'index'> {
    return { ...this.#ports, observer: this.observer, index: this.index };
  }

  /**
   * What machine an unknown VM runs as, by its newest generation. CodedError 'conflict' where it does not run, or what its
   * QEMU refuses; 'unavailable' where that does not answer.
   */
  machineFacts({ vm, processes }: UnknownVm): Promise<MachineFacts> {
    const newest = processes.toSorted((a, b) => b.generation - a.generation)[0];
    const addresses = newest === undefined ? undefined : this.index.host(newest.host)?.addresses;
    if (newest === undefined || addresses === undefined) throw new CodedError('conflict', `${vm} does not run.`);
    return this.#ports.qmp.machineFacts({ vm, ...newest, addresses });
  }

  #observeStorage({ clock, storage }: ControllerPorts): StorageObserver {
    return new StorageObserver(
      { clock, storage, isServed: (node) => this.#diskPaths.isServed(node) },
      {
        onState: (node) => this.vms.wakeNode(node),
        onReport: (node, { pool }) => this.pools.reported(node, pool),
        onGone: (node) => this.pools.forget(node),
      },
    );
  }

  /** Begins to lead, as soon as every record is in the index. */
  start(): void {
    const { store } = this.#ports;
    /** Objects that have changed before the index was complete. */
    const meanwhile = new Map<string, Changed>();
    store.onChange((changed) => {
      if (this.#isLoaded) this.#changed(changed);
      else meanwhile.set(`${changed.kind}/${changed.id}`, changed);
    });
    this.#load(this.index.loadInTurns(store.snapshot), meanwhile);
  }

  /** Takes records into the index, turn by turn; then everything begins. */
  #load(loading: Generator<void, void>, meanwhile: ReadonlyMap<string, Changed>): void {
    const { clock } = this.#ports;
    if (oneTurn(loading, clock) === null) {
      this.#cancelLoad = clock.after(0, () => this.#load(loading, meanwhile));
      return;
    }
    this.#isLoaded = true;
    this.#begin();
    for (const changed of meanwhile.values()) this.#changed(changed);
  }

  /** Takes in that an object has changed. The index first: every decision because of a change must see it there. */
  #changed({ kind, id }: Changed): void {
    const { snapshot } = this.#ports.store;
    this.estate.recordChanged();
    if (kind === 'vm') this.#vmChanged(id as VmId);
    if (kind === 'host') this.#hostChanged(id as HostName);
    if (kind === 'disk' && !this.#isUnreadable(keyOf.disk(id as DiskId)))
      this.index.setDisk(id as DiskId, snapshot.disks.get(id as DiskId)?.value ?? null);
    if (kind === 'storage') this.#watchStorage();
    if (kind === 'certificate' || kind === 'authority' || kind === 'control') this.certificates.wake();
    if (kind === 'certificate') this.#certificateChanged();
    if (kind === 'storage' || kind === 'control') this.#hostLoop.membersChanged({ isUrgent: true });
    if (kind === 'network' && !this.#isUnreadable(keyOf.network(id as NetworkName)))
      this.#hostLoop.networkChanged(id as NetworkName);
    if (kind === 'shared-disk') this.#sharedDiskChanged(id as DiskId);
    if (kind === 'guest-cluster') this.#guestClusterChanged(id as GuestClusterName);
    if (kind === 'drain') this.#drainChanged(id as DrainId);
    if (kind === 'roll') this.#rolls.wake(id as RollId);
    if (kind === 'task') this.#bulk.taskChanged(id as TaskId);
    if (kind === 'reservation') this.sharedDisks.reservationChanged();
  }

  #begin(): void {
    const { snapshot } = this.#ports.store;
    for (const { value } of snapshot.hosts.values()) this.observer.watch(value);
    this.#certificateChanged();
    this.#hostLoop.lookAtLost();
    this.#watchStorage();
    this.adoption.start();
    this.unknown.start();
    this.vms.wakeAll();
    this.sharedDisks.wakeAll();
    this.estate.start();
    this.#debts.start();
    this.evacuability.start();
    this.#drains.wakeAll();
    this.#rolls.wakeAll();
    this.#bulk.start();
    this.#leadWatch.start();
    this.recordWatch.start();
    this.certificates.start();
    this.certificateMoves.start();
    this.#housekeeping.start();
    this.files.start();
  }

  /** Ends the term: no step begins after this. */
  stop(): void {
    this.#cancelLoad();
    this.vms.stop();
    this.adoption.stop();
    this.unknown.stop();
    this.sharedDisks.stop();
    this.recordWatch.stop();
    this.certificates.stop();
    this.certificateMoves.stop();
    this.#housekeeping.stop();
    this.#drains.stop();
    this.#debts.stop();
    this.evacuability.stop();
    this.estate.stop();
    this.#rolls.stop();
    this.#bulk.stop();
    this.files.stop();
    this.#hostLoop.stop();
    this.#leadWatch.stop();
    this.observer.stop();
    this.storageObserver.stop();
  }

  #hostSeen(host: HostName): void {
    this.vms.wakeHost(host);
    this.estate.hostChanged(host);
  }

  #isSilent({ kind, name }: ReachTarget): boolean {
    return kind === 'host'
      ? this.observer.isSilent(name as HostName)
      : this.storageObserver.isSilent(name as StorageName);
  }

  #poolOf(node: StorageName): SeenPool | null {
    const report = this.storageObserver.report(node)?.pool;
    const level = this.pools.levelOf(node);
    return report === undefined || level === null ? null : { report, level };
  }

  #vmChanged(id: VmId): void {
    // A VM whose record became unreadable keeps counting with its last known state: its guest may run on.
    if (this.#isUnreadable(keyOf.vm(id))) {
      this.vms.wake(id);
      return;
    }
    const before = this.index.vm(id);
    const { hosts, networks, isRoomLeft } = this.index.setVm(id, this.#ports.store.snapshot.vms.get(id)?.value ?? null);
    this.#hostLoop.placementChanged(hosts);
    for (const network of networks) this.#hostLoop.networkChanged(network);
    // A host that lost its last member of a network has left that network, and must hear of it.
    if (networks.length > 0) for (const host of hosts) this.#hostLoop.hostPlanChanged(host);
    this.adoption.recordChanged(id);
    this.vms.wake(id);
    if (isRoomLeft) this.vms.wakeWaiting();
    this.#tellGuest(before, this.index.vm(id));
    this.sharedDisks.vmChanged(before, this.index.vm(id));
    this.estate.vmChanged(id, before);
    this.#drains.wakeAll();
    this.#hostLoop.lookAtLost();
  }

  /** Notices for a guest about its move go to its hosts with their network plans. */
  #tellGuest(before: VmRecord | null, after: VmRecord | null): void {
    if (after === null || before?.notice === after.notice) return;
    for (const { host } of expectedIncarnations(after.phase)) this.#hostLoop.hostPlanChanged(host);
  }

  #drainChanged(id: DrainId): void {
    if (this.#isUnreadable(keyOf.drain(id))) return;
    const record = this.#ports.store.snapshot.drains.get(id)?.value ?? null;
    const freed = this.index.setDrain(id, record);
    this.estate.drainChanged(id, record);
    this.#drains.wake(id);
    this.#rolls.wakeAll();
    if (freed.length > 0) this.vms.wakeWaiting();
  }

  #sharedDiskChanged(id: DiskId): void {
    if (this.#isUnreadable(keyOf.sharedDisk(id))) return;
    this.index.setSharedDisk(id, this.#ports.store.snapshot.sharedDisks.get(id)?.value ?? null);
    this.sharedDisks.wakeDisk(id);
    // VMs may have waited for a disk that is there now.
    for (const vm of this.index.usersOf(id)) this.vms.wake(vm);
  }

  #guestClusterChanged(name: GuestClusterName): void {
    if (this.#isUnreadable(keyOf.guestCluster(name))) return;
    const record = this.#ports.store.snapshot.guestClusters.get(name)?.value ?? null;
    this.index.setGuestCluster(name, record);
    this.estate.guestClusterChanged(name);
    this.sharedDisks.wakeCluster(name);
    for (const vm of record?.members ?? []) this.vms.wake(vm);
    // Members that were kept apart until now may have room beside each other.
    this.vms.wakeWaiting();
  }

  #hostChanged(name: HostName): void {
    if (this.#isUnreadable(keyOf.host(name))) return;
    const before = this.index.host(name);
    const record = this.#ports.store.snapshot.hosts.get(name)?.value ?? null;
    this.index.setHost(name, record);
    if (record === null) {
      this.observer.unwatch(name);
      this.#hostLoop.forget(name);
    } else this.observer.watch(record);
    if (addressesOf(before) !== addressesOf(record)) this.#hostLoop.membersChanged({ isUrgent: before !== null });
    if (droppedOf(before) !== droppedOf(record)) this.#hostLoop.everyPlanChanged();
    if (tunnelOf(before) !== tunnelOf(record))
      for (const network of this.index.networksOn(name)) this.#hostLoop.networkChanged(network);
    this.vms.wakeHost(name);
    this.estate.hostChanged(name);
    this.#drains.wakeAll();
    this.#hostLoop.lookAtLost();
  }

  /** A host that was declared lost, or has joined again since: the tunnels that every host drops are other ones. */
  #certificateChanged(): void {
    const tunnels = [...tunnelsOfLost(recordsOf(this.#ports.store.snapshot.certificates))].sort().join();
    if (tunnels === this.#tunnelsOfLost) return;
    this.#tunnelsOfLost = tunnels;
    this.#hostLoop.everyPlanChanged();
  }

  /**
   * A process of a VM whose record cannot be read and never was read by this control node, or of a VM that was made
   * after the snapshot from which the cluster was restored, takes memory that is not accounted for.
   */
  #countUnreadable(host: HostName): void {
    const { store } = this.#ports;
    const { unreadable, epoch } = store.snapshot;
    const isUncounted =
      (unreadable.size > 0 || epoch.number > 0) &&
      (this.observer.report(host)?.report.incarnations ?? []).some(({ vm, generation }) => {
        const record = this.index.vm(vm);
        if (unreadable.has(keyOf.vm(vm))) return record === null;
        if (record === null) return isForgotten(epoch, vm, generation);
        if (record.restored === undefined) return false;
        return !expectedIncarnations(record.phase).some((incarnation) => incarnation.host === host);
      });
    const wasUncounted = this.index.isUncounted(host);
    this.index.setUncounted(host, isUncounted);
    if (wasUncounted && !isUncounted) this.vms.wakeWaiting();
  }

  #isUnreadable(key: string): boolean {
    return this.#ports.store.snapshot.unreadable.has(key);
  }

  #watchStorage(): void {
    const nodes = [...this.#ports.store.snapshot.storage.values()].map(({ value }) => value);
    this.storageObserver.watch(nodes.flatMap(({ name, lost }) => (lost === undefined ? [name] : [])));
    for (const { name, lost } of nodes) if (lost !== undefined) this.vms.wakeNode(name);
  }
}

/** The tunnel that every other host drops because of this host, or null. */
function droppedOf(host: HostRecord | null): string | null {
  return host === null || host.quarantine === null ? null : host.addresses.overlay;
}

/** The tunnel that the other members of its networks flood to, or null. */
function tunnelOf(host: HostRecord | null): string | null {
  return host === null || host.quarantine !== null ? null : host.addresses.overlay;
}

/** Returns the addresses of a member as one text; null for a host without a record, or one that was declared lost. */
function addressesOf(host: HostRecord | null): string | null {
  return host === null || host.lost !== undefined ? null : Object.values(host.addresses).join(' ');
}
