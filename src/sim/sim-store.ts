/**
 * The cluster's memory, simulated: revisions, terms, a watch that lags, conflicts, and transactions whose reply is lost.
 * Each leader sees it through a view of its own, as each control node does.
 */
import { CodedError } from '../base/errors.ts';
import type { StorageName, Term, VmId } from '../base/ids.ts';
import type { TraceEntry } from '../core/check/trace.ts';
import type { DiskRecord, StorageRecord } from '../core/model/cluster.ts';
import { pause } from '../core/ports/clock.ts';
import type { Change, Commit, Entry, LeaderStore, Snapshot } from '../core/ports/store.ts';
import type { SimClock } from './sim-clock.ts';
import type { SimRandom } from './sim-random.ts';

type Kind = Change['kind'];
type Value = NonNullable<Change['value']>;

/** What a commit in the trace is without its time. */
export type Note = (entry: TraceEntry extends infer E ? (E extends unknown ? Omit<E, 'at'> : never) : never) => void;

interface SimStorePorts {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly note: Note;
  readonly storage: ReadonlyMap<StorageName, Entry<StorageRecord>>;
}

/** etcd, as far as the loops can tell. */
export class SimStore {
  readonly #ports: SimStorePorts;
  readonly tables: Record<Kind, Map<string, Entry<Value>>> = tables();
  readonly #views = new Set<StoreView>();
  revision = 1;
  term = 0;
  /** How many of a hundred transactions lose their reply. */
  lossPercent = 0;

  constructor(ports: SimStorePorts) {
    this.#ports = ports;
  }

  /** A new leader's view, under a new term; earlier terms are over. */
  elect(): StoreView {
    this.term++;
    const view = new StoreView(this, { ...this.#ports, term: this.term as Term });
    this.#views.add(view);
    return view;
  }

  /** A person's transaction: reads and writes at one instant, which an API achieves by repeating on conflict. */
  byPeople(changes: readonly Change[]): void {
    this.apply(changes, 'people');
  }

  /** The records as of now: what a linearizable read gives. */
  get<T extends Value>(kind: Kind, id: string): T | undefined {
    return this.tables[kind].get(id)?.value as T | undefined;
  }

  all<T extends Value>(kind: Kind): T[] {
    return [...this.tables[kind].values()].map(({ value }) => value as T);
  }

  apply(changes: readonly Change[], by: Term | 'people'): void {
    this.revision++;
    for (const { kind, id, value } of changes) {
      if (value === null) this.tables[kind].delete(id);
      else this.tables[kind].set(id, { value, revision: this.revision });
    }
    this.#ports.note({ kind: 'commit', by, changes });
    for (const view of this.#views) view.changed(changes, this.revision);
  }

  forget(view: StoreView): void {
    this.#views.delete(view);
  }
}

/** One leader's hand on the store. Its snapshot follows some ms behind, and at once where it asks. */
export class StoreView implements LeaderStore {
  readonly term: Term;
  readonly #store: SimStore;
  readonly #ports: SimStorePorts;
  readonly #tables = tables();
  readonly #seen: { revision: number };
  readonly #listeners: Parameters<LeaderStore['onChange']>[0][] = [];
  readonly snapshot: Snapshot;

  constructor(store: SimStore, ports: SimStorePorts & { readonly term: Term }) {
    this.term = ports.term;
    this.#store = store;
    this.#ports = ports;
    for (const kind of KINDS) for (const [id, entry] of store.tables[kind]) this.#tables[kind].set(id, entry);
    const own = this.#tables;
    const seen = { revision: store.revision };
    this.#seen = seen;
    this.snapshot = {
      get revision() {
        return seen.revision;
      },
      vms: own.vm as never,
      disks: own.disk as never,
      hosts: own.host as never,
      networks: own.network as never,
      tasks: own.task as never,
      storage: ports.storage,
      disksOf: (vm: VmId) =>
        [...own.disk.values()]
          .map(({ value }) => value as DiskRecord)
          .filter((disk) => disk.vm === vm)
          .sort((a, b) => (a.id < b.id ? -1 : 1)),
    };
  }

  get isOver(): boolean {
    return this.term !== this.#store.term;
  }

  onChange(listener: Parameters<LeaderStore['onChange']>[0]): void {
    this.#listeners.push(listener);
  }

  /** The store changed: this view learns of it by its watch, a little later. */
  changed(changes: readonly Change[], revision: number): void {
    this.#ports.clock.after(1 + this.#ports.random.below(15), () => this.#catchUp(changes, revision));
  }

  async commit({ changes }: Commit): Promise<'committed' | 'conflict' | 'deposed'> {
    const { clock, random } = this.#ports;
    // What is compared is what the snapshot holds when the transaction is made, as in control/store/leader-store.ts.
    const expected = changes.map(({ kind, id }) => this.#tables[kind].get(id)?.revision ?? 0);
    const lost = random.chance(this.#store.lossPercent);
    await pause(clock, 1 + random.below(4));
    if (lost && random.chance(30)) {
      await pause(clock, 1_000);
      throw new CodedError('unavailable', 'etcd did not answer.');
    }
    const fresh = changes.every(({ kind, id }, i) => (this.#store.tables[kind].get(id)?.revision ?? 0) === expected[i]);
    const over = this.isOver;
    if (!over && fresh) this.#store.apply(changes, this.term);
    const applied = this.#store.revision;
    await pause(clock, 1 + random.below(4));
    if (lost) await pause(clock, 1_000);
    this.#catchUp(changes, applied);
    if (over) return 'deposed';
    // A lost reply: the objects are read back, and whoever decided decides again.
    return fresh && !lost ? 'committed' : 'conflict';
  }

  #catchUp(changes: readonly Change[], revision: number): void {
    this.#seen.revision = Math.max(this.#seen.revision, revision);
    for (const { kind, id } of changes) {
      const truth = this.#store.tables[kind].get(id);
      if (truth?.revision === this.#tables[kind].get(id)?.revision) continue;
      if (truth === undefined) this.#tables[kind].delete(id);
      else this.#tables[kind].set(id, truth);
      for (const listener of this.#listeners) listener({ kind, id });
    }
  }
}

const KINDS = ['vm', 'disk', 'host', 'network', 'task'] as const;

function tables(): Record<Kind, Map<string, Entry<Value>>> {
  return { vm: new Map(), disk: new Map(), host: new Map(), network: new Map(), task: new Map() };
}
