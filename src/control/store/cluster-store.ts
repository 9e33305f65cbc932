/**
 * The cluster's state in memory, followed from etcd, and the only way to change it.
 * Guarantees: a value that is not a valid record of its kind is not in the tables, whoever wrote it: its key is named
 * in `unreadable`, the value is left alone, and nothing fails because of it; reading takes no turn of the event loop
 * longer than some milliseconds; tables hold the state of etcd at some revision, plus whatever this process committed
 * since; nothing older ever replaces something newer; a transaction is sent once, and one whose outcome is unknown is
 * read back before its caller goes on; a caller that is told EtcdDeadlineUnknown must take into account that it may be
 * applied at any time later (leader-store.ts ends its term).
 */
import { CodedError } from '../../base/errors.ts';
import type {
  DiskId,
  DrainId,
  GuestClusterName,
  HostName,
  ImageName,
  NetworkName,
  RollId,
  StorageName,
  TaskId,
  VmId,
} from '../../base/ids.ts';
import type { AuthoritiesRecord } from '../../core/model/authorities.ts';
import type { CertificateRecord } from '../../core/model/certificate.ts';
import type {
  ControlRecord,
  DiskRecord,
  EventRecord,
  HostRecord,
  ImageRecord,
  NetworkRecord,
  StorageRecord,
  TaskRecord,
  TokenRecord,
} from '../../core/model/cluster.ts';
import type { ReleaseRecord } from '../../core/model/cluster-release.ts';
import type { DrainRecord } from '../../core/model/drain.ts';
import type { GuestClusterRecord, ReservationRecord, SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import { EPOCH_KEY, EPOCH_PREFIX, PREFIX, prefixOf, ROOT, TARGET_SECRET_KEY } from '../../core/model/keys.ts';
import { type Epoch, epochFrom, FIRST_EPOCH, readRecord } from '../../core/model/record-shapes.ts';
import type { RollPlanRecord, RollRecord } from '../../core/model/roll.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Log } from '../../core/ports/log.ts';
import type { RandomHex } from '../../core/ports/random.ts';
import type { Etcd, TxnResult } from '../../etcd/api.ts';
import { EtcdDeadlineUnknown } from '../../etcd/errors.ts';
import { follow } from '../../etcd/follow.ts';
import { type Compare, type KeyValue, NOT_TEXT, type Op, type WatchEvent } from '../../etcd/records.ts';
import { type Listing, Table } from './table.ts';

/** One key's change. `expect`: the revision it must have, 0 for absent, null for any. */
export interface Write {
  readonly key: string;
  readonly value: object | string | null;
  readonly expect: number | null;
}

/** A key that a transaction does not write and that must be unchanged nevertheless. */
export type Unchanged = Pick<Write, 'key'> & { readonly expect: number };

export type Outcome =
  | { readonly kind: 'committed'; readonly revision: number }
  /** `isUncertain`: its answer was lost, and what it wrote may have been undone by others since. */
  | { readonly kind: 'conflict'; readonly isUncertain?: true }
  | { readonly kind: 'guard-failed' };

/** One applied change, for listeners. */
export interface Changed {
  readonly key: string;
  readonly revision: number;
  readonly deleted: boolean;
  /** The record; null if it was deleted or cannot be read. */
  readonly value: unknown;
  readonly isReadable: boolean;
  /** False where what was read may sum up several transactions: a listing, or a read after a refusal. */
  readonly isOneTransaction: boolean;
}

const WRITE_DEADLINE_MS = 2_000;
/** Digits of the largest revision and of the largest time: padded numbers sort as text. */
const DIGITS = 16;
const sortable = (value: number): string => String(value).padStart(DIGITS, '0');
/** Lists tasks by start time and events by the revision that recorded them: oldest first. */
const BY_START: Listing<TaskRecord> = {
  placeOf: (key, { value }) => `${sortable(value.startedAt)}/${key}`,
  keyAt: (place) => place.slice(place.indexOf('/') + 1),
};
const BY_REVISION: Listing<EventRecord> = {
  placeOf: (key, { revision }) => `${sortable(revision)}/${key}`,
  keyAt: (place) => place.slice(place.indexOf('/') + 1),
};
/** Characters of JSON that are read in one turn of the event loop: some milliseconds. */
const CHARS_PER_TURN = 256 * 1024;
/** The cost of checking a record that is known already, in characters of JSON. */
const LOOK_CHARS = 100;
/** The most unknown keys that are remembered and reported. */
const STRANGERS_MAX = 1_000;

/** All tables of the cluster and the transactions on them, from `follow` to the end of its signal. */
export class ClusterStore {
  readonly vms = new Table<VmRecord, VmId>(PREFIX.vm);
  readonly vmNames = new Table<VmId>(PREFIX.vmName);
  readonly hosts = new Table<HostRecord, HostName>(PREFIX.host);
  readonly storage = new Table<StorageRecord, StorageName>(PREFIX.storage);
  readonly controls = new Table<ControlRecord>(PREFIX.control);
  readonly releases = new Table<ReleaseRecord>(PREFIX.release);
  readonly disks = new Table<DiskRecord, DiskId>(PREFIX.disk);
  readonly diskPorts = new Table<DiskId>(PREFIX.diskPort);
  readonly sharedDisks = new Table<SharedDiskRecord, DiskId>(PREFIX.sharedDisk);
  readonly sharedDiskNames = new Table<DiskId>(PREFIX.sharedDiskName);
  readonly guestClusters = new Table<GuestClusterRecord, GuestClusterName>(PREFIX.guestCluster);
  readonly drains = new Table<DrainRecord, DrainId>(PREFIX.drain);
  readonly rolls = new Table<RollRecord, RollId>(PREFIX.roll);
  readonly rollPlans = new Table<RollPlanRecord, RollId>(PREFIX.rollPlan);
  readonly authorities = new Table<AuthoritiesRecord>(PREFIX.authority);
  readonly certificates = new Table<CertificateRecord>(PREFIX.certificate);
  readonly reservations = new Table<ReservationRecord, DiskId>(PREFIX.reservation);
  readonly images = new Table<ImageRecord, ImageName>(PREFIX.image);
  readonly networks = new Table<NetworkRecord, NetworkName>(PREFIX.network);
  readonly networkVnis = new Table<NetworkName>(PREFIX.networkVni);
  readonly tasks = new Table<TaskRecord, TaskId>(PREFIX.task, BY_START);
  readonly events = new Table<EventRecord>(PREFIX.event, BY_REVISION);
  readonly tokens = new Table<TokenRecord>(PREFIX.token);
  readonly #tables: readonly Table<unknown>[] = [
    this.vms,
    this.vmNames,
    this.hosts,
    this.storage,
    this.controls,
    this.releases,
    this.disks,
    this.diskPorts,
    this.sharedDisks,
    this.sharedDiskNames,
    this.guestClusters,
    this.drains,
    this.rolls,
    this.rollPlans,
    this.authorities,
    this.certificates,
    this.reservations,
    this.images,
    this.networks,
    this.networkVnis,
    this.tasks,
    this.events,
    this.tokens,
  ];
  readonly #tableByPrefix = new Map(this.#tables.map((table) => [table.prefix, table]));
  readonly #etcd: Etcd;
  readonly #randomHex: RandomHex;
  readonly #log: Log | null;
  readonly #unreadable = new Map<string, string>();
  readonly #lastReadable = new Map<string, unknown>();
  readonly #listeners = new Set<(changes: readonly Changed[]) => void>();
  readonly #disksByVm = new Map<VmId, Map<string, DiskRecord>>();
  /**
   * Transactions that this process is writing: the watch mostly shows their changes before the answer comes, and then
   * they need not be parsed.
   */
  readonly #writing = new Map<string, { readonly text: string; readonly value: unknown }>();
  /** The text of the epoch's record, as it was read first; null: none, or nothing was read yet. */
  #epochText: string | null = null;
  #epoch: Epoch | null = null;
  #revision = 0;
  #completeRevision = 0;
  readonly #catchingUp = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  /** Whether the watch is connected: the tables are then at most a moment old. */
  #connected = false;

  constructor(etcd: Etcd, randomHex: RandomHex, log: Log | null = null) {
    this.#etcd = etcd;
    this.#randomHex = randomHex;
    this.#log = log;
  }

  /**
   * Keys whose values are not valid records of their kind, each with the finding (the rest of a sentence). The live
   * map.
   */
  get unreadable(): ReadonlyMap<string, string> {
    return this.#unreadable;
  }

  /** The last valid values of keys in `unreadable`, as far as this process has read one. The live map. */
  get lastReadable(): ReadonlyMap<string, unknown> {
    return this.#lastReadable;
  }

  /** The epoch of the etcd that is followed; the first one before it was read. */
  get epoch(): Epoch {
    return this.#epoch ?? FIRST_EPOCH;
  }

  get revision(): number {
    return this.#revision;
  }

  /**
   * Everything up to this revision is in the tables: a reader of the tables misses nothing that a watch from the next
   * revision brings.
   */
  get completeRevision(): number {
    return this.#completeRevision;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Follows etcd until `signal` aborts; `onReady` once the first listing is in. Throws what etcd refuses for good. */
  async follow(options: { readonly signal: AbortSignal; readonly onReady: () => void }): Promise<void> {
    await follow(this.#etcd, ROOT, {
      signal: options.signal,
      onListing: async ({ entries, revision }) => {
        this.#heedEpoch(entries);
        await this.#replace(entries, revision);
        this.#connected = true;
        options.onReady();
      },
      onEvents: (events, revision) => this.#apply(events, revision),
      onProgress: (revision) => this.#completed(revision),
      onDisconnected: () => {
        this.#connected = false;
      },
      onConnected: () => {
        this.#connected = true;
      },
      onReconnected: async () => {
        const known = this.#completeRevision;
        const { entries, revision } = await this.#etcd.list(EPOCH_PREFIX);
        this.#heedEpoch(entries, { revision, known });
      },
    });
  }

  /**
   * Checks that etcd still has the history that is known here: if etcd reports another epoch, it was restored, and this
   * process must begin anew. `known`: the revision that was known before etcd was asked. CodedError 'failed' then, and
   * for an epoch that cannot be read.
   */
  #heedEpoch(
    entries: readonly KeyValue[],
    { revision, known }: { readonly revision: number; readonly known: number } = { revision: 0, known: 0 },
  ): void {
    const text = entries.find(({ key }) => key === EPOCH_KEY)?.value ?? null;
    if (this.#epoch === null) {
      this.#epoch = epochFrom(entries);
      this.#epochText = text;
    }
    if (this.#epochText === text && revision >= known) return;
    const how = revision < known ? `it is at revision ${revision}, and ${known} was seen` : 'another epoch began';
    throw new CodedError('failed', `etcd was restored: ${how}.`, {
      advice: 'This server ends; the service manager starts it anew.',
    });
  }

  /** Reads everything linearizably: for one who begins to lead. */
  async catchUp(): Promise<void> {
    const known = this.#completeRevision;
    const { entries, revision } = await this.#etcd.list(ROOT);
    this.#heedEpoch(entries, { revision, known });
    await this.#replace(entries, revision);
  }

  /** Calls back after each change of the tables; the answer unsubscribes. */
  onChange(listener: (changes: readonly Changed[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  disksOf(vm: VmId): readonly DiskRecord[] {
    const disks = this.#disksByVm.get(vm);
    return disks === undefined ? [] : [...disks.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** A new event's write. Its key sorts by time. */
  eventWrite(event: EventRecord): Write {
    const key = `${PREFIX.event}${String(event.at).padStart(15, '0')}-${this.#randomHex(4)}`;
    return { key, value: event, expect: null };
  }

  /**
   * All writes or none. `guard`: an additional condition (the leader's election key); `unchanged`: objects that the
   * transaction was decided from. If the answer was lost, the transaction is `committed` if reading back finds its
   * writes, else `conflict`. Throws EtcdUnavailable (nothing changed), or EtcdDeadlineUnknown when not even reading
   * back was possible.
   */
  async transact(
    writes: readonly Write[],
    guard: Compare | null,
    unchanged: readonly Unchanged[] = [],
  ): Promise<Outcome> {
    const compare: Compare[] = [...writes, ...unchanged].flatMap(({ key, expect }) =>
      expect === null ? [] : [expect === 0 ? { key, exists: false } : { key, modRevision: expect }],
    );
    if (guard !== null) compare.push(guard);
    const success: Op[] = writes.map(({ key, value }) => {
      if (value === null) return { delete: key };
      const text = JSON.stringify(value);
      this.#writing.set(key, { text, value });
      return { put: key, value: text };
    });
    const keys = [...writes, ...unchanged].map(({ key }) => key);
    const failure: Op[] = [...keys, ...(guard === null ? [] : [guard.key])].map((key) => ({ get: key }));
    const before = writes.map(({ key }) => this.#valueOf(key));
    try {
      const result = await this.#etcd.txn({ compare, success, failure }, { deadlineMs: WRITE_DEADLINE_MS });
      if (!result.succeeded) return this.#refused(keys, guard, result);
      this.#note(
        writes.map(({ key, value }) => ({ key, value, revision: result.revision })),
        true,
      );
      return { kind: 'committed', revision: result.revision };
    } catch (error) {
      if (!(error instanceof EtcdDeadlineUnknown)) throw error;
      return await this.#readBack(writes, { keys, before, guard, unknown: error });
    } finally {
      for (const { key, value } of writes) if (this.#writing.get(key)?.value === value) this.#writing.delete(key);
    }
  }

  /**
   * Waits until `condition` answers something other than undefined, looking after each change. CodedError 'deadline'.
   */
  waitFor<T>(
    condition: () => T | undefined,
    options: { readonly deadlineMs: number; readonly signal: AbortSignal; readonly what: string },
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        cancel();
        unsubscribe();
        options.signal.removeEventListener('abort', aborted);
        act();
      };
      const look = (): void => {
        try {
          const found = condition();
          if (found !== undefined) finish(() => resolve(found));
        } catch (error) {
          finish(() => reject(error));
        }
      };
      const aborted = (): void => finish(() => reject(options.signal.reason));
      const late = (): CodedError =>
        new CodedError('deadline', `${options.what} did not happen within ${options.deadlineMs} ms.`);
      const cancel = this.#etcd.clock.after(options.deadlineMs, () => finish(() => reject(late())));
      const unsubscribe = this.onChange(look);
      options.signal.addEventListener('abort', aborted, { once: true });
      if (options.signal.aborted) aborted();
      else look();
    });
  }

  /**
   * Resolves once the tables hold everything up to `revision`, by default the newest that was seen. A refused
   * transaction returns objects that may be newer than the watch; after this call, the tables also hold what was
   * written together with them. CodedError 'deadline'.
   */
  caughtUp(deadlineMs: number, revision = this.#revision): Promise<void> {
    if (this.#completeRevision >= revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiting = { revision, resolve: (): void => finish(resolve) };
      const finish = (act: () => void): void => {
        cancel();
        this.#catchingUp.delete(waiting);
        act();
      };
      const late = (): CodedError =>
        new CodedError('deadline', `Nothing could be read from etcd within ${deadlineMs} ms.`, {
          advice: 'Nothing was changed. See whether etcd answers, then try again.',
        });
      const cancel = this.#etcd.clock.after(deadlineMs, () => finish(() => reject(late())));
      this.#catchingUp.add(waiting);
    });
  }

  #refused(keys: readonly string[], guard: Compare | null, { reads, revision }: TxnResult): Outcome {
    this.#note(keys.map((key, index) => notedOf(key, reads[index], revision)));
    if (guard === null || !('createRevision' in guard)) return { kind: 'conflict' };
    const election = reads[keys.length];
    return election?.createRevision === guard.createRevision ? { kind: 'conflict' } : { kind: 'guard-failed' };
  }

  #valueOf(key: string): unknown {
    const table = this.#tableOf(key);
    return table?.get(key.slice(table.prefix.length))?.value;
  }

  /** The outcome of a transaction whose answer was lost: all of it happened if one trace of it is found. */
  async #readBack(writes: readonly Write[], sent: SentWithoutAnswer): Promise<Outcome> {
    const { keys, before, unknown } = sent;
    const read = async (key: string): Promise<readonly [string, KeyValue | undefined, number]> => {
      const { entries, revision } = await this.#etcd.list(key);
      return [key, entries.find((entry) => entry.key === key), revision];
    };
    const reads = await Promise.all(keys.map(read)).catch(() => {
      // The failed read says nothing about the transaction.
      throw unknown;
    });
    this.#note(reads.map(([key, found, revision]) => notedOf(key, found, revision)));
    const found = new Map(reads.map(([key, kv]) => [key, kv]));
    const isOurs = ({ key, value, expect }: Write): boolean => {
      const kv = found.get(key);
      return kv !== undefined && kv.value === JSON.stringify(value) && kv.modRevision !== expect;
    };
    // A write of the same value proves nothing: others may have written it as well.
    const proofs = writes.filter(
      ({ value }, index) => value !== null && JSON.stringify(value) !== JSON.stringify(before[index]),
    );
    const deleted = writes.filter(({ value }) => value === null);
    const applied =
      proofs.length > 0
        ? proofs.some(isOurs)
        : deleted.length > 0 && deleted.every(({ key, expect }) => expect !== 0 && !found.get(key));
    if (applied) return { kind: 'committed', revision: this.#revision };
    await this.#overtake(found, sent);
    return { kind: 'conflict', isUncertain: true };
  }

  /**
   * A transaction that is not applied yet may still be under way. One object that it compares is written again
   * unchanged, at a new revision, so that the transaction can never be applied after others were decided in the belief
   * that it was not. Throws `unknown` if even that is not certain. A transaction that only creates objects cannot be
   * overtaken: it takes names that others then find taken. This write carries the guard as well: if the guard no longer
   * holds, the first transaction is refused for the same reason.
   */
  async #overtake(
    found: ReadonlyMap<string, KeyValue | undefined>,
    { keys, guard, unknown }: SentWithoutAnswer,
  ): Promise<void> {
    // Bytes that are not text cannot be written back unchanged; they are not a valid record, so no decision was based
    // on them.
    const kv = keys.map((key) => found.get(key)).find((each) => each !== undefined && each.value !== NOT_TEXT);
    if (kv === undefined) return;
    const { key, value, modRevision } = kv;
    const compare: Compare[] = [{ key, modRevision }, ...(guard === null ? [] : [guard])];
    const failure: Op[] = guard === null ? [] : [{ get: guard.key }];
    const again = { compare, success: [{ put: key, value }], failure };
    const result = await this.#etcd.txn(again, { deadlineMs: WRITE_DEADLINE_MS }).catch(() => undefined);
    if (result?.succeeded === false && guardIsOver(guard, result)) return;
    // The outcome of this write does not matter: the object no longer has the revision that the first transaction
    // compares.
    const { entries, revision } = await this.#etcd.list(key).catch(() => {
      throw unknown;
    });
    const now = entries.find((entry) => entry.key === key);
    this.#note([notedOf(key, now, revision)]);
    if (now?.modRevision === modRevision) throw unknown;
  }

  /** Merges a listing, with pauses; objects that the watch has updated in the meantime are newer and stay. */
  async #replace(entries: readonly KeyValue[], revision: number): Promise<void> {
    const present = new Set<string>();
    let changes: Noted[] = [];
    let cost = 0;
    const takeTurn = async (): Promise<void> => {
      this.#note(changes);
      changes = [];
      cost = 0;
      await new Promise<void>((resolve) => void this.#etcd.clock.after(0, resolve));
    };
    for (const kv of entries) {
      present.add(kv.key);
      // Known records are not parsed again; when a follower becomes leader, most records are known.
      if (this.#knows(kv)) cost += LOOK_CHARS;
      else {
        changes.push(notedOf(kv.key, kv, revision));
        cost += kv.value.length;
      }
      if (cost >= CHARS_PER_TURN) await takeTurn();
    }
    for (const { prefix, entries: known } of this.#tables) {
      for (const key of known.keys()) {
        if (!present.has(prefix + key)) changes.push({ key: prefix + key, value: null, revision });
        cost += LOOK_CHARS;
        if (cost >= CHARS_PER_TURN) await takeTurn();
      }
    }
    for (const key of this.#unreadable.keys()) if (!present.has(key)) changes.push({ key, value: null, revision });
    this.#note(changes);
    this.#completed(revision);
  }

  #apply(events: readonly WatchEvent[], revision: number): void {
    const noted = (event: WatchEvent): Noted => {
      const { key, modRevision } = event;
      if (event.type !== 'put') return notedOf(key, undefined, modRevision);
      const ours = this.#writing.get(key);
      return ours?.text === event.kv.value
        ? { key, value: ours.value, revision: modRevision }
        : notedOf(key, event.kv, modRevision);
    };
    this.#note(events.map(noted), true);
    this.#completed(revision);
  }

  #completed(revision: number): void {
    this.#revision = Math.max(this.#revision, revision);
    this.#completeRevision = Math.max(this.#completeRevision, revision);
    for (const table of this.#tables) table.completedTo(revision);
    for (const waiting of [...this.#catchingUp]) if (this.#completeRevision >= waiting.revision) waiting.resolve();
  }

  #tableOf(key: string): Table<unknown> | undefined {
    return this.#tableByPrefix.get(prefixOf(key));
  }

  #knows({ key, modRevision }: KeyValue): boolean {
    const table = this.#tableOf(key);
    return table !== undefined && (table.get(key.slice(table.prefix.length))?.revision ?? 0) >= modRevision;
  }

  #note(notes: readonly Noted[], isOneTransaction = false): void {
    const changes: Changed[] = [];
    for (const { key, value, revision, finding } of notes) {
      const table = this.#tableOf(key);
      if (table === undefined) {
        if (isStranger(key)) this.#noteFinding(key, finding);
        continue;
      }
      const before = table.get(key.slice(table.prefix.length));
      if (!table.isNews(key.slice(table.prefix.length), revision)) continue;
      const isNoted = table.note(key.slice(table.prefix.length), value, revision);
      const isFound = this.#noteFinding(key, finding);
      if (finding === undefined) this.#lastReadable.delete(key);
      else if (before !== undefined) this.#lastReadable.set(key, before.value);
      if (!isFound && !isNoted) continue;
      if (table.prefix === PREFIX.disk)
        this.#indexDisk(key, (before?.value ?? null) as DiskRecord | null, value as DiskRecord | null);
      changes.push({
        key,
        revision,
        deleted: value === null,
        value,
        isReadable: finding === undefined,
        isOneTransaction,
      });
      this.#revision = Math.max(this.#revision, revision);
    }
    if (changes.length > 0) for (const listener of [...this.#listeners]) listener(changes);
  }

  /** Records or clears the finding about a value; returns whether that changes anything. */
  #noteFinding(key: string, finding: string | undefined): boolean {
    if (finding === undefined) return this.#unreadable.delete(key);
    if (this.#unreadable.get(key) === finding) return false;
    if (this.#unreadable.size >= STRANGERS_MAX && isStranger(key)) return false;
    this.#unreadable.set(key, finding);
    this.#log?.warn('a value in etcd is not a valid record: it is left alone', { at: key, finding });
    return true;
  }

  #indexDisk(key: string, before: DiskRecord | null, after: DiskRecord | null): void {
    if (before !== null) {
      const disks = this.#disksByVm.get(before.vm);
      disks?.delete(key);
      if (disks?.size === 0) this.#disksByVm.delete(before.vm);
    }
    if (after === null) return;
    const disks = this.#disksByVm.get(after.vm) ?? new Map<string, DiskRecord>();
    disks.set(key, after);
    this.#disksByVm.set(after.vm, disks);
  }
}

/** A transaction whose answer was lost. */
interface SentWithoutAnswer {
  /** The keys that it compares and writes. */
  readonly keys: readonly string[];
  /** The values that its writes replace, as far as they were known. */
  readonly before: readonly unknown[];
  readonly guard: Compare | null;
  readonly unknown: EtcdDeadlineUnknown;
}

/** Whether a refused transaction that read its guard's key shows that the guard no longer holds. */
function guardIsOver(guard: Compare | null, { reads }: TxnResult): boolean {
  return guard !== null && 'createRevision' in guard && reads[0]?.createRevision !== guard.createRevision;
}

interface Noted {
  readonly key: string;
  readonly value: unknown;
  readonly revision: number;
  /** The finding about the value in etcd; `value` is null then. */
  readonly finding?: string;
}

/** The entry that a read at `readAt` found under `key`. */
function notedOf(key: string, found: KeyValue | undefined, readAt: number): Noted {
  if (found === undefined) return { key, value: null, revision: readAt };
  const revision = found.modRevision;
  if (!key.startsWith(ROOT) || isElsewhere(key)) return { key, value: null, revision };
  const read = readRecord(key, found.value);
  return 'value' in read ? { key, value: read.value, revision } : { key, value: null, revision, finding: read.finding };
}

/** Returns true for keys that other code reads: the election's candidates, the targets' key, the epoch. */
function isElsewhere(key: string): boolean {
  return key.startsWith(PREFIX.election) || key === TARGET_SECRET_KEY || key.startsWith(EPOCH_PREFIX);
}

/** Returns true for a key outside all tables that no code of this version reads. */
function isStranger(key: string): boolean {
  return !isElsewhere(key) && !Object.values(PREFIX).some((prefix) => key.startsWith(prefix));
}
