/**
 * Commits new incarnations: those that wait together share a transaction. A rack that is lost means hundreds of them at
 * once, and one by one the last would wait for as many transactions of etcd. Guarantees: each is decided with the
 * earlier ones counted, so that no two are given the same room or slot; one transaction at a time; of a conflict's
 * members, each is decided and committed alone before others share again, so that one of them delays nobody for long.
 */
import type { EventRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { Change, LeaderStore } from '../../ports/store.ts';

/** How an activation goes on: with the next thing, after a time in ms, or not at all because the VM is gone. */
export type Outcome = 'on' | number | null;

/** The commit that is about to be made for one VM. */
export interface Draft {
  readonly before: VmRecord;
  /** null: deleted. */
  readonly after: VmRecord | null;
  readonly changes: readonly Change[];
  readonly event: EventRecord;
  /** Takes note of its outcome. */
  readonly concluded: (result: Awaited<ReturnType<LeaderStore['commit']>>) => Outcome;
}

interface Waiting {
  readonly draft: () => Draft | Outcome;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

interface Drafted extends Waiting {
  readonly drafted: Draft;
}

/** VMs in one transaction: etcd takes 1.5 MiB, and a record with the longest labels has about 45 KiB. */
const TOGETHER_MAX = 24;
/** Keys in one transaction: etcd takes 128 operations, and a refused one reads all of its keys and the election's. */
const WRITES_MAX = 100;

/** One per leader. Callers that wait when the term ends get the store's error. */
export class Newcomers {
  readonly #store: Pick<LeaderStore, 'commit'>;
  readonly #index: ClusterIndex;
  #waiting: Waiting[] = [];
  #isBusy = false;

  constructor(store: Pick<LeaderStore, 'commit'>, index: ClusterIndex) {
    this.#store = store;
    this.#index = index;
  }

  /**
   * Calls `draft` when its turn comes, and commits the draft that it returns, or returns its outcome. `draft` is called
   * again if a transaction was refused, and decides from the index at that time. Throws the errors of `draft` and of
   * the store. Bounded by the deadlines of the commits before it.
   */
  commit(draft: Waiting['draft']): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ draft, resolve, reject });
      if (!this.#isBusy) void this.#serve();
    });
  }

  async #serve(): Promise<void> {
    this.#isBusy = true;
    for (let alone = 0; this.#waiting.length > 0; alone--) {
      const drafted = this.#take(alone > 0 ? 1 : TOGETHER_MAX);
      if (drafted.length > 0 && (await this.#commit(drafted)) === 'divided') alone = drafted.length + 1;
    }
    this.#isBusy = false;
  }

  /** Drafts of the next few. Until it returns, the index holds each that is before the one being decided. */
  #take(vmsMax: number): Drafted[] {
    const taken: Drafted[] = [];
    let writes = 0;
    let next = 0;
    for (; next < this.#waiting.length && taken.length < vmsMax; next++) {
      const waiting = this.#waiting[next];
      const drafted = waiting === undefined ? null : this.#draft(waiting);
      if (waiting === undefined || drafted === null) continue;
      writes += drafted.changes.length + 1;
      if (taken.length > 0 && writes > WRITES_MAX) break;
      taken.push({ ...waiting, drafted });
      this.#index.setVm(drafted.before.id, drafted.after);
    }
    for (const { drafted } of taken.toReversed()) this.#index.setVm(drafted.before.id, drafted.before);
    this.#waiting = this.#waiting.slice(next);
    return taken;
  }

  /** null: there is nothing to commit, and the waiting caller knows it. */
  #draft({ draft, resolve, reject }: Waiting): Draft | null {
    try {
      const drafted = draft();
      if (isDraft(drafted)) return drafted;
      resolve(drafted);
    } catch (error) {
      reject(error);
    }
    return null;
  }

  async #commit(together: readonly Drafted[]): Promise<'done' | 'divided'> {
    try {
      const result = await this.#store.commit({
        changes: changesOf(together),
        events: together.map(({ drafted }) => drafted.event),
      });
      if (result === 'conflict' && together.length > 1) {
        this.#waiting.unshift(...together);
        return 'divided';
      }
      for (const { drafted, resolve } of together) resolve(drafted.concluded(result));
    } catch (error) {
      for (const { reject } of together) reject(error);
    }
    return 'done';
  }
}

/** Distinguishes a draft from an outcome. */
export function isDraft(answer: Draft | Outcome): answer is Draft {
  return typeof answer === 'object' && answer !== null;
}

/** Several lost VMs quarantine one host: etcd refuses a transaction that writes a key twice. */
function changesOf(together: readonly Drafted[]): Change[] {
  const changes = new Map<string, Change>();
  for (const { drafted } of together)
    for (const change of drafted.changes) {
      const key = `${change.kind} ${change.id}`;
      if (!changes.has(key)) changes.set(key, change);
    }
  return [...changes.values()];
}
