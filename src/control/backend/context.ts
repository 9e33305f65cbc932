/** What all parts of the backend share: the store, the links, and the leadership while this node has it. */
import { randomBytes } from 'node:crypto';
import { CodedError } from '../../base/errors.ts';
import { parseTaskId, type TaskId } from '../../base/ids.ts';
import type { Controller } from '../../core/loop/controller.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { EtcdClient } from '../../etcd/client.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import type { CertifiedKey } from '../../pki/authority.ts';
import type { createHostLink } from '../links/host-link.ts';
import type { QmpConnector } from '../links/qmp-connector.ts';
import type { StorageClient } from '../links/storage-link.ts';
import type { ClusterStore, ControlRecord, Unchanged, Write } from '../store/cluster-store.ts';

/** This node as leader. */
export interface Leading {
  readonly term: number;
  readonly controller: Controller;
}

export interface BackendContext {
  readonly name: string;
  readonly version: string;
  readonly store: ClusterStore;
  readonly etcd: EtcdClient;
  readonly hosts: ReturnType<typeof createHostLink>;
  readonly storage: StorageClient;
  readonly qmp: QmpConnector;
  readonly authority: CertifiedKey;
  readonly etcdEndpoints: readonly string[];
  readonly adminTokenSha256: string;
  /** Whether another control node's server answers now. */
  controlAnswers(control: ControlRecord): Promise<boolean>;
  /** Null while another node leads, or none. */
  leading(): Leading | null;
  /** The leader by the election, whoever it is. */
  leader(): { readonly name: string; readonly address: string } | null;
}

/** Attempts of one compare-and-swap that others keep winning. */
const ATTEMPTS = 8;
/** For the watch to bring what a refused transaction has read. */
const CATCH_UP_MS = 2_000;

/** The VM of a name or id; CodedError 'not-found'. */
export function findVm(context: BackendContext, nameOrId: string): Entry<VmRecord> {
  const { store } = context;
  const entry = store.vms.get(nameOrId) ?? store.vms.get(store.vmNames.get(nameOrId)?.value ?? '');
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

/** A random id, new with certainty for all purposes. */
function newTaskId(): TaskId {
  return parseTaskId(`task-${randomBytes(6).toString('hex')}`);
}

/** A task that begins now. */
export function newTask(kind: string, target: TaskRecord['target'], message: string): TaskRecord {
  return {
    id: newTaskId(),
    kind,
    target,
    state: 'running',
    progressPercent: null,
    message,
    startedAt: Date.now(),
    endedAt: null,
  };
}

/** A task that had nothing to do. */
export function endedTask(task: TaskRecord, message: string): TaskRecord {
  return { ...task, state: 'succeeded', progressPercent: 100, message, endedAt: Date.now() };
}

/** The write of a task that is new. */
export function taskWrite(task: TaskRecord): Write {
  return { key: keyOf.task(task.id), value: task, expect: 0 };
}

/** A change as it is to be made: the writes, what else it was decided from, and what the caller gets. */
export interface Attempt<T> {
  readonly writes: readonly Write[];
  readonly unchanged?: readonly Unchanged[];
  readonly result: T;
}

/**
 * Makes a change that is computed from the present state, again when somebody else was faster. `attempt` reads the store and answers the
 * writes and the result; it throws to refuse. Changes through this node come one after the other.
 */
export function change<T>(context: BackendContext, attempt: () => Attempt<T>): Promise<T> {
  return inTurn(context.store, async () => {
    for (let tries = 0; tries < ATTEMPTS; tries++) {
      const { writes, unchanged, result } = attempt();
      if (writes.length === 0) return result;
      const outcome = await context.store.transact(writes, null, unchanged);
      if (outcome.kind === 'committed') return result;
      // What was read back may be newer than the watch: a wish that is to be superseded is known with its task only after this.
      await context.store.caughtUp(CATCH_UP_MS);
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

async function inTurn<T>(store: ClusterStore, act: () => Promise<T>): Promise<T> {
  const queue = queues.get(store) ?? { last: Promise.resolve(), waiting: 0 };
  queues.set(store, queue);
  if (queue.waiting >= WAITING_MAX)
    throw new CodedError('unavailable', `${WAITING_MAX} changes wait already.`, {
      advice: 'Nothing was changed. Try again in some seconds.',
    });
  const since = monotonicMs();
  const before = queue.last;
  const done = Promise.withResolvers<void>();
  queue.last = done.promise;
  queue.waiting++;
  try {
    await before;
    if (monotonicMs() - since > WAIT_MS_MAX)
      throw new CodedError('unavailable', 'Changes are made too slowly at the moment.', {
        advice: 'Nothing was changed. See whether etcd answers, then try again.',
      });
    return await act();
  } finally {
    queue.waiting--;
    done.resolve();
  }
}
