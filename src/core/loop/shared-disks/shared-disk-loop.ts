/**
 * Drives shared disks and guest clusters as objects: makes, grows and deletes disks, ends the tasks that waited for
 * that, and reports guest clusters that nobody declared.
 * Guarantees: one activation per object at a time, a wake-up during it is not lost, every activation ends; an order
 * that failed is given again after a while, with the reason shown until it works; a node that no longer leads writes
 * nothing.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { DiskId, GuestClusterName, VmId } from '../../../base/ids.ts';
import type { TaskRecord } from '../../model/cluster.ts';
import { type ClusterIndex, recordsOf } from '../../model/cluster-index.ts';
import type { SharedDiskRecord } from '../../model/guest-cluster.ts';
import { PREFIX } from '../../model/keys.ts';
import { sharedDisksOf, type VmRecord, type VmSharedDisk } from '../../model/vm.ts';
import {
  decideGuestCluster,
  decideSharedDisk,
  type ObjectDecision,
  type SharedDiskAcknowledged,
} from '../../plan/disks/shared-disk-decision.ts';
import { undeclaredClusters } from '../../plan/guest-clusters/undeclared.ts';
import { unreadableOfCluster, unreadableUser } from '../../plan/vm/unreadable.ts';
import type { Clock } from '../../ports/clock.ts';
import { SHARED_DISKS } from '../../ports/host-link.ts';
import type { Log } from '../../ports/log.ts';
import type { StorageLink } from '../../ports/storage-link.ts';
import type { Change, Entry, LeaderStore } from '../../ports/store.ts';

export interface SharedDiskLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly storage: StorageLink;
  /** Follows the snapshot. */
  readonly index: ClusterIndex;
}

/** Deadline of one order: a disk is a sparse file, however large. */
const ORDER_MS = 30_000;
/** Things one activation may do before it yields. */
const THINGS_PER_ACTIVATION = 20;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;
/** The time until the next look at a record that is newer than the watch, or that somebody else has just changed. */
const LOOK_MS = 50;
/** The time between two checks whether etcd has confirmed the lease, in ms, while no order is given without it. */
const LEASE_LOOK_MS = 200;
/** Pause between checks of a guest cluster with a record that cannot be read, in ms. */
const UNREADABLE_LOOK_MS = 2_000;
/** Changes within this many ms cause one search for undeclared guest clusters. */
const UNDECLARED_MS = 1_000;

interface ObjectState {
  active: boolean;
  again: boolean;
  cancelTimer: (() => void) | null;
  sizeBytes: number;
  isDeleted: boolean;
  failures: number;
  error: string | null;
  refusal: SharedDiskAcknowledged['refusal'];
}

type Key = `disk ${DiskId}` | `cluster ${GuestClusterName}`;

/** One per leader; `stop` is final. */
export class SharedDiskLoop {
  readonly #ports: SharedDiskLoopPorts;
  readonly #states = new Map<Key, ObjectState>();
  #cancelUndeclared: (() => void) | null = null;
  #stopped = false;

