/**
 * Changes of the cluster's records that people ask for: each is one transaction, computed from the present state and again when somebody else
 * was faster. Guarantees: time and chance come from the context, so that the simulator's people change records by this same code.
 */
import { CodedError } from '../../base/errors.ts';
import { parseTaskId } from '../../base/ids.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { keyOf, PREFIX } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { RandomHex } from '../../core/ports/random.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { ClusterStore, Unchanged, Write } from '../store/cluster-store.ts';

/** What a change is made with. */
export interface ChangeContext {
  readonly store: ClusterStore;
  readonly clock: Clock;
  readonly randomHex: RandomHex;
}

/** Attempts of one compare-and-swap that others keep winning. */
const ATTEMPTS = 8;
/** For the watch to bring what a refused transaction has read. */
const CATCH_UP_MS = 2_000;

/** The VM of a name or id; CodedError 'not-found'. */
export function findVm(context: ChangeContext, nameOrId: string): Entry<VmRecord> {
  const { store } = context;
  const id = store.vmNames.get(nameOrId)?.value ?? nameOrId;
  const entry = store.vms.get(id);
  const finding = store.unreadable.get(PREFIX.vm + id);
  if (entry === undefined && finding !== undefined)
    throw new CodedError('failed', `What etcd holds at ${PREFIX.vm + id} ${finding}: ${nameOrId} is left as it is.`, {
      advice: 'Nothing was changed. See docs/operating/failures.md, "A value in etcd that is no record".',
    });
  if (entry === undefined)
    throw new CodedError('not-found', `There is no VM ${nameOrId}.`, { advice: 'List them with "gp vm list".' });
  return entry;
}

/** Refuses when the caller's revision is not the object's. */
export function checkRevision(entry: Entry<unknown>, ifMatch: string | null, what: string): void {
  if (ifMatch === null || ifMatch.replaceAll('"', '') === String(entry.revision)) return;
  throw new CodedError(
    'stale-revision',
    `${what} was changed by somebody else: it is at revision ${entry.revision}, not ${ifMatch}.`,
    {
      advice: 'Nothing was changed. Read it again and repeat the change.',
    },
  );
}

/** A task that begins now; its id is random. */
export function newTask(
  { clock, randomHex }: ChangeContext,
  task: Pick<TaskRecord, 'kind' | 'target' | 'message'>,
): TaskRecord {
  const { kind, target, message } = task;
  return {
    id: parseTaskId(`task-${randomHex(6)}`),
    kind,
    target,
    state: 'running',
    progressPercent: null,
    message,
    startedAt: clock.wallMs(),
    endedAt: null,
  };
}

/** A task that had nothing to do. */
export function endedTask({ clock }: ChangeContext, task: TaskRecord, message: string): TaskRecord {
  return { ...task, state: 'succeeded', progressPercent: 100, message, endedAt: clock.wallMs() };
}

/** The write of a task that is new. */
export function taskWrite(task: TaskRecord): Write {
  return { key: keyOf.task(task.id), value: task, expect: 0 };
}

/** A change as it is to be made: the writes, what else it was decided from, and what the caller gets. */
export interface Attempt<T> {
  readonly writes: readonly Write[];
  readonly unchanged?: readonly Unchanged[];
  /** Tasks that it ends where they run: one that is not known is waited for, since its record may have been read before it. */
  readonly endsTasks?: readonly TaskRecord['id'][];
  readonly result: T;
}

/**
 * Makes a change that is computed from the present state, again when somebody else was faster. `attempt` reads the store and answers the
 * writes and the result; it throws to refuse. Changes through this node come one after the other.
 */
export function change<T>(context: ChangeContext, attempt: () => Attempt<T>): Promise<T> {
  return inTurn(context, async () => {
    const { store } = context;
    let hasCaughtUp = false;
    for (let tries = 0; tries < ATTEMPTS; tries++) {
      const { writes, unchanged, endsTasks = [], result } = attempt();
      if (writes.length === 0) return result;
      if (!hasCaughtUp && endsTasks.some((id) => store.tasks.get(id) === undefined)) {
        // A record that a refused transaction read back is newer than the watch: what was written with it is known after this, or is gone.
        await store.caughtUp(CATCH_UP_MS);
        hasCaughtUp = true;
        continue;
      }
      const outcome = await store.transact(writes, null, unchanged);
      if (outcome.kind === 'committed') return result;
      hasCaughtUp = false;
    }
    throw new CodedError('conflict', 'Others kept changing the same objects.', {
      advice: 'Nothing was changed. Try again.',
    });
  });
}

interface Queue {
  last: Promise<void>;
  waiting: number;
}

/** Of changes computed at the same time from the same free ports and addresses, all but one would be refused by etcd. */
const queues = new WeakMap<ClusterStore, Queue>();
const WAITING_MAX = 500;
/** A change that waited this long is not begun any more: its caller is about to give up. */
const WAIT_MS_MAX = 10_000;

async function inTurn<T>({ store, clock }: ChangeContext, act: () => Promise<T>): Promise<T> {
  const queue = queues.get(store) ?? { last: Promise.resolve(), waiting: 0 };
  queues.set(store, queue);
  if (queue.waiting >= WAITING_MAX)
    throw new CodedError('unavailable', `${WAITING_MAX} changes wait already.`, {
      advice: 'Nothing was changed. Try again in some seconds.',
    });
  const since = clock.monotonicMs();
  const before = queue.last;
  const done = Promise.withResolvers<void>();
  queue.last = done.promise;
  queue.waiting++;
  try {
    await before;
    if (clock.monotonicMs() - since > WAIT_MS_MAX)
      throw new CodedError('unavailable', 'Changes are made too slowly at the moment.', {
        advice: 'Nothing was changed. See whether etcd answers, then try again.',
      });
    return await act();
  } finally {
    queue.waiting--;
    done.resolve();
  }
}
