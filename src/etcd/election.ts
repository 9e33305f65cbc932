/**
 * Leader election: a key per candidate under a prefix, hung on the candidate's lease; the key with the lowest create
 * revision leads, each other candidate waits for the one before it.
 *
 * Guarantees: at most one candidate's key leads at any revision. What a leader *writes* is safe only by its guard: the
 * `compare` that its transactions carry holds exactly while its key exists with its create revision. `isValid()` merely
 * saves a leader from working in vain; a process that was frozen can find out late, its guard cannot.
 * Create revisions only grow, so the create revision of the leader's key serves as the term.
 */
import { CodedError } from '../base/errors.ts';
import { sleep } from '../base/sleep.ts';
import type { Etcd, GrantedLease, KeptLease } from './api.ts';
import { backoffMs } from './backoff.ts';
import { EtcdDeadlineUnknown, EtcdUnavailable } from './errors.ts';
import { follow } from './follow.ts';
import type { Compare, KeyValue } from './records.ts';

export interface CampaignOptions {
  /** Without a slash at the end; the candidates' keys are `<prefix>/<lease in hex>`. */
  readonly prefix: string;
  /** The name of this candidate, for observers. */
  readonly value: string;
  /** Whole seconds; etcd raises it to its minimum (2 with its default timeouts, see member.ts). */
  readonly ttlSeconds: number;
  readonly signal?: AbortSignal;
  /** See KeepOptions. How long after the lease's validity ended unconfirmed to wait before `lost`, default 5000 ms. */
  readonly graceMs?: number;
}

export interface Leadership {
  readonly key: string;
  /** The term: larger than that of every leader before. */
  readonly createRevision: number;
  /** The condition that every transaction of a leader must contain. */
  readonly compare: Compare;
  /** Whether the lease is certainly alive now. False may turn true again if etcd was away for a moment. */
  isValid(): boolean;
  /** Resolves when this leadership has ended: key or lease gone, unconfirmed for too long, or resigned. */
  readonly lost: Promise<void>;
  /** Gives up the leadership at once, so that the next candidate need not wait for the lease. */
  resign(): Promise<void>;
}

/** The leader as observers see it. */
export interface LeaderRecord {
  readonly key: string;
  readonly createRevision: number;
  readonly value: string;
}

const REVOKE_MS = 1_000;
const PUT_ATTEMPTS_MAX = 5;

/**
 * Waits until this process leads. Throws the signal's reason when it aborts (nothing is left behind), or etcd's
 * refusal; while etcd is away or after losing the lease it starts over.
 */
export async function campaign(etcd: Etcd, options: CampaignOptions): Promise<Leadership> {
  for (let failures = 0; ; failures += 1) {
    await sleep(etcd.clock, backoffMs(failures, 50, 500), { signal: options.signal });
    options.signal?.throwIfAborted();
    try {
      const leadership = await campaignOnce(etcd, options);
      if (leadership !== undefined) return leadership;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isTemporary(error) || etcd.isClosed) throw error;
    }
  }
}

function isTemporary(error: unknown): boolean {
  if (error instanceof EtcdUnavailable || error instanceof EtcdDeadlineUnknown) return true;
  // The lease expired while it was used; or etcd is full and refuses even leases until there is room again.
  return error instanceof CodedError && (error.code === 'not-found' || error.code === 'unavailable');
}

/** One lease's campaign; undefined if the lease or its key was lost before it won. */
async function campaignOnce(etcd: Etcd, options: CampaignOptions): Promise<Leadership | undefined> {
  const { signal } = options;
  const granted = await etcd.leaseGrant(options.ttlSeconds, signal === undefined ? {} : { signal });
  const kept = etcd.keepLease(granted, options.graceMs === undefined ? {} : { graceMs: options.graceMs });
  const ending = new AbortController();
  const end = (): void => ending.abort();
  signal?.addEventListener('abort', end, { once: true });
  if (signal?.aborted) end();
  kept.expired.then(end, end);
  let hasWon = false;
  try {
    const key = `${options.prefix}/${leaseHex(granted)}`;
    const createRevision = await putOnce({ etcd, key, value: options.value, lease: granted.lease, kept });
    hasWon = await waitForTurn({ etcd, prefix: `${options.prefix}/`, key, createRevision, signal: ending.signal });
    return hasWon && !ending.signal.aborted ? leadershipOf({ etcd, kept, key, createRevision }) : undefined;
  } catch (error) {
    if (ending.signal.aborted) return undefined;
    throw error;
  } finally {
    signal?.removeEventListener('abort', end);
    if (!hasWon || ending.signal.aborted) await giveUp(etcd, kept);
  }
}

/** Sixteen digits, so that no candidate's key is the beginning of another's. */
function leaseHex({ lease }: Pick<GrantedLease, 'lease'>): string {
  return BigInt.asUintN(64, BigInt(lease)).toString(16).padStart(16, '0');
}

/**
 * Returns true if a key belongs to a candidate: its lease is the one in its name. Any other key under the prefix would
 * lead for ever, since no lease ends it.
 */
function isCandidate(prefix: string, { key, lease }: Pick<KeyValue, 'key' | 'lease'>): boolean {
  return lease !== '0' && key === prefix + leaseHex({ lease });
}

/** Puts our key. It is ours alone, so repeating "create it unless it exists" after an unknown outcome is safe. */
async function putOnce(own: {
  etcd: Etcd;
  key: string;
  value: string;
  lease: string;
  kept: KeptLease;
}): Promise<number> {
  const { etcd, key, value, lease } = own;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { succeeded, revision, reads } = await etcd.txn({
        compare: [{ key, exists: false }],
        success: [{ put: key, value, lease }],
        failure: [{ get: key }],
      });
      return succeeded ? revision : (reads[0]?.createRevision ?? 0);
    } catch (error) {
      const mayRepeat = error instanceof EtcdUnavailable || error instanceof EtcdDeadlineUnknown;
      if (!mayRepeat || !own.kept.isValid() || attempt === PUT_ATTEMPTS_MAX) throw error;
    }
  }
}

