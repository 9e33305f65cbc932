/**
 * Rolls: maintenance of many hosts as a plan was approved. Pure: a roll is recorded here, people's commands report
 * here, and the leader's loop carries the rest out.
 * Guarantees: a roll is recorded only with a plan that has the approved hash, over hosts that no other roll has, while
 * no host is down unexpectedly, and if every wave fits into some window.
 */
import { counted } from '../../base/counted.ts';
import { CodedError } from '../../base/errors.ts';
import { type HostName, parseRollId, type RollId } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { parseApproved } from '../maintenance/approved-plan.ts';
import type { ApprovedPlan } from '../maintenance/approved-text.ts';
import { downHosts } from '../maintenance/roll-decision.ts';
import { fitOf, waveMs } from '../maintenance/roll-holds.ts';
import { parseTimeWindow } from '../maintenance/time-window.ts';
import type { QuietOverride } from '../model/drain.ts';
import { PREFIX } from '../model/keys.ts';
import { isRollOver, type RollCommands, type RollFreeze, type RollHost, type RollRecord } from '../model/roll.ts';
import { demandReadable } from '../plan/vm/unreadable.ts';
import type { Change, Entry } from '../ports/store.ts';
import { type Admitted, type Basis, newTask, type Observed } from './basis.ts';
import { demandFree, findHost } from './drains.ts';

export interface RollRequest {
  /** The approved plan (`approvedText`). */
  readonly plan: string;
  /** Name of the token that asks. */
  readonly who: string;
  readonly reason?: string | undefined;
  readonly change?: string | undefined;
  readonly quietOverride?: QuietOverride | undefined;
  readonly windows?: readonly string[] | undefined;
  readonly freezes?: readonly RollFreeze[] | undefined;
  readonly onFailure?: 'stop' | 'continue' | undefined;
  /** Hosts that may be away at once, if fewer than approved. */
  readonly maxUnavailable?: number | undefined;
  readonly perRack?: number | undefined;
  readonly commands?: Partial<RollCommands> | undefined;
  readonly workMs?: number | undefined;
  readonly backMs?: number | undefined;
}

const MINUTE_MS = 60_000;
const COMMANDS: RollCommands = {
  pre: null,
  run: null,
  verify: null,
  preMs: 10 * MINUTE_MS,
  runMs: 60 * MINUTE_MS,
  verifyMs: 30 * MINUTE_MS,
};
const WORK_MS = 15 * MINUTE_MS;
const BACK_MS = 30 * MINUTE_MS;

/**
 * Begins a roll. `hash`: SHA-256 of the plan's text; `approved`: the one that was approved. CodedError 'conflict',
 * 'bad-input', 'not-found'.
 */
export function startRoll(
  basis: Basis,
  observed: Observed,
  { request, hash, approved }: { readonly request: RollRequest; readonly hash: string; readonly approved: string },
): Admitted<RollId> {
  if (hash !== approved)
    throw new CodedError('conflict', `The plan has the hash ${hash}, and ${approved} was approved.`, {
      advice: 'Nothing was changed. Have the plan approved as it is, or use the approved one.',
    });
  const plan = parseApproved(request.plan);
  demandWindows(request);
  demandOwn(basis, plan);
  demandHosts(basis, observed, plan);
  const id = parseRollId(`roll-${basis.randomHex(6)}`);
  const names = plan.waves.flatMap(({ hosts }) => hosts);
  const task = newTask(basis, {
    kind: 'maintenance.roll',
    target: { kind: 'roll', name: id },
    message: `${names.length} hosts in ${plan.waves.length} waves.`,
  });
  const roll = newRoll(basis, request, { plan, id, hash, taskId: task.id });
  demandFits(roll, plan, basis.now);
  const { quietOverride } = request;
  const signed =
    quietOverride === undefined ? '' : ` Quiet hours are overridden by ${quietOverride.owner}: ${quietOverride.reason}`;
  const message = `${request.who} begins ${id}: ${listed(names)}.${signed}`;
  return {
    changes: [
      { kind: 'roll', id, value: roll },
      { kind: 'roll-plan', id, value: { id, text: request.plan } },
      { kind: 'task', id: task.id, value: task },
    ],
    events: [{ at: basis.now, kind: 'roll-started', vm: null, vmName: null, host: null, generation: null, message }],
    result: id,
  };
}