  constructor(ports: SharedDiskLoopPorts) {
    this.#ports = ports;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelUndeclared?.();
    for (const state of this.#states.values()) state.cancelTimer?.();
  }

  wakeAll(): void {
    const { sharedDisks, guestClusters } = this.#ports.store.snapshot;
    for (const id of sharedDisks.keys()) this.wakeDisk(id);
    for (const name of guestClusters.keys()) this.wakeCluster(name);
    if (sharedDisks.size > 0) this.#lookForUndeclared();
  }

  wakeDisk(id: DiskId): void {
    this.#wake(`disk ${id}`);
    const disk = this.#ports.index.sharedDisk(id);
    if (disk !== null && disk.guestCluster !== null) this.wakeCluster(disk.guestCluster);
    // A deleted disk belongs to no cluster any more: clusters that wait for that are looked at as well.
    if (disk === null)
      for (const { name, deleting } of recordsOf(this.#ports.store.snapshot.guestClusters))
        if (deleting === true) this.wakeCluster(name);
    this.#lookForUndeclared();
  }

  wakeCluster(name: GuestClusterName): void {
    this.#wake(`cluster ${name}`);
  }

  /** The record of a VM changed from `before` to `now`. */
  vmChanged(before: VmRecord | null, now: VmRecord | null): void {
    const [was, is] = [before, now].map((record) => (record === null ? [] : sharedDisksOf(record)));
    const isMoved = (before?.spec.guestCluster ?? null) !== (now?.spec.guestCluster ?? null);
    if (was === undefined || is === undefined || (!isMoved && sameUses(was, is))) return;
    for (const disk of new Set([...was, ...is].map((use) => use.disk))) this.wakeDisk(disk);
    const cluster = now === null ? null : this.#ports.index.guestClusterOf(now);
    if (cluster !== null) this.wakeCluster(cluster.name);
  }

  /** Keys were registered, or taken back. */
  reservationChanged(): void {
    this.#lookForUndeclared();
  }

  /** Why a disk is not as wanted, as the last attempt ended; null if nothing went wrong. */
  errorOf(id: DiskId): string | null {
    return this.#states.get(`disk ${id}`)?.error ?? null;
  }

  #wake(key: Key): void {
    if (this.#stopped) return;
    const state = this.#state(key);
    state.cancelTimer?.();
    state.cancelTimer = null;
    if (state.active) {
      state.again = true;
      return;
    }
    state.active = true;
    void this.#activate(key, state);
  }

  #state(key: Key): ObjectState {
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    const state = {
      active: false,
      again: false,
      cancelTimer: null,
      sizeBytes: 0,
      isDeleted: false,
      failures: 0,
      error: null,
      refusal: null,
    };
    this.#states.set(key, state);
    return state;
  }

  async #activate(key: Key, state: ObjectState): Promise<void> {
    let againInMs: number | null = null;
    try {
      do {
        state.again = false;
        againInMs = await this.#rounds(key, state);
      } while (state.again && !this.#stopped);
      if (againInMs === null) {
        state.failures = 0;
        state.error = null;
      }
    } catch (error) {
      againInMs = Math.min(RETRY_FIRST_MS * 2 ** state.failures, RETRY_MAX_MS);
      state.failures++;
      state.error = messageOf(error);
      this.#ports.log.warn('shared disk: order failed', { object: key, error: state.error });
    } finally {
      state.active = false;
    }
    if (this.#stopped) return;
    if (againInMs !== null) state.cancelTimer = this.#ports.clock.after(againInMs, () => this.#wake(key));
    else if (!this.#exists(key)) this.#states.delete(key);
  }

  #exists(key: Key): boolean {
    const { sharedDisks, guestClusters } = this.#ports.store.snapshot;
    const [kind, id] = key.split(' ');
    return kind === 'disk' ? sharedDisks.has(id as DiskId) : guestClusters.has(id as GuestClusterName);
  }

  /**
   * Does things until a decision says wait: then null, or the time in ms where a record is to be looked at again in any
   * case.
   */
  async #rounds(key: Key, state: ObjectState): Promise<number | null> {
    for (let things = 0; things < THINGS_PER_ACTIVATION && !this.#stopped; things++) {
      // Decisions wait while the code that woke this loop is still changing things.
      await Promise.resolve();
      if (this.#stopped) return null;
      const [kind, id] = key.split(' ');
      const againMs =
        kind === 'disk'
          ? await this.#oneForDisk(id as DiskId, state)
          : await this.#oneForCluster(id as GuestClusterName);
      if (againMs !== 'on') return againMs;
    }
    return LOOK_MS;
  }

  async #oneForDisk(id: DiskId, state: ObjectState): Promise<'on' | number | null> {
    const { store, index } = this.#ports;
    const entry = store.snapshot.sharedDisks.get(id);
    if (entry === undefined) return null;
    const decision = decideSharedDisk({ disk: entry.value, index, acknowledged: state });
    if (decision.kind === 'wait') return null;
    if (decision.kind === 'commit') {
      // A disk that is there is asked to grow again by the next task only: until then, there may be room.
      if (entry.value.phase === 'ready') state.refusal = null;
      return this.#commit(entry, decision, { kind: 'shared-disk', id, value: decision.value });
    }
    if (!store.leads()) return LEASE_LOOK_MS;
    // A VM whose record cannot be read may use the disk.
    const user = decision.order === 'delete' ? unreadableUser(PREFIX.vm, store.snapshot.unreadable) : null;
    if (user !== null) throw new CodedError('conflict', user);
    await this.#order(entry.value, decision.order, state);
    return 'on';
  }

  async #oneForCluster(name: GuestClusterName): Promise<'on' | number | null> {
    const { store, index } = this.#ports;
    const entry = store.snapshot.guestClusters.get(name);
    if (entry === undefined) return null;
    // A disk whose record cannot be read still exists.
    if (unreadableOfCluster(entry.value, store.snapshot.unreadable) !== null) return UNREADABLE_LOOK_MS;
    const decision = decideGuestCluster(entry.value, index, (id) => this.#states.get(`disk ${id}`)?.refusal ?? null);
    if (decision.kind !== 'commit') return null;
    return this.#commit(entry, decision, { kind: 'guest-cluster', id: name, value: decision.value });
  }

  async #order(disk: SharedDiskRecord, order: 'put' | 'delete', state: ObjectState): Promise<void> {
    const { storage, store } = this.#ports;
    const { node, id, sizeBytes, blockBytes } = disk;
    const options = { deadlineMs: ORDER_MS };
    if (order === 'delete') {
      // Disks on a lost node are gone already.
      if (store.snapshot.storage.get(node)?.value.lost === undefined)
        await storage.deleteSharedDisk(node, id, { term: store.term }, options);
      state.isDeleted = true;
    } else {
      const put = { term: store.term, sizeBytes, blockBytes, needs: [SHARED_DISKS] };
      try {
        await storage.createSharedDisk(node, id, put, options);
      } catch (error) {
        if (isRefusal(error)) this.#refused(disk, messageOf(error), state);
        throw error;
      }
      state.sizeBytes = sizeBytes;
      state.refusal = null;
    }
    state.failures = 0;
    state.error = null;
  }

  /**
   * Handles a size that the node refused: the waiting tasks end with the reason, and the order is tried again later.
   */
  #refused({ sizeBytes, guestCluster }: SharedDiskRecord, why: string, state: ObjectState): void {
    state.refusal = { sizeBytes, why };
    if (guestCluster !== null) this.wakeCluster(guestCluster);
  }

