/**
 * Explains the refusal of a change with which hosts could not be drained, or lost: the same questions are asked with the
 * change made, and with one relaxation besides. Pure, in pieces.
 */
import { applyTo, type EstateChange } from './estate-change.ts';
import type { Asked } from './evacuability.ts';
import {
  type Answer,
  EXPLAIN_PLANS,
  type ExplainBudget,
  type Explanation,
  evacuationOf,
  explain,
  lossOf,
  type RefusedRequest,
} from './explain.ts';
import type { Model } from './model.ts';

/** Attempts at displacing VMs for one host: as many as its verdict takes. */
const STEPS = 200;
/** Ways that are tried at least, however many hosts each is asked about. */
const WAYS_MIN = 20;

/** The refused change. */
export interface RefusedChange {
  readonly changes: readonly EstateChange[];
  /** The questions that are answered with no once the changes are made. */
  readonly asked: readonly Asked[];
}

/** An explanation of the first question that is answered with no; its ways answer all of them with yes. */
export interface ExplainedChange {
  readonly about: Asked;
  readonly explanation: Explanation;
}

/** Explains a refusal. Nothing else may use `model`. Null: planning from scratch finds that the change is possible. */
export function* explainChange(
  model: Model,
  { changes, asked }: RefusedChange,
  budget: ExplainBudget,
): Generator<void, ExplainedChange | null> {
  for (const change of changes) applyTo(model, change);
  yield;
  const known = asked.filter(({ host }) => model.host(host) >= 0);
  for (const about of known) {
    const refusal = yield* questionOf(about)(model);
    if (refusal.kind === 'possible') continue;
    const request: RefusedRequest = {
      ...{ model, refusal, hosts: [about.host], question: about.question },
      plan: (seen) => allOf(seen, known),
    };
    budget.plans = Math.max(WAYS_MIN, Math.floor(EXPLAIN_PLANS / known.length));
    return { about, explanation: yield* explain(request, budget) };
  }
  return null;
}

function questionOf({ host, question }: Asked): RefusedRequest['plan'] {
  return question === 'drain' ? evacuationOf([host], STEPS) : lossOf(host, STEPS);
}

/** Possible where every question is answered with yes; otherwise the first refusal. */
function* allOf(model: Model, asked: readonly Asked[]): Generator<void, Answer> {
  let moves = 0;
  for (const one of asked) {
    const answer = yield* questionOf(one)(model);
    if (answer.kind === 'refused') return answer;
    moves += answer.moves;
  }
  return { kind: 'possible', moves };
}
