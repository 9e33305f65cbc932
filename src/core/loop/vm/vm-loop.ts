/**
 * Drives every VM: decide, do one thing, decide again, until there is nothing to do.
 *
 * Guarantees: one activation per VM at a time; every activation ends (a bounded number of things); a wake-up during an activation is
 * not lost; a leader that was deposed writes nothing more, since every commit compares its election key.
 */
import { CodedError, messageOf } from '../../../base/errors.ts';
import type { Generation, HostName, StorageName, VmId } from '../../../base/ids.ts';
import type { EventRecord, TaskRecord } from '../../model/cluster.ts';
import { type ClusterIndex, recordsOf } from '../../model/cluster-index.ts';
import type { IncarnationObservation, MigrationTold, QmpObservation } from '../../model/observation.ts';
import { cardsOf, expectedIncarnations, type Incarnation, sharedDisksOf, type VmRecord } from '../../model/vm.ts';
import { type ClusterSituation, type Decision, judgementOf, type VmSituation } from '../../plan/vm/decision.ts';
import { changedBy, type Step } from '../../plan/vm/steps.ts';
import { unreadableFor } from '../../plan/vm/unreadable.ts';
import { decide } from '../../plan/vm/vm-decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { QmpLink } from '../../ports/qmp-link.ts';
import type { Change, Entry, LeaderStore, Snapshot } from '../../ports/store.ts';
import type { DiskPaths } from '../observe/disk-paths.ts';
import type { HostObserver } from '../observe/host-observer.ts';
import { DiskErrorEvents, tryStoragePaths } from './disk-error-events.ts';
import { type Executor, emptyLedger, type Ledger } from './executor.ts';
import { type Draft, isDraft, Newcomers, type Outcome } from './newcomers.ts';
import { noteStanding, orderPatiently } from './patience.ts';
import { hasNothingToAsk, keepsMs } from './qmp-freshness.ts';
import { msUntilLook, steadyIntervalMs } from './steady-looks.ts';

/** A point that a crash story may name: before each step and commit. */
export type CrashPoint = (workflow: string, step: string) => Promise<void>;

export interface VmLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly qmp: QmpLink;
  readonly executor: Executor;
  readonly observer: HostObserver;
  readonly diskPaths: DiskPaths;
  /** Follows the snapshot: whoever changes the one changes the other before anybody decides. */
  readonly index: ClusterIndex;
  readonly storageAnswers: (node: VmSituation['disks'][number]['node']) => boolean;
  readonly pool: VmSituation['cluster']['pool'];
  readonly crashPoint: CrashPoint;
}

/** Things one activation may do before it yields to the next wake-up. */
const THINGS_PER_ACTIVATION = 40;
/** Changes of hosts within this wake those that wait for room once. */
const ROOM_MS = 50;
/** How long a commit waits for a task that the watch has not shown; after that the task does not exist. */
const TASK_LATE_MS = 15_000;
const TASK_LOOK_MS = 200;
/** Until a record is looked at again that is newer than the watch. */
const COMPLETE_LOOK_MS = 20;
/** Between two looks at whether etcd has confirmed the lease, while no order is given without it. */
const LEASE_LOOK_MS = 200;
/** Pause between checks of a VM that depends on an etcd value which is not a valid record, in ms. */
const UNREADABLE_LOOK_MS = 2_000;
/** How often a process that does not end is ordered to end. */
const END_ATTEMPTS = 3;
/** A guest that ran this long after a disk error is over it. */
const DISK_ERROR_OVER_MS = 10_000;

const NONE: ReadonlySet<Generation> = new Set();

