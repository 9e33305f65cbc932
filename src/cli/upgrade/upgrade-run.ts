/**
 * Brings the machines of a cluster to another version, one after the other: a command that installs it, run where `gp`
 * runs, then a check that all roles of the machine are back. Where that is asked for, hosts are emptied first, by rolls
 * (core/maintenance): by their windows and limits, with their record, in waves where hosts follow each other. Guarantees: the upgrade ends at the first machine that
 * does not come back, and leaves the remaining machines as they were; it may be run again, and skips the machines that
 * are done.
 */
import { approvedTextOf } from '../../api/approved.ts';
import type { Roll } from '../../api/roll-views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { listed } from '../../base/listed.ts';
import { sleep } from '../../base/sleep.ts';
import type { ApiClient } from '../../client/client.ts';
import { openingAt } from '../../core/maintenance/roll-holds.ts';
import { tryRun } from '../../os/child-process.ts';
import { systemClock } from '../../os/clock.ts';
import { fillIn, withPackage } from '../maintenance/machine-command.ts';
import { runCommand } from '../maintenance/roll-command.ts';
import { type Perform, runRoll } from '../maintenance/roll-runner.ts';
import { present, type Session } from '../session.ts';
import {
  batchOf,
  demandAlive,
  type PlannedMachine,
  planUpgrade,
  type UpgradeFacts,
  type UpgradePlan,
} from './upgrade-plan.ts';

/** How a machine is upgraded. */
export interface UpgradeRun {
  readonly to: string;
  /** A command of the shell, with {host}, {address} and {package}. */
  readonly command: string;
  /** A file on each machine, or a package that its apt knows. */
  readonly package: string;
  /** How long the command may take, and how long the machine's roles may take to come back. */
  readonly deadlineMs: number;
  /** The times at which a machine may be begun with. */
  readonly times: RollTimes;
  /** Set: hosts are emptied before they are changed. */
  readonly drain: RollWishes | null;
}

/** Windows in which something may begin (none: always), and freezes in which nothing does, in RFC 3339 times. */
export interface RollTimes {
  readonly windows: readonly string[];
  readonly freezes: readonly { readonly from: string; readonly until: string; readonly reason: string }[];
}

/** Limits and reasons of the rolls. */
export interface RollWishes {
  readonly change?: string | undefined;
  readonly reason?: string | undefined;
  readonly maxUnavailable?: number | undefined;
  readonly perRack?: number | undefined;
  readonly workMs?: number | undefined;
}

const LOOK_MS = 1_000;
/** Between two looks whether a window has opened. */
const WINDOW_LOOK_MS = 5_000;
const TAIL_CHARS = 1_500;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** Reads what the plan is made of. */
export async function readFacts(client: ApiClient, signal: AbortSignal): Promise<UpgradeFacts> {
  const [cluster, hosts, storage, controls] = await Promise.all([
    client.call(client.http.GET('/v1/cluster')),
    client.list('/v1/hosts', { signal }),
    client.list('/v1/storage-nodes', { signal }),
    client.list('/v1/control-nodes', { signal }),
  ]);
  return { cluster, hosts, storage, controls };
}

/** Upgrades everything that is not done. The errors of `planUpgrade`, and CodedError 'failed' with the machine. */
export async function runUpgrade(session: Session, client: ApiClient, run: UpgradeRun): Promise<UpgradePlan> {
  const { signal } = session.io;
  for (;;) {
    // Anew before each machine: another control node may lead in the meantime.
    const plan = await planNow(client, run, signal);
    demandAlive(plan);
    const next = plan.machines.find(({ isDone }) => !isDone);
    if (next === undefined) return plan;
    signal.throwIfAborted();
    const batch = run.drain === null ? [] : batchOf(plan);
    if (batch.length > 0) await rollOver(session, client, { run, hosts: batch.map(({ name }) => name) });
    else {
      await untilOpen(session, run.times);
      await install(session, next, run);
      await untilBack(session, client, { name: next.name, run, signal });
    }
  }
}

/**
 * Returns the work on one host of a roll: the command, then the wait until the host is back. Guarantees: work that has
 * begun ends by itself after the first Ctrl-C, as every command of a roll does: the host is not reported as failed.
 */
export function hostWork(session: Session, client: ApiClient, run: UpgradeRun): Perform {
  return async (asked) => {
    const result = await runCommand(asked);
    if (!result.succeeded) return result;
    const { host: name, signal } = asked;
    try {
      await untilBack(session, client, { name, run, signal });
      return result;
    } catch (error) {
      signal.throwIfAborted();
      return { succeeded: false, message: `${result.message}\n${messageOf(error)}` };
    }
  };
}

