/**
 * Writes the decisions about a VM.
 * Guarantees: nothing is written on the basis of a record that is not the newest this leader knows; a commit waits for
 * a task that it must end until the watch shows the task, or until it is clear that there is none; a new generation is
 * decided again with the earlier ones counted (`Newcomers`), and not before everything written together with the VM's
 * record is known.
 */
import type { Generation, VmId } from '../../../base/ids.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import { sharedDisksOf, type VmRecord } from '../../model/vm.ts';
import type { Decision } from '../../plan/vm/decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Entry, LeaderStore } from '../../ports/store.ts';
import { type Draft, isDraft, Newcomers, type Outcome } from './newcomers.ts';
import { changesOf, eventOf, knowsItsTasks, type WrittenDecision } from './transaction.ts';

export interface CommitsPorts {
  readonly clock: Pick<Clock, 'wallMs' | 'monotonicMs'>;
  readonly store: Pick<LeaderStore, 'snapshot' | 'commit'>;
  readonly index: ClusterIndex;
  /** Decides about a VM from what is known now. */
  readonly decide: (vm: VmRecord) => Decision;
  /** A new generation is about to be committed. */
  readonly onBegins: (vm: VmRecord, generation: Generation) => void;
  /** A decision was committed. */
  readonly onCommitted: (vm: VmRecord, decision: WrittenDecision) => void;
}

/** How long a commit waits for a task that the watch has not shown; after that the task does not exist. */
const TASK_LATE_MS = 15_000;
const TASK_LOOK_MS = 200;
/** The time until the next look at a record that is newer than the watch, in ms. */
const COMPLETE_LOOK_MS = 20;
/** The time until a deposed leader looks again, in ms: its loops are about to end. */
const DEPOSED_MS = 60_000;

/** One per leader. */
export class Commits {
  readonly #ports: CommitsPorts;
  readonly #newcomers: Newcomers;
  /** Since when a commit waits for the watch to show its tasks (monotonic ms). */
  readonly #tasksLateSince = new Map<VmId, number>();

  constructor(ports: CommitsPorts) {
    this.#ports = ports;
    this.#newcomers = new Newcomers(ports.store, ports.index);
  }

  /**
   * Writes `decision`, which was made from `entry`, unless something newer is known; returns how the VM's activation
   * goes on.
   */
  async write(entry: Entry<VmRecord>, decision: WrittenDecision): Promise<Outcome> {
    const isNewcomer = decision.kind === 'commit' && decision.vm.generation !== entry.value.generation;
    if (!isNewcomer) {
      const draft = this.#draft(entry, decision);
      if (!isDraft(draft)) return draft;
      return draft.concluded(await this.#ports.store.commit({ changes: draft.changes, events: [draft.event] }));
    }
    if (this.#isHalfKnown(entry)) return COMPLETE_LOOK_MS;
    // A new incarnation takes room and a slot: each is decided with those before it counted.
    return this.#newcomers.commit(() => this.#draft(entry, this.#ports.decide(entry.value)));
  }

  /** Forgets a VM that is gone. */
  forget(id: VmId): void {
    this.#tasksLateSince.delete(id);
  }

  /**
   * After a conflict a record may be newer than the watch. Where it names a guest cluster or shared disks, what was
   * written together with it (the other members, the cluster's limits) must be known before the VM is placed.
   */
  #isHalfKnown({ value: vm, revision }: Entry<VmRecord>): boolean {
    const isAlone = (vm.spec.guestCluster ?? null) === null && sharedDisksOf(vm).length === 0;
    return !isAlone && this.#ports.store.snapshot.completeRevision < revision;
  }

  /** The commit for a decision, or how to continue without one. */
  #draft(entry: Entry<VmRecord>, decision: Decision): Draft | Outcome {
    const { store, clock, onBegins } = this.#ports;
    const vm = entry.value;
    // The store compares with the snapshot of this instant: what was decided from an older record must not replace a
    // newer one.
    const isNewest = store.snapshot.vms.get(vm.id)?.revision === entry.revision;
    if (!isNewest || decision.kind === 'wait' || decision.kind === 'do') return 'on';
    if (this.#areTasksLate(vm, decision)) return TASK_LOOK_MS;
    const next = decision.kind === 'commit' ? decision.vm.generation : 0;
    if (next !== 0 && next !== vm.generation) onBegins(vm, next);
    const now = clock.wallMs();
    return {
      before: vm,
      after: decision.kind === 'remove' ? null : decision.vm,
      changes: changesOf(vm, decision, store.snapshot, now),
      event: eventOf(vm, decision, now),
      concluded: (result) => {
        if (result === 'deposed') return DEPOSED_MS;
        if (result === 'conflict') return 'on';
        this.#ports.onCommitted(vm, decision);
        return decision.kind === 'remove' ? null : 'on';
      },
    };
  }

  /**
   * After a conflict a record may be newer than the watch: the task made with it must be seen, or it would never be
   * ended.
   */
  #areTasksLate(vm: VmRecord, decision: WrittenDecision): boolean {
    const { clock, store } = this.#ports;
    if (knowsItsTasks(vm, decision, store.snapshot)) {
      this.#tasksLateSince.delete(vm.id);
      return false;
    }
    const now = clock.monotonicMs();
    const since = this.#tasksLateSince.get(vm.id) ?? now;
    this.#tasksLateSince.set(vm.id, since);
    return now - since < TASK_LATE_MS;
  }
}