function newRoll(
  { now }: Basis,
  request: RollRequest,
  { plan, ...known }: Pick<RollRecord, 'id' | 'hash' | 'taskId'> & { readonly plan: ApprovedPlan },
): RollRecord {
  const { who, reason, change, quietOverride, windows, freezes, onFailure, commands, workMs, backMs } = request;
  const host = (name: HostName, wave: number): RollHost => ({
    ...{
      host: name,
      wave,
      state: 'waiting',
      since: now,
      drain: null,
      work: null,
      done: [],
      failedAt: null,
      note: null,
    },
  });
  const perRack = request.perRack ?? plan.perRack;
  return {
    ...known,
    state: 'running',
    held: null,
    who,
    reason: reason ?? null,
    change: change ?? null,
    ...(quietOverride === undefined ? {} : { quietOverride }),
    windows: windows ?? [],
    freezes: freezes ?? [],
    onFailure: onFailure ?? 'stop',
    commands: { ...COMMANDS, ...commands },
    workMs: workMs ?? WORK_MS,
    backMs: backMs ?? BACK_MS,
    // Less may be asked for than was approved, never more.
    maxUnavailable: Math.min(request.maxUnavailable ?? plan.maxUnavailable, plan.maxUnavailable),
    perRack: perRack === null ? null : Math.min(perRack, plan.perRack ?? perRack),
    parallel: plan.parallel,
    hosts: plan.waves.flatMap(({ hosts }, wave) => hosts.map((name) => host(name, wave))),
    deviations: [],
    createdAt: now,
    endedAt: null,
  };
}

function demandWindows({ windows = [], freezes = [] }: RollRequest): void {
  for (const window of windows) {
    const read = parseTimeWindow(window);
    if ('reason' in read)
      throw new CodedError('bad-input', `"${window}" is not a valid window: ${read.reason}`, {
        advice: "Nothing was changed. Write it like 'Sat 22:00-04:00 Europe/Berlin'.",
      });
  }
  for (const { from, until, reason } of freezes)
    if (from >= until)
      throw new CodedError('bad-input', `The freeze "${reason}" ends before it begins.`, {
        advice: 'Nothing was changed.',
      });
}

/** Names of hosts are alike in many clusters, ids of VMs are not. */
function demandOwn({ records }: Basis, { waves }: ApprovedPlan): void {
  const vms = waves.flatMap(({ moves }) => moves.map(({ vm }) => vm));
  if (vms.length === 0 || vms.some((vm) => records.vms.has(vm))) return;
  throw new CodedError('conflict', `The plan moves ${counted(vms.length, 'VM')}, and this cluster has none of them.`, {
    advice: 'Nothing was changed. The plan is of another cluster, or too old: make a new one.',
  });
}

function demandHosts(basis: Basis, observed: Observed, plan: ApprovedPlan): void {
  const names = plan.waves.flatMap(({ hosts }) => hosts);
  const records = names.map((name) => findHost(basis, name).value);
  const own = new Set(names);
  demandRollsReadable(basis);
  for (const { value: roll } of basis.records.rolls.values()) {
    const both = isRollOver(roll) ? [] : roll.hosts.flatMap(({ host }) => (own.has(host) ? [host] : []));
    if (both.length > 0)
      throw new CodedError('conflict', `${roll.id} (${roll.state}) has ${listed(both)} already.`, {
        advice: `Nothing was changed. Wait for its end, or end it: gp maintenance abort ${roll.id}.`,
      });
  }
  for (const host of records) demandFree(basis, host);
  const hosts = [...basis.records.hosts.values()].map(({ value }) => value);
  const down = downHosts({ hosts, agent: (host) => observed.observer.see(host).agent });
  if (down.length > 0)
    throw new CodedError('conflict', `Down, and not in maintenance: ${listed(down)}.`, {
      advice: 'Nothing was changed. Bring them back, drain them (gp host drain), or remove them; then begin the roll.',
    });
}

