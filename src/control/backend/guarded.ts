/**
 * Changes that may tie a VM to hosts, or leave some host that cannot be drained or lost: the leader judges them by its
 * own state, a turn at a time, and refuses them with the reasons unless somebody signs for them.
 * Guarantees: the change that is written is the one that was judged; guarded changes come one after the other, so that
 * two which are fine alone are not admitted together; other changes do not wait for a judgement.
 */
import type { Accept } from '../../api/ties.ts';
import { CodedError } from '../../base/errors.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { Signature } from '../../core/model/debt.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Admitted, Basis, Observed } from '../../core/request/basis.ts';
import { demandFuture, isFree, needsAcceptance, type Price, withDebts } from '../../core/request/debts.ts';
import { type Effect, effectOf } from '../../core/request/effect.ts';
import { basisOf, change, taskOf } from './changes.ts';
import { type BackendContext, observedByLeader } from './context.ts';
import { explainedChange } from './explanations.ts';

/** A request of the API with its signature, including the name of the token. */
export type Signed<T extends { readonly accept?: Accept }> = Omit<T, 'accept'> & { readonly accept?: Signature };

/** The request as a backend takes it. `by`: the name of the token. */
export function signed<T extends { readonly accept?: Accept }>({ accept, ...request }: T, by: string): Signed<T> {
  return accept === undefined ? request : { ...request, accept: signature(accept, by) };
}

/** The signature, with its last day. CodedError 'bad-input' for a date that no calendar has. */
export function signature({ owner, reason, until }: Accept, by: string): Signature {
  const at = Date.parse(until);
  if (!Number.isNaN(at)) return { owner, reason, until: at, by };
  throw new CodedError('bad-input', `${until} is no date.`, {
    advice: 'Nothing was changed. Give a date such as 2026-12-31T18:00:00Z (--until).',
  });
}

/** The caller and the guarded change. */
export interface GuardedRequest {
  /** The person who signs; absent: nobody does. */
  readonly accept: Signature | undefined;
  /** The change in words, for people: "start of db1". */
  readonly what: string;
  /** The words with which a refusal says what was not done. */
  readonly done: 'created' | 'changed';
}

/** Judgements of one change: where something else changes what it would do, it is judged again. */
const ATTEMPTS = 5;

/**
 * Makes a change that is guarded. NobodyLeads where this node does not lead (any more): no unjudged change is written.
 * CodedError 'needs-acceptance', 'unavailable', and those of `decide`.
 */
export async function guarded<T>(
  context: BackendContext,
  request: GuardedRequest,
  decide: (basis: Basis) => Admitted<T>,
): Promise<T> {
  const { estate } = observedByLeader(context);
  const made = (): Promise<T> =>
    estate.inTurn(async () => {
      for (let tries = 0; tries < ATTEMPTS; tries += 1) {
        // This node may have lost the lead while the change waited.
        const outcome = await judgedChange(context, observedByLeader(context), { request, decide });
        if (outcome !== 'outdated') return outcome.result;
      }
      throw new CodedError('unavailable', 'Others kept changing what this would do.', {
        advice: 'Nothing was changed. Try again.',
      });
    });
  return explainingRefusal(context, { done: request.done, signal: null }, made);
}

/**
 * Does `act`; if a signature is missing, the error says which changes would make it unnecessary. Other changes do not
 * wait for that.
 */
async function explainingRefusal<T>(
  context: BackendContext,
  { done, signal }: Pick<GuardedRequest, 'done'> & { readonly signal: AbortSignal | null },
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Unsigned)) throw error;
    const { price, effect } = error;
    const refused = { changes: effect.changes, asked: price.broken };
    throw needsAcceptance(price, done, await explainedChange(context, refused, signal));
  }
}

/**
 * The verdict on a guarded change at present; nothing is written. The check runs after the changes that are to be made,
 * as long as `signal` has not aborted. CodedError as `guarded`.
 */
export async function checkGuarded<T>(
  context: BackendContext,
  { signal, ...request }: GuardedRequest & { readonly signal: AbortSignal },
  decide: (basis: Basis) => Admitted<T>,
): Promise<T> {
  const basis = basisOf(context);
  const { changes, result } = decide(basis);
  const observed = observedByLeader(context);
  const asked = { effect: effectOf(basis, observed, changes), request, check: { signal } };
  await explainingRefusal(context, { done: request.done, signal }, () => priceOf(basis, observed, asked));
  return result;
}

/** The ties and hosts to sign for. Unsigned if nobody does. */
async function priceOf(
  basis: Basis,
  observed: Observed,
  asked: {
    readonly effect: Effect;
    readonly request: GuardedRequest;
    /** A check that writes nothing. */
    readonly check?: { readonly signal: AbortSignal };
  },
): Promise<Price> {
  const { effect, request, check } = asked;
  const { accept } = request;
  const { changes, ties } = effect;
  const price: Price = { ties, broken: changes.length === 0 ? [] : await observed.estate.judge(changes, check) };
  if (isFree(price)) return price;
  if (accept === undefined) throw new Unsigned(price, effect);
  demandFuture(basis, accept);
  return price;
}

interface Guarded<T> {
  readonly request: GuardedRequest;
  readonly decide: (basis: Basis) => Admitted<T>;
}

async function judgedChange<T>(
  context: BackendContext,
  observed: Observed,
  { request, decide }: Guarded<T>,
): Promise<{ readonly result: T } | 'outdated'> {
  const { accept, what } = request;
  const basis = basisOf(context);
  const effect = effectOf(basis, observed, decide(basis).changes);
  const price = await priceOf(basis, observed, { effect, request });
  try {
    const result = await change(context, (now) => {
      observedByLeader(context);
      const admitted = decide(now);
      if (!isSame(effectOf(now, observed, admitted.changes), effect)) throw new Outdated();
      return accept === undefined || isFree(price)
        ? admitted
        : withDebts(now, admitted, { price, signature: accept, what });
    });
    for (const each of effect.changes) if (each.kind === 'vm') observed.estate.expect(each.vm);
    return { result };
  } catch (error) {
    if (error instanceof Outdated) return 'outdated';
    throw error;
  }
}

/** As `guarded`, for a request with a task. */
export async function guardedTask(
  context: BackendContext,
  request: GuardedRequest,
  decide: (basis: Basis) => Admitted<TaskRecord['id']>,
): Promise<Entry<TaskRecord>> {
  return taskOf(context, await guarded(context, request, decide));
}

/** The estate has changed since the change was judged. */
class Outdated extends Error {}

/** Nobody signs for what the change would break. */
class Unsigned extends Error {
  readonly price: Price;
  readonly effect: Effect;

  constructor(price: Price, effect: Effect) {
    super('Nobody signs for it.');
    this.price = price;
    this.effect = effect;
  }
}

function isSame(a: Effect, b: Effect): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
