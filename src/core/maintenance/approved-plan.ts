/**
 * The approved content of a roll: its hosts, their waves in order, where each VM goes, how long each wave takes and the
 * longest pause in it, and the limits it was planned with. Pure. `approvedText` writes all of it in exactly one form,
 * so that a hash of the text identifies the plan.
 * When a wave runs, VMs go where the plan wants them as far as that is possible then; differences are reported.
 */
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseHostName, parseVmId } from '../../base/ids.ts';
import { LIMITS } from '../model/limits.ts';
import type { RollPlanRecord } from '../model/roll.ts';
import {
  APPROVED_FORMAT,
  type ApprovedMove,
  type ApprovedPlan,
  type ApprovedWave,
  approvedText,
  approvedWave,
} from './approved-text.ts';
import { Layout } from './layout.ts';
import type { Model } from './model.ts';
import type { PlannedMove, PlannedWave, Refusal } from './plan.ts';
import { indexesOf, refusalOf, WAVE_STEPS } from './planner.ts';
import { planWave, type Wanted } from './wave.ts';

/** Reads such a text; CodedError 'bad-input' for any other. */
export function parseApproved(text: string): ApprovedPlan {
  const plan = planOfValue(jsonOf(text));
  // Only one form is accepted: a text that `approvedText` would write otherwise may contain parts that are not read
  // here.
  if (approvedText(plan) !== text) throw notAPlan('it is not in the format of plans');
  const hosts = plan.waves.flatMap((wave) => wave.hosts);
  if (hosts.length === 0) throw notAPlan('it has no host');
  if (new Set(hosts).size < hosts.length) throw notAPlan('it names a host twice');
  const largest = Math.max(...plan.waves.map((wave) => wave.hosts.length));
  if (largest > plan.maxUnavailable) throw notAPlan('a wave has more hosts than may be away');
  if (plan.waves.some(({ moves }) => moves.length > LIMITS.drainMoves.max))
    throw notAPlan(`a wave has more moves than one drain, which has ${LIMITS.drainMoves.max} at most`);
  return plan;
}

/** Records never change: the plan of each is read once. */
const PLANS = new WeakMap<RollPlanRecord, ApprovedPlan>();

/** Returns the plan of a record; CodedError 'bad-input' as `parseApproved`. */
export function planOfRecord(record: RollPlanRecord): ApprovedPlan {
  const plan = PLANS.get(record) ?? parseApproved(record.text);
  PLANS.set(record, plan);
  return plan;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw notAPlan('it is not JSON');
  }
}

function planOfValue(value: unknown): ApprovedPlan {
  const { format, maxUnavailable, perRack, parallel, waves } = fieldsOf(value);
  if (format !== APPROVED_FORMAT) throw notAPlan(`it is not of the format ${APPROVED_FORMAT}`);
  return {
    maxUnavailable: integerOf(maxUnavailable, LIMITS.rollUnavailable.max),
    perRack: perRack === null ? null : integerOf(perRack, LIMITS.rollUnavailable.max),
    parallel: integerOf(parallel, 8),
    waves: listOf(waves).map((wave): ApprovedWave => {
      const { hosts, durationMs, pauseMs, moves } = fieldsOf(wave);
      return {
        hosts: listOf(hosts).map((host) => parseHostName(String(host))),
        durationMs: integerOf(durationMs, Number.MAX_SAFE_INTEGER, 0),
        pauseMs: integerOf(pauseMs, Number.MAX_SAFE_INTEGER, 0),
        moves: listOf(moves).map((move) => {
          const [vm = '', from = '', to = ''] = String(move).split(' ');
          return { vm: parseVmId(vm), from: parseHostName(from), to: parseHostName(to) };
        }),
      };
    }),
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw notAPlan('an object is missing');
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw notAPlan('a list is missing');
  return value;
}

function integerOf(value: unknown, max: number, min = 1): number {
  if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max)
    throw notAPlan(`a number is missing, or not from ${min} to ${max}`);
  return value as number;
}

