/** Drains through the API: a drain is recorded when its promise resolves; the leader's loop carries it out. */

import type { Drain, DrainPlan, DrainSummary } from '../../api/maintenance-views.ts';
import type { DrainHost, ReturnVms } from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName, VmId } from '../../base/ids.ts';
import { awaitedBy, type Writing } from '../../core/maintenance/drain-plan.ts';
import type { MaintenancePlan } from '../../core/maintenance/plan.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import { type DrainMove, type DrainRecord, isDrainOver, openMoves } from '../../core/model/drain.ts';
import { quietObstacles } from '../../core/plan/guest-clusters/quiet-hours.ts';
import type { Entry } from '../../core/ports/store.ts';
import type { Basis, Observed } from '../../core/request/basis.ts';
import {
  cancelDrain,
  type DrainRequest,
  durationMsOf,
  findDrain,
  pauseDrain,
  planDrain,
  startDrain,
  writingFor,
} from '../../core/request/drains.ts';
import { lostVms } from '../../core/request/lost-host.ts';
import { returnVms } from '../../core/request/returns.ts';
import type { Call } from '../api/call.ts';
import type { Page, PageQuery } from '../api/pages.ts';
import { basisOf, change } from './changes.ts';
import { type BackendContext, observedByLeader } from './context.ts';
import { explainingDrain } from './explanations.ts';
import { pageOfTable } from './table-page.ts';

const MIB = 1024 ** 2;
const time = (ms: number): string => new Date(ms).toISOString();
const timeOrNull = (ms: number | null): string | null => (ms === null ? null : time(ms));

type DrainCall = Pick<Call, 'principal' | 'signal'>;

