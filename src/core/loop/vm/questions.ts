/**
 * Asks the QEMUs of a VM if the knowledge of them is too old for the next decision. Guarantees: a host that may be gone
 * is not asked, since its verdict must not wait for the answer; a wait for answers that will not come can be ended, and
 * a late answer is noted and reported.
 */
import type { VmId } from '../../../base/ids.ts';
import type { QmpObservation } from '../../model/observation.ts';
import { expectedIncarnations, type Incarnation, type VmRecord } from '../../model/vm.ts';
import type { Clock } from '../../ports/clock.ts';
import type { HostObserver } from '../observe/host-observer.ts';
import type { Evidence } from './evidence.ts';
import { hasNothingToAsk, keepsMs } from './qmp-freshness.ts';

export interface QuestionsPorts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Asks the QEMU of an incarnation. Throws CodedError if its address is not known. */
  readonly ask: (vm: VmRecord, incarnation: Incarnation) => Promise<QmpObservation>;
  readonly observer: Pick<HostObserver, 'mayBeGone' | 'see'>;
  /** Time between two looks at a VM that runs quietly, in ms. */
  readonly intervalMs: () => number;
  /** An answer came after the wait for it was ended. */
  readonly onLateAnswer: (id: VmId) => void;
}

/** One per leader. */
export class Questions {
  readonly #ports: QuestionsPorts;
  /** Ends the present wait for answers of a VM. */
  readonly #waits = new Map<VmId, () => void>();

  constructor(ports: QuestionsPorts) {
    this.#ports = ports;
  }

  /** Asks if the knowledge is too old for the phase; null if there is nothing to wait for. */
  refresh(vm: VmRecord, evidence: Evidence): Promise<void> | null {
    const doubted = evidence.takeDoubts();
    const asked = expectedIncarnations(vm.phase).filter((incarnation) =>
      this.#isToBeAsked(vm, incarnation, evidence, doubted === 'all' || doubted.has(incarnation.generation)),
    );
    return asked.length === 0 ? null : this.ask(vm, asked, evidence);
  }

  /** Asks all of the QEMUs; resolves when all have answered, or when the wait is ended. */
  ask(vm: VmRecord, incarnations: readonly Incarnation[], evidence: Evidence): Promise<void> {
    const asked = evidence.ask();
    return new Promise((resolve, reject) => {
      let left = incarnations.length;
      let isOver = false;
      const end = (): void => {
        isOver = true;
        if (this.#waits.get(vm.id) === end) this.#waits.delete(vm.id);
        resolve();
      };
      this.#waits.set(vm.id, end);
      for (const incarnation of incarnations) {
        this.#ports.ask(vm, incarnation).then((seen) => {
          if (!evidence.answered(asked, incarnation.generation, seen)) return;
          if (isOver) this.#ports.onLateAnswer(vm.id);
          else if (--left === 0) end();
        }, reject);
      }
    });
  }

  /** Ends the wait for answers of a VM: its host was found silent, or an event arrived in the meantime. */
  interrupt(id: VmId): void {
    this.#waits.get(id)?.();
  }

  /** Forgets a VM that is gone. */
  forget(id: VmId): void {
    this.#waits.delete(id);
  }

  #isToBeAsked(vm: VmRecord, { generation, host }: Incarnation, evidence: Evidence, isStale: boolean): boolean {
    const { observer, clock, intervalMs } = this.#ports;
    // A host that may be gone is asked on all paths by the observer first; waiting for its QEMUs would only delay the
    // verdict.
    if (observer.mayBeGone(host)) return false;
    const { acknowledged } = evidence;
    const now = clock.monotonicMs();
    if (hasNothingToAsk(vm.phase, { generation, isStale, acknowledged, lastToldAt: evidence.lastToldAt, now }))
      return false;
    const answer = evidence.answerOf(generation);
    if (vm.phase.kind === 'starting' && !acknowledged.launched.has(generation)) {
      // Before its launch there is no QEMU to ask; if the launch fails or cannot be tried, the leader before may have
      // launched it.
      const isLaunchDoubtful = acknowledged.failure?.step.do === 'launch' || observer.see(host).agent === 'silent';
      if (!isLaunchDoubtful && answer?.seen.kind !== 'answers') return false;
    }
    if (answer === null || isStale) return true;
    const lasts = keepsMs(answer.seen, generation, { phase: vm.phase, acknowledged, intervalMs: intervalMs() });
    return now - answer.at > lasts;
  }
}
