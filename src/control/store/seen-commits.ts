/**
 * Reports to a leader who made each change, as far as it can know: its own commits as a whole, and writes of others.
 * Guarantees: every change is reported once, in order; a commit of this leader is reported as one, at its first trace
 * (the watch often shows it before etcd's answer comes); changes that may sum up several commits are reported as
 * `unknown`.
 */
import type { Term } from '../../base/ids.ts';
import { objectOf } from '../../core/model/keys.ts';
import type { Change, SeenCommit } from '../../core/ports/store.ts';
import type { Changed, Write } from './cluster-store.ts';

/** A commit of this leader whose outcome is not known yet. */
interface Flight {
  readonly changes: readonly Change[];
  /** What it puts at each key, as JSON; null: it deletes the key. */
  readonly texts: ReadonlyMap<string, string | null>;
  isTold: boolean;
}

/** The values that it puts at each key, as JSON; null: it deletes the key. */
export class SeenCommits {
  readonly #term: Term;
  readonly #flights = new Set<Flight>();
  readonly #listeners: ((commit: SeenCommit) => void)[] = [];
  /** See the module's comment. */
  readonly #unreadable = new Set<string>();

  constructor(term: Term) {
    this.#term = term;
  }

  onCommit(listener: (commit: SeenCommit) => void): void {
    this.#listeners.push(listener);
  }

  /** Runs `send`, which sends these writes as one transaction of this leader. */
  async sending<T>(changes: readonly Change[], writes: readonly Write[], send: () => Promise<T>): Promise<T> {
    if (this.#listeners.length === 0) return send();
    const texts = new Map(writes.map(({ key, value }) => [key, value === null ? null : JSON.stringify(value)]));
    const flight: Flight = { changes, texts, isTold: false };
    this.#flights.add(flight);
    try {
      return await send();
    } finally {
      this.#flights.delete(flight);
    }
  }

  /** Takes in changes that the store noted. A value that cannot be read is no change: its content is unknown. */
  noted(changes: readonly Changed[]): void {
    if (this.#listeners.length === 0) return;
    let by: 'people' | 'unknown' = 'people';
    let others: Change[] = [];
    const flush = (): void => {
      if (others.length > 0) this.#tell({ by, changes: others });
      others = [];
    };
    for (const { key, value, isReadable, isOneTransaction } of changes) {
      const object = objectOf(key);
      if (object === null) continue;
      if (!isReadable) {
        this.#unreadable.add(key);
        continue;
      }
      const isMended = this.#unreadable.delete(key);
      const flights = [...this.#flights].filter(({ texts }) => texts.has(key));
      const text = flights.length === 0 || value === null ? null : JSON.stringify(value);
      const own = flights.find(({ texts }) => texts.get(key) === text);
      if (own !== undefined) {
        flush();
        if (!own.isTold) this.#tell({ by: this.#term, changes: own.changes });
        own.isTold = true;
        continue;
      }
      const whose = isOneTransaction && flights.length === 0 && !isMended ? 'people' : 'unknown';
      if (whose !== by) flush();
      by = whose;
      others.push({ ...object, value } as Change);
    }
    flush();
  }

  #tell(commit: SeenCommit): void {
    for (const listener of this.#listeners) listener(commit);
  }
}