interface VmState {
  ledger: Ledger;
  /** Monotonic ms of the last launch acknowledged: older reports say nothing about its process. */
  launchedAt: Map<number, number>;
  qmp: Map<number, { seen: QmpObservation; at: number }>;
  /** What the QEMU of a generation told by itself and has not been asked since, and when (monotonic ms). */
  told: Map<number, { told: MigrationTold; at: number }>;
  active: boolean;
  again: boolean;
  /** The generations of which nothing counts any more that QMP said before. */
  stale: 'all' | ReadonlySet<Generation>;
  cancelTimer: (() => void) | null;
  /** What the timer calls: made once, since there is always one waiting. */
  readonly look: () => void;
  /** Ends a wait for QMP answers that will not come, because the host was found silent. */
  interrupt: (() => void) | null;
  why: string;
  /** How often this leader has fenced: what was asked before a fence tells nothing about afterwards. */
  fences: number;
  /** When this leader committed phase switching, and to which generation (monotonic ms). */
  switched: { readonly generation: number; readonly at: number } | null;
  /** The phase the VM is in, as far as this leader knows, and since when it knows (monotonic ms). */
  phase: { readonly record: VmRecord; readonly since: number } | null;
  /** Since when a commit waits for the watch to show its tasks (monotonic ms), or null. */
  tasksLateSince: number | null;
}

/** Of a look at a VM. Few decisions ask for its disks: they are looked up for those that do. */
class Situation implements VmSituation {
  readonly vm: VmRecord;
  readonly see: VmSituation['see'];
  readonly diskPath: VmSituation['diskPath'];
  readonly acknowledged: VmSituation['acknowledged'];
  readonly cluster: ClusterSituation;
  readonly now: number;
  readonly monotonicMs: number;
  readonly phaseForMs: number;
  readonly #snapshot: Snapshot;

  constructor(snapshot: Snapshot, parts: Omit<VmSituation, 'disks'>) {
    this.#snapshot = snapshot;
    this.vm = parts.vm;
    this.see = parts.see;
    this.diskPath = parts.diskPath;
    this.acknowledged = parts.acknowledged;
    this.cluster = parts.cluster;
    this.now = parts.now;
    this.monotonicMs = parts.monotonicMs;
    this.phaseForMs = parts.phaseForMs;
  }

  get disks(): VmSituation['disks'] {
    return this.#snapshot.disksOf(this.vm.id);
  }
}

/** One per leader: wakes, decides and carries out, VM by VM. `stop` is final. */
export class VmLoop {
  readonly #ports: VmLoopPorts;
  readonly #states = new Map<VmId, VmState>();
  readonly #cluster: ClusterSituation;
  /** VMs whose last decision was that no host can take them. */
  readonly #waiting = new Set<VmId>();
  #waitingWoken = false;
  readonly #newcomers: Newcomers;
  readonly #diskErrors: DiskErrorEvents;
  #stopped = false;

  constructor(ports: VmLoopPorts) {
    this.#ports = ports;
    const { index, observer, store, storageAnswers, pool } = ports;
    this.#newcomers = new Newcomers(store, index);
    this.#diskErrors = new DiskErrorEvents(ports);
    this.#cluster = {
      index,
      seeHost: (host) => observer.see(host),
      areAllHostsAsked: () => observer.areAllAsked,
      storageAnswers,
      isLost: (node) => store.snapshot.storage.get(node)?.value.lost !== undefined,
      pool,
      storageCutFrom: (host) => observer.storageCutFrom(host),
      hostsWithStorageCut: () => observer.hostsWithStorageCut(),
      seesRunning: (vm) => this.seesRunning(vm),
    };
    ports.qmp.onEvent(({ vm, generation }, told) => this.#hear(vm, generation, told));
  }