  async #commit<T>(
    entry: Entry<T>,
    { event, tasks }: Extract<ObjectDecision<T>, { kind: 'commit' }>,
    change: Change,
  ): Promise<'on' | number | null> {
    const { store, clock } = this.#ports;
    // A task that was made together with a newer record must be seen, or it would never be ended.
    if (store.snapshot.completeRevision < entry.revision) return LOOK_MS;
    const result = await store.commit({
      changes: [change, ...this.#ends(tasks)],
      events:
        event === null ? [] : [{ at: clock.wallMs(), ...event, vm: null, vmName: null, host: null, generation: null }],
    });
    if (result === 'deposed') return null;
    return result === 'committed' ? 'on' : LOOK_MS;
  }

  #ends(outcomes: readonly Pick<TaskRecord, 'id' | 'state' | 'message'>[]): Change[] {
    const { store, clock } = this.#ports;
    return outcomes.flatMap(({ id, state, message }): Change[] => {
      const task = store.snapshot.tasks.get(id)?.value;
      if (task === undefined || task.state !== 'running') return [];
      const value: TaskRecord = { ...task, state, message, progressPercent: 100, endedAt: clock.wallMs() };
      return [{ kind: 'task', id, value }];
    });
  }

  #lookForUndeclared(): void {
    if (this.#stopped || this.#cancelUndeclared !== null) return;
    this.#cancelUndeclared = this.#ports.clock.after(UNDECLARED_MS, () => {
      this.#cancelUndeclared = null;
      this.#reportUndeclared().catch((error: unknown) => {
        this.#ports.log.warn('undeclared guest clusters were not reported', { error: messageOf(error) });
        this.#lookForUndeclared();
      });
    });
  }

  /** Each is reported once: the records of its disks show that it was reported. */
  async #reportUndeclared(): Promise<void> {
    const { store, index } = this.#ports;
    const { sharedDisks, reservations } = store.snapshot;
    const found = undeclaredClusters({
      index,
      disks: recordsOf(sharedDisks),
      reservationOf: (id) => reservations.get(id)?.value ?? null,
    });
    const toldOf = new Map(found.flatMap(({ disks, vms }) => disks.map((disk) => [disk, vms] as const)));
    for (const { vms, disks, because } of found) {
      const news = disks.filter((id) => sharedDisks.get(id)?.value.reported?.join() !== vms.join());
      if (news.length === 0) continue;
      const message = `An undeclared guest cluster: ${because.join(' ')} Its members may share a host, and may be moved at the same time. Declare it: gp guest-cluster create, then add-disk.`;
      await this.#report(news, vms, message);
    }
    // A disk that is no longer in trouble is reported again if the trouble returns.
    const over = [...recordsOf(sharedDisks)].filter(({ id, reported }) => reported !== undefined && !toldOf.has(id));
    for (const { id } of over) await this.#report([id], null, null);
  }

  async #report(disks: readonly DiskId[], vms: readonly VmId[] | null, message: string | null): Promise<void> {
    const { store, clock, index } = this.#ports;
    const changes = disks.flatMap((id): Change[] => {
      const record = store.snapshot.sharedDisks.get(id)?.value;
      if (record === undefined) return [];
      const { reported: _, ...rest } = record;
      return [{ kind: 'shared-disk', id, value: vms === null ? rest : { ...rest, reported: vms } }];
    });
    if (changes.length === 0 || this.#stopped) return;
    const [first] = vms ?? [];
    const vmName = first === undefined ? null : (index.vm(first)?.name ?? null);
    const about = { vm: first ?? null, vmName, host: null, generation: null };
    const event = { at: clock.wallMs(), kind: 'guest-cluster-undeclared', ...about };
    const result = await store.commit({ changes, events: message === null ? [] : [{ ...event, message }] });
    if (result === 'conflict') this.#lookForUndeclared();
  }
}

/** Returns true if the node itself refused; false if it could not be asked, or if another control node leads. */
function isRefusal(error: unknown): boolean {
  return error instanceof CodedError && REFUSALS.includes(error.code);
}

const REFUSALS: readonly string[] = ['no-capacity', 'bad-input', 'conflict', 'too-large', 'unsupported', 'failed'];

function sameUses(a: readonly VmSharedDisk[], b: readonly VmSharedDisk[]): boolean {
  return a.length === b.length && (a.length === 0 || JSON.stringify(a) === JSON.stringify(b));
}
