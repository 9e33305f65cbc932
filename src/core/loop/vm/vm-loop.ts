/**
 * Drives every VM: decide, do one thing, decide again, until there is nothing to do. `Schedule` decides when a VM is
 * looked at, `Evidence` keeps the knowledge of its incarnations, `Commits` writes decisions, and the `Executor` gives
 * orders.
 * Guarantees: one activation per VM at a time; every activation ends (it has a bounded number of steps); a wake-up
 * during an activation is not lost; a deposed leader writes nothing more, since every commit compares its election key.
 */
import type { DiskId, Generation, HostName, StorageName, VmId } from '../../../base/ids.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import { noticeEventId } from '../../model/move-notice.ts';
import type { IncarnationObservation, MigrationTold } from '../../model/observation.ts';
import { vmOfInitiator } from '../../model/shared-disk-identity.ts';
import { currentIncarnation, type Incarnation, sharedDisksOf, type VmRecord } from '../../model/vm.ts';
import { type ClusterSituation, type Decision, judgementOf, type VmSituation } from '../../plan/vm/decision.ts';
import { NOTHING_ACKNOWLEDGED, type Step } from '../../plan/vm/steps.ts';
import { unreadableFor } from '../../plan/vm/unreadable.ts';
import { decide } from '../../plan/vm/vm-decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { GuestAgentLink } from '../../ports/guest-agent-link.ts';
import type { Log } from '../../ports/log.ts';
import type { QmpLink } from '../../ports/qmp-link.ts';
import type { Entry, LeaderStore, Snapshot } from '../../ports/store.ts';
import type { DiskPaths } from '../observe/disk-paths.ts';
import type { HostObserver } from '../observe/host-observer.ts';
import { Commits } from './commits.ts';
import { DiskErrors } from './disk-errors.ts';
import { Evidence, unaskedObservation } from './evidence.ts';
import type { Executor } from './executor.ts';
import type { Outcome } from './newcomers.ts';
import { orderPatiently } from './patience.ts';
import { Questions } from './questions.ts';
import { ReadyChecks } from './ready-checks.ts';
import { Schedule } from './schedule.ts';
import { msUntilLook, steadyIntervalMs } from './steady-looks.ts';
import type { WrittenDecision } from './transaction.ts';
import { type CrashPoint, commitPoint, stepPoint } from './workflow-names.ts';

export interface VmLoopPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly qmp: QmpLink;
  readonly executor: Executor;
  readonly observer: HostObserver;
  readonly diskPaths: DiskPaths;
  /** Follows the snapshot: code that changes the one changes the other before any decision. */
  readonly index: ClusterIndex;
  readonly storageAnswers: ClusterSituation['storageAnswers'];
  readonly pool: ClusterSituation['pool'];
  readonly crashPoint: CrashPoint;
  /** The reason, in words, why it is not known yet which incarnation of a restored VM runs. */
  readonly whyRestored: (vm: VmId) => string;
  readonly guestAgents: GuestAgentLink;
}

/** Things one activation may do before it yields to the next wake-up. */
const THINGS_PER_ACTIVATION = 40;
/** The time until the next look at a VM whose activation used up all its steps, in ms. */
const YIELD_MS = 100;
/** The time until the next look at a VM after a step that failed, in ms. */
const STEP_FAILED_MS = 500;
/** The time between two checks whether etcd has confirmed the lease, in ms, while no order is given without it. */
const LEASE_LOOK_MS = 200;
/** Between checks of a VM that depends on an etcd value which is not a valid record, in ms. */
const UNREADABLE_LOOK_MS = 2_000;

const NO_NOTICE: VmSituation['notice'] = { knownForMs: 0, isAcknowledged: false };

/** One look at a VM. Few decisions ask for its disks: they are looked up for those that do. */
class Situation implements VmSituation {
  readonly vm: VmRecord;
  readonly see: VmSituation['see'];
  readonly diskPath: VmSituation['diskPath'];
  readonly acknowledged: VmSituation['acknowledged'];
  readonly cluster: ClusterSituation;
  readonly now: number;
  readonly monotonicMs: number;
  readonly phaseForMs: number;
  readonly notice: VmSituation['notice'];
  readonly readiness: VmSituation['readiness'];
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
    this.notice = parts.notice;
    this.readiness = parts.readiness;
  }

  get disks(): VmSituation['disks'] {
    return this.#snapshot.disksOf(this.vm.id);
  }
}

