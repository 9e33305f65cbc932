/**
 * Keeps the estate that maintenance is planned from, and whether each host can be drained and lost, as records and
 * observations change (core/maintenance/evacuability.ts). Questions are answered from the kept model.
 * Guarantees: a change of a record is in the model before any other listener of that change looks; verdicts are worked
 * out in turns of a few ms, with as much time for other work between them; a judgement of a requested change ends after
 * JUDGE_MS at the latest; nothing here writes.
 */
import { CodedError } from '../../../base/errors.ts';
import type { DrainId, GuestClusterName, HostName, VmId } from '../../../base/ids.ts';
import { TurnQueue } from '../../../base/turn-queue.ts';
import type { EstateHost, EstatePolicy, EstateVm } from '../../maintenance/estate.ts';
import type { EstateChange } from '../../maintenance/estate-change.ts';
import {
  affinityRule,
  type EstateSource,
  estateHostOf,
  estateVmOf,
  guestClusterOf,
  type PlanView,
  policyOf,
  runningOn,
  unknownHost,
  writerOf,
} from '../../maintenance/estate-records.ts';
import { type Asked, type Broken, Evacuability, type HostVerdict } from '../../maintenance/evacuability.ts';
import { withWriting } from '../../maintenance/fast-writers.ts';
import type { Model } from '../../maintenance/model.ts';
import type { HostRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import { claimsOf, type DrainRecord, PARALLEL_MOVES } from '../../model/drain.ts';
import type { GuestClusterRecord } from '../../model/guest-cluster.ts';
import { PREFIX, keyOf as recordKey } from '../../model/keys.ts';
import type { HostObservation } from '../../model/observation.ts';
import { affinityGroup, expectedIncarnations, type VmRecord } from '../../model/vm.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Ending } from '../../ports/ending.ts';
import type { Snapshot } from '../../ports/store.ts';

export interface EstateKeeperPorts {
  readonly clock: Clock;
  readonly snapshot: Snapshot;
  /** The index of the same records; it takes each change before the keeper is told of the change. */
  readonly index: ClusterIndex;
  readonly seeHost: (host: HostName) => HostObservation;
}

/** Work in one turn of the event loop, in ms; and in things, if time does not pass during a turn. */
const TURN_MS = 4;
const THINGS_PER_TURN = 64;
/** The time between two turns, in ms: the same time is left to others. */
const GAP_MS = 4;
/** The time between two checks whether every host has answered once, in ms. */
const LOOK_AGAIN_MS = 100;
/** Objects that are taken in as one thing while everything is read. */
const READ_AT_ONCE = 50;
/** The longest time for a judgement, in ms. */
const JUDGE_MS = 10_000;
/** A VM that was admitted is placed by then, in ms. */
const EXPECTED_MS = 30_000;
/** Guarded changes that may wait at once; and how long each may wait, in ms. */
const GUARDED = { what: 'changes that are judged', waitingMax: 500, waitMsMax: 10_000 } as const;
/** Judgements that may wait at once: of changes that are to be made, and of those that somebody only asks about. */
const JUDGEMENTS_MAX = 64;
const CHECKS_MAX = 8;
/** A host that was not asked yet by a new leader is waited for so long before its silence counts, in ms. */
const FIRST_LOOK_MS = 10_000;

/** A change that somebody wants to make, and its consequences. */
interface Judgement {
  readonly changes: readonly EstateChange[];
  readonly looked: Set<string>;
  readonly broken: Broken[];
  readonly resolve: (broken: readonly Broken[]) => void;
  readonly reject: (error: Error) => void;
  /** Ends its deadline and its abort listener before it is made. */
  readonly cancel: () => void;
}

/** The host on which a VM is expected. */
interface Expected {
  readonly host: HostName;
  readonly cancel: () => void;
}

/** See the module's comment. One per leader; `stop` is final. */
export class EstateKeeper {
  readonly #ports: EstateKeeperPorts;
  readonly #source: EstateSource;
  readonly #evacuability: Evacuability;
  readonly #groups = new Map<string, Set<VmId>>();
  readonly #groupOf = new Map<VmId, string>();
  readonly #expected = new Map<VmId, Expected>();
  readonly #guarded: TurnQueue;
  readonly #owing = new Set<VmId>();
  readonly #bound = new Set<VmId>();
  /** Hosts on which a drain was promised memory. */
  readonly #claimedBy = new Map<DrainId, ReadonlySet<HostName>>();
  #reading: Iterator<void> | null = null;
  #isRead = false;
  #hasLooked = false;
  #unreadable = 0;
  #judgements: Judgement[] = [];
  /** Judgements of changes that are not to be made: they come after all others, and take no place in their queue. */
  #checks: Judgement[] = [];
  #cancel: (() => void) | null = null;
  #isStopped = false;
  #startedMs = 0;
  /** When the last turn ended. */
  #endedMs = 0;

  constructor(ports: EstateKeeperPorts) {
    this.#ports = ports;
    const { clock, snapshot, index, seeHost } = ports;
    this.#guarded = new TurnQueue({ ...GUARDED, monotonicMs: () => clock.monotonicMs() });
    // How fast guests write is measured for plans that are to be run.
    this.#source = { snapshot, index, seeHost, dirtyRateOf: () => null };
    this.#evacuability = new Evacuability(policyOf({ drain: null, parallel: PARALLEL_MOVES }));
  }

  /** Reads everything, in turns. */
  start(): void {
    this.#startedMs = this.#ports.clock.monotonicMs();
    this.#readAnew();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
    this.#cancel = null;
    for (const { cancel } of this.#expected.values()) cancel();
    for (const judgement of [...this.#judgements, ...this.#checks])
      this.#end(judgement, notNow('this control node no longer leads'));
  }

  /** True once every verdict is that of the records and observations as they are. */
  get isSettled(): boolean {
    return this.#isRead && this.#reading === null && this.#evacuability.isSettled;
  }

  /** Verdicts that are to be looked at. */
  get unsettled(): number {
    return this.#evacuability.unsettled;
  }

  /** The verdict on a host, at most some hundred ms old; null: none yet. */
  verdict(host: HostName): HostVerdict | null {
    return this.#isKnown ? this.#evacuability.lastVerdict(host) : null;
  }

  /**
   * The estate in the form that a plan needs, valid until the next change; null: it is not read yet. `view.drain`: the
   * drain's own claims do not count. Measured guests count with their measured rates.
   */
  model({ drain, parallel, dirtyRateOf, lost = new Set() }: PlanView): Model | null {
    if (!this.#isRead) return null;
    const policy: EstatePolicy = policyOf({ drain, parallel });
    const { model } = this.#evacuability;
    const own = drain === null ? [] : [...(this.#claimedBy.get(drain) ?? [])];
    const hosts = own.flatMap((name) => {
      const record = this.#record(name);
      return record === null ? [] : estateHostOf(record, this.#source, { drain });
    });
    const measured = { ...this.#source, dirtyRateOf };
    const vms = model.vms.flatMap((vm) => {
      const record = vm === null ? null : this.#ports.index.vm(vm.id);
      if (vm === null || record === null || dirtyRateOf(record) === null) return [];
      return withWriting(vm, record, writerOf(record, measured, policy));
    });
    // A VM that is only expected cannot be moved; its room is kept.
    return model.under(policy, { hosts, vms, lost, absent: this.#expected.keys() });
  }

  /**
   * A copy of the estate that verdicts are made from, for work that takes many turns; null: the records are not read
   * yet. VMs that are expected are in the copy as if they ran.
   */
  copy(): Model | null {
    return this.#isRead ? this.#evacuability.model.copy() : null;
  }

  /**
   * What changes would break: verdicts that are yes, and would be no. Answered in the keeper's own turns. `check`: the
   * changes are not to be made, and nobody waits for the answer once its signal aborts. CodedError 'unavailable' if
   * there is no answer in time, if too many wait, and after the signal.
   */
  judge(changes: readonly EstateChange[], check?: { readonly signal: Ending }): Promise<readonly Broken[]> {
    const signal = check?.signal;
    const [list, max] = signal === undefined ? [this.#judgements, JUDGEMENTS_MAX] : [this.#checks, CHECKS_MAX];
    if (this.#isStopped || list.length >= max)
      return Promise.reject(
        notNow(this.#isStopped ? 'this control node no longer leads' : 'many others are asked for'),
      );
    if (signal?.aborted === true) return Promise.reject(notNow('the caller no longer waits'));
    return new Promise((resolve, reject) => {
      const aborted = (): void => this.#end(judgement, notNow('the caller no longer waits'));
      const cancelTimer = this.#ports.clock.after(JUDGE_MS, () =>
        this.#end(judgement, notNow('the verdicts are not settled yet')),
      );
      const cancel = (): void => {
        cancelTimer();
        signal?.removeEventListener('abort', aborted);
      };
      const judgement: Judgement = { changes, resolve, reject, cancel, looked: new Set(), broken: [] };
      signal?.addEventListener('abort', aborted, { once: true });
      list.push(judgement);
      this.#wakeSoon();
    });
  }

  /**
   * Runs `act` after every guarded change that was asked for before it: the changes that are judged, written and
   * expected in one turn are in the estate of the next. CodedError 'unavailable' if that takes too long.
   */
  inTurn<T>(act: () => Promise<T>): Promise<T> {
    return this.#guarded.do(act);
  }

  /** A VM that was just admitted, and that no host has yet, counts as if it ran where it is expected, for some time. */
  expect({ id, host }: Pick<EstateVm, 'id' | 'host'>): void {
    const vm = this.#ports.index.vm(id);
    if (this.#isStopped || vm === null || !isExpected(vm)) return;
    this.#expected.get(id)?.cancel();
    this.#expected.set(id, { host, cancel: this.#ports.clock.after(EXPECTED_MS, () => this.#forget(id)) });
    this.#takeVm(id, vm);
    this.#wake();
  }

  /** The VMs that are expected, as if they ran already. */
  expected(): readonly VmRecord[] {
    return [...this.#expected].flatMap(([id, { host }]) => {
      const vm = this.#ports.index.vm(id);
      return vm === null ? [] : runningOn(vm, host);
    });
  }

  /** The VMs with a debt. */
  owing(): ReadonlySet<VmId> {
    return this.#owing;
  }

  /** The VMs that may be tied to hosts: those with a pin, or a CPU model of their own. */
  bound(): ReadonlySet<VmId> {
    return this.#bound;
  }

  /**
   * A record has changed. If it cannot be read, it may concern VMs and hosts that it does not name: all verdicts are
   * worked out again.
   */
  recordChanged(): void {
    const { size } = this.#ports.snapshot.unreadable;
    if (size === this.#unreadable) return;
    this.#unreadable = size;
    this.#readAnew();
  }

  /** A VM's record has changed. */
  vmChanged(id: VmId, before: VmRecord | null): void {
    const { index } = this.#ports;
    const vm = index.vm(id);
    const hosts = new Set([before, vm].flatMap((one) => (one === null ? [] : hostsOf(one))));
    if (vm === null || !isExpected(vm)) this.#unexpect(id);
    this.#takeVm(id, vm);
    this.#takeGroup(id, vm === null ? null : affinityGroup(vm));
    for (const cluster of new Set([before, vm].flatMap((one) => one?.spec.guestCluster ?? [])))
      this.guestClusterChanged(cluster);
    // The room that drains claim for the VM counts only until the VM is there.
    for (const host of hosts) if (this.#isClaimed(host)) this.hostChanged(host);
    this.#wake();
  }

  /** A host's record, or an observation of it, has changed. */
  hostChanged(name: HostName): void {
    this.#takeHost(name);
    this.#wake();
  }

  guestClusterChanged(name: GuestClusterName): void {
    this.#takeCluster(name, this.#ports.snapshot.guestClusters.get(name)?.value ?? null);
    this.#wake();
  }

  /** A drain's record has changed: hosts have more or less memory for others. */
  drainChanged(id: DrainId, drain: DrainRecord | null): void {
    const before = this.#claimedBy.get(id) ?? new Set();
    const now = new Set(drain === null ? [] : claimsOf(drain).map(({ host }) => host));
    if (now.size === 0) this.#claimedBy.delete(id);
    else this.#claimedBy.set(id, now);
    for (const host of new Set([...before, ...now])) this.hostChanged(host);
  }

  /** Whether verdicts are worth showing: all records were read, and every host was asked once. */
  get #isKnown(): boolean {
    if (this.#hasLooked || !this.#isRead) return this.#hasLooked;
    const { clock, snapshot, seeHost } = this.#ports;
    const isLate = clock.monotonicMs() - this.#startedMs >= FIRST_LOOK_MS;
    this.#hasLooked = isLate || [...snapshot.hosts.keys()].every((name) => seeHost(name).agent !== 'unknown');
    return this.#hasLooked;
  }

  #isClaimed(host: HostName): boolean {
    for (const hosts of this.#claimedBy.values()) if (hosts.has(host)) return true;
    return false;
  }

  #readAnew(): void {
    this.#reading = this.#everything();
    this.#wake();
  }

  /** Takes in all records, some objects at a time; an object that is in the model already changes nothing. */
  *#everything(): Generator<void, void, void> {
    const { snapshot, index } = this.#ports;
    this.#unreadable = snapshot.unreadable.size;
    for (const name of [...snapshot.hosts.keys()]) this.#takeHost(name);
    yield;
    const ids = new Set([...snapshot.vms.keys(), ...this.#groupOf.keys()]);
    for (const vm of this.#evacuability.model.vms) if (vm !== null) ids.add(vm.id);
    for (const key of snapshot.lastReadable.keys())
      if (key.startsWith(PREFIX.vm)) ids.add(key.slice(PREFIX.vm.length) as VmId);
    let taken = 0;
    for (const id of ids) {
      const vm = index.vm(id);
      this.#takeVm(id, vm);
      this.#takeGroup(id, vm === null ? null : affinityGroup(vm));
      taken += 1;
      if (taken % READ_AT_ONCE === 0) yield;
    }
    for (const [name, { value }] of [...snapshot.guestClusters]) {
      this.#takeCluster(name, value);
      taken += 1;
      if (taken % READ_AT_ONCE === 0) yield;
    }
    for (const drain of [...index.drains()]) this.drainChanged(drain.id, drain);
    this.#isRead = true;
  }

  #record(name: HostName): HostRecord | null {
    return this.#ports.index.host(name);
  }

  /** The VM was not placed in time: it counts as its record says. */
  #forget(id: VmId): void {
    this.#unexpect(id);
    this.#takeVm(id, this.#ports.index.vm(id));
    this.#wake();
  }

  #unexpect(id: VmId): void {
    this.#expected.get(id)?.cancel();
    this.#expected.delete(id);
  }

  #takeHost(name: HostName): void {
    const record = this.#record(name);
    const host = this.#hostOrUnknown(name);
    const { model } = this.#evacuability;
    const before = model.hosts[model.host(name)];
    if (before === undefined ? record !== null : !isSame(before, host))
      this.#evacuability.apply({ kind: 'host', host });
  }

  #takeVm(id: VmId, record: VmRecord | null): void {
    noteIn(this.#owing, id, (record?.debts ?? []).length > 0);
    noteIn(this.#bound, id, record !== null && isBound(record));
    const { model } = this.#evacuability;
    const before = model.vms[model.vm(id)] ?? null;
    const expected = this.#expected.get(id);
    const now = record !== null && expected !== undefined ? runningOn(record, expected.host) : record;
    const vm = now === null ? null : estateVmOf(now, this.#ports.snapshot);
    if (vm === null) {
      if (before !== null) this.#evacuability.apply({ kind: 'vm-gone', vm: id });
      return;
    }
    if (before !== null && isSame(before, vm)) return;
    for (const host of [vm.host, vm.movingTo ?? vm.host])
      if (model.host(host) < 0) this.#evacuability.apply({ kind: 'host', host: this.#hostOrUnknown(host) });
    this.#evacuability.apply({ kind: 'vm', vm });
  }

  #hostOrUnknown(name: HostName): EstateHost {
    const record = this.#record(name);
    if (record === null) return unknownHost(name);
    return estateHostOf(record, this.#source, { drain: null });
  }

  #takeGroup(id: VmId, group: string | null): void {
    const before = this.#groupOf.get(id) ?? null;
    if (before === group) return;
    if (before !== null) this.#inGroup(before, id, false);
    if (group === null) this.#groupOf.delete(id);
    else {
      this.#groupOf.set(id, group);
      this.#inGroup(group, id, true);
    }
  }

  #inGroup(name: string, id: VmId, isIn: boolean): void {
    const members = this.#groups.get(name) ?? new Set();
    if (isIn) members.add(id);
    else members.delete(id);
    if (members.size === 0) this.#groups.delete(name);
    else this.#groups.set(name, members);
    const rule = members.size === 0 ? null : affinityRule(name, [...members]);
    this.#evacuability.apply({ kind: 'rule', name, rule });
  }

  #takeCluster(name: GuestClusterName, record: GuestClusterRecord | null): void {
    // A record that cannot be read counts as it was last read.
    if (record === null && this.#ports.snapshot.unreadable.has(recordKey.guestCluster(name))) return;
    const cluster = record === null ? null : guestClusterOf(record, this.#ports.index);
    const before = this.#evacuability.model.cluster(name);
    if (before === null ? cluster !== null : cluster === null || !isSame(before, cluster))
      this.#evacuability.apply({ kind: 'guest-cluster', name, cluster });
  }

  #wake(afterMs = GAP_MS): void {
    if (this.#isStopped) return;
    this.#cancel ??= this.#ports.clock.after(afterMs, () => this.#turn());
  }

  /** Somebody waits: at once where others had their time since the last turn. */
  #wakeSoon(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#wake(Math.max(0, this.#endedMs + GAP_MS - this.#ports.clock.monotonicMs()));
  }

  #turn(): void {
    const { clock } = this.#ports;
    this.#cancel = null;
    const endsAt = clock.monotonicMs() + TURN_MS;
    const isOver = (): boolean => clock.monotonicMs() >= endsAt;
    let isIdle = false;
    for (let things = 0; !isIdle && things < THINGS_PER_TURN && !isOver(); things += 1) isIdle = !this.#step(isOver);
    this.#endedMs = clock.monotonicMs();
    if (!isIdle) this.#wake();
    // A judgement waits until every host was asked once.
    else if (this.#judgements.length + this.#checks.length > 0) this.#wake(LOOK_AGAIN_MS);
  }

  /** Does one thing; false if there is nothing to do. */
  #step(isOver: () => boolean): boolean {
    if (this.#reading !== null) {
      if (this.#reading.next().done === true) this.#reading = null;
      return true;
    }
    if (this.#evacuability.settle(1).length > 0) return true;
    const judgement = this.#judgements[0] ?? this.#checks[0];
    if (judgement === undefined) return false;
    // A host that has not been observed yet is no destination: until then all verdicts are no, and no change breaks
    // one.
    if (!this.#isKnown) return false;
    this.#judgeOn(judgement, isOver);
    return true;
  }

  /** Looks at what one judgement has not looked at yet. */
  #judgeOn(judgement: Judgement, isOver: () => boolean): void {
    const { changes, looked, broken } = judgement;
    const left = this.#evacuability.mayBreak(changes).filter((asked) => !looked.has(keyOf(asked)));
    if (left.length === 0) {
      this.#end(judgement, broken);
      return;
    }
    const outcome = this.#evacuability.judge(changes, left, isOver);
    for (const asked of left.slice(0, outcome.looked)) looked.add(keyOf(asked));
    broken.push(...outcome.broken);
  }

  #end(judgement: Judgement, outcome: readonly Broken[] | Error): void {
    judgement.cancel();
    this.#judgements = this.#judgements.filter((other) => other !== judgement);
    this.#checks = this.#checks.filter((other) => other !== judgement);
    if (outcome instanceof Error) judgement.reject(outcome);
    else judgement.resolve(outcome);
  }
}

function keyOf({ host, question }: Asked): string {
  return `${question} ${host}`;
}

/** Returns true for a VM that is to start, and that no host has yet. */
function isExpected({ phase, intent, deleting }: VmRecord): boolean {
  return phase.kind === 'stopped' && intent !== 'stopped' && !deleting;
}

function isBound({ spec }: VmRecord): boolean {
  return (spec.pin ?? null) !== null || spec.cpuModel !== 'baseline';
}

function noteIn(set: Set<VmId>, id: VmId, isIn: boolean): void {
  if (isIn) set.add(id);
  else set.delete(id);
}

function hostsOf({ phase }: VmRecord): HostName[] {
  return expectedIncarnations(phase).map(({ host }) => host);
}

/** Small records of plain data, made by the same code: their texts are equal where they are. */
function isSame(a: object, b: object): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function notNow(why: string): CodedError {
  return new CodedError('unavailable', `Whether hosts could still be drained and lost is not known now: ${why}.`, {
    advice: 'Nothing was changed. Try again.',
  });
}
