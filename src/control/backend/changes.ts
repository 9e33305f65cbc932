/**
 * Carries out what people ask for: a request is decided from the present state (core/request), and its changes are one
 * transaction; when somebody else was faster, the request is decided again. Guarantees: time and chance come from the
 * context, so that the simulator's people change records by this same code.
 */
import { CodedError } from '../../base/errors.ts';
import { TurnQueue } from '../../base/turn-queue.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { RandomHex } from '../../core/ports/random.ts';
import type { Change, Entry } from '../../core/ports/store.ts';
import type { Admitted, Basis } from '../../core/request/basis.ts';
import { nodesOfNewDisks } from '../../core/request/storage-choice.ts';
import type { ClusterStore } from '../store/cluster-store.ts';
import { snapshotOf, unchangedOf, writesOf } from '../store/leader-store.ts';
import { indexOfStore } from './records-index.ts';

/** The things with which a change is made. */
export interface ChangeContext {
  readonly store: ClusterStore;
  readonly clock: Clock;
  readonly randomHex: RandomHex;
}

/** Attempts of one compare-and-swap that others keep winning. */
const ATTEMPTS = 8;
/** How long the watch may take to bring the changes that made a transaction fail. */
const CATCH_UP_MS = 2_000;

/** The basis on which a request is decided now. */
export function basisOf({ store, clock, randomHex }: ChangeContext): Basis {
  return {
    records: snapshotOf(store),
    index: indexOfStore(store),
    now: clock.wallMs(),
    randomHex,
  };
}

/**
 * Makes a change that is decided from the present state, again when somebody else was faster. `decide` throws to
 * refuse. Changes through this node come one after the other.
 */
export function change<T>(context: ChangeContext, decide: (basis: Basis) => Admitted<T>): Promise<T> {
  return queueOf(context).do(async () => {
    const { store } = context;
    let hasCaughtUp = false;
    for (let tries = 0; tries < ATTEMPTS; tries++) {
      const basis = basisOf(context);
      const { changes, unchanged = [], events = [], endsTasks = [], result } = decide(basis);
      if (changes.length === 0) return result;
      if (!hasCaughtUp && endsTasks.some((id) => store.tasks.get(id) === undefined)) {
        // A record that a refused transaction read back is newer than the watch: what was written with it is known
        // after this, or is gone.
        await store.caughtUp(CATCH_UP_MS);
        hasCaughtUp = true;
        continue;
      }
      const outcome = await store.transact(
        [
          ...changes.flatMap((each) => writesOf(each, basis.records)),
          ...events.map((event) => store.eventWrite(event)),
        ],
        null,
        [...unchanged, ...nodesOfNewDisks(changes, basis.records)].map((each) => unchangedOf(each, basis.records)),
      );
      if (outcome.kind === 'committed') return result;
      if (outcome.kind === 'conflict' && outcome.isUncertain === true) demandNoNewVm(changes, basis);
      hasCaughtUp = false;
    }
    throw new CodedError('conflict', 'Others kept changing the same objects.', {
      advice: 'Nothing was changed. Try again.',
    });
  });
}

/**
 * CodedError 'deadline' for a new VM: it may have been created, run and deleted while the answer was on its way, and a
 * VM that is created again under the same id would repeat its generations.
 */
function demandNoNewVm(changes: readonly Change[], { records }: Basis): void {
  const created = changes.find(({ kind, id, value }) => kind === 'vm' && value !== null && !records.vms.has(id));
  if (created?.kind !== 'vm') return;
  throw new CodedError(
    'deadline',
    `Whether VM ${created.value?.name} was created is not known: etcd's answer was lost.`,
    {
      advice: 'Look with "gp vm list", then repeat the request if it is not there.',
    },
  );
}

/** Makes a change, and returns the task that the request was given. */
export async function changeWithTask(
  context: ChangeContext,
  decide: (basis: Basis) => Admitted<TaskRecord['id']>,
): Promise<Entry<TaskRecord>> {
  return taskOf(context, await change(context, decide));
}

/** The task of a request that was just made. */
export function taskOf({ store }: Pick<ChangeContext, 'store'>, id: TaskRecord['id']): Entry<TaskRecord> {
  const task = store.tasks.get(id);
  if (task === undefined) throw new CodedError('failed', `Task ${id} is gone.`);
  return task;
}

/**
 * Changes run one after the other: of those that were computed at the same time from the same free ports and addresses,
 * etcd would refuse all but one. A change that waited too long is not begun any more: its caller is about to give up.
 */
const QUEUE = { what: 'changes', waitingMax: 500, waitMsMax: 10_000 } as const;
const queues = new WeakMap<ClusterStore, TurnQueue>();

function queueOf({ store, clock }: Pick<ChangeContext, 'store' | 'clock'>): TurnQueue {
  const queue = queues.get(store) ?? new TurnQueue({ ...QUEUE, monotonicMs: () => clock.monotonicMs() });
  queues.set(store, queue);
  return queue;
}