/** Everything about drains but the hosts. */
export class DrainsBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Plans and changes nothing. The errors of `planDrain`. */
  async plan(host: string, asked: DrainHost, { principal, signal }: DrainCall): Promise<DrainPlan> {
    const request = requestOf(host, asked, principal.name);
    return explainingDrain(this.#context, { parallel: request.parallel, signal }, async () => {
      await this.#measure(request);
      const basis = basisOf(this.#context);
      const observed = this.#observed();
      const writing = writingFor(basis, observed, request);
      return planView(planDrain(basis, observed, request), { basis, request, writing });
    });
  }

  /** Begins a drain. The errors of `startDrain`. */
  async start(host: string, asked: DrainHost, { principal, signal }: DrainCall): Promise<Drain> {
    const request = requestOf(host, asked, principal.name);
    return explainingDrain(this.#context, { parallel: request.parallel, signal }, async () => {
      await this.#measure(request);
      const id = await change(this.#context, (basis) => startDrain(basis, this.#observed(), request));
      return this.get(id);
    });
  }

  /** Begins to bring VMs back to a host. The errors of `returnVms`. */
  async returnVms(host: string, { parallel }: ReturnVms, who: string): Promise<Drain> {
    const id = await change(this.#context, (basis) => returnVms(basis, this.#observed(), { host, parallel, who }));
    return this.get(id);
  }

  /** Begins no further move, or goes on. */
  async pause(id: string, isPaused: boolean): Promise<Drain> {
    await change(this.#context, (basis) => pauseDrain(basis, id, isPaused));
    return this.get(id);
  }

  /** Ends a drain once the moves under way have ended. */
  async cancel(id: string): Promise<Drain> {
    await change(this.#context, (basis) => cancelDrain(basis, id));
    return this.get(id);
  }

  /** CodedError 'not-found'. */
  get(id: string): Drain {
    const { records, index, now } = basisOf(this.#context);
    const entry = findDrain({ records }, id);
    const vms = isDrainOver(entry.value) ? [] : openMoves(entry.value).map(({ vm }) => vm);
    return drainView(entry, entry.value.quietOverride === undefined ? quietObstacles(vms, index, now) : []);
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<DrainSummary>> {
    return pageOfTable(this.#context.store.drains, query, { signal, view: drainSummary });
  }

  /**
   * Measures how fast the guests write memory that a drain is going to move, so that the plan can say which of them
   * write too fast for a move. Takes six seconds at most for the guests on the hosts, and six more for others that make
   * room.
   */
  async #measure(request: DrainRequest): Promise<void> {
    const rates = this.#context.leading()?.controller.dirtyRates;
    if (rates === undefined) return;
    const { index } = basisOf(this.#context);
    const there = request.hosts.flatMap((host) => [...index.vmsOn(host as HostName)]);
    await rates.measure(there.flatMap((id) => index.vm(id) ?? []));
    const { waves } = planDrain(basisOf(this.#context), this.#observed(), request);
    const moved = waves.flatMap(({ moves }) => moves.flatMap(({ vm }) => index.vm(vm) ?? []));
    await rates.measure(moved);
  }

  #observed(): Observed {
    return observedByLeader(this.#context);
  }
}

/** A drain without its moves: a list of drains must not be as long as all their moves. */
export function drainSummary({ value, revision }: Entry<DrainRecord>): DrainSummary {
  const { id, hosts, state, who, reason, change: number, parallel, taskId, stuck, moves, createdAt, endedAt } = value;
  const { home = null, by = null, quietOverride = null, waits = null } = value;
  return {
    ...{ id, state, who, reason, change: number, parallel, stuck },
    waits: waits === null ? null : { what: waits.what, since: time(waits.since) },
    hosts: [...hosts],
    home,
    by: timeOrNull(by),
    revision: String(revision),
    quietOverride,
    task: taskId,
    moved: moves.filter((move) => move.state === 'moved').length,
    planned: moves.length,
    createdAt: time(createdAt),
    endedAt: timeOrNull(endedAt),
  };
}

/** How a moved member of a guest cluster was seen healthy, in words; null: the drain does not wait for its health. */
function healthText({ health }: DrainMove, drain: DrainRecord): string | null {
  if (health === undefined) return null;
  switch (health) {
    case 'awaited':
      return isDrainOver(drain) ? 'It was not seen healthy yet when this ended.' : 'It has not been seen healthy yet.';
    case 'by-check':
      return 'Its ready-check succeeded.';
    case 'by-keys':
      return 'It was seen healthy by its keys.';
    case 'no':
      return 'It was not seen healthy in time.';
  }
}

/** A drain as the API shows it. */
function drainView(entry: Entry<DrainRecord>, heldBack: readonly string[]): Drain {
  const { moves, deviations, guestClusters = [], roll = null } = entry.value;
  return {
    ...drainSummary(entry),
    moves: moves.map((move) => ({
      ...moveView(move, move),
      state: move.state,
      startedAt: timeOrNull(move.startedAt),
      endedAt: timeOrNull(move.endedAt),
      measuredPauseMs: move.measuredPauseMs,
      note: move.note ?? healthText(move, entry.value),
    })),
    deviations: deviations.map(({ at, what }) => ({ at: time(at), what })),
    heldBack: [...heldBack],
    guestClusters: guestClusters.map((cluster) => ({
      ...cluster,
      members: [...cluster.members],
      restarted: [...cluster.restarted],
    })),
    roll,
  };
}

interface PlanContext {
  readonly basis: Basis;
  readonly request: DrainRequest;
  readonly writing: (vm: VmId) => Writing;
}

function planView(plan: MaintenancePlan, { basis, request, writing }: PlanContext): DrainPlan {
  const { waves, movedMib } = plan;
  const endsAt = basis.now + durationMsOf(plan);
  const hosts = request.hosts.flatMap((name) => basis.index.host(name as HostName) ?? []);
  const vms = waves.flatMap(({ moves }) => moves.map(({ vm }) => vm));
  return {
    endsAt: time(endsAt),
    fits: request.by === undefined ? null : endsAt <= request.by,
    lost: hosts.flatMap((host) => lostView(basis, host)),
    hosts: waves.flatMap(({ hosts }) => hosts),
    durationMs: durationMsOf(plan),
    movedBytes: movedMib * MIB,
    moves: waves.flatMap(({ moves }) =>
      moves.map((move) => ({ ...moveView(move, writing(move.vm)), startsAtMs: move.startsAtMs })),
    ),
    awaited: [...awaitedBy(plan, basis.index)],
    heldBack: request.quietOverride === undefined ? [...quietObstacles(vms, basis.index, basis.now)] : [],
  };
}

/** The fate of the VMs of a lost host; empty for a host that is not lost. */
function lostView(basis: Basis, host: HostRecord): DrainPlan['lost'] {
  const { name, quarantine } = host;
  if (quarantine === null) return [];
  const { since, reason } = quarantine;
  return [{ host: name, since: time(since), reason, vms: lostVms(basis, host).map((each) => ({ ...each })) }];
}

type Move = Pick<DrainMove, 'id' | 'name' | 'from' | 'to' | 'after' | 'why' | 'memoryMib' | 'durationMs' | 'pauseMs'>;

/** A move as the API shows it. */
export function moveView(
  { id, name, from, to, after, why, memoryMib, durationMs, pauseMs }: Move,
  { dirtyMibPerSecond = null, remedy = null }: Partial<Writing> = {},
) {
  return {
    ...{ id, vm: name, from, to, after: [...after], why },
    memoryBytes: memoryMib * MIB,
    foretoldMs: durationMs,
    foretoldPauseMs: pauseMs,
    writesBytesPerSecond: dirtyMibPerSecond === null ? null : dirtyMibPerSecond * MIB,
    remedy,
  };
}

/** CodedError 'bad-input' for a text that is no time, such as the 31st of June. */
function timeIn(text: string): number {
  const at = Date.parse(text);
  if (Number.isFinite(at)) return at;
  throw new CodedError('bad-input', `${text} is no time.`, {
    advice: 'Nothing was changed. Write it as 2026-05-01T18:00:00Z.',
  });
}

function requestOf(
  host: string,
  { parallel, reason, change: number, by, quietOverride }: DrainHost,
  who: string,
): DrainRequest {
  const common = { hosts: [host], who, parallel, reason, change: number, quietOverride };
  return { ...common, by: by === undefined ? undefined : timeIn(by) };
}
