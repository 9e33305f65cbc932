/**
 * The ready-checks of guest clusters, run in the guests of members that were moved, beside the loop that decides about
 * VMs: nothing that a guest does, or fails to do, delays that loop.
 * Guarantees: a check runs once at a time in a guest, as far as this leader began it (a new leader begins anew); it
 * runs again after a failure, until it succeeds or nobody waits for the member any more; `follow` and `of` take no
 * time.
 */
import { messageOf } from '../../../base/errors.ts';
import type { Generation, VmId } from '../../../base/ids.ts';
import { sleep } from '../../../base/sleep.ts';
import type { ReadyCheck } from '../../model/guest-cluster.ts';
import type { Incarnation, VmRecord } from '../../model/vm.ts';
import type { Readiness } from '../../plan/vm/decision.ts';
import type { Clock } from '../../ports/clock.ts';
import type { GuestAgentLink, GuestAnswer } from '../../ports/guest-agent-link.ts';
import type { QmpTarget } from '../../ports/qmp-link.ts';

export interface ReadyChecksPorts {
  readonly clock: Clock;
  readonly guestAgents: GuestAgentLink;
  readonly target: (vm: VmRecord, incarnation: Incarnation) => QmpTarget;
  /** The knowledge of a VM has changed. */
  readonly onNews: (vm: VmId) => void;
}

/** The time between two questions to a guest, in ms. */
const ASK_MS = 1_000;
const UNASKED: Readiness = { kind: 'unasked' };

interface Followed {
  readonly generation: Generation;
  readonly command: string;
  /** Monotonic ms. */
  readonly since: number;
  /** The process of the check in the guest; null: none runs. */
  pid: number | null;
  hasAnswered: boolean;
  known: Readiness;
  isOver: boolean;
}

/** One per leader. `stop` is final. */
export class ReadyChecks {
  readonly #ports: ReadyChecksPorts;
  readonly #followed = new Map<VmId, Followed>();

  constructor(ports: ReadyChecksPorts) {
    this.#ports = ports;
  }

  /** Begins, goes on or ends the check of a VM, as its record has it. */
  follow(vm: VmRecord, check: ReadyCheck | null): void {
    const { phase, settling } = vm;
    if (settling === undefined || check === null || phase.kind !== 'running') {
      this.forget(vm.id);
      return;
    }
    const { generation } = phase.incarnation;
    const followed = this.#followed.get(vm.id);
    if (followed?.generation === generation && followed.command === check.command) return;
    this.forget(vm.id);
    const since = this.#ports.clock.monotonicMs();
    const begun = { generation, command: check.command, since, pid: null, hasAnswered: false, isOver: false };
    const next: Followed = { ...begun, known: vm.spec.guestAgent === true ? UNASKED : NO_PORT };
    this.#followed.set(vm.id, next);
    if (next.known !== NO_PORT) void this.#run(vm, phase.incarnation, next);
  }

  /** The knowledge of a VM's check. */
  of({ id }: VmRecord): Readiness {
    return this.#followed.get(id)?.known ?? UNASKED;
  }

  forget(id: VmId): void {
    const followed = this.#followed.get(id);
    if (followed === undefined) return;
    followed.isOver = true;
    this.#followed.delete(id);
  }

  stop(): void {
    for (const id of [...this.#followed.keys()]) this.forget(id);
  }

  async #run(vm: VmRecord, incarnation: Incarnation, followed: Followed): Promise<void> {
    const { clock, onNews } = this.#ports;
    const isOver = (): boolean => followed.isOver;
    while (!isOver()) {
      const known = await this.#ask(vm, incarnation, followed);
      if (isOver()) return;
      followed.known = known;
      onNews(vm.id);
      if (known.kind === 'ready') return;
      await sleep(clock, ASK_MS);
    }
  }

  async #ask(vm: VmRecord, incarnation: Incarnation, followed: Followed): Promise<Readiness> {
    const { guestAgents } = this.#ports;
    const at = this.#targetOf(vm, incarnation);
    if (typeof at === 'string') return this.#unanswered(followed, { kind: 'silent', why: at });
    if (followed.pid === null) {
      const begun = await guestAgents.begin(at, followed.command);
      if (begun.kind !== 'answers') return this.#unanswered(followed, begun);
      followed.hasAnswered = true;
      followed.pid = begun.value;
      return { kind: 'not-ready', why: 'has begun' };
    }
    const outcome = await guestAgents.outcome(at, followed.pid);
    if (outcome.kind === 'silent') return this.#unanswered(followed, outcome);
    if (outcome.kind === 'refuses') {
      // The agent has been restarted since.
      followed.pid = null;
      return this.#unanswered(followed, outcome);
    }
    if (!outcome.value.exited) return { kind: 'not-ready', why: 'still runs' };
    followed.pid = null;
    const { exitCode, output } = outcome.value;
    if (exitCode === 0) return { kind: 'ready' };
    const how = exitCode === null ? 'was ended by a signal' : `exited with ${exitCode}`;
    return { kind: 'not-ready', why: output === '' ? how : `${how}: ${output}` };
  }

  /** Why not, where its host is none of the cluster any more. */
  #targetOf(vm: VmRecord, incarnation: Incarnation): QmpTarget | string {
    try {
      return this.#ports.target(vm, incarnation);
    } catch (error) {
      return messageOf(error);
    }
  }

  #unanswered(followed: Followed, { kind, why }: Exclude<GuestAnswer<unknown>, { kind: 'answers' }>): Readiness {
    if (kind === 'refuses') followed.hasAnswered = true;
    if (followed.hasAnswered) return { kind: 'not-ready', why: `was not run: ${why}` };
    return { kind: 'silent', forMs: this.#ports.clock.monotonicMs() - followed.since };
  }
}

/** A machine without a port for an agent. */
const NO_PORT: Readiness = { kind: 'silent', forMs: Infinity };