/** Empties and changes hosts by a roll: one that this command began before, or a new one. */
async function rollOver(
  session: Session,
  client: ApiClient,
  { run, hosts }: { readonly run: UpgradeRun; readonly hosts: readonly string[] },
): Promise<void> {
  const command = withPackage(run.command, run.package);
  const roll = (await unfinishedRoll(session, client, command)) ?? (await beginRoll(client, { run, command, hosts }));
  session.say(`${roll.id} empties ${listed(hosts)}: gp maintenance show|pause|resume|abort ${roll.id}`);
  const ended = await runRoll(session, client, roll, hostWork(session, client, run));
  if (ended.state === 'completed' && ended.failed === 0) return;
  throw new CodedError('failed', `${ended.id} is ${ended.state}; ${ended.done} of ${ended.planned} hosts are done.`, {
    advice: `No other machine is upgraded now. See "gp maintenance show ${ended.id}"; the same command goes on.`,
  });
}

async function unfinishedRoll(session: Session, client: ApiClient, command: string): Promise<Roll | null> {
  for (const { id, endedAt } of await client.list('/v1/rolls', { signal: session.io.signal })) {
    if (endedAt !== null) continue;
    const roll = await client.call(client.http.GET('/v1/rolls/{roll}', { params: { path: { roll: id } } }));
    if (roll.commands.run === command) return roll;
  }
  return null;
}

async function beginRoll(
  client: ApiClient,
  { run, command, hosts }: { readonly run: UpgradeRun; readonly command: string; readonly hosts: readonly string[] },
): Promise<Roll> {
  const { drain, times, to, deadlineMs } = run;
  const { change, reason = `version ${to}`, maxUnavailable, perRack, workMs } = drain ?? {};
  const limits = present({ maxUnavailable, perRack });
  const body = { hosts: [...hosts], ...limits };
  const plan = await client.call(client.http.POST('/v1/maintenance-plan', { body }));
  const roll = {
    ...{ plan: approvedTextOf(plan), hash: plan.hash, run: command, reason, ...limits },
    ...{ windows: [...times.windows], freezes: [...times.freezes] },
    // The command, and the wait until the machine is back.
    ...present({ change, workMs, runMs: 2 * deadlineMs }),
  };
  return client.call(client.http.POST('/v1/rolls', { body: roll }));
}

/** Waits until something may begin. */
async function untilOpen(session: Session, times: RollTimes): Promise<void> {
  const { signal } = session.io;
  const freezes = times.freezes.map(({ from, until, reason }) => {
    return { from: Date.parse(from), until: Date.parse(until), reason };
  });
  for (let said = ''; ; ) {
    const opening = openingAt({ windows: times.windows, freezes }, Date.now());
    if (opening.isOpen) return;
    if (opening.why !== said) session.say(`Nothing begins now. ${opening.why}`);
    said = opening.why;
    await sleep(systemClock, WINDOW_LOOK_MS, { signal });
    signal.throwIfAborted();
  }
}

async function install(session: Session, { name, address }: PlannedMachine, run: UpgradeRun): Promise<void> {
  const command = fillIn(run.command, { host: name, address, package: run.package });
  session.say(`${name}: ${command}`);
  const { io } = session;
  const options = { deadlineMs: run.deadlineMs, signal: io.killSignal, cwd: io.cwd, outputBytesMax: OUTPUT_BYTES_MAX };
  const ended = await tryRun(['/bin/sh', '-c', command], { ...options, env: { ...io.env, GP_HOST: name } });
  if (ended.exitCode === 0) return;
  const output = `${ended.stdout}${ended.stderr}`.trimEnd().slice(-TAIL_CHARS);
  throw new CodedError('failed', `${name}: exit status ${ended.exitCode}: ${output}`, {
    advice: 'No other machine is upgraded now. Mend it and run the same command: it continues from there.',
  });
}

/** Waits until every role of the machine answers with the version. Control nodes may not answer in the meantime. */
async function untilBack(
  session: Session,
  client: ApiClient,
  { name, run, signal }: { readonly name: string; readonly run: UpgradeRun; readonly signal: AbortSignal },
): Promise<void> {
  const endsAtMs = systemClock.monotonicMs() + run.deadlineMs;
  for (let seen = 'no control node answered'; ; ) {
    try {
      const machine = (await planNow(client, run, signal)).machines.find((each) => each.name === name);
      if (machine?.isDone !== false) {
        session.say(`${name}: runs ${run.to}.`);
        return;
      }
      seen = listed(
        machine.roles.map(
          ({ role, version, isAlive }) => `${role} ${isAlive ? 'answers' : 'silent'} (${version ?? 'unknown'})`,
        ),
      );
    } catch (error) {
      if (!(error instanceof CodedError) || (error.code !== 'unavailable' && error.code !== 'deadline')) throw error;
    }
    if (systemClock.monotonicMs() > endsAtMs)
      throw new CodedError('deadline', `${name} is not back: ${seen}.`, {
        advice: `No other machine is upgraded now. \`gp doctor\` there says what is wrong; the same command continues.`,
      });
    await sleep(systemClock, LOOK_MS, { signal });
    signal.throwIfAborted();
  }
}

async function planNow(client: ApiClient, { to }: UpgradeRun, signal: AbortSignal): Promise<UpgradePlan> {
  return planUpgrade(await readFacts(client, signal), to);
}
