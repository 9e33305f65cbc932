/**
 * A second opinion on the records, beside the leader: the checkers of core/check, which share no code with the
 * decisions, judge the existing records and every change of them. A broken rule is reported (log, event, alarm), and
 * nothing is stopped or changed because of it.
 * Guarantees: a change costs as much as the objects that it concerns, however many others there are; a turn ends after
 * TURN_MS, and turns are GAP_MS apart; the number of waiting changes is bounded, and beyond that all records are read
 * anew. An object is judged only by records that were written together, and nothing is judged while a record cannot be
 * read. A finding about the state of an object stands until the object keeps the rule again, one about a commit for
 * STANDS_MS.
 */
import { messageOf } from '../../../base/errors.ts';
import { COMMIT_CHECKERS } from '../../check/check-trace.ts';
import { FollowedRecords } from '../../check/followed-records.ts';
import { STATE_RULES, type StateRule } from '../../check/state-rules.ts';
import type { Checker } from '../../check/trace.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Change, LeaderStore, SeenCommit, Snapshot } from '../../ports/store.ts';

/** A new leader has better things to do at first: reading everything begins this long after its term, in ms. */
const BEGIN_MS = 5_000;
/** Longest turn of this work, in ms: it ends with the first item after this. */
export const TURN_MS = 2;
const ITEMS_PER_TURN = 500;
const GAP_MS = 10;
/** Time until the next attempt while records that were written together are not all here, in ms. */
const LATER_MS = 200;
/** The most changes that wait to be judged; with more, all records are read anew. */
const WAITING_MAX = 20_000;
/** How long a finding about a commit stays reported, in ms. */
const STANDS_MS = 3_600_000;
/** Findings that are kept; more are only logged. */
const FINDINGS_MAX = 200;
/** Events about broken rules in EVENTS_MS; more findings are logged and shown, without an event. */
const EVENTS_MAX = 20;
const EVENTS_MS = 600_000;

/** A broken rule. */
export interface RuleFinding {
  /** The rule's name in docs/specs. */
  readonly rule: string;
  /** The object, or the rule where a commit broke it. */
  readonly about: string;
  /** The fault as a sentence without its full stop. */
  readonly what: string;
}

export interface RecordWatchPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Pick<LeaderStore, 'snapshot' | 'leads' | 'commit' | 'onCommit'>;
}

interface Waiting extends SeenCommit {
  /** The newest revision that the snapshot had seen by then. */
  readonly revision: number;
}

/** See the module's comment. One for each term, from `start` to `stop`. */
export class RecordWatch {
  readonly #ports: RecordWatchPorts;
  #records = new FollowedRecords();
  #checkers: readonly (readonly [string, Checker])[] = [];
  #loading: Iterator<Change> | null = null;
  #waiting: Waiting[] = [];
  #waitingAt = 0;
  #waitingChanges = 0;
  /** Objects to judge. */
  readonly #due = new Map<StateRule, Set<string>>(STATE_RULES.map((rule) => [rule, new Set()]));
  #dueRevision = 0;
  #judging: { readonly state: StateRule; readonly ids: Iterator<string, undefined> } | null = null;
  readonly #standing = new Map<string, RuleFinding & { readonly id: string; readonly state: StateRule }>();
  readonly #broken: (RuleFinding & { readonly at: number })[] = [];
  #eventsAt: number[] = [];
  #cancel: (() => void) | null = null;
  #hasBegun = false;
  #isStopped = false;

  constructor(ports: RecordWatchPorts) {
    this.#ports = ports;
  }

