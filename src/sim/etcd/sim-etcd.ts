/**
 * An etcd cluster of one or more members in simulated time: one linearizable store (etcd-state.ts) that is there as
 * long as a majority of its members can hear each other.
 *
 * Guarantees, as of a real cluster: what a member answered has been decided by a majority, in the order of revisions;
 * without a leader nothing is answered, and what was under way may be applied later or never; no lease ends while
 * nobody leads, and a new leader gives each its whole TTL and an election timeout; a watch is told every event once, in
 * order, until its stream ends.
 *
 * What it leaves out: the members' logs. A majority decides as one; who follows whom matters only for who can be asked.
 * Changes of the membership are made at once, by somebody whom a majority hears.
 */
import { assert, present } from '../../base/assert.ts';
import { CodedError } from '../../base/errors.ts';
import type { AnsweringMember } from '../../core/plan/lead/etcd-space.ts';
import type { Clock } from '../../core/ports/clock.ts';
import type { Listing, TxnResult } from '../../etcd/api.ts';
import type { WatchMessage } from '../../etcd/channel.ts';
import type { KeyValue, Transaction, WatchEvent } from '../../etcd/records.ts';
import type { SimRandom } from '../time/sim-random.ts';
import { EtcdState } from './etcd-state.ts';

/** etcd's default election timeout, in ms; elections begin one to two of it after the leader was last heard. */
const ELECTION_MS = 1_000;
/** No lease is shorter: one and a half election timeouts in whole seconds. */
const LEASE_SECONDS_MIN = 2;
/** Size above which etcd refuses writes. */
export const QUOTA_BYTES = 2 * 2 ** 30;
/** The key that a fault writes to fill etcd; no record of the cluster. */
const FILLING_KEY = 'filling';
/** What the records of a simulated cluster take. */
const LIVE_BYTES = 2 ** 20;
/**
 * How often a leader looks for leases that have run out (as etcd does), and everything else that only time brings
 * about.
 */
const LOOK_MS = 500;
const PROGRESS_MS = 10_000;
const FRAGMENT_PERCENT = 5;
/** After so long without a leader a member ends the watches of clients that asked for one (`hasleader`). */
const LEADERLESS_MS = 3 * ELECTION_MS;
/** Requests that wait for a leader at one member, and for how long; others are never answered. */
const WAITING_MAX = 1_000;
const WAITING_MS = 5_000 + 2 * ELECTION_MS;

/** A member knows no leader: the request was not, and will not be, applied there. */
export class MemberRefused extends Error {}

/** What a member says on a watch: `compacted` and `closed` are the last. */
export type MemberMessage =
  | WatchMessage
  | { readonly kind: 'compacted'; readonly revision: number }
  | { readonly kind: 'closed'; readonly reason: string };

/** One client's watch at one member. `push` carries a numbered message to it; numbers begin with 0. */
export interface WatchRequest {
  readonly prefix: string;
  readonly fromRevision: number;
  readonly push: (number: number, message: MemberMessage) => void;
}

/** The member's end of a watch. */
export interface MemberWatch {
  /** Answers `alive`, unless the member is down. */
  prompt(): void;
  /** Ends it without a word. */
  cancel(): void;
}

interface Watch extends WatchRequest {
  next: number;
  sent: number;
  saidAtMs: number;
}

interface Member {
  readonly name: string;
  isUp: boolean;
  /** False once it was removed: nobody counts it, and it has no leader ever again. */
  isVoter: boolean;
  /** Since when it hears no leader; null while it does. */
  leaderlessAtMs: number | null;
  readonly watches: Set<Watch>;
  /** What waits for a leader, since when. */
  readonly waiting: { readonly atMs: number; readonly go: () => void }[];
  /** Size of its file, and the part of it that records and history use. */
  sizeBytes: number;
  inUseBytes: number;
}

export interface SimEtcdOptions {
  readonly members: readonly string[];
  readonly clock: Clock;
  readonly random: SimRandom;
  /** Whether two members can hear each other now, both ways. Default: always. */
  readonly connected?: (a: string, b: string) => boolean;
  /** Told of what befalls the cluster: elections, leases that ran out. */
  readonly say?: (text: string) => void;
  /** Told of each transaction right after it was applied, and (null) of a lease that ended with its keys. */
  readonly onApplied?: (transaction: Transaction | null) => void;
}