/** One per leader: wakes, decides and carries out, VM by VM. `stop` is final. */
export class VmLoop {
  readonly #ports: VmLoopPorts;
  readonly #cluster: ClusterSituation;
  readonly #schedule: Schedule;
  readonly #questions: Questions;
  readonly #commits: Commits;
  readonly #diskErrors: DiskErrors;
  readonly #readyChecks: ReadyChecks;
  readonly #evidence = new Map<VmId, Evidence>();
  /** Why a VM is not further, in words. */
  readonly #whys = new Map<VmId, string>();

  constructor(ports: VmLoopPorts) {
    this.#ports = ports;
    const { clock, log, index, observer, store, storageAnswers, pool, qmp, executor } = ports;
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
      registeredOn: (vm) => registeredOn(vm, store.snapshot),
    };
    this.#schedule = new Schedule({
      ...{ clock, log, look: (id) => this.#look(id), onGone: (id) => this.#forget(id) },
      onFailed: (id, reason) => this.#whys.set(id, `Deciding what to do next failed, and is tried again: ${reason}.`),
    });
    this.#questions = new Questions({
      clock,
      observer,
      ask: (vm, incarnation) => qmp.observe(executor.target(vm, incarnation)),
      intervalMs: () => this.#intervalMs(),
      onLateAnswer: (id) => this.wake(id),
    });
    this.#commits = new Commits({
      clock,
      store,
      index,
      decide: (vm) => decide(this.situation(vm)),
      onBegins: (vm, generation) => executor.beginIssuing(vm, generation, this.#evidenceOf(vm.id).acknowledged),
      onCommitted: (vm, decision) => this.#committed(vm, decision),
    });
    this.#diskErrors = new DiskErrors(ports);
    this.#readyChecks = new ReadyChecks({
      ...{ clock, guestAgents: ports.guestAgents, target: (vm, incarnation) => executor.target(vm, incarnation) },
      onNews: (id) => this.wake(id),
    });
    qmp.onEvent(({ vm, generation }, told) => this.#hear(vm, generation, told));
  }

  /** Ends the loop: running activations finish their present step and stop. */
  stop(): void {
    this.#schedule.stop();
    this.#readyChecks.stop();
  }

  /** Looks at a VM soon. `fresh`: earlier answers of QMP no longer count, of all its generations or of this one. */
  wake(id: VmId, { fresh }: { fresh?: 'all' | Generation } = {}): void {
    if (this.#schedule.isStopped) return;
    const evidence = this.#evidenceOf(id);
    if (fresh !== undefined) evidence.doubt(fresh);
    if (this.#schedule.wake(id) && fresh !== undefined) this.#questions.interrupt(id);
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
    this.#schedule.wakeForRoom();
  }

  wakeAll(): void {
    for (const id of this.#ports.store.snapshot.vms.keys()) this.wake(id, { fresh: 'all' });
  }

  /** The observation of an incarnation, for people and for verdicts. */
  see(vm: VmRecord, incarnation: Incarnation): IncarnationObservation {
    const { observer } = this.#ports;
    const evidence = this.#evidence.get(vm.id);
    return evidence?.observe(vm.id, incarnation, observer) ?? unaskedObservation(vm.id, incarnation, observer);
  }

  /** Why this VM is not further, in words. */
  whyOf(id: VmId): string {
    return this.#whys.get(id) ?? '';
  }

  /** The situation a decision is made from; also what verdicts shown to people are made from. */
  situation(vm: VmRecord): VmSituation {
    const { store, clock, diskPaths } = this.#ports;
    const evidence = this.#evidence.get(vm.id);
    return new Situation(store.snapshot, {
      vm,
      see: (incarnation) => this.see(vm, incarnation),
      diskPath: (host) => diskPaths.see(vm.id, host),
      acknowledged: evidence?.acknowledged ?? NOTHING_ACKNOWLEDGED,
      cluster: this.#cluster,
      now: clock.wallMs(),
      monotonicMs: clock.monotonicMs(),
      phaseForMs: evidence?.phaseForMs(vm) ?? 0,
      notice: this.#noticeOf(vm, evidence),
      readiness: this.#readyChecks.of(vm),
    });
  }

  /** Whether the current incarnation of a VM is in phase running and its guest is seen to run. */
  seesRunning(vm: VmRecord): boolean {
    const { phase } = vm;
    return phase.kind === 'running' && judgementOf(this.situation(vm), phase.incarnation).verdict === 'running';
  }

  #noticeOf(vm: VmRecord, evidence: Evidence | undefined): VmSituation['notice'] {
    const { notice } = vm;
    const current = currentIncarnation(vm.phase);
    if (notice?.state !== 'scheduled' || current === null) return NO_NOTICE;
    return {
      knownForMs: evidence?.noticeForMs(vm) ?? 0,
      isAcknowledged: this.#ports.observer.hasAcknowledged(current.host, noticeEventId(vm.id, notice)),
    };
  }

  #evidenceOf(id: VmId): Evidence {
    let evidence = this.#evidence.get(id);
    if (evidence === undefined) {
      evidence = new Evidence(this.#ports.clock);
      this.#evidence.set(id, evidence);
    }
    return evidence;
  }

  /**
   * A QEMU's event about its migration takes the place of its last answer: a question would delay the guest, which is
   * paused in the meantime.
   */
  #hear(id: VmId, generation: Generation, told: MigrationTold | null): void {
    if (this.#schedule.isStopped) return;
    const evidence = this.#evidenceOf(id);
    if (told === null) {
      evidence.hasChanged(generation);
      this.wake(id, { fresh: generation });
    } else {
      evidence.heard(generation, told);
      this.#questions.interrupt(id);
      this.wake(id);
    }
  }

  /**
   * Does things until a decision says wait; the answer is the time until the next look in ms, or null if the VM is
   * gone.
   */
  async #look(id: VmId): Promise<number | null> {
    const { store } = this.#ports;
    const evidence = this.#evidenceOf(id);
    for (let things = 0; things < THINGS_PER_ACTIVATION && !this.#schedule.isStopped; things++) {
      const entry = store.snapshot.vms.get(id);
      if (entry === undefined) return null;
      if (entry.value.restored !== undefined) {
        this.#whys.set(id, this.#ports.whyRestored(id));
        return UNREADABLE_LOOK_MS;
      }
      evidence.notePhase(entry.value);
      this.#readyChecks.follow(entry.value, this.#ports.index.guestClusterOf(entry.value)?.readyCheck ?? null);
      // Also without a question: decisions wait while the code that woke this loop is still changing things.
      await (this.#refresh(entry.value, evidence) ?? undefined);
      // The term may be over by now, or the record another one: what is decided from it would be late.
      if (this.#schedule.isStopped) return null;
      if (store.snapshot.vms.get(id)?.revision !== entry.revision) continue;
      const unreadable = unreadableFor(entry.value, store.snapshot);
      if (unreadable !== null) {
        this.#whys.set(id, unreadable);
        return UNREADABLE_LOOK_MS;
      }
      const situation = this.situation(entry.value);
      noteStanding(situation, evidence);
      const decision = decide(situation);
      if (decision.kind === 'wait') return this.#wait(entry.value, decision);
      this.#schedule.setForRoom(id, false);
      const outcome = await this.#carryOut(entry, decision, evidence);
      if (outcome !== 'on') return outcome;
    }
    return YIELD_MS;
  }

  /** Asks QMP if the knowledge is too old for the phase; null if there is nothing to wait for. */
  #refresh(vm: VmRecord, evidence: Evidence): Promise<void> | null {
    const asking = this.#questions.refresh(vm, evidence);
    const { phase } = vm;
    if (phase.kind !== 'running') return asking;
    const note = (): Promise<void> | null =>
      this.#diskErrors.note(evidence, phase.incarnation, () => this.situation(vm));
    return asking === null ? note() : asking.then(() => note() ?? undefined);
  }

  #wait(vm: VmRecord, { why, againInMs, forRoom }: Extract<Decision, { kind: 'wait' }>): number {
    this.#whys.set(vm.id, why);
    this.#schedule.setForRoom(vm.id, forRoom === true);
    // An incarnation without a QEMU cannot be asked either.
    return vm.phase.kind === 'stopped'
      ? againInMs
      : msUntilLook(vm.id, againInMs, this.#ports.clock.monotonicMs(), this.#intervalMs());
  }

  async #carryOut(
    entry: Entry<VmRecord>,
    decision: Exclude<Decision, { kind: 'wait' }>,
    evidence: Evidence,
  ): Promise<Outcome> {
    const { crashPoint, store } = this.#ports;
    const vm = entry.value;
    if (decision.kind === 'do') {
      await crashPoint(...stepPoint(vm, decision.step));
      if (!store.leads()) return this.#withhold(vm, decision.step);
      return (await this.#perform(vm, decision.step, evidence)) ? 'on' : STEP_FAILED_MS;
    }
    await crashPoint(...commitPoint(vm, decision));
    return this.#commits.write(entry, decision);
  }

  /** A deposed leader's order would be refused, or harmless, and disturb nevertheless. */
  #withhold(vm: VmRecord, step: Step): number {
    const why = 'Whether this control node still leads is not certain: etcd does not confirm its lease.';
    if (this.whyOf(vm.id) !== why)
      this.#ports.log.warn('an order is not given: the lease has run out', { vm: vm.id, step: step.do });
    this.#whys.set(vm.id, why);
    return LEASE_LOOK_MS;
  }

  /** Returns whether the next thing is decided at once. */
  async #perform(vm: VmRecord, step: Step, evidence: Evidence): Promise<boolean> {
    try {
      const performing = orderPatiently(this.#ports, vm, step, evidence.acknowledged);
      // Asked while storage fences the older generations: the answer is needed next, and the guest is paused.
      if (step.do === 'fence' && vm.phase.kind === 'switching')
        this.#questions.ask(vm, [vm.phase.destination], evidence).catch(() => undefined);
      await performing;
      evidence.carriedOut(step);
      return true;
    } catch (error) {
      const { message, count } = evidence.failed(step, error);
      this.#whys.set(vm.id, `${step.do} failed: ${message}`);
      this.#ports.log.warn('step failed', { vm: vm.id, name: vm.name, step: step.do, count, error: message });
      // A failed launch is decided upon at once: another host may take it.
      return step.do === 'launch';
    }
  }

  #committed(vm: VmRecord, decision: WrittenDecision): void {
    const { log, qmp } = this.#ports;
    log.info(decision.event.message, { vm: vm.id, event: decision.event.kind });
    const after = decision.kind === 'remove' ? null : decision.vm;
    for (const generation of this.#evidenceOf(vm.id).committed(vm, after)) {
      qmp.forget(vm.id, generation);
      this.#diskErrors.over(vm.id);
    }
  }

  /** Drops all state about a VM that is gone. */
  #forget(id: VmId): void {
    this.#ports.diskPaths.forget(id);
    this.#evidence.delete(id);
    this.#whys.delete(id);
    this.#questions.forget(id);
    this.#commits.forget(id);
    this.#diskErrors.over(id);
    this.#readyChecks.forget(id);
  }

  #intervalMs(): number {
    return steadyIntervalMs(this.#ports.store.snapshot.vms.size);
  }
}

/** The shared disks of a VM on which its guest has a key registered, as the target acknowledged it. */
function registeredOn(vm: VmRecord, { reservations }: Pick<Snapshot, 'reservations'>): readonly DiskId[] {
  return sharedDisksOf(vm).flatMap(({ disk }) => {
    const registrations = reservations.get(disk)?.value.state.registrations ?? [];
    return registrations.some(({ nexus }) => vmOfInitiator(nexus) === vm.id) ? [disk] : [];
  });
}

/** Notes whether the source of a migration has paused its guest for the end of it. */
function noteStanding(situation: VmSituation, evidence: Evidence): void {
  const { phase } = situation.vm;
  evidence.noteStanding(phase.kind === 'migrating' && judgementOf(situation, phase.source).verdict === 'moved-out');
}
