/**
 * What would make a refused request possible, as people are told. Guarantees: one explanation at a time, in turns
 * between which this node does everything else; it ends after EXPLAIN_MS with what it has found by then. Where many are
 * asked for, a refusal comes without one.
 */
import { CodedError } from '../../base/errors.ts';
import { type Explained, NoPlan } from '../../base/problem.ts';
import { TurnQueue } from '../../base/turn-queue.ts';
import { EXPLAIN_PLANS, type ExplainBudget } from '../../core/maintenance/explain.ts';
import { explainChange, type RefusedChange } from '../../core/maintenance/explain-change.ts';
import { explainedOf } from '../../core/maintenance/explained.ts';
import { inTurns } from '../../core/maintenance/in-turns.ts';
import { explainDrain } from '../../core/request/drains.ts';
import type { ClusterStore } from '../store/cluster-store.ts';
import { basisOf } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';

/** For one explanation, in ms. */
const EXPLAIN_MS = 3_000;
const QUEUE = { what: 'explanations', waitingMax: 4, waitMsMax: EXPLAIN_MS } as const;
const queues = new WeakMap<ClusterStore, TurnQueue>();

/** Why a change is refused that would break something; null: nothing is said. */
export async function explainedChange(
  context: BackendContext,
  refused: RefusedChange,
  signal: AbortSignal | null,
): Promise<Explained | null> {
  if (refused.asked.length === 0) return null;
  return inQueue(context, signal, (budget) => explaining(context, refused, budget));
}

/** Copies the estate when its turn has come: a refusal that comes without an explanation costs no copy. */
function* explaining(
  context: BackendContext,
  refused: RefusedChange,
  budget: ExplainBudget,
): Generator<void, Explained | null> {
  const model = observedBy(context)?.estate.copy() ?? null;
  yield;
  const found = model === null ? null : yield* explainChange(model, refused, budget);
  if (model === null || found === null) return null;
  const { host, question } = found.about;
  const about = `${host} could not be ${question === 'drain' ? 'drained' : 'lost'} any more`;
  return explainedOf(model, about, found.explanation);
}

/** Does `act`; where it is refused for want of a plan, the error says what would make one possible. */
export async function explainingDrain<T>(
  context: BackendContext,
  { parallel, signal }: { readonly parallel: number | undefined; readonly signal: AbortSignal },
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const observed = error instanceof NoPlan ? observedBy(context) : null;
    if (!(error instanceof NoPlan) || observed === null || error.hosts.length === 0) throw error;
    const request = { hosts: error.hosts, parallel };
    const explained = await inQueue(context, signal, (budget) =>
      explainDrain(basisOf(context), observed, { request, budget }),
    );
    throw explained === null ? error : error.explainedBy(explained);
  }
}

/** Does the work when its turn comes; null where others take too long, or the caller is gone. */
async function inQueue<T>(
  { store, clock }: BackendContext,
  signal: AbortSignal | null,
  begin: (budget: ExplainBudget) => Generator<void, T>,
): Promise<T | null> {
  const queue = queues.get(store) ?? new TurnQueue({ ...QUEUE, monotonicMs: () => clock.monotonicMs() });
  queues.set(store, queue);
  try {
    return await queue.do(async () => {
      const budget: ExplainBudget = { plans: EXPLAIN_PLANS };
      const cancel = clock.after(EXPLAIN_MS, () => {
        budget.isOver = true;
      });
      try {
        return await inTurns(begin(budget), clock, () => signal?.aborted === true);
      } finally {
        cancel();
      }
    });
  } catch (error) {
    if (error instanceof CodedError && error.code === 'unavailable') return null;
    throw error;
  }
}
