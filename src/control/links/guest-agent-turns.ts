/**
 * The order in which guests are asked: one question after the other to each guest, and a bounded number in each lane.
 * Guarantee: the questions of people and the ready-checks of guest clusters have lanes of their own, so that a check
 * waits for other checks and for its own guest, and never for the guests that people look at.
 */
import type { GuestAnswer } from '../../core/ports/guest-agent-link.ts';

/** `people`: somebody looks at a VM. `checks`: a ready-check, on whose answer a drain waits. */
export type GuestLane = 'people' | 'checks';

/** Limits of one lane. */
export interface LaneLimits {
  /** Conversations that are open at once. */
  readonly atOnce: number;
  /** Questions that wait for one. */
  readonly waitingMax: number;
}

/** Places for questions. */
class Lane {
  readonly #limits: LaneLimits;
  readonly #waiting: (() => void)[] = [];
  #open = 0;

  constructor(limits: LaneLimits) {
    this.#limits = limits;
  }

  get isFull(): boolean {
    return this.#open >= this.#limits.atOnce && this.#waiting.length >= this.#limits.waitingMax;
  }

  async inside<T>(work: () => Promise<T>): Promise<T> {
    if (this.#open >= this.#limits.atOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#open++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#open--;
      else next();
    }
  }
}

/** See the module's comment. */
export class GuestAgentTurns {
  readonly #lanes: Readonly<Record<GuestLane, Lane>>;
  readonly #last = new Map<string, Promise<unknown>>();

  constructor(limits: LaneLimits) {
    this.#lanes = { people: new Lane(limits), checks: new Lane(limits) };
  }

  /** Asks when there is a place and the guest's earlier questions have ended. `work` never rejects. */
  async take<T>(
    { lane, guest }: { readonly lane: GuestLane; readonly guest: string },
    work: () => Promise<GuestAnswer<T>>,
  ): Promise<GuestAnswer<T>> {
    if (this.#lanes[lane].isFull) return { kind: 'silent', why: 'Too many guests are asked at this moment.' };
    // The place first: a question that has none yet keeps no other question from the same guest.
    return this.#lanes[lane].inside(() => this.#inOrder(guest, work));
  }

  async #inOrder<T>(guest: string, work: () => Promise<GuestAnswer<T>>): Promise<GuestAnswer<T>> {
    const turn = (this.#last.get(guest) ?? Promise.resolve()).then(work);
    this.#last.set(guest, turn);
    try {
      return await turn;
    } finally {
      if (this.#last.get(guest) === turn) this.#last.delete(guest);
    }
  }
}