/** See the module's comment. The methods with a `member` are what a request does once it has reached that member. */
export class SimEtcd {
  #state = new EtcdState();
  readonly #options: SimEtcdOptions;
  readonly #clock: Clock;
  readonly #random: SimRandom;
  readonly #members: Member[];
  /** Members that were removed and decide alone all the same: a mistake that tests make on purpose. */
  readonly #forks = new Map<string, SimEtcd>();
  #leader: Member;
  /** It was restarted: it has to be elected like any other. */
  #isFallen = false;
  /** Since when the leader cannot lead; null while it does. */
  #suspendedAtMs: number | null = null;
  /** Counts elections, and so tells an election that is due from one that was overtaken. */
  #term = 1;
  /** Proposals that a majority may have seen when their leader was lost: the next leader applies them. */
  #undecided: (() => void)[] = [];
  /** Every member refuses what would enlarge it. */
  #hasAlarm = false;
  /** The newest revision when somebody filled it last. */
  #filledAt = 0;
  /** When each lease ends unless it is renewed, by the leader's reckoning. */
  readonly #expiresAtMs = new Map<string, number>();

  constructor(options: SimEtcdOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#members = options.members.map((name) => newMember(name));
    this.#leader = present(this.#members[0], 'a member');
    this.#clock.after(LOOK_MS, () => this.#look());
  }

  get state(): EtcdState {
    return this.#state;
  }

  /** All members are down and come back with this, as members of a new cluster. */
  replace(state: EtcdState): void {
    for (const { name } of this.#members) this.crash(name);
    this.#state = state;
    this.#expiresAtMs.clear();
    this.#undecided = [];
    this.#hasAlarm = false;
    for (const member of this.#members) Object.assign(member, { sizeBytes: LIVE_BYTES, inUseBytes: LIVE_BYTES });
  }

  /** The members that count; those that were removed are not among them. */
  get members(): readonly string[] {
    return this.#members.filter(({ isVoter }) => isVoter).map(({ name }) => name);
  }

  /** A member with a copy of everything joins; from now on it counts. */
  addMember(name: string): void {
    this.#members.push(newMember(name));
    this.topologyChanged();
  }

  /**
   * A member is removed: nobody counts it, and it has no leader from now on, whatever it knows of that. `decidesAlone`:
   * it was started anew as a cluster of its own, with what it has: the mistake that makes two clusters of one.
   */
  removeMember(name: string, { decidesAlone = false } = {}): void {
    this.#member(name).isVoter = false;
    if (decidesAlone) {
      const { clock, random } = this.#options;
      const fork = new SimEtcd({ members: [name], clock, random });
      fork.#state = this.#state.copy();
      for (const lease of fork.#state.leases())
        fork.#expiresAtMs.set(lease, clock.monotonicMs() + (fork.#state.ttlSeconds(lease) ?? 0) * 1_000);
      this.#forks.set(name, fork);
    }
    this.topologyChanged();
  }

  /** The member that leads, or null while nobody can. */
  get leader(): string | null {
    return this.#suspendedAtMs === null ? this.#leader.name : null;
  }

  /** A member's process ends. Requests that it has not answered are never answered. */
  crash(name: string): void {
    const member = this.#member(name);
    if (!member.isUp) return;
    member.isUp = false;
    if (member === this.#leader) this.#isFallen = true;
    member.waiting.length = 0;
    for (const watch of member.watches) say(watch, { kind: 'closed', reason: `${name} is gone` });
    member.watches.clear();
    this.topologyChanged();
  }

  /** It starts again with all that it had acknowledged. */
  restart(name: string): void {
    this.#member(name).isUp = true;
    this.topologyChanged();
  }

  isUp(name: string): boolean {
    return this.#member(name).isUp;
  }

  /**
   * To be called when members can or cannot hear each other any more; without it that is noticed within half a second.
   */
  topologyChanged(): void {
    const canLead = !this.#isFallen && this.#hasMajority(this.#leader);
    if (canLead && this.#suspendedAtMs !== null) {
      this.#suspendedAtMs = null;
      this.#decide();
    } else if (!canLead && this.#suspendedAtMs === null) {
      this.#suspendedAtMs = this.#clock.monotonicMs();
      this.#callElection();
    }
    for (const member of this.#members) this.#updateMember(member);
  }

  /**
   * Somebody has written until the quota was used up: all of it is history. From then on etcd refuses every request
   * that would enlarge it, leases included, until history is compacted, members are defragmented and the alarm is
   * disarmed.
   */
  fill(): void {
    this.overwrite(FILLING_KEY, '');
    this.#options.onApplied?.(null);
    this.#filledAt = this.state.revision;
    this.#hasAlarm = true;
    for (const member of this.#members) Object.assign(member, { sizeBytes: QUOTA_BYTES, inUseBytes: QUOTA_BYTES });
  }

  /** A member's own account of its room; it needs no leader. */
  async room(name: string): Promise<Omit<AnsweringMember, 'endpoint'>> {
    const { sizeBytes, inUseBytes } = this.#member(name);
    const { revision } = this.state;
    const isLeader = this.leader === name;
    const isFull = this.#hasAlarm;
    return { isLeader, sizeBytes, inUseBytes, isFull, isCorrupt: false, version: '3.5', revision };
  }

  /** Gives a member's free pages back. */
  async defragment(name: string): Promise<void> {
    const member = this.#member(name);
    member.sizeBytes = member.inUseBytes;
  }

  /** Disarms the alarm, unless a member is as full as before: the next write would raise it again. */
  disarm(member: string): Promise<void> {
    return this.#propose(member, () => {
      this.#hasAlarm = this.#members.some(({ sizeBytes }) => sizeBytes >= QUOTA_BYTES);
    });
  }

  #demandRoom(): void {
    if (this.#hasAlarm)
      throw new CodedError('unavailable', 'etcd refused it: etcdserver: mvcc: database space exceeded.', {
        advice: 'Nothing was changed.',
      });
  }

  /** A transaction: applied once a majority has it. Rejects with what etcd refuses, or MemberRefused. */
  txn(member: string, transaction: Transaction): Promise<TxnResult> {
    const fork = this.#forks.get(member);
    if (fork !== undefined) return fork.txn(member, transaction);
    return this.#propose(member, () => {
      if ([...transaction.success, ...(transaction.failure ?? [])].some((op) => 'put' in op)) this.#demandRoom();
      const result = this.state.txn(transaction);
      this.#options.onApplied?.(transaction);
      return result;
    });
  }

  list(member: string, prefix: string): Promise<Listing> {
    const fork = this.#forks.get(member);
    if (fork !== undefined) return fork.list(member, prefix);
    return this.#whenLed(member, () => ({ revision: this.state.revision, entries: this.state.list(prefix) }));
  }

  get(member: string, key: string): Promise<KeyValue | undefined> {
    const fork = this.#forks.get(member);
    if (fork !== undefined) return fork.get(member, key);
    return this.#whenLed(member, () => this.state.get(key));
  }

  leaseGrant(member: string, ttlSeconds: number): Promise<{ readonly lease: string; readonly ttlSeconds: number }> {
    const fork = this.#forks.get(member);
    if (fork !== undefined) return fork.leaseGrant(member, ttlSeconds);
    const granted = Math.max(LEASE_SECONDS_MIN, ttlSeconds);
    return this.#propose(member, () => {
      this.#demandRoom();
      const lease = this.state.grant(granted);
      this.#expiresAtMs.set(lease, this.#clock.monotonicMs() + granted * 1_000);
      return { lease, ttlSeconds: granted };
    });
  }

