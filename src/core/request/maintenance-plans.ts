/**
 * Plans for maintenance of many hosts, for people who want to know first. Pure: nothing is changed. In turns, since a
 * plan for a thousand hosts takes seconds: the caller lets others work between them.
 */
import { CodedError } from '../../base/errors.ts';
import type { HostName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { checkPlanInTurns } from '../check/maintenance-plan.ts';
import { estateInTurns } from '../maintenance/estate-records.ts';
import type { MaintenancePlan } from '../maintenance/plan.ts';
import { planRollInTurns } from '../maintenance/roll.ts';
import type { HostRecord } from '../model/cluster.ts';
import { PARALLEL_MOVES } from '../model/drain.ts';
import type { RollLimits } from '../model/roll.ts';
import type { Basis, Observed } from './basis.ts';
import { demandFree, demandMoves, findHost, keptModel, planNotAccepted, rollRefusal, sourceOf } from './drains.ts';

export interface MaintenanceRequest {
  /** `all`, `rack=NAME`, or names of hosts. */
  readonly hosts: readonly string[];
  readonly maxUnavailable?: number | undefined;
  readonly perRack?: number | undefined;
  readonly parallel?: number | undefined;
}

/** A plan, and the limits that it keeps. */
export interface PlannedMaintenance extends RollLimits {
  readonly plan: MaintenancePlan;
}

/**
 * Plans, and lets the checker judge the plan. CodedError 'not-found', 'conflict' for a host in maintenance,
 * 'no-capacity' with the obstacles.
 */
export function* planMaintenance(
  basis: Basis,
  observed: Observed,
  request: MaintenanceRequest,
): Generator<void, PlannedMaintenance> {
  const hosts = hostsOf(basis, request.hosts);
  for (const host of hosts) demandFree(basis, host);
  const limits = {
    maxUnavailable: request.maxUnavailable ?? 1,
    perRack: request.perRack ?? null,
    parallel: request.parallel ?? PARALLEL_MOVES,
  };
  const source = sourceOf(basis, observed);
  const view = { drain: null, parallel: limits.parallel };
  const names = hosts.map(({ name }) => name);
  const model = keptModel(observed, { ...view, dirtyRateOf: source.dirtyRateOf }).copy();
  yield;
  const outcome = yield* planRollInTurns(model, { hosts: names, releaseAfter: null, ...limits });
  if (outcome.kind === 'refused') throw rollRefusal(model, names, outcome);
  for (const { moves } of outcome.waves) demandMoves(moves.length);
  const [finding] = yield* checkPlanInTurns(yield* estateInTurns(source, view), outcome);
  if (finding !== undefined) throw planNotAccepted(finding);
  return { plan: outcome, ...limits };
}

/** The hosts that are meant, each once, in the order of their names. CodedError 'not-found'. */
function hostsOf(basis: Basis, asked: readonly string[]): readonly HostRecord[] {
  const all = [...basis.records.hosts.values()].map(({ value }) => value);
  const chosen = new Map<HostName, HostRecord>();
  for (const word of asked) for (const host of hostsOfWord(basis, all, word)) chosen.set(host.name, host);
  return [...chosen.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function hostsOfWord(basis: Basis, all: readonly HostRecord[], word: string): readonly HostRecord[] {
  if (word === 'all') {
    if (all.length > 0) return all;
    throw new CodedError('not-found', 'The cluster has no host.', { advice: 'Nothing was changed.' });
  }
  if (!word.startsWith('rack=')) return [findHost(basis, word).value];
  const rack = word.slice('rack='.length);
  const found = all.filter((host) => host.rack === rack);
  if (found.length > 0) return found;
  const racks = [...new Set(all.flatMap((host) => host.rack ?? []))].sort();
  throw new CodedError('not-found', `No host is in rack ${rack}.`, {
    advice: `Nothing was changed. Racks: ${racks.length === 0 ? 'none' : listed(racks)}.`,
  });
}