  /** The present findings. */
  get findings(): readonly RuleFinding[] {
    const now = this.#ports.clock.monotonicMs();
    return [...this.#standing.values(), ...this.#broken.filter(({ at }) => now - at < STANDS_MS)];
  }

  /** Whether every change that arrived has been judged. */
  get isIdle(): boolean {
    return this.#hasBegun && this.#cancel === null;
  }

  start(): void {
    this.#ports.store.onCommit((commit) => this.#seen(commit));
    this.#cancel = this.#ports.clock.after(BEGIN_MS, () => {
      this.#hasBegun = true;
      this.#readAnew();
      this.#turn();
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
    this.#cancel = null;
  }

  #seen(commit: SeenCommit): void {
    // Records that exist when the reading begins are read.
    if (!this.#hasBegun || this.#isStopped) return;
    this.#waitingChanges += commit.changes.length;
    if (this.#waitingChanges > WAITING_MAX) this.#readAnew();
    else this.#waiting.push({ ...commit, revision: this.#ports.store.snapshot.revision });
    this.#cancel ??= this.#ports.clock.after(GAP_MS, () => this.#turn());
  }

  /** Forgets all state, and begins anew with the present records. */
  #readAnew(): void {
    const { snapshot } = this.#ports.store;
    this.#records = new FollowedRecords();
    this.#checkers = Object.entries(COMMIT_CHECKERS).map(([rule, make]) => [rule, make()]);
    this.#waiting = [];
    this.#waitingAt = 0;
    this.#waitingChanges = 0;
    this.#loading = recordsOf(snapshot);
    this.#dueRevision = snapshot.revision;
    this.#judging = null;
    for (const ids of this.#due.values()) ids.clear();
    for (const { state, id } of this.#standing.values()) this.#due.get(state)?.add(id);
  }

  #turn(): void {
    const { clock } = this.#ports;
    this.#cancel = null;
    const endsAt = clock.monotonicMs() + TURN_MS;
    let next: 'on' | 'later' | 'idle' = 'on';
    for (let items = 0; next === 'on' && items < ITEMS_PER_TURN && clock.monotonicMs() < endsAt; items++)
      next = this.#step();
    if (next !== 'idle' && !this.#isStopped)
      this.#cancel = clock.after(next === 'later' ? LATER_MS : GAP_MS, () => this.#turn());
  }

  /** Does one thing. */
  #step(): 'on' | 'later' | 'idle' {
    const loaded = this.#loading?.next();
    if (loaded?.done === true) this.#loading = null;
    else if (loaded !== undefined) {
      this.#take({ by: 'unknown', changes: [loaded.value] });
      return 'on';
    }
    const commit = this.#waiting[this.#waitingAt];
    if (commit !== undefined) {
      this.#waitingAt++;
      this.#waitingChanges -= commit.changes.length;
      this.#dueRevision = commit.revision;
      this.#take(commit);
      return 'on';
    }
    this.#waiting = [];
    this.#waitingAt = 0;
    return this.#judgeNext();
  }

  /** Follows a commit, and judges it if its author is known. */
  #take({ by, changes }: SeenCommit): void {
    for (const change of changes)
      this.#records.note(change, (kind, id) => {
        for (const [rule, ids] of this.#due) if (rule.about === kind) ids.add(id);
      });
    const entry = { at: 0, kind: 'commit', by: by === 'unknown' ? 'people' : by, changes } as const;
    for (const [rule, check] of this.#checkers) {
      const what = check(entry);
      if (what === null || by === 'unknown') continue;
      this.#broken.push({ rule, about: rule, what, at: this.#ports.clock.monotonicMs() });
      if (this.#broken.length > FINDINGS_MAX) this.#broken.shift();
      this.#report({ rule, about: rule, what });
    }
  }

  #judgeNext(): 'on' | 'later' | 'idle' {
    const { completeRevision, unreadable } = this.#ports.store.snapshot;
    for (const [state, ids] of this.#due) {
      if (ids.size === 0) continue;
      if (unreadable.size > 0 || completeRevision < this.#dueRevision) return 'later';
      // Going on where the last one was: the place of what was deleted from a set is passed again by each new iterator.
      if (this.#judging?.state !== state) this.#judging = { state, ids: ids.values() };
      const { value: id, done } = this.#judging.ids.next();
      if (done === true) {
        this.#judging = null;
        continue;
      }
      ids.delete(id);
      this.#judge(state, id);
      return 'on';
    }
    return [...this.#due.values()].some((ids) => ids.size > 0) ? 'on' : 'idle';
  }

  #judge(state: StateRule, id: string): void {
    const { log } = this.#ports;
    const { rule, about: kind } = state;
    const key = `${rule} ${kind} ${id}`;
    const what = state.fault(this.#records, id);
    const before = this.#standing.get(key);
    if (what === null) {
      if (this.#standing.delete(key)) log.info('a rule of the records is kept again', { rule, about: id });
      return;
    }
    if (before !== undefined || this.#standing.size < FINDINGS_MAX)
      this.#standing.set(key, { rule, about: id, what, id, state });
    if (before === undefined) this.#report({ rule, about: id, what });
  }

  #report({ rule, about, what }: RuleFinding): void {
    const { clock, log, store } = this.#ports;
    log.warn('the records break a rule', { rule, about, what });
    const now = clock.monotonicMs();
    this.#eventsAt = this.#eventsAt.filter((at) => now - at < EVENTS_MS);
    if (this.#eventsAt.length >= EVENTS_MAX || !store.leads()) return;
    this.#eventsAt.push(now);
    const nothing = { vm: null, vmName: null, host: null, generation: null };
    const message = `The records break rule ${rule}: ${what}.`;
    store
      .commit({ changes: [], events: [{ at: clock.wallMs(), kind: 'rule-broken', ...nothing, message }] })
      .catch((error: unknown) => log.warn('an event was not written', { rule, error: messageOf(error) }));
  }
}

/** The present records, which the iterator keeps; tasks and disks come before the VMs that they belong to. */
function recordsOf(snapshot: Snapshot): Iterator<Change> {
  const { hosts, tasks, disks, sharedDisks, guestClusters, vms } = snapshot;
  const kinds = [
    ['host', [...hosts]],
    ['task', [...tasks]],
    ['disk', [...disks]],
    ['shared-disk', [...sharedDisks]],
    ['guest-cluster', [...guestClusters]],
    ['vm', [...vms]],
  ] as const;
  return (function* () {
    for (const [kind, entries] of kinds) for (const [id, { value }] of entries) yield { kind, id, value } as Change;
  })();
}