  leaseRevoke(member: string, lease: string): Promise<void> {
    const fork = this.#forks.get(member);
    if (fork !== undefined) return fork.leaseRevoke(member, lease);
    return this.#propose(member, () => {
      this.state.revoke(lease);
      this.#expiresAtMs.delete(lease);
      this.#options.onApplied?.(null);
    });
  }

  /**
   * One renewal: the TTL in seconds, or 0 when the lease is gone. The leader answers by itself; so does one that was
   * cut off and does not know it yet, in vain (etcd before 3.5.13).
   */
  async leaseKeepAlive(name: string, lease: string): Promise<number> {
    const fork = this.#forks.get(name);
    if (fork !== undefined) return fork.leaseKeepAlive(name, lease);
    const member = this.#member(name);
    this.topologyChanged();
    const believesToLead = member === this.#leader && member.isUp && !this.#isFallen && this.#cutOffMs() < ELECTION_MS;
    const ttlSeconds = believesToLead ? this.#renew(lease) : undefined;
    return ttlSeconds ?? this.#whenLed(name, () => this.#renew(lease) ?? 0);
  }

  /** The TTL of the lease that was renewed; undefined when it has run out or is gone. */
  #renew(lease: string): number | undefined {
    const ttlSeconds = this.state.ttlSeconds(lease);
    const nowMs = this.#clock.monotonicMs();
    if (ttlSeconds === undefined || (this.#expiresAtMs.get(lease) ?? 0) <= nowMs) return undefined;
    this.#expiresAtMs.set(lease, nowMs + ttlSeconds * 1_000);
    return ttlSeconds;
  }

  /** Begins a watch at a member; it says what it has at once. Rejects with MemberRefused. */
  async watch(name: string, request: WatchRequest): Promise<MemberWatch> {
    const fork = this.#forks.get(name);
    if (fork !== undefined) return fork.watch(name, request);
    const member = this.#member(name);
    this.topologyChanged();
    if (this.#leaderlessMs(member) >= ELECTION_MS) throw new MemberRefused(`${name} has no leader`);
    const watch: Watch = { ...request, next: request.fromRevision, sent: 0, saidAtMs: this.#clock.monotonicMs() };
    member.watches.add(watch);
    this.#pump(member);
    return {
      prompt: () => {
        if (member.isUp && member.watches.has(watch)) say(watch, { kind: 'alive' });
      },
      cancel: () => void member.watches.delete(watch),
    };
  }

  /** As `compact`, asked of a member. */
  compactThrough(member: string, revision: number): Promise<void> {
    return this.#propose(member, () => this.compact(revision));
  }

  /** Forgets the history before `revision`, as an administrator may at any time. */
  compact(revision: number): void {
    this.state.compact(revision);
    if (revision >= this.#filledAt) for (const member of this.#members) member.inUseBytes = LIVE_BYTES;
    for (const member of this.#members) this.#pump(member);
  }

  /** Writes these values unconditionally, without being leader. Null deletes. */
  overwrite(key: string, value: string | null): void {
    this.state.txn({ compare: [], success: [value === null ? { delete: key } : { put: key, value }] });
    for (const member of this.#members) this.#pump(member);
  }

  #member(name: string): Member {
    const member = this.#members.find((each) => each.name === name);
    assert(member !== undefined, `no etcd member ${name}`);
    return member;
  }

  #canHear(a: Member, b: Member): boolean {
    if (!a.isUp || !b.isUp) return false;
    return a === b || (this.#options.connected?.(a.name, b.name) ?? true);
  }

  #hasMajority(member: Member): boolean {
    if (!member.isVoter) return false;
    const voters = this.#members.filter(({ isVoter }) => isVoter);
    return 2 * voters.filter((each) => this.#canHear(member, each)).length > voters.length;
  }

  /** How long the leader has not been able to lead. */
  #cutOffMs(): number {
    return this.#suspendedAtMs === null ? 0 : this.#clock.monotonicMs() - this.#suspendedAtMs;
  }

  #leaderlessMs(member: Member): number {
    return member.leaderlessAtMs === null ? 0 : this.#clock.monotonicMs() - member.leaderlessAtMs;
  }

  /** Whether the member can have something decided now. */
  #isLed(member: Member): boolean {
    return member.isVoter && this.#suspendedAtMs === null && this.#canHear(member, this.#leader);
  }

  #callElection(): void {
    const term = this.#term;
    this.#clock.after(this.#random.between(ELECTION_MS, 2 * ELECTION_MS), () => {
      this.topologyChanged();
      if (term !== this.#term || this.#suspendedAtMs === null) return;
      const candidates = this.#members.filter((member) => this.#hasMajority(member));
      if (candidates.length === 0) this.#callElection();
      else this.#elect(this.#random.pick(candidates));
    });
  }

  #elect(member: Member): void {
    this.#leader = member;
    this.#isFallen = false;
    this.#term += 1;
    this.#suspendedAtMs = null;
    const fromMs = this.#clock.monotonicMs() + ELECTION_MS;
    for (const lease of this.state.leases())
      this.#expiresAtMs.set(lease, fromMs + (this.state.ttlSeconds(lease) ?? 0) * 1_000);
    this.#options.say?.(`etcd: ${member.name} leads, raft term ${this.#term}`);
    this.#decide();
    for (const each of this.#members) this.#updateMember(each);
  }

  /** Proposals that the lost leader left behind are decided now. */
  #decide(): void {
    for (const apply of this.#undecided.splice(0)) apply();
  }

  /** Brings a member up to date with who leads, and lets what waited for that go on. */
  #updateMember(member: Member): void {
    if (!this.#isLed(member)) {
      member.leaderlessAtMs ??= this.#clock.monotonicMs();
      return;
    }
    if (member.leaderlessAtMs === null) return;
    member.leaderlessAtMs = null;
    const sinceMs = this.#clock.monotonicMs() - WAITING_MS;
    for (const { atMs, go } of member.waiting.splice(0)) if (atMs >= sinceMs) go();
    this.#pump(member);
  }

  /** Does `act` as soon as the member has a leader; MemberRefused once it knows that it has none. */
  #whenLed<T>(name: string, act: () => T): Promise<T> {
    const member = this.#member(name);
    this.topologyChanged();
    return new Promise((resolve, reject) => {
      const go = (): void => {
        try {
          resolve(act());
        } catch (error) {
          reject(error);
        }
      };
      if (this.#isLed(member)) go();
      else if (this.#leaderlessMs(member) >= ELECTION_MS) reject(new MemberRefused(`${name} has no leader`));
      else if (member.isUp && member.waiting.length < WAITING_MAX)
        member.waiting.push({ atMs: this.#clock.monotonicMs(), go });
    });
  }

  /**
   * Has `apply` decided by a majority. Where the leader is lost meanwhile, it is decided later, or never; unanswered in
   * any case.
   */
  async #propose<T>(name: string, apply: () => T): Promise<T> {
    const member = this.#member(name);
    await this.#whenLed(name, () => undefined);
    return new Promise((resolve, reject) => {
      const decide = (isAnswered: boolean): void => {
        try {
          const result = apply();
          if (isAnswered) resolve(result);
        } catch (error) {
          if (isAnswered) reject(error);
        }
        for (const each of this.#members) this.#pump(each);
      };
      this.#clock.after(this.#members.length === 1 ? 0.3 : this.#random.between(0.5, 3), () => {
        this.topologyChanged();
        if (this.#isLed(member)) decide(true);
        else if (this.#random.chance(50)) this.#undecided.push(() => decide(false));
        if (this.#suspendedAtMs === null) this.#decide();
      });
    });
  }

  /** Tells the member's watches what they do not know yet, as far as the member knows it itself. */
  #pump(member: Member): void {
    if (member.watches.size === 0 || !this.#isLed(member)) return;
    const { revision, compactRevision } = this.state;
    for (const watch of member.watches) {
      if (watch.next > revision) continue;
      if (watch.next < compactRevision) {
        member.watches.delete(watch);
        say(watch, { kind: 'compacted', revision: compactRevision });
        continue;
      }
      const events = this.state.eventsFrom(watch.next, watch.prefix);
      watch.next = revision + 1;
      if (events.length === 0) continue;
      watch.saidAtMs = this.#clock.monotonicMs();
      this.#tell(watch, events);
    }
  }

  /** Now and then in two messages, cut anywhere, as etcd does with large ones. */
  #tell(watch: Watch, events: readonly WatchEvent[]): void {
    const at =
      events.length > 1 && this.#random.chance(FRAGMENT_PERCENT) ? 1 + this.#random.below(events.length - 1) : 0;
    if (at > 0) say(watch, { kind: 'events', events: events.slice(0, at), isFragment: true });
    say(watch, { kind: 'events', events: events.slice(at), isFragment: false });
  }

  #look(): void {
    this.topologyChanged();
    const nowMs = this.#clock.monotonicMs();
    if (this.#suspendedAtMs === null) this.#endLeases(nowMs);
    for (const member of this.#members) {
      this.#pump(member);
      const isLed = this.#isLed(member);
      const isLeaderless = this.#leaderlessMs(member) >= LEADERLESS_MS;
      for (const watch of member.watches) {
        if (isLeaderless) {
          member.watches.delete(watch);
          say(watch, { kind: 'closed', reason: `${member.name} has no leader` });
        } else if (isLed && nowMs - watch.saidAtMs >= PROGRESS_MS) {
          watch.saidAtMs = nowMs;
          say(watch, { kind: 'progress', revision: watch.next - 1 });
        }
      }
    }
    this.#clock.after(LOOK_MS, () => this.#look());
  }

  #endLeases(nowMs: number): void {
    for (const [lease, expiresAtMs] of this.#expiresAtMs) {
      if (expiresAtMs > nowMs) continue;
      this.#options.say?.(`etcd: lease ${lease} has run out`);
      this.leaseRevoke(this.#leader.name, lease).catch(() => undefined);
    }
  }
}

function newMember(name: string): Member {
  return {
    ...{ name, isUp: true, isVoter: true, leaderlessAtMs: null, watches: new Set(), waiting: [] },
    ...{ sizeBytes: LIVE_BYTES, inUseBytes: LIVE_BYTES },
  };
}

function say(watch: Watch, message: MemberMessage): void {
  watch.push(watch.sent, message);
  watch.sent += 1;
}
