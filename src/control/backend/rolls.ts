/** Rolls through the API: a roll is recorded when its promise resolves; the leader's loop carries it out. */
import type { ResumeRoll, RollWorkReport, StartRoll } from '../../api/requests.ts';
import type { Roll, RollSummary } from '../../api/roll-views.ts';
import { CodedError } from '../../base/errors.ts';
import { planOfRecord } from '../../core/maintenance/approved-plan.ts';
import { fitOf, waveMs } from '../../core/maintenance/roll-holds.ts';
import { isHostOver, isRollOver, type RollPlanRecord, type RollRecord } from '../../core/model/roll.ts';
import type { Entry } from '../../core/ports/store.ts';
import { reportWork } from '../../core/request/roll-work.ts';
import { abortRoll, findRoll, pauseRoll, startRoll } from '../../core/request/rolls.ts';
import type { Call } from '../api/call.ts';
import type { Page, PageQuery } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { change } from './changes.ts';
import { type BackendContext, observedByLeader } from './context.ts';
import { planHash } from './maintenance-plans.ts';
import { pageOfTable } from './table-page.ts';

const time = (ms: number): string => new Date(ms).toISOString();
const timeOrNull = (ms: number | null): string | null => (ms === null ? null : time(ms));

/** See the module's comment. */
export class RollsBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Begins a roll. The errors of `startRoll`. */
  async start(asked: StartRoll, who: string): Promise<Roll> {
    const { plan, hash: approved, freezes = [], pre, run, verify, preMs, runMs, verifyMs, ...rest } = asked;
    const given = Object.entries({ pre, run, verify, preMs, runMs, verifyMs }).filter(
      ([, value]) => value !== undefined,
    );
    const request = {
      ...rest,
      plan,
      who,
      commands: Object.fromEntries(given),
      freezes: freezes.map(({ from, until, reason }) => ({ from: instant(from), until: instant(until), reason })),
    };
    const hash = planHash(plan);
    const id = await change(this.#context, (basis) =>
      startRoll(basis, observedByLeader(this.#context), { request, hash, approved }),
    );
    return this.get(id);
  }

  /** Begins nothing more. */
  async pause(id: string): Promise<Roll> {
    await change(this.#context, (basis) => pauseRoll(basis, id, { isPaused: true }));
    return this.get(id);
  }

  /** Goes on. */
  async resume(id: string, { retry = false }: ResumeRoll): Promise<Roll> {
    await change(this.#context, (basis) => pauseRoll(basis, id, { isPaused: false, isRetry: retry }));
    return this.get(id);
  }

  /** Ends the roll; drains that have begun are finished first. */
  async abort(id: string): Promise<Roll> {
    await change(this.#context, (basis) => abortRoll(basis, id));
    return this.get(id);
  }

  /** Records a report about work on a host. The errors of `reportWork`. */
  async report(id: string, report: RollWorkReport): Promise<Roll> {
    await change(this.#context, (basis) => reportWork(basis, id, report));
    return this.get(id);
  }

  /** CodedError 'not-found'. */
  get(id: string): Roll {
    const { store, clock } = this.#context;
    const entry = findRoll({ records: snapshotOf(store) }, id);
    const plan = store.rollPlans.get(entry.value.id)?.value ?? null;
    return rollView(entry, plan, clock.wallMs());
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<RollSummary>> {
    const { store, clock } = this.#context;
    return pageOfTable(store.rolls, query, { signal, view: (entry) => rollSummary(entry, clock.wallMs()) });
  }
}

function instant(text: string): number {
  const ms = Date.parse(text);
  if (Number.isFinite(ms)) return ms;
  throw new CodedError('bad-input', `${JSON.stringify(text)} is no time.`, { advice: 'Nothing was changed.' });
}

/** A roll without its hosts. */
export function rollSummary({ value, revision }: Entry<RollRecord>, now: number): RollSummary {
  const { id, hash, state, held, who, reason, change: number, windows, hosts, taskId, createdAt, endedAt } = value;
  const { quietOverride = null } = value;
  const count = (wanted: string): number => hosts.filter((host) => host.state === wanted).length;
  return {
    ...{ id, hash, state, held, who, reason, change: number, quietOverride },
    waitsFor: waitsFor(value, now),
    revision: String(revision),
    windows: [...windows],
    waves: new Set(hosts.map(({ wave }) => wave)).size,
    planned: hosts.length,
    done: count('done'),
    failed: count('failed'),
    task: taskId,
    createdAt: time(createdAt),
    endedAt: timeOrNull(endedAt),
  };
}

/** The first work that a host waits for and that no runner has taken; null: there is none. */
function waitsFor(roll: RollRecord, now: number): string | null {
  if (isRollOver(roll)) return null;
  for (const { host, state, work, done } of roll.hosts) {
    if (state !== 'pre' && state !== 'run' && state !== 'verify') continue;
    if (work !== null && work.until > now) continue;
    const last = done.at(-1);
    if (state === 'verify' && last?.step === 'verify' && last.succeeded) continue;
    return `"${state}" of ${host}: gp maintenance roll --resume ${roll.id}`;
  }
  return null;
}

function rollView(entry: Entry<RollRecord>, plan: RollPlanRecord | null, now: number): Roll {
  const roll = entry.value;
  const { maxUnavailable, perRack, parallel, onFailure, commands, workMs, backMs } = roll;
  return {
    ...rollSummary(entry, now),
    ...{ maxUnavailable, perRack, parallel, onFailure, workMs, backMs, commands: { ...commands } },
    ...forecastOf(roll, plan, now),
    foretold: (plan === null ? [] : planOfRecord(plan).waves).map(({ durationMs, pauseMs, moves }) => ({
      ...{ durationMs, pauseMs, moves: moves.length },
    })),
    freezes: roll.freezes.map(({ from, until, reason }) => ({ from: time(from), until: time(until), reason })),
    drains: [...new Set(roll.hosts.flatMap(({ drain }) => drain ?? []))],
    hosts: roll.hosts.map(({ host, wave, state, since, drain, work, done, note }) => ({
      ...{ host, wave: wave + 1, state, since: time(since), drain, note },
      work: work === null ? null : { ...work, startedAt: time(work.startedAt), until: time(work.until) },
      done: done.map((each) => ({ ...each, startedAt: time(each.startedAt), endedAt: time(each.endedAt) })),
    })),
    deviations: roll.deviations.map(({ at, what }) => ({ at: time(at), what })),
  };
}

/** Forecasts which of the waves that have not begun would begin in which window, if each takes as long as predicted. */
function forecastOf(
  roll: RollRecord,
  plan: RollPlanRecord | null,
  now: number,
): Pick<Roll, 'forecast' | 'wouldNotFit'> {
  if (isRollOver(roll) || plan === null) return { forecast: [], wouldNotFit: [] };
  const { waves } = planOfRecord(plan);
  const left = waves.flatMap((_, wave) =>
    roll.hosts.some((host) => host.wave === wave && !isHostOver(host)) ? [wave] : [],
  );
  const fit = fitOf(
    roll,
    left.map((wave) => waveMs(roll, waves[wave]?.durationMs ?? 0)),
    now,
  );
  const numbers = (indexes: readonly number[]): number[] => indexes.map((index) => (left[index] ?? 0) + 1);
  return {
    forecast: fit.openings.map((opening) => ({
      from: time(opening.from),
      until: timeOrNull(opening.until),
      waves: numbers(opening.waves),
    })),
    wouldNotFit: numbers([...fit.never, ...fit.later]),
  };
}
