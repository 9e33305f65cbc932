/**
 * Decides which records a leader deletes because nobody needs them any more: old events, tasks and drains that ended
 * long ago, addresses that no card has. Pure.
 * Guarantees: running tasks and drains are kept, and so are the newest records of each kind; a token that never expires
 * is kept; a step is bounded, however many records there are.
 */
import type { VmId } from '../../../base/ids.ts';
import type { NetworkRecord } from '../../model/cluster.ts';
import { type DrainRecord, isDrainOver } from '../../model/drain.ts';
import { isRollOver } from '../../model/roll.ts';
import type { Change, Entry, Snapshot } from '../../ports/store.ts';
import { withoutUnused } from '../../request/vm-changes.ts';

/** The number of records that are kept. */
export interface Kept {
  readonly events: number;
  /** Tasks that ended. */
  readonly tasks: number;
  /** Drains that ended: the record of a large one is some hundred KB. */
  readonly drains: number;
  /** Rolls that ended; the drains of a roll are kept as long as the roll. */
  readonly rolls: number;
}

export const KEPT: Kept = { events: 5_000, tasks: 1_000, drains: 100, rolls: 20 };
/** Deletions in one transaction; etcd takes 128 operations. */
const DELETIONS_AT_ONCE = 50;
const DRAINS_AT_ONCE = 10;
const ROLLS_AT_ONCE = 2;
const TOKENS_AT_ONCE = 15;

/**
 * Returns the deletions of the oldest events, and of the tasks, drains and rolls that ended first, beyond what is kept, and of
 * join tokens, sessions and links that have expired.
 */
export function outdated(
  { events, tasks, drains, rolls, tokens }: Pick<Snapshot, 'events' | 'tasks' | 'drains' | 'rolls' | 'tokens'>,
  kept: Kept,
  now: number,
): readonly Change[] {
  const old = oldest([...events], kept.events).map(([id]): Change => ({ kind: 'event', id, value: null }));
  const ended = [...tasks].filter(([, { value }]) => value.state !== 'running');
  const over = [...drains].filter(([, { value }]) => isDrainOver(value) && !isOfRoll(value, rolls));
  const rolled = [...rolls].filter(([, { value }]) => isRollOver(value));
  return [
    ...old,
    ...oldest(ended, kept.tasks).map(([id]): Change => ({ kind: 'task', id, value: null })),
    ...oldest(over, kept.drains)
      .slice(0, DRAINS_AT_ONCE)
      .map(([id]): Change => ({ kind: 'drain', id, value: null })),
    ...oldest(rolled, kept.rolls)
      .slice(0, ROLLS_AT_ONCE)
      .flatMap(([id]): Change[] => [
        { kind: 'roll', id, value: null },
        { kind: 'roll-plan', id, value: null },
      ]),
    ...[...tokens]
      .filter(([, { value }]) => value.expiresAt !== null && value.expiresAt <= now)
      .slice(0, TOKENS_AT_ONCE)
      .map(([id]): Change => ({ kind: 'token', id, value: null })),
  ];
}

/** Whether a drain is a wave of a roll whose record is kept. */
function isOfRoll({ roll = null }: DrainRecord, rolls: Snapshot['rolls']): boolean {
  return roll !== null && rolls.has(roll);
}

function oldest<K, V>(entries: [K, Entry<V>][], kept: number): readonly [K, Entry<V>][] {
  const beyond = Math.min(entries.length - kept, DELETIONS_AT_ONCE);
  return beyond <= 0 ? [] : entries.sort(([, a], [, b]) => a.revision - b.revision).slice(0, beyond);
}

/**
 * Returns the change that frees a network's addresses of cards that were removed with their VM's last machine, or null.
 */
export function freedAddresses(
  { value, revision }: Entry<NetworkRecord>,
  { completeRevision, vms }: Pick<Snapshot, 'completeRevision' | 'vms'>,
): Change | null {
  // A network record that was read back after a refused transaction may be newer than the VM whose card came with it.
  if (revision > completeRevision) return null;
  const next = withoutUnused(value, (id) => vms.get(id as VmId)?.value);
  return next === null ? null : { kind: 'network', id: value.name, value: next };
}