interface Turn {
  readonly etcd: Etcd;
  readonly prefix: string;
  readonly key: string;
  readonly createRevision: number;
  readonly signal: AbortSignal;
}

/** Waits until no older key is left. False when our own key is gone. */
async function waitForTurn({ etcd, prefix, key, createRevision, signal }: Turn): Promise<boolean> {
  for (;;) {
    signal.throwIfAborted();
    const entries = await listPatiently(etcd, prefix, signal);
    if (!entries.some((entry) => entry.key === key && entry.createRevision === createRevision)) return false;
    const older = entries.filter((entry) => entry.createRevision < createRevision && isCandidate(prefix, entry));
    const before = older.reduce<KeyValue | undefined>(
      (best, entry) => (best === undefined || entry.createRevision > best.createRevision ? entry : best),
      undefined,
    );
    if (before === undefined) return true;
    await untilKeyGone({ etcd, key: before.key, createRevision: before.createRevision, signal });
  }
}

/** The candidates; while etcd is away goes on asking, so as not to lose our place. Throws the signal's reason. */
async function listPatiently(etcd: Etcd, prefix: string, signal: AbortSignal): Promise<readonly KeyValue[]> {
  for (let failures = 0; ; failures += 1) {
    await sleep(etcd.clock, backoffMs(failures, 50, 500), { signal });
    signal.throwIfAborted();
    try {
      return (await etcd.list(prefix, { signal })).entries;
    } catch (error) {
      if (!(error instanceof EtcdUnavailable) || etcd.isClosed) throw error;
    }
  }
}

/** Resolves when the key of that create revision no longer exists, or when the signal aborts. */
async function untilKeyGone(wait: Omit<Turn, 'prefix'>): Promise<void> {
  const { etcd, key, createRevision } = wait;
  // Not AbortSignal.any: Node keeps such a signal for as long as it has a listener, and the simulator's dead processes
  // listen for ever.
  const over = new AbortController();
  const end = (): void => over.abort(wait.signal.reason);
  wait.signal.addEventListener('abort', end, { once: true });
  if (wait.signal.aborted) end();
  try {
    await follow(etcd, key, {
      signal: over.signal,
      onListing: ({ entries }) => {
        if (!entries.some((entry) => entry.key === key && entry.createRevision === createRevision)) over.abort();
      },
      onEvents: (events) => {
        if (events.some((event) => event.type === 'delete' && event.key === key)) over.abort();
      },
    });
  } finally {
    wait.signal.removeEventListener('abort', end);
  }
}

function leadershipOf(won: { etcd: Etcd; kept: KeptLease; key: string; createRevision: number }): Leadership {
  const { etcd, kept, key, createRevision } = won;
  const over = new AbortController();
  const keyGone = untilKeyGone({ etcd, key, createRevision, signal: over.signal });
  // A closed client makes the watch fail; the lease's end decides then.
  const lost = Promise.race([kept.expired, keyGone.catch(() => kept.expired)]).then(() => {
    over.abort();
    kept.stop();
  });
  return {
    key,
    createRevision,
    compare: { key, createRevision },
    isValid: () => !over.signal.aborted && kept.isValid(),
    lost,
    resign: async () => {
      over.abort();
      await giveUp(etcd, kept);
      await lost;
    },
  };
}

/** Ends our candidacy; if etcd cannot be told, the lease expires by itself. */
async function giveUp(etcd: Etcd, kept: KeptLease): Promise<void> {
  kept.stop();
  try {
    await etcd.leaseRevoke(kept.lease, { deadlineMs: REVOKE_MS });
  } catch (error) {
    if (!(error instanceof EtcdUnavailable)) throw error;
  }
}

/** Reports the leader, now and at each change, until the signal aborts. `undefined`: there is no leader. */
export async function observe(
  etcd: Etcd,
  prefix: string,
  options: {
    readonly signal?: AbortSignal;
    readonly onLeader: (leader: LeaderRecord | undefined) => void;
    /** The last report may be out of date until the next one. */
    readonly onDisconnected?: (error: unknown) => void;
  },
): Promise<void> {
  const candidates = new Map<string, LeaderRecord>();
  let reported: LeaderRecord | undefined | 'nothing' = 'nothing';
  const report = (): void => {
    const leader = leaderOf(candidates.values());
    if (leader === reported) return;
    reported = leader;
    options.onLeader(leader);
  };
  await follow(etcd, `${prefix}/`, {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.onDisconnected === undefined ? {} : { onDisconnected: options.onDisconnected }),
    onListing: ({ entries }) => {
      candidates.clear();
      for (const { key, createRevision, value, lease } of entries)
        if (isCandidate(`${prefix}/`, { key, lease })) candidates.set(key, { key, createRevision, value });
      report();
    },
    onEvents: (events) => {
      for (const event of events) {
        if (event.type === 'delete') candidates.delete(event.key);
        else if (isCandidate(`${prefix}/`, event.kv))
          candidates.set(event.key, { key: event.key, createRevision: event.kv.createRevision, value: event.kv.value });
      }
      report();
    },
  });
}

/** The candidate with the lowest create revision. */
function leaderOf(candidates: Iterable<LeaderRecord>): LeaderRecord | undefined {
  let leader: LeaderRecord | undefined;
  for (const candidate of candidates) {
    if (leader === undefined || candidate.createRevision < leader.createRevision) leader = candidate;
  }
  return leader;
}
