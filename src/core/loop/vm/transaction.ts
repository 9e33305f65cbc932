/** The writes of one decision: the changes and the event of one transaction. Pure. */
import type { EventRecord, TaskRecord } from '../../model/cluster.ts';
import { recordsOf } from '../../model/cluster-index.ts';
import { cardsOf, expectedIncarnations, type VmRecord } from '../../model/vm.ts';
import type { Decision } from '../../plan/vm/decision.ts';
import type { Change, Snapshot } from '../../ports/store.ts';

/** A decision that is written: a new record for the VM, or none. */
export type WrittenDecision = Extract<Decision, { readonly kind: 'commit' | 'remove' }>;

type TaskEnd = Pick<TaskRecord, 'id' | 'state' | 'message'>;
type Records = Pick<Snapshot, 'networks' | 'hosts' | 'tasks'>;

/** Returns the changes of a decision: the VM, and what the decision names besides. `now`: Unix ms, for people. */
export function changesOf(vm: VmRecord, decision: WrittenDecision, records: Records, now: number): Change[] {
  if (decision.kind === 'remove')
    return [
      { kind: 'vm', id: vm.id, value: null },
      ...releasedAddresses(vm, records),
      ...endedTasks(deletionTasks(vm, records), records, now),
    ];
  return [
    { kind: 'vm', id: vm.id, value: decision.vm },
    ...quarantined(decision.quarantine, records, now),
    ...endedTasks(decision.tasks ?? [], records, now),
  ];
}

/** Returns the event that people read of a decision. `now`: Unix ms. */
export function eventOf(vm: VmRecord, decision: WrittenDecision, now: number): EventRecord {
  const record = decision.kind === 'remove' ? vm : decision.vm;
  const [current] = expectedIncarnations(record.phase);
  return {
    at: now,
    kind: decision.event.kind,
    vm: vm.id,
    vmName: vm.name,
    host: current?.host ?? null,
    generation: current?.generation ?? null,
    message: decision.event.message,
  };
}

/** Returns true if every task that the decision ends is known; the deletion of a VM ends at least one. */
export function knowsItsTasks(vm: VmRecord, decision: WrittenDecision, records: Pick<Snapshot, 'tasks'>): boolean {
  return decision.kind === 'commit'
    ? (decision.tasks ?? []).every(({ id }) => records.tasks.has(id))
    : deletionTasks(vm, records).length > 0;
}

/** Two NICs in one network are one change: etcd refuses a transaction that writes a key twice. */
function releasedAddresses(vm: VmRecord, { networks }: Pick<Snapshot, 'networks'>): Change[] {
  return [...new Set(cardsOf(vm).map((card) => card.network))].flatMap((network): Change[] => {
    const record = networks.get(network)?.value;
    if (record === undefined) return [];
    const kept = Object.entries(record.reservations).filter(([, { vm: owner }]) => owner !== vm.id);
    return [{ kind: 'network', id: network, value: { ...record, reservations: Object.fromEntries(kept) } }];
  });
}

/** A host that is quarantined already keeps its first reason. */
function quarantined(
  asked: Extract<WrittenDecision, { kind: 'commit' }>['quarantine'],
  { hosts }: Pick<Snapshot, 'hosts'>,
  now: number,
): Change[] {
  const host = asked === undefined ? undefined : hosts.get(asked.host)?.value;
  if (asked === undefined || host === undefined || host.quarantine !== null) return [];
  return [{ kind: 'host', id: host.name, value: { ...host, quarantine: { since: now, reason: asked.reason } } }];
}

/** A task that has ended already ends no second time. */
function endedTasks(ends: readonly TaskEnd[], { tasks }: Pick<Snapshot, 'tasks'>, now: number): Change[] {
  return ends.flatMap(({ id, state, message }): Change[] => {
    const task = tasks.get(id)?.value;
    if (task === undefined || task.state !== 'running') return [];
    return [{ kind: 'task', id, value: { ...task, state, message, progressPercent: 100, endedAt: now } }];
  });
}

function deletionTasks(vm: VmRecord, { tasks }: Pick<Snapshot, 'tasks'>): TaskEnd[] {
  return [...recordsOf(tasks)]
    .filter(({ kind, state, target }) => kind === 'vm.delete' && state === 'running' && target.name === vm.name)
    .map(({ id }) => ({ id, state: 'succeeded', message: 'Deleted.' }));
}