/**
 * CodedError 'conflict' if the record of a roll cannot be read: nobody knows which hosts that roll works on, or whether
 * it is over.
 */
function demandRollsReadable({ records: { unreadable } }: Basis): void {
  const rolls = [...unreadable.keys()].filter((key) => key.startsWith(PREFIX.roll));
  demandReadable(unreadable, rolls);
}

/** CodedError 'conflict' where a wave is longer than every window. */
function demandFits(roll: RollRecord, plan: ApprovedPlan, now: number): void {
  const wavesMs = plan.waves.map(({ durationMs }) => waveMs(roll, durationMs));
  const { never } = fitOf(roll, wavesMs, now);
  const [first] = never;
  if (first === undefined) return;
  const minutes = Math.ceil((wavesMs[first] ?? 0) / MINUTE_MS);
  throw new CodedError('conflict', `Wave ${first + 1} takes about ${minutes} min: no window is that long.`, {
    advice: 'Nothing was changed. Take a longer window, or plan waves of fewer hosts (--max-unavailable).',
  });
}

/**
 * Begins nothing more, or goes on. A roll that goes on tries hosts that have failed again where `isRetry`. CodedError
 * 'not-found', 'conflict' for a roll that is over or being aborted.
 */
export function pauseRoll(
  basis: Basis,
  id: string,
  { isPaused, isRetry = false }: { readonly isPaused: boolean; readonly isRetry?: boolean },
): Admitted<RollId> {
  const { value: roll } = findRoll(basis, id);
  demandRunning(roll);
  const state = isPaused ? 'paused' : 'running';
  const hosts = isRetry && !isPaused ? roll.hosts.map((host) => retried(basis, host)) : roll.hosts;
  const next: RollRecord = { ...roll, state, hosts, held: isPaused ? 'Somebody paused it.' : null };
  const drains: Change[] = isPaused
    ? []
    : [...new Set(roll.hosts.flatMap(({ drain, state: at }) => (at === 'draining' ? (drain ?? []) : [])))].flatMap(
        (drain) => {
          const record = basis.records.drains.get(drain)?.value;
          return record?.state === 'paused'
            ? [{ kind: 'drain', id: drain, value: { ...record, state: 'running' } }]
            : [];
        },
      );
  if (state === roll.state && !isRetry && drains.length === 0) return { changes: [], result: roll.id };
  return { changes: [{ kind: 'roll', id: roll.id, value: next }, ...drains], result: roll.id };
}

/** A host that has failed goes on where it failed, as long as it still is in the maintenance of its drain. */
function retried({ records, now }: Basis, host: RollHost): RollHost {
  if (host.state !== 'failed' || host.failedAt === null) return host;
  const again = { ...host, state: host.failedAt, since: now, work: null, failedAt: null, note: 'Tried again.' };
  if (host.drain === null) return { ...again, state: 'waiting' };
  const isKept = records.hosts.get(host.host)?.value.maintenance?.drain === host.drain;
  return isKept ? again : { ...again, state: 'waiting', drain: null };
}

/**
 * Ends a roll: nothing more begins, moves under way end, hosts whose work has begun are finished. CodedError
 * 'not-found', 'conflict'.
 */
export function abortRoll(basis: Basis, id: string): Admitted<RollId> {
  const { value: roll } = findRoll(basis, id);
  if (roll.state === 'aborting') return { changes: [], result: roll.id };
  demandRunning(roll);
  return {
    changes: [{ kind: 'roll', id: roll.id, value: { ...roll, state: 'aborting', held: null } }],
    result: roll.id,
  };
}

/** The roll of an id. CodedError 'not-found'. */
export function findRoll({ records }: Pick<Basis, 'records'>, id: string): Entry<RollRecord> {
  const entry = records.rolls.get(id as RollId);
  if (entry !== undefined) return entry;
  throw new CodedError('not-found', `There is no roll ${id}.`, { advice: 'List them with "gp maintenance list".' });
}

function demandRunning({ id, state }: RollRecord): void {
  if (state === 'running' || state === 'paused') return;
  throw new CodedError('conflict', `${id} is ${state}.`, { advice: 'Nothing was changed.' });
}
