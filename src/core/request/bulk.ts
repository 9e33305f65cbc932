/**
 * One action on many VMs: one request and one task. The request only records the action; the leader's loop
 * (core/loop/duties/bulk-loop.ts) requests it for the VMs, some at a time, with the same code as a request for one VM,
 * and notes each outcome. Pure.
 * Guarantees: a refusal for one VM does not delay the others, and its item says why; the action is requested once for
 * each VM; a step fits into one transaction; the task ends when every VM's own task has.
 */
import { CodedError, messageOf } from '../../base/errors.ts';
import { listed } from '../../base/listed.ts';
import type { BulkAction, BulkItem, BulkWork, TaskRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { LIMITS } from '../model/limits.ts';
import { currentIncarnation, type VmRecord } from '../model/vm.ts';
import type { Change } from '../ports/store.ts';
import { type Admitted, type Basis, findVm, newTask, type Observed, taskChange } from './basis.ts';
import { demandFuture } from './debts.ts';
import {
  deleteVm,
  migrateVm,
  resetVm,
  resumeVm,
  startVm,
  stopVm,
  suspendVm,
  type Wish,
  type WishBasis,
} from './vm-wishes.ts';

/** VMs that are asked in one transaction: each writes itself, its task, and up to five that it supersedes. */
const ASKED_AT_ONCE = 12;
/** VMs of one request whose tasks run at the same time. */
const RUNNING_MAX = 48;
/** A message is kept to be read in a list. */
const MESSAGE_CHARS_MAX = 300;
const NAMES_IN_ERROR = 5;

/** The action, and the VMs that it is for. */
export interface BulkRequest extends Omit<BulkWork, 'items'> {
  /** Names or ids; absent: those that the filter selects. */
  readonly vms?: readonly string[];
  /** The VMs that meet all given conditions. */
  readonly filter?: { readonly host?: string; readonly labels?: Readonly<Record<string, string>> };
}

/** Records what is wanted of many VMs. CodedError 'not-found', 'bad-input', 'too-large'. */
export function beginBulk(basis: Basis, request: BulkRequest): Admitted<TaskRecord['id']> {
  const { vms: _vms, filter: _filter, ...how } = request;
  if (how.accept !== undefined) demandSignature(basis, how);
  const chosen = chosenBy(basis, request);
  const items = chosen.map(({ id, name }): BulkItem => ({ vm: id, name, state: 'waiting', task: null, message: '' }));
  const target = { kind: 'vms', name: chosen.length === 1 ? (chosen[0]?.name ?? '') : `${chosen.length} VMs` } as const;
  const begun = newTask(basis, { kind: `vms.${request.action}`, target, message: said(items) });
  const task: TaskRecord = { ...begun, progressPercent: 0, bulk: { ...how, items } };
  return { changes: [taskChange(task)], result: task.id };
}

function demandSignature(basis: Basis, { action, accept }: Omit<BulkWork, 'items'>): void {
  if (action !== 'start')
    throw new CodedError('bad-input', `Nothing is signed for with ${action}: only a start can tie VMs to hosts.`, {
      advice: 'Nothing was changed. Leave "accept" out.',
    });
  if (accept !== undefined) demandFuture(basis, accept);
}

function chosenBy({ records }: Basis, { vms, filter }: BulkRequest): readonly VmRecord[] {
  if ((vms === undefined) === (filter === undefined))
    throw new CodedError('bad-input', 'The request names VMs, or has a filter: one of the two.', {
      advice: 'Nothing was changed.',
    });
  const chosen = new Map<VmRecord['id'], VmRecord>();
  const missing: string[] = [];
  for (const name of vms ?? []) {
    if (records.vmNames.has(name) || records.vms.has(name as VmRecord['id'])) {
      const { value } = findVm(records, name);
      chosen.set(value.id, value);
    } else missing.push(name);
  }
  if (missing.length > 0)
    throw new CodedError('not-found', `There is no VM ${listed(missing.slice(0, NAMES_IN_ERROR))}.`, {
      advice: 'Nothing was changed. List them with "gp vm list".',
    });
  if (filter !== undefined)
    for (const vm of recordsOf(records.vms)) {
      if (isWanted(vm, filter)) chosen.set(vm.id, vm);
      if (chosen.size > LIMITS.bulkVms.max) break;
    }
  if (chosen.size > LIMITS.bulkVms.max)
    throw new CodedError('too-large', `The filter selects more than ${LIMITS.bulkVms.max} VMs.`, {
      advice: 'Nothing was changed. Select fewer at a time, for example by host.',
    });
  if (chosen.size === 0)
    throw new CodedError('not-found', 'The filter selects no VM.', { advice: 'Nothing was changed.' });
  return [...chosen.values()];
}

function isWanted({ phase, spec }: VmRecord, { host, labels = {} }: NonNullable<BulkRequest['filter']>): boolean {
  if (host !== undefined && currentIncarnation(phase)?.host !== host) return false;
  return Object.entries(labels).every(([key, value]) => Object.hasOwn(spec.labels, key) && spec.labels[key] === value);
}

/** The next transaction of a task over many VMs. `asked`: how many VMs it asks; null: there is nothing to note. */
export interface BulkStep {
  readonly changes: readonly Change[];
  readonly asked: number;
  readonly isOver: boolean;
}

/**
 * How a step is made. `most`: the greatest number of VMs in it; `refusal`: the reason for which its first VM is
 * refused.
 */
export interface StepOptions {
  readonly most?: number;
  readonly refusal?: CodedError;
}

/** The next step of a running task over many VMs. */
export function bulkStep(
  basis: WishBasis,
  observed: Pick<Observed, 'vms'> | null,
  task: TaskRecord & { readonly bulk: BulkWork },
  { most = ASKED_AT_ONCE, refusal }: StepOptions = {},
): BulkStep | null {
  const { records, now } = basis;
  const known = task.bulk.items.map((item) => noted(records, item));
  let free = Math.min(most, RUNNING_MAX - known.filter(({ state }) => state === 'running').length);
  const changes: Change[] = [];
  let asked = 0;
  const items = known.map((item): BulkItem => {
    if (item.state !== 'waiting' || free <= 0) return item;
    free--;
    asked++;
    if (refusal !== undefined && asked === 1) return { ...item, state: 'failed', message: short(refusal.message) };
    return ask({ basis, observed, task }, item, changes);
  });
  const isOver = items.every(({ state }) => state !== 'waiting' && state !== 'running');
  if (asked === 0 && !isOver && items.every((item, index) => item === task.bulk.items[index])) return null;
  const ended = items.filter(({ state }) => state !== 'waiting' && state !== 'running').length;
  const next: TaskRecord = {
    ...task,
    bulk: { ...task.bulk, items },
    message: said(items),
    progressPercent: Math.floor((100 * ended) / items.length),
    ...(isOver ? { state: outcomeOf(items), endedAt: now } : {}),
  };
  return { changes: [...changes, taskChange(next)], asked, isOver };
}

/**
 * The item with the present state of the VM's own task. A task that is gone ended long ago, with an unknown outcome.
 */
function noted(records: WishBasis['records'], item: BulkItem): BulkItem {
  if (item.state !== 'running' || item.task === null) return item;
  const own = records.tasks.get(item.task)?.value;
  if (own === undefined) return { ...item, state: 'failed', message: 'Its task is gone: how it ended is not known.' };
  return own.state === 'running' ? item : { ...item, state: own.state, message: short(own.message) };
}

interface Asking {
  readonly basis: WishBasis;
  readonly observed: Pick<Observed, 'vms'> | null;
  readonly task: TaskRecord & { readonly bulk: BulkWork };
}

/** Requests the action for one VM, adding the changes; if it is refused, the item has failed. */
function ask({ basis, observed, task }: Asking, item: BulkItem, changes: Change[]): BulkItem {
  try {
    const wish = WISHES[task.bulk.action](basis, observed, item.vm, task.bulk);
    for (const change of wish.changes) {
      const isOwn = change.kind === 'task' && change.id === wish.result && change.value !== null;
      changes.push(isOwn ? taskChange({ ...change.value, parent: task.id }) : change);
    }
    const own = wish.changes.find((change) => change.kind === 'task' && change.id === wish.result);
    const isAlready = own?.kind === 'task' && own.value !== null && own.value.state !== 'running';
    return isAlready
      ? { ...item, state: own.value?.state ?? 'succeeded', task: wish.result, message: short(own.value?.message ?? '') }
      : { ...item, state: 'running', task: wish.result };
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    return { ...item, state: 'failed', message: short(messageOf(error)) };
  }
}

type WishOf = (
  basis: WishBasis,
  observed: Pick<Observed, 'vms'> | null,
  vm: string,
  how: Omit<BulkWork, 'items'>,
) => Wish;

const WISHES: Readonly<Record<BulkAction, WishOf>> = {
  start: (basis, _observed, vm) => startVm(basis, vm),
  stop: (basis, observed, vm, { mode, patienceMs }) => stopVm(basis, observed, vm, { mode, patienceMs }),
  reset: (basis, _observed, vm) => resetVm(basis, vm),
  suspend: (basis, _observed, vm) => suspendVm(basis, vm),
  resume: (basis, _observed, vm) => resumeVm(basis, vm),
  migrate: (basis, _observed, vm, { to }) => migrateVm(basis, vm, { to }),
  delete: (basis, _observed, vm) => deleteVm(basis, vm, { ifMatch: null }),
};

/** The remainder of a task over many VMs when it is cancelled: VMs whose action was requested already continue. */
export function withoutWaiting(task: TaskRecord & { readonly bulk: BulkWork }): TaskRecord {
  const items = task.bulk.items.map(
    (item): BulkItem =>
      item.state === 'waiting' ? { ...item, state: 'cancelled', message: 'Cancelled before it was asked.' } : item,
  );
  return { ...task, bulk: { ...task.bulk, items }, message: said(items) };
}

function outcomeOf(items: readonly BulkItem[]): TaskRecord['state'] {
  if (items.some(({ state }) => state === 'failed')) return 'failed';
  return items.some(({ state }) => state === 'cancelled') ? 'cancelled' : 'succeeded';
}

function said(items: readonly BulkItem[]): string {
  const counts = new Map<BulkItem['state'], number>();
  for (const { state } of items) counts.set(state, (counts.get(state) ?? 0) + 1);
  return `${[...counts].map(([state, count]) => `${count} ${state}`).join(', ')}.`;
}

const short = (message: string): string =>
  message.length <= MESSAGE_CHARS_MAX ? message : `${message.slice(0, MESSAGE_CHARS_MAX - 1)}…`;
