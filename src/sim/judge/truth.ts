/**
 * What etcd holds, as records: followed transaction by transaction, for the trace and for judging how a run ends.
 * Nobody in the simulated cluster sees it.
 */
import { termOf } from '../../base/epoch.ts';
import type { Term } from '../../base/ids.ts';
import type { DiskRecord, HostRecord, StorageRecord, TaskRecord } from '../../core/model/cluster.ts';
import type { DrainRecord } from '../../core/model/drain.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import { type ObjectKind, objectOf, PREFIX } from '../../core/model/keys.ts';
import type { RollPlanRecord, RollRecord } from '../../core/model/roll.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Change } from '../../core/ports/store.ts';
import type { KeyValue, WatchEvent } from '../../etcd/records.ts';

interface Tables {
  readonly vm: Map<string, VmRecord>;
  readonly disk: Map<string, DiskRecord>;
  readonly host: Map<string, HostRecord>;
  readonly storage: Map<string, StorageRecord>;
  readonly task: Map<string, TaskRecord>;
  readonly 'shared-disk': Map<string, SharedDiskRecord>;
  readonly 'guest-cluster': Map<string, GuestClusterRecord>;
  readonly drain: Map<string, DrainRecord>;
  readonly roll: Map<string, RollRecord>;
  readonly 'roll-plan': Map<string, RollPlanRecord>;
}

/** The changes that are in the trace: those of objects that a leader may write, and of storage nodes. */
type TracedChange = Extract<Change, { kind: keyof Tables | 'network' }>;

const TRACED: ReadonlySet<ObjectKind> = new Set<TracedChange['kind']>([
  'vm',
  'disk',
  'host',
  'storage',
  'network',
  'task',
  'shared-disk',
  'guest-cluster',
  'drain',
  'roll',
  'roll-plan',
]);

/** All records as of the last transaction. */
export class Truth {
  readonly tables: Tables = {
    vm: new Map(),
    disk: new Map(),
    host: new Map(),
    storage: new Map(),
    task: new Map(),
    'shared-disk': new Map(),
    'guest-cluster': new Map(),
    drain: new Map(),
    roll: new Map(),
    'roll-plan': new Map(),
  };
  /** Election keys with the revision they were made at and who made them, oldest first. */
  readonly #candidates = new Map<string, { readonly term: Term; readonly control: string }>();

  /** The epoch of what etcd holds. */
  #epoch = 0;
  /** VMs and disks that were made after the snapshot that the cluster was restored from, or were there without a record. */
  readonly forgotten = new Set<string>();

  /** When each term was over. */
  readonly #ended = new Map<Term, number>();

  /** The term that an election key's create revision stands for. */
  termOf(createRevision: number): Term {
    return termOf(this.#epoch, createRevision);
  }

  /** When a term was over, as told to `apply`; undefined while it is not. */
  endedAt(term: Term): number | undefined {
    return this.#ended.get(term);
  }

  /** The term of whoever leads by the election, with the control node's name; null while nobody does. */
  get leader(): { readonly term: Term; readonly control: string } | null {
    let first: { readonly term: Term; readonly control: string } | null = null;
    for (const candidate of this.#candidates.values())
      if (first === null || candidate.term < first.term) first = candidate;
    return first;
  }

  /** Takes all that etcd holds after a restore, in place of what it held; the records, for the trace. */
  restore(entries: readonly KeyValue[], epoch: number, at: number): readonly Change[] {
    for (const { term } of this.#candidates.values()) this.#ended.set(term, at);
    this.#candidates.clear();
    this.#epoch = epoch;
    const known = [...this.tables.vm.keys(), ...this.tables.disk.keys()];
    for (const table of Object.values(this.tables)) table.clear();
    const events = entries.map((kv): WatchEvent => ({ type: 'put', key: kv.key, modRevision: kv.modRevision, kv }));
    const changes = this.apply(events, at);
    for (const id of known) this.forget(id);
    return changes;
  }

  /** Nobody knows of it any more, unless a record names it. */
  forget(id: string): void {
    if (
      !(this.tables.vm as ReadonlyMap<string, unknown>).has(id) &&
      !(this.tables.disk as ReadonlyMap<string, unknown>).has(id)
    )
      this.forgotten.add(id);
  }

  /** Takes the events of one transaction; what changed, for the trace. */
  apply(events: readonly WatchEvent[], at: number): readonly Change[] {
    const changes: Change[] = [];
    for (const event of events) {
      if (event.key.startsWith(PREFIX.election)) this.#elected(event, at);
      const change = changeOf(event);
      if (change === null) continue;
      const { kind, id, value } = change;
      if (kind !== 'network') {
        const table = this.tables[kind] as Map<string, unknown>;
        if (value === null) table.delete(id);
        else {
          table.set(id, value);
          this.forgotten.delete(id);
        }
      }
      changes.push(change);
    }
    return changes;
  }

  #elected(event: WatchEvent, at: number): void {
    if (event.type !== 'put') {
      const candidate = this.#candidates.get(event.key);
      if (candidate !== undefined) this.#ended.set(candidate.term, at);
      this.#candidates.delete(event.key);
      return;
    }
    const { name } = JSON.parse(event.kv.value) as { name: string };
    this.#candidates.set(event.key, { term: termOf(this.#epoch, event.kv.createRevision), control: name });
  }
}

function changeOf(event: WatchEvent): TracedChange | null {
  const changed = objectOf(event.key);
  if (changed === null || !TRACED.has(changed.kind)) return null;
  const value: unknown = event.type === 'put' ? JSON.parse(event.kv.value) : null;
  return { ...changed, value } as TracedChange;
}
