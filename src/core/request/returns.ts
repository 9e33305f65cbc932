/** Bringing back the VMs that a drain moved away from a host. Pure: planned here, carried out by the leader's loop. */
import { CodedError } from '../../base/errors.ts';
import { type DrainId, type HostName, parseDrainId, type VmId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { checkPlan } from '../check/maintenance-plan.ts';
import { withDeviation } from '../maintenance/drain-decision.ts';
import { movesOfPlan, touchedBy } from '../maintenance/drain-plan.ts';
import { estateAround } from '../maintenance/estate-records.ts';
import { planReturn, type Stays } from '../maintenance/return-plan.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { type DrainRecord, isDrainOver, PARALLEL_MOVES } from '../model/drain.ts';
import { type Admitted, type Basis, newTask } from './basis.ts';
import {
  type DrainObserved,
  demandFree,
  findHost,
  keptModel,
  planNotAccepted,
  sourceOf,
  writingFor,
} from './drains.ts';

export interface ReturnRequest {
  readonly host: string;
  /** Name of the token that asks. */
  readonly who: string;
  /** Moves at once from and to one host. */
  readonly parallel?: number | undefined;
}

/** VMs that stay, as far as a sentence names them. */
const NAMED_MAX = 10;

/**
 * Begins to bring back the VMs that the newest drain of the host moved away. CodedError 'not-found', 'conflict' for a
 * host in maintenance or with a return that is not over, and, with the reasons, if no VM can be brought back.
 */
export function returnVms(basis: Basis, observed: DrainObserved, request: ReturnRequest): Admitted<DrainId> {
  const { value: host } = findHost(basis, request.host);
  demandFree(basis, host);
  const open = [...recordsOf(basis.records.drains)].find((each) => each.home === host.name && !isDrainOver(each));
  if (open !== undefined)
    throw new CodedError(
      'conflict',
      `VMs are being brought back to ${host.name} already (${open.id}, ${open.state}).`,
      {
        advice: `Nothing was changed. See "gp maintenance show ${open.id}".`,
      },
    );
  const parallel = request.parallel ?? PARALLEL_MOVES;
  const source = sourceOf(basis, observed);
  const view = { drain: null, parallel };
  const model = keptModel(observed, { ...view, dirtyRateOf: source.dirtyRateOf });
  const { plan, stays } = planReturn(model, host.name, movedFrom(basis, host.name));
  const [finding] = checkPlan(estateAround(source, view, touchedBy(plan)), plan);
  if (finding !== undefined) throw planNotAccepted(finding);
  const words = stayWords(basis, stays);
  if (plan.waves.length === 0)
    throw new CodedError('conflict', `Nothing can be brought back to ${host.name}.`, {
      advice:
        words === null
          ? 'Nothing was changed. No VM that its last drain moved away is elsewhere.'
          : `Nothing was changed. ${words}`,
    });
  const id = parseDrainId(`drain-${basis.randomHex(6)}`);
  const message = `Bringing VMs back to ${host.name}.`;
  const task = newTask(basis, { kind: 'host.return', target: { kind: 'drain', name: id }, message });
  const drain: DrainRecord = {
    ...{ id, hosts: [], home: host.name, state: 'running', who: request.who, reason: null, change: null, parallel },
    ...{ taskId: task.id, stuck: null, deviations: [], createdAt: basis.now, endedAt: null },
    moves: movesOfPlan(plan, { firstId: 0, writingOf: writingFor(basis, observed, { parallel }) }),
  };
  return {
    changes: [
      { kind: 'drain', id, value: words === null ? drain : withDeviation(drain, basis.now, words) },
      { kind: 'task', id: task.id, value: task },
    ],
    result: id,
  };
}

/** The VMs that the host's newest finished drain moved away. */
function movedFrom({ records }: Basis, host: HostName): readonly VmId[] {
  const over = [...recordsOf(records.drains)].filter((drain) => drain.hosts.includes(host) && isDrainOver(drain));
  const newest = over.toSorted((a, b) => b.createdAt - a.createdAt)[0];
  return (newest?.moves ?? []).flatMap(({ vm, from, state }) => (from === host && state === 'moved' ? [vm] : []));
}

/** Names the VMs that stay away, and why; null: none does. */
function stayWords({ index }: Basis, stays: readonly Stays[]): string | null {
  if (stays.length === 0) return null;
  return `Not brought back: ${listed(stays.slice(0, NAMED_MAX).map(({ vm, why }) => `${index.vm(vm)?.name ?? vm} (${why})`))}.`;
}
