/**
 * Reports of people's commands about a roll: that work on a host begins, continues, and how it ended. Pure.
 * Guarantees: the work on one host belongs to one run of `gp maintenance roll` at a time; a run that has not reported
 * for LEASE_MS that its work continues has lost it; work that takes a host out of use begins only while the roll may
 * begin something.
 */
import { CodedError } from '../../base/errors.ts';
import type { RollId } from '../../base/ids.ts';
import { failHost } from '../maintenance/roll-decision.ts';
import { openingAt } from '../maintenance/roll-holds.ts';
import {
  isRollOver,
  type RollHost,
  type RollRecord,
  type RollStep,
  withHosts,
  withRollDeviation,
  withWorkDone,
} from '../model/roll.ts';
import type { Admitted, Basis } from './basis.ts';
import { findRoll } from './rolls.ts';

/** A client that does work reports at least this often, in ms. */
export const LEASE_MS = 60_000;

export interface WorkReport {
  readonly host: string;
  readonly step: RollStep;
  /** Names one run of `gp maintenance roll`. */
  readonly by: string;
  /** `begun` again: it goes on. */
  readonly outcome: 'begun' | 'succeeded' | 'failed';
  /** The outcome, and the last part of the command's output. */
  readonly message?: string | undefined;
}

/** Records a report about work. CodedError 'not-found', 'conflict' if the work does not belong to this runner now. */
export function reportWork(basis: Basis, id: string, report: WorkReport): Admitted<RollId> {
  const { value: roll } = findRoll(basis, id);
  if (isRollOver(roll))
    throw new CodedError('conflict', `${roll.id} is ${roll.state}.`, { advice: 'Nothing was changed.' });
  const host = roll.hosts.find((each) => each.host === report.host);
  if (host === undefined) throw new CodedError('not-found', `${report.host} is not in ${roll.id}.`);
  if (host.state !== report.step)
    throw new CodedError('conflict', `${host.host} is in "${host.state}", not in "${report.step}".`, {
      advice: 'Nothing was changed.',
    });
  const next = report.outcome === 'begun' ? begun(basis, roll, { host, report }) : ended(basis, roll, { host, report });
  return { changes: [{ kind: 'roll', id: roll.id, value: next }], result: roll.id };
}

interface Reported {
  readonly host: RollHost;
  readonly report: WorkReport;
}

function begun({ now }: Basis, roll: RollRecord, { host, report: { step, by } }: Reported): RollRecord {
  const { work } = host;
  if (work?.by === by) return withHosts(roll, [{ ...host, work: { ...work, until: now + LEASE_MS } }]);
  if (work !== null && work.until > now)
    throw new CodedError('conflict', `${work.by} is running "${step}" on ${host.host}, and reports progress.`, {
      advice: `Nothing was changed. If that runner is gone, "${step}" can be taken over in a minute.`,
    });
  if (step !== 'verify') demandMayBegin(roll, now);
  const taken = withHosts(roll, [{ ...host, work: { step, by, startedAt: now, until: now + LEASE_MS } }]);
  if (work === null) return taken;
  return withRollDeviation(
    taken,
    now,
    `${host.host}: ${work.by} began "${step}" and did not report again; ${by} begins it again.`,
  );
}

function ended({ now }: Basis, roll: RollRecord, { host, report }: Reported): RollRecord {
  const { work } = host;
  const { step, by, outcome, message = '' } = report;
  if (work === null || work.by !== by)
    throw new CodedError('conflict', `${by} does not do "${step}" on ${host.host}.`, {
      advice: 'Nothing was changed.',
    });
  const done = { step, by, startedAt: work.startedAt, endedAt: now, succeeded: outcome === 'succeeded', message };
  const after = withWorkDone(host, done);
  if (outcome === 'failed') return failHost(withHosts(roll, [after]), after, now, `"${step}" failed: ${message}`);
  // A check that succeeded stays where it is: the loop takes the host back.
  const state = step === 'pre' ? 'ready' : step === 'run' ? 'back' : 'verify';
  return withHosts(roll, [{ ...after, state, since: now }]);
}

function demandMayBegin(roll: RollRecord, now: number): void {
  const opening = openingAt(roll, now);
  // Why no further host begins (`held`) does not matter to one that is empty already.
  const why = roll.state !== 'running' ? `${roll.id} is ${roll.state}.` : opening.isOpen ? null : opening.why;
  if (why === null) return;
  throw new CodedError('conflict', `Nothing begins now: ${why}`, { advice: 'Nothing was changed.' });
}
