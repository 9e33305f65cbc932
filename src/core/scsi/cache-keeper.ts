/**
 * The record of a disk's cached writes (cached-writes.ts) in use. Guarantees: changes happen one after the other and
 * count when they are saved; an initiator's standing follows its admission at once. There is one save for each
 * initiator, generation and boot, none for a write.
 */
import {
  type Admission,
  type CachedWrites,
  carried,
  entered,
  isEntered,
  type Standing,
  standingOf,
  told,
} from './cached-writes.ts';

/** Where the record is kept; it outlives the loss of power that it is about. */
export interface CachedWritesStore {
  load(): Promise<CachedWrites>;
  /** Resolves when the record is on stable storage. After a rejection it may be there or not. */
  save(record: CachedWrites): Promise<void>;
}

/** An initiator without known generations has this one. */
const ONE_GENERATION: Admission = { floor: 1, generations: [1] };

const nothing = (): undefined => undefined;

/** See above. */
export class CacheKeeper {
  readonly #store: CachedWritesStore;
  readonly #bootId: string;
  readonly #admissions = new Map<string, Admission>();
  /** Looked at for every write. */
  readonly #entered = new Set<string>();
  #record: CachedWrites;
  #tail: Promise<unknown> = Promise.resolve();
  #saving = 0;

  private constructor(store: CachedWritesStore, { bootId, record }: { bootId: string; record: CachedWrites }) {
    this.#store = store;
    this.#bootId = bootId;
    this.#record = record;
    for (const { nexus } of record.writers) this.#refresh(nexus);
  }

  /** Reads what was saved. `bootId`: the name of the node's present boot. */
  static async open(store: CachedWritesStore, bootId: string): Promise<CacheKeeper> {
    return new CacheKeeper(store, { bootId, record: await store.load() });
  }

  /** Whether a write of the initiator may be acknowledged. */
  isEntered(nexus: string): boolean {
    return this.#entered.has(nexus);
  }

  standingOf(nexus: string): Standing {
    return standingOf(this.#record, nexus, { floor: this.#admission(nexus).floor, bootId: this.#bootId });
  }

  /**
   * Takes note at once of the admitted generations, and of a floor that never falls. The result resolves when a
   * generation that is admitted beside one that wrote is in the record; undefined: it is.
   */
  admit(nexus: string, { floor, generations }: Admission): Promise<void> | undefined {
    const admission = { floor: Math.max(floor, this.#admissions.get(nexus)?.floor ?? 1), generations };
    this.#admissions.set(nexus, admission);
    this.#refresh(nexus);
    // A save that is under way may enter the initiator with the generations of before.
    return this.#change(nexus, (record, now) => carried(record, nexus, now));
  }

  /** Resolves when writes of the initiator may be acknowledged; rejects when that could not be saved. */
  async enter(nexus: string): Promise<void> {
    await this.#change(nexus, (record, now) => entered(record, nexus, { ...now, bootId: this.#bootId }));
  }

  /**
   * The initiator is about to be told that writes were lost; rejects if that could not be saved: it will be told again.
   */
  async told(nexus: string): Promise<void> {
    await this.#change(nexus, (record, now) => told(record, nexus, { ...now, bootId: this.#bootId }));
  }

  /** Makes changes one after the other; undefined if there is nothing to wait for. */
  #change(nexus: string, step: (record: CachedWrites, now: Admission) => CachedWrites): Promise<void> | undefined {
    const isIdle = this.#saving === 0;
    if (isIdle && step(this.#record, this.#admission(nexus)) === this.#record) return undefined;
    this.#saving += 1;
    const result = this.#tail.then(async () => {
      const next = step(this.#record, this.#admission(nexus));
      if (next !== this.#record) await this.#store.save(next);
      this.#record = next;
      this.#refresh(nexus);
    });
    this.#tail = result.then(nothing, nothing).then(() => {
      this.#saving -= 1;
    });
    return result;
  }

  #admission(nexus: string): Admission {
    return this.#admissions.get(nexus) ?? ONE_GENERATION;
  }

  #refresh(nexus: string): void {
    if (isEntered(this.#record, nexus, this.#admission(nexus).floor)) this.#entered.add(nexus);
    else this.#entered.delete(nexus);
  }
}