function notAPlan(why: string): CodedError {
  return new CodedError('bad-input', `This is no plan of a roll: ${why}.`, {
    advice: 'Nothing was changed. Make a plan with "gp maintenance plan".',
  });
}

/** Waves as they can be carried out now, and the first of them that cannot. */
export interface WavesNow {
  readonly waves: readonly PlannedWave[];
  readonly refusal: Refusal | null;
}

/**
 * Plans approved waves anew, one after the other, as hosts and VMs are now: VMs go where the approved plan wants them
 * as far as that is possible. `done`: hosts whose maintenance is over, which are filled first. In pieces: nothing may
 * change the model before the end.
 */
export function* planApproved(
  model: Model,
  waves: readonly ApprovedWave[],
  done: readonly HostName[],
): Generator<void, WavesNow> {
  const layout = new Layout(model);
  for (const host of indexesOf(model, done))
    if (layout.isOpen(host)) layout.reopen(host, { tier: 0, kind: layout.kind[host] ?? 0 });
  const planned: PlannedWave[] = [];
  for (const wave of waves) {
    const hosts = indexesOf(model, wave.hosts);
    const wasOpen = hosts.filter((host) => layout.isOpen(host));
    const firstId = planned.reduce((sum, { moves }) => sum + moves.length, 0);
    const options = { firstId, budget: { steps: WAVE_STEPS }, wanted: wantedOf(layout, wave) };
    const outcome = yield* planWave(layout, hosts, options);
    if (outcome.kind === 'none') return { waves: planned, refusal: refusalOf(model, outcome, planned.length) };
    planned.push(outcome.wave);
    for (const host of wasOpen) layout.reopen(host, { tier: 0, kind: layout.kind[host] ?? 0 });
    yield;
  }
  return { waves: planned, refusal: null };
}

function wantedOf(layout: Layout, { moves }: ApprovedWave): ReadonlyMap<number, Wanted> {
  const { model } = layout;
  return new Map(
    moves.flatMap(({ vm, from, to }) => {
      const [index, fromHost, toHost] = [model.vm(vm), model.host(from), model.host(to)];
      return index < 0 || fromHost < 0 || toHost < 0
        ? []
        : [[layout.lead(index), { from: fromHost, to: toHost }] as const];
    }),
  );
}

/** The most differences that are listed one by one. */
const TOLD_MAX = 10;

/** The differences between a wave and the approved one, in sentences; empty: none in the approved parts. */
export function differencesOf(
  approved: ApprovedWave,
  moves: readonly Pick<PlannedMove, 'vm' | 'name' | 'from' | 'to'>[],
): string[] {
  const names = new Map(moves.map(({ vm, name }) => [vm, name]));
  const now = new Map(approvedWays(moves).map((move) => [move.vm, move]));
  const then = new Map(approved.moves.map((move) => [move.vm, move]));
  const different = [...now.values()].flatMap(({ vm, from, to }) => {
    const before = then.get(vm);
    const name = names.get(vm) ?? vm;
    if (before === undefined) return [`${name} goes from ${from} to ${to}, which the approved plan does not have`];
    return before.to === to ? [] : [`${name} goes to ${to} instead of ${before.to}`];
  });
  const gone = [...then.keys()].filter((vm) => !now.has(vm)).length;
  const told = different.slice(0, TOLD_MAX);
  if (different.length > told.length)
    told.push(`${counted(different.length - told.length, 'more VM goes', 'more VMs go')} elsewhere`);
  if (gone > 0) told.push(`${counted(gone, 'VM of the approved plan needs', 'VMs of the approved plan need')} no move`);
  return told;
}

function approvedWays(moves: readonly Pick<PlannedMove, 'vm' | 'from' | 'to'>[]): readonly ApprovedMove[] {
  return approvedWave({ hosts: [], durationMs: 0, moves: moves.map((move) => ({ ...move, pauseMs: 0 })) }).moves;
}
