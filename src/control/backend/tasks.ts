/** Tasks and events through the API: what was asked for and how it ended, and what happened. */
import type { BulkItem } from '../../api/overview-views.ts';
import type { EventQuery, PageQuery, TaskQuery } from '../../api/requests.ts';
import type { Event, Task, WatchChange } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { EventRecord, TaskRecord } from '../../core/model/cluster.ts';
import type { Entry } from '../../core/ports/store.ts';
import { cancelTask } from '../../core/request/cancelling.ts';
import type { Call, WatchOptions } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { changeWithTask } from './changes.ts';
import type { BackendContext } from './context.ts';
import { eventFilterOf } from './event-filter.ts';
import { pageOfTable } from './table-page.ts';
import { eventView, taskView } from './views.ts';
import { watchChanges } from './watch.ts';

/** Tasks; those that ended long ago are forgotten. */
export class TasksBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Lists tasks, the newest page first. */
  list(query: TaskQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Task>> {
    const view = (entry: Entry<TaskRecord>): Task | null => {
      const { state, target } = entry.value;
      if (query.parts === false && entry.value.parent !== undefined) return null;
      if (query.state !== undefined && state !== query.state) return null;
      if (query.vm !== undefined && (target.kind !== 'vm' || target.name !== query.vm)) return null;
      return taskView(entry);
    };
    return pageOfTable(this.#context.store.tasks, query, { signal, view, isNewestFirst: true });
  }

  /** With `waitMs` > 0 the answer comes when the task has ended or the time is over, whichever is first. */
  async get(id: string, waitMs: number, { signal }: Pick<Call, 'signal'>): Promise<Task> {
    if (waitMs === 0 || this.#find(id).value.state !== 'running') return taskView(this.#find(id));
    try {
      await this.#context.store.waitFor(() => (this.#find(id).value.state === 'running' ? undefined : true), {
        deadlineMs: waitMs,
        signal,
        what: 'The end of the task',
      });
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'deadline') throw error;
    }
    return taskView(this.#find(id));
  }

  /** The progress of each VM of a bulk task; empty for other tasks. */
  listVms(id: string, query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<BulkItem>> {
    const items = new Map((this.#find(id).value.bulk?.items ?? []).map((item) => [item.name, item]));
    const view = (name: string): BulkItem | null => {
      const item = items.get(name);
      return item === undefined
        ? null
        : { vm: name, id: item.vm, state: item.state, task: item.task, message: item.message };
    };
    return pageOf({ order: new KeyOrder(items.keys()), view }, query, signal);
  }

  /** CodedError 'conflict' says why the task cannot be cancelled. */
  async cancel(id: string): Promise<Task> {
    return taskView(await changeWithTask(this.#context, (basis) => cancelTask(basis, id)));
  }

  #find(id: string): Entry<TaskRecord> {
    const entry = this.#context.store.tasks.get(id);
    if (entry !== undefined) return entry;
    throw new CodedError('not-found', `There is no task ${id}.`, {
      advice: 'Tasks that ended long ago are forgotten.',
    });
  }
}

/** Events, and changes as they happen. */
export class EventsBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Lists events: the newest page first, within a page the oldest first. `query.vm`: name or id. */
  list(query: EventQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Event>> {
    const isWanted = eventFilterOf(this.#context.store, query);
    const view = (entry: Entry<EventRecord>): Event | null => (isWanted(entry.value) ? eventView(entry) : null);
    return pageOfTable(this.#context.store.events, query, { signal, view, isNewestFirst: true });
  }

  /** Streams changes until `call.signal` aborts or an error ends it. */
  watch(options: WatchOptions, { signal }: Pick<Call, 'signal'>): AsyncIterable<WatchChange> {
    return watchChanges(this.#context, options, signal);
  }
}
