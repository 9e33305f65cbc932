/**
 * Finds the cached answers that a change makes outdated and that the event stream does not carry. Pure. An event says
 * that there is a new observation: the objects that it names are read again, and so are the pages that summarize them.
 */
import type { Change } from './collection.ts';

/** Objects that are read one by one after an event; when more are affected, their whole list is read. */
const SINGLE_MAX = 20;

/** Events that no summary of the cluster depends on. */
const NOT_IN_OVERVIEW = new Set(['event', 'task', 'drain', 'roll']);

/** Events that say that ties, debts or their cost have changed. */
const OF_TIES = new Set(['debt-accepted', 'debt-due', 'debt-settled', 'evacuability-lost', 'evacuability-back']);
/** Records that can end or begin a tie without a signature. */
const BOUND = new Set(['host', 'guest-cluster']);

interface EventObject {
  readonly kind: string;
  readonly vm: string | null;
  readonly host: string | null;
}

/** Keys of the queries to read again, none twice. */
export function affectedQueries(changes: readonly Change[]): readonly (readonly string[])[] {
  const keys = new Map<string, readonly string[]>();
  const add = (...key: string[]): void => void keys.set(key.join(' '), key);
  const hosts = new Set<string>();
  let vms = false;
  for (const { kind, name, object } of changes) {
    if (kind === 'vm') add('vm', (object as { readonly name?: string } | null)?.name ?? name);
    if (kind === 'drain' || kind === 'roll') add(kind, name);
    if (kind === 'guest-cluster' || kind === 'shared-disk') add('guest-cluster');
    // Events are forgotten after a time, which changes nothing else.
    const host = kind === 'event' ? ((object as EventObject | null)?.host ?? null) : null;
    if (host !== null) hosts.add(host);
    if (kind === 'event') vms ||= ((object as EventObject | null)?.vm ?? null) !== null;
    // A deleted VM's debts go with it, without an event.
    const endsDebts = kind === 'vm' && object === null;
    if (endsDebts || BOUND.has(kind) || (kind === 'event' && OF_TIES.has((object as EventObject | null)?.kind ?? '')))
      add('ties');
    if (!NOT_IN_OVERVIEW.has(kind)) add('overview');
  }
  if (hosts.size > 0) add('list', 'host-row');
  if (hosts.size > 0 || vms) add('list', 'vm-row');
  if (hosts.size > SINGLE_MAX) add('list', 'host');
  else for (const host of hosts) add('host', host);
  return [...keys.values()];
}