  /** Ends the loop: running activations finish their present step and stop. */
  stop(): void {
    this.#stopped = true;
    for (const state of this.#states.values()) state.cancelTimer?.();
  }

  /** Looks at a VM soon. `fresh`: what QMP said before, of all its generations or of this one, counts no more. */
  wake(id: VmId, { fresh }: { fresh?: 'all' | Generation } = {}): void {
    if (this.#stopped) return;
    const state = this.#state(id);
    if (fresh !== undefined) state.stale = withStale(state.stale, fresh);
    state.cancelTimer?.();
    state.cancelTimer = null;
    if (state.active) {
      state.again = true;
      if (fresh !== undefined) state.interrupt?.();
      return;
    }
    state.active = true;
    void this.#activate(id, state);
  }

  /** What a QEMU tells of its migration takes the place of its last answer: to be asked would hold up the guest, which stands still meanwhile. */
  #hear(id: VmId, generation: Generation, told: MigrationTold | null): void {
    if (this.#stopped) return;
    const state = this.#state(id);
    if (told === null) {
      state.told.delete(generation);
      this.wake(id, { fresh: generation });
    } else {
      state.told.set(generation, { told, at: this.#ports.clock.monotonicMs() });
      state.qmp.delete(generation);
      state.interrupt?.();
      this.wake(id);
    }
  }

  /** Looks at every VM that has something on `host`, and at those that no host could take. */
  wakeHost(host: HostName): void {
    for (const id of this.#ports.index.vmsOn(host)) this.wake(id, { fresh: 'all' });
    this.wakeWaiting();
  }

  /** Looks at every VM with a disk on `node`. */
  wakeNode(node: StorageName): void {
    for (const id of this.#ports.index.vmsWithDisksOn(node)) this.wake(id, { fresh: 'all' });
  }

  /** Looks at the VMs that no host could take: once for all changes of a moment. */
  wakeWaiting(): void {
    if (this.#waitingWoken || this.#waiting.size === 0 || this.#stopped) return;
    this.#waitingWoken = true;
    this.#ports.clock.after(ROOM_MS, () => {
      this.#waitingWoken = false;
      for (const id of [...this.#waiting]) this.wake(id);
    });
  }

  wakeAll(): void {
    for (const id of this.#ports.store.snapshot.vms.keys()) this.wake(id, { fresh: 'all' });
  }

  /** What is seen of an incarnation, for people and for verdicts. */
  see(vm: VmRecord, incarnation: Incarnation): IncarnationObservation {
    const { observer, clock } = this.#ports;
    const state = this.#states.get(vm.id);
    const host = observer.see(incarnation.host);
    const since = state?.launchedAt.get(incarnation.generation) ?? 0;
    const noted = state?.qmp.get(incarnation.generation);
    let qmp: QmpObservation =
      noted === undefined ? { kind: 'unknown' } : aged(noted.seen, clock.monotonicMs() - noted.at);
    if (host.kernel.kind === 'silent' && host.agent === 'silent')
      qmp = { kind: 'silent', paths: host.kernel.paths, ageMs: 0 };
    return {
      incarnation,
      process: observer.processState(incarnation.host, vm.id, incarnation.generation, since),
      qmp,
      told: state?.told.get(incarnation.generation)?.told ?? null,
      host,
    };
  }

  /** Why this VM is not further, in words. */
  whyOf(id: VmId): string {
    return this.#states.get(id)?.why ?? '';
  }

  /** The situation a decision is made from; also what verdicts shown to people are made from. */
  situation(vm: VmRecord): VmSituation {
    const { store, clock } = this.#ports;
    return new Situation(store.snapshot, {
      vm,
      see: (incarnation) => this.see(vm, incarnation),
      diskPath: (host) => this.#ports.diskPaths.see(vm.id, host),
      acknowledged: this.#states.get(vm.id)?.ledger ?? emptyLedger(),
      cluster: this.#cluster,
      now: clock.wallMs(),
      monotonicMs: clock.monotonicMs(),
      phaseForMs: this.#phaseFor(vm),
    });
  }

  /** Whether the current incarnation of a VM is in phase running and seen to run its guest. */
  seesRunning(vm: VmRecord): boolean {
    const { phase } = vm;
    return phase.kind === 'running' && judgementOf(this.situation(vm), phase.incarnation).verdict === 'running';
  }

  #phaseFor(vm: VmRecord): number {
    const known = this.#states.get(vm.id)?.phase ?? null;
    return known !== null && isSamePhase(known.record, vm) ? this.#ports.clock.monotonicMs() - known.since : 0;
  }

  #notePhase(vm: VmRecord, state: VmState): void {
    if (state.phase !== null && isSamePhase(state.phase.record, vm)) return;
    state.phase = { record: vm, since: this.#ports.clock.monotonicMs() };
  }

  #state(id: VmId): VmState {
    let state = this.#states.get(id);
    if (state === undefined) {
      state = {
        ledger: emptyLedger(),
        launchedAt: new Map(),
        qmp: new Map(),
        told: new Map(),
        active: false,
        again: false,
        stale: 'all',
        cancelTimer: null,
        look: () => this.wake(id),
        interrupt: null,
        why: '',
        fences: 0,
        switched: null,
        phase: null,
        tasksLateSince: null,
      };
      this.#states.set(id, state);
    }
    return state;
  }

  async #activate(id: VmId, state: VmState): Promise<void> {
    let againInMs: number | null = null;
    try {
      do {
        state.again = false;
        againInMs = await this.#rounds(id, state);
      } while (state.again && !this.#stopped);
    } catch (error) {
      this.#ports.log.warn('activation failed', { vm: id, error: messageOf(error) });
      againInMs = 1_000;
    } finally {
      state.active = false;
    }
    if (againInMs !== null && !this.#stopped) state.cancelTimer = this.#ports.clock.after(againInMs, state.look);
    if (againInMs === null) {
      this.#ports.diskPaths.forget(id);
      this.#states.delete(id);
      this.#diskErrors.over(id);
      this.#waiting.delete(id);
    }
  }

  /** Does things until a decision says wait; the answer is the time until the next look, or null when the VM is gone. */
  async #rounds(id: VmId, state: VmState): Promise<number | null> {
    for (let things = 0; things < THINGS_PER_ACTIVATION && !this.#stopped; things++) {
      const entry = this.#ports.store.snapshot.vms.get(id);
      if (entry === undefined) return null;
      this.#notePhase(entry.value, state);
      // Also without a question: nothing is decided while whoever woke it is still changing things.
      await (this.#refresh(entry.value, state) ?? undefined);
      // The term may be over by now, or the record another one: what is decided from it would be late.
      if (this.#stopped) return null;
      if (this.#ports.store.snapshot.vms.get(id)?.revision !== entry.revision) continue;
      const unreadable = unreadableFor(entry.value, this.#ports.store.snapshot);
      if (unreadable !== null) {
        state.why = unreadable;
        return UNREADABLE_LOOK_MS;
      }
      const situation = this.situation(entry.value);
      noteStanding(situation, state.ledger);
      const decision = decide(situation);
      if (decision.kind === 'wait') {
        state.why = decision.why;
        if (decision.forRoom === true) this.#waiting.add(id);
        else this.#waiting.delete(id);
        // What has no QEMU has nothing to be asked about either.
        return entry.value.phase.kind === 'stopped'
          ? decision.againInMs
          : msUntilLook(id, decision.againInMs, this.#ports.clock.monotonicMs(), this.#intervalMs());
      }
      this.#waiting.delete(id);
      const outcome = await this.#carryOut(entry, decision, state);
      if (outcome !== 'on') return outcome;
    }
    return 100;
  }

  async #carryOut(
    entry: Entry<VmRecord>,
    decision: Exclude<Decision, { kind: 'wait' }>,
    state: VmState,
  ): Promise<Outcome> {
    const vm = entry.value;
    if (decision.kind === 'do') {
      await this.#ports.crashPoint(workflowOf(vm), decision.step.do);
      if (!this.#ports.store.leads()) return this.#withhold(vm, decision.step, state);
      return (await this.#perform(vm, decision.step, state)) ? 'on' : 500;
    }
    await this.#ports.crashPoint(...commitPoint(vm, decision));
    if (decision.kind === 'remove' || decision.vm.generation === vm.generation)
      return this.#commit(entry, decision, state);
    if (this.#isHalfKnown(entry)) return COMPLETE_LOOK_MS;
    // A new incarnation takes room and a slot: each is decided with those before it counted.
    return this.#newcomers.commit(() => this.#draft(entry, decide(this.situation(vm)), state));
  }

  /**
   * After a conflict a record may be newer than the watch. Where it names a guest cluster or shared disks, what was written together with it
   * (the other members, the cluster's limits) must be known before it is placed.
   */
  #isHalfKnown({ value: vm, revision }: Entry<VmRecord>): boolean {
    const isAlone = (vm.spec.guestCluster ?? null) === null && sharedDisksOf(vm).length === 0;
    return !isAlone && this.#ports.store.snapshot.completeRevision < revision;
  }

  /** A deposed leader's order would be refused, or harmless, and disturb all the same. */
  #withhold(vm: VmRecord, step: Step, state: VmState): number {
    const why = 'Whether this control node still leads is not certain: etcd does not confirm its lease.';
    if (state.why !== why)
      this.#ports.log.warn('an order is not given: the lease has run out', { vm: vm.id, step: step.do });
    state.why = why;
    return LEASE_LOOK_MS;
  }

  async #commit(entry: Entry<VmRecord>, decision: Decision, state: VmState): Promise<Outcome> {
    const draft = this.#draft(entry, decision, state);
    if (!isDraft(draft)) return draft;
    return draft.concluded(await this.#ports.store.commit({ changes: draft.changes, events: [draft.event] }));
  }

  /** What is to be committed for a decision, or how to go on without. */
  #draft(entry: Entry<VmRecord>, decision: Decision, state: VmState): Draft | Outcome {
    const vm = entry.value;
    // The store compares with the snapshot of this instant: what was decided from an older record must not replace a newer one.
    const isNewest = this.#ports.store.snapshot.vms.get(vm.id)?.revision === entry.revision;
    if (!isNewest || decision.kind === 'wait' || decision.kind === 'do') return 'on';
    if (this.#tasksAreLate(vm, decision, state)) return TASK_LOOK_MS;
    const next = decision.kind === 'commit' ? decision.vm.generation : 0;
    if (next !== 0 && next !== vm.generation) this.#ports.executor.beginIssuing(vm, next, state.ledger);
    return {
      before: vm,
      after: decision.kind === 'remove' ? null : decision.vm,
      changes: this.#changesOf(vm, decision),
      event: this.#eventOf(vm, decision),
      concluded: (result) => {
        if (result === 'deposed') return 60_000;
        if (result === 'committed') this.#committed(vm, decision, state);
        return decision.kind === 'remove' && result === 'committed' ? null : 'on';
      },
    };
  }

  /** After a conflict a record may be newer than the watch: the task made with it must be seen, or it would never be ended. */
  #tasksAreLate(vm: VmRecord, decision: Exclude<Decision, { kind: 'wait' | 'do' }>, state: VmState): boolean {
    const { clock, store } = this.#ports;
    const { tasks } = store.snapshot;
    const areSeen =
      decision.kind === 'commit'
        ? (decision.tasks ?? []).every(({ id }) => tasks.has(id))
        : deletionTasks(tasks, vm).length > 0;
    if (areSeen) {
      state.tasksLateSince = null;
      return false;
    }
    state.tasksLateSince ??= clock.monotonicMs();
    return clock.monotonicMs() - state.tasksLateSince < TASK_LATE_MS;
  }

  #committed(vm: VmRecord, decision: Exclude<Decision, { kind: 'wait' | 'do' }>, state: VmState): void {
    this.#ports.log.info(decision.event.message, { vm: vm.id, event: decision.event.kind });
    state.ledger.failure = null;
    state.ledger.reset = null;
    if (decision.kind === 'commit' && decision.vm.phase.kind === 'switching')
      state.switched = { generation: decision.vm.phase.destination.generation, at: this.#ports.clock.monotonicMs() };
    if (decision.kind === 'remove' || decision.vm.phase !== vm.phase) {
      const expected =
        decision.kind === 'remove' ? [] : expectedIncarnations(decision.vm.phase).map(({ generation }) => generation);
      for (const { generation } of expectedIncarnations(vm.phase))
        if (!expected.includes(generation)) this.#forget(vm, generation, state);
      // Of a generation that this very transaction made there is no process yet to be asked.
      const at = this.#ports.clock.monotonicMs();
      for (const generation of expected.filter((each) => each > vm.generation)) {
        state.qmp.set(generation, { seen: { kind: 'unknown' }, at });
        state.ledger.neverContinued.set(generation, null);
      }
    }
  }

  #forget(vm: VmRecord, generation: Incarnation['generation'], state: VmState): void {
    this.#ports.qmp.forget(vm.id, generation);
    this.#diskErrors.over(vm.id);
    state.qmp.delete(generation);
    state.told.delete(generation);
    state.launchedAt.delete(generation);
    state.ledger.neverContinued.delete(generation);
  }

  async #perform(vm: VmRecord, step: Step, state: VmState): Promise<boolean> {
    const { clock, log } = this.#ports;
    try {
      const performing = orderPatiently(this.#ports, vm, step, state.ledger);
      // Asked while storage fences what is below it: it is decided upon next, and its guest stands still.
      if (step.do === 'fence' && vm.phase.kind === 'switching')
        this.#ask(vm, [vm.phase.destination], state).catch(() => undefined);
      await performing;
      if (step.do === 'launch') state.launchedAt.set(step.incarnation.generation, clock.monotonicMs());
      state.ledger.failure = null;
      const changed = changedBy(step);
      if (changed !== null) state.stale = withStale(state.stale, changed.generation);
      // Who is not below it goes on as before: a guest that has just moved does not wait for its own QEMU.
      if (step.do === 'fence') {
        state.fences++;
        for (const generation of state.qmp.keys()) if (generation < step.below) state.qmp.delete(generation);
        for (const generation of state.told.keys()) if (generation < step.below) state.told.delete(generation);
      }
      if (step.do === 'cont') this.#noteContinued(step.incarnation, state);
      if (step.do === 'power-down') state.ledger.poweredDown.set(step.incarnation.generation, clock.monotonicMs());
      // Asked once from here on: whether it is reached at all. What it said before the stream says nothing about that.
      if (step.do === 'send') state.qmp.delete(step.destination.generation);
      return true;
    } catch (error) {
      const before = state.ledger.failure;
      const count = before !== null && before.step.do === step.do ? before.count + 1 : 1;
      const host = 'incarnation' in step ? step.incarnation.host : null;
      const code = error instanceof CodedError ? error.code : null;
      if (step.do === 'end' && count >= END_ATTEMPTS) state.ledger.resisted.add(step.incarnation.generation);
      state.ledger.failure = { step, message: messageOf(error), code, at: clock.monotonicMs(), count, host };
      state.why = `${step.do} failed: ${messageOf(error)}`;
      state.stale = 'all';
      log.warn('step failed', { vm: vm.id, name: vm.name, step: step.do, count, error: messageOf(error) });
      // A failed launch is decided upon at once: another host may take it.
      return step.do === 'launch';
    }
  }

  #noteContinued({ generation }: Incarnation, { ledger, switched }: VmState): void {
    const { clock } = this.#ports;
    if (switched?.generation === generation)
      ledger.continued = { generation, afterMs: clock.monotonicMs() - switched.at };
    if (ledger.diskError === null) return;
    ledger.diskError = { ...ledger.diskError, continuedAt: clock.monotonicMs() };
    // A disk that fails again may no longer be served.
    ledger.granted.delete(generation);
  }

  /** Asks QMP where what is known is too old for the phase; null where there is nothing to wait for. */
  #refresh(vm: VmRecord, state: VmState): Promise<void> | null {
    const { stale } = state;
    state.stale = NONE;
    const asked = expectedIncarnations(vm.phase).filter((incarnation) =>
      this.#isToBeAsked(vm, incarnation, state, stale),
    );
    const asking = asked.length > 0 ? this.#ask(vm, asked, state) : null;
    const { phase } = vm;
    if (phase.kind !== 'running') return asking;
    // Almost always there is no disk error, before or now.
    if (asking === null) return this.#noteDiskError(vm, phase.incarnation, state);
    return asking.then(() => this.#noteDiskError(vm, phase.incarnation, state) ?? undefined);
  }

  #isToBeAsked(vm: VmRecord, { generation, host }: Incarnation, state: VmState, stale: VmState['stale']): boolean {
    const { observer, clock } = this.#ports;
    // A host that may be gone is asked on all paths by the observer first; waiting for its QEMUs would only delay the verdict.
    if (observer.mayBeGone(host)) return false;
    const { ledger, told } = state;
    const isStale = stale === 'all' || stale.has(generation);
    const around = { generation, isStale, ledger, told: told.values(), now: clock.monotonicMs() };
    if (hasNothingToAsk(vm.phase, around)) return false;
    const noted = state.qmp.get(generation);
    if (vm.phase.kind === 'starting' && !ledger.launched.has(generation)) {
      // Before its launch there is nobody to ask; where that fails or cannot be tried, the leader before may have launched it.
      const isLaunchDoubtful = ledger.failure?.step.do === 'launch' || observer.see(host).agent === 'silent';
      if (!isLaunchDoubtful && noted?.seen.kind !== 'answers') return false;
    }
    if (noted === undefined || isStale) return true;
    const lasts = keepsMs(noted.seen, generation, { phase: vm.phase, ledger, intervalMs: this.#intervalMs() });
    return clock.monotonicMs() - noted.at > lasts;
  }

  #intervalMs(): number {
    return steadyIntervalMs(this.#ports.store.snapshot.vms.size);
  }

  /** Asks all of them; ends early where the wait is interrupted, and then looks again at what is answered later. */
  #ask(vm: VmRecord, asked: readonly Incarnation[], state: VmState): Promise<void> {
    const { clock, qmp, executor } = this.#ports;
    const { fences } = state;
    const askedAt = clock.monotonicMs();
    return new Promise((resolve, reject) => {
      let left = asked.length;
      let isOver = false;
      const end = (): void => {
        isOver = true;
        if (state.interrupt === end) state.interrupt = null;
        resolve();
      };
      state.interrupt = end;
      for (const incarnation of asked) {
        qmp.observe(executor.target(vm, incarnation)).then((seen) => {
          const { generation } = incarnation;
          if (state.fences !== fences && generation < state.ledger.fencedBelow) return;
          state.qmp.set(generation, { seen, at: clock.monotonicMs() });
          if ((state.told.get(generation)?.at ?? Infinity) <= askedAt) state.told.delete(generation);
          if (isOver) this.wake(vm.id);
          else if (--left === 0) end();
        }, reject);
      }
    });
  }

  /** Keeps since when a guest is paused by a disk error; one that has run for a while since it was continued has none. */
  #noteDiskError(vm: VmRecord, incarnation: Incarnation, state: VmState): Promise<void> | null {
    const { diskError } = state.ledger;
    const seen = state.qmp.get(incarnation.generation)?.seen;
    const mayHaveOne = seen?.kind === 'answers' && seen.status === 'io-error';
    if (diskError === null && !mayHaveOne) return null;
    const { verdict } = judgementOf(this.situation(vm), incarnation);
    const now = this.#ports.clock.monotonicMs();
    if (verdict === 'disk-error') {
      state.ledger.diskError = diskError ?? { since: now, continuedAt: null };
      this.#diskErrors.paused(this.situation(vm), incarnation, state.ledger.diskError.since);
      return tryStoragePaths(vm.id, incarnation.host, this.#ports);
    }
    if (verdict === 'running' && now - (diskError?.continuedAt ?? 0) > DISK_ERROR_OVER_MS) {
      state.ledger.diskError = null;
      this.#diskErrors.over(vm.id);
      this.#ports.diskPaths.forget(vm.id);
    }
    return null;
  }

  #changesOf(vm: VmRecord, decision: Exclude<Decision, { kind: 'wait' | 'do' }>): Change[] {
    const { snapshot } = this.#ports.store;
    const changes: Change[] = [{ kind: 'vm', id: vm.id, value: decision.kind === 'remove' ? null : decision.vm }];
    if (decision.kind === 'remove') {
      // Two NICs in one network are one change: etcd refuses a transaction that writes a key twice.
      for (const network of new Set(cardsOf(vm).map((card) => card.network))) {
        const record = snapshot.networks.get(network)?.value;
        if (record === undefined) continue;
        const reservations = Object.fromEntries(
          Object.entries(record.reservations).filter(([, { vm: owner }]) => owner !== vm.id),
        );
        changes.push({ kind: 'network', id: network, value: { ...record, reservations } });
      }
      return [...changes, ...this.#taskChanges(deletionTasks(snapshot.tasks, vm))];
    }
    if (decision.quarantine !== undefined) {
      const host = snapshot.hosts.get(decision.quarantine.host)?.value;
      if (host !== undefined && host.quarantine === null) {
        const quarantine = { since: this.#ports.clock.wallMs(), reason: decision.quarantine.reason };
        changes.push({ kind: 'host', id: host.name, value: { ...host, quarantine } });
      }
    }
    return [...changes, ...this.#taskChanges(decision.tasks ?? [])];
  }

  #taskChanges(outcomes: readonly TaskEnd[]): Change[] {
    return outcomes.flatMap((outcome): Change[] => {
      const task = this.#ports.store.snapshot.tasks.get(outcome.id)?.value;
      if (task === undefined || task.state !== 'running') return [];
      const { state, message } = outcome;
      const value: TaskRecord = { ...task, state, message, progressPercent: 100, endedAt: this.#ports.clock.wallMs() };
      return [{ kind: 'task', id: task.id, value }];
    });
  }

  #eventOf(vm: VmRecord, decision: Exclude<Decision, { kind: 'wait' | 'do' }>): EventRecord {
    const record = decision.kind === 'remove' ? vm : decision.vm;
    const [current] = expectedIncarnations(record.phase);
    return {
      at: this.#ports.clock.wallMs(),
      kind: decision.event.kind,
      vm: vm.id,
      vmName: vm.name,
      host: current?.host ?? null,
      generation: current?.generation ?? null,
      message: decision.event.message,
    };
  }
}

/** False when the VM came into its phase anew between the two. */
function isSamePhase(one: VmRecord, other: VmRecord): boolean {
  return (
    one === other ||
    (one.phase.kind === other.phase.kind && one.generation === other.generation && one.phaseSince === other.phaseSince)
  );
}

function withStale(before: VmState['stale'], fresh: 'all' | Generation): VmState['stale'] {
  return before === 'all' || fresh === 'all' ? 'all' : new Set([...before, fresh]);
}

function aged(seen: QmpObservation, ms: number): QmpObservation {
  return seen.kind === 'unknown' ? seen : { ...seen, ageMs: Math.round(ms) };
}

type TaskEnd = Pick<TaskRecord, 'id' | 'state' | 'message'>;

function deletionTasks(tasks: ReadonlyMap<TaskRecord['id'], Entry<TaskRecord>>, vm: VmRecord): TaskEnd[] {
  return [...recordsOf(tasks)]
    .filter(({ kind, state, target }) => kind === 'vm.delete' && state === 'running' && target.name === vm.name)
    .map(({ id }) => ({ id, state: 'succeeded', message: 'Deleted.' }));
}

/** The crash point before a commit: a workflow's first transaction belongs to it, not to what went before. */
function commitPoint(vm: VmRecord, decision: Exclude<Decision, { kind: 'wait' | 'do' }>): [string, string] {
  if (decision.kind === 'remove') return [workflowOf(vm), 'commit:removed'];
  const { kind } = decision.vm.phase;
  const begins = kind === 'starting' || kind === 'stopping' || kind === 'migrating';
  return [workflowOf(begins ? decision.vm : vm), `commit:${kind}`];
}

/** Which table of WORKFLOWS the present phase belongs to, for crash points. */
function workflowOf({ phase }: VmRecord): string {
  switch (phase.kind) {
    case 'stopped':
      return 'start';
    case 'starting':
      return phase.reason === 'requested' || phase.reason === 'launch-failed' ? 'start' : 'recover';
    case 'running':
      return 'running';
    case 'stopping':
      return 'stop';
    case 'migrating':
    case 'switching':
    case 'unwinding':
      return 'migrate';
  }
}
