/** The input of the forms for maintenance of many hosts, and the requests and commands made from it. Pure. */
import { approvedTextOf } from '../../../../src/api/approved.ts';
import type { components } from '../../../../src/client/generated/schema.d.ts';
import type { MaintenancePlan } from '../../api/types.ts';
import { gpCommand } from '../../ui/gp-commands.ts';

type PlanMaintenance = components['schemas']['PlanMaintenance'];
type StartRoll = components['schemas']['StartRoll'];

/** Fields as texts, as somebody typed them; empty: as the API does it. */
export interface PlanForm {
  /** `all`, `rack=NAME`, or names with commas or spaces between them. */
  readonly hosts: string;
  readonly maxUnavailable: string;
  readonly perRack: string;
  readonly parallel: string;
}

export const NEW_PLAN: PlanForm = { hosts: 'all', maxUnavailable: '1', perRack: '', parallel: '2' };

const wordsOf = (text: string): string[] => text.split(/[\s,]+/).filter((word) => word !== '');

/** The request for a plan. */
export function planRequest({ hosts, maxUnavailable, perRack, parallel }: PlanForm): PlanMaintenance {
  return {
    hosts: wordsOf(hosts),
    ...(maxUnavailable === '' ? {} : { maxUnavailable: Number(maxUnavailable) }),
    ...(perRack === '' ? {} : { perRack: Number(perRack) }),
    ...(parallel === '' ? {} : { parallel: Number(parallel) }),
  };
}

/** The command that makes the same plan. */
export function planCommand({ hosts, maxUnavailable, perRack, parallel }: PlanForm): string {
  return gpCommand(['maintenance', 'plan'], {
    hosts: wordsOf(hosts).join(','),
    ...{ 'max-unavailable': maxUnavailable, 'per-rack': perRack, parallel },
  });
}

/** How a plan is to be carried out. `workMinutes`: the expected duration of the work on a host. */
export interface RollForm {
  readonly change: string;
  readonly reason: string;
  /** A window in each line. */
  readonly windows: string;
  readonly pre: string;
  readonly run: string;
  readonly verify: string;
  readonly workMinutes: string;
  readonly goesOn: boolean;
}

export const NEW_ROLL: RollForm = {
  ...{ change: '', reason: '', windows: '', pre: '', run: '', verify: '', workMinutes: '15', goesOn: false },
};

const MINUTE_MS = 60_000;
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

/** The expected duration of the work on a host, in ms: 0 if there is no work. */
export function workMsOf({ pre, run, verify, workMinutes }: RollForm): number {
  if (pre === '' && run === '' && verify === '') return 0;
  const minutes = Number(workMinutes);
  return Number.isFinite(minutes) ? minutes * MINUTE_MS : 0;
}

/** The request that begins the roll: the plan goes with it, in the form that its hash is made of. */
export function rollRequest(plan: MaintenancePlan, form: RollForm): StartRoll {
  const { change, reason, pre, run, verify, goesOn } = form;
  const windows = linesOf(form.windows);
  const given = Object.entries({ change, reason, pre, run, verify }).filter(([, text]) => text.trim() !== '');
  const workMs = workMsOf(form);
  return {
    ...{ plan: approvedTextOf(plan), hash: plan.hash },
    ...Object.fromEntries(given),
    ...(windows.length === 0 ? {} : { windows }),
    ...(workMs === 0 ? {} : { workMs }),
    ...(goesOn ? { onFailure: 'continue' } : {}),
  };
}

/** The command that does the same with a plan in plan.json. */
export function rollCommand({ change, reason, windows, pre, run, verify, workMinutes, goesOn }: RollForm): string {
  const hasWork = pre !== '' || run !== '' || verify !== '';
  return gpCommand(['maintenance', 'roll'], {
    ...{ plan: 'plan.json', change, reason, window: linesOf(windows), pre, run, verify },
    'work-time': hasWork && workMinutes !== '' ? `${workMinutes}m` : null,
    'on-failure': goesOn ? 'continue' : null,
    'no-wait': hasWork,
  });
}

/** The command that does a roll's work: its commands are typed again, as `gp` asks. */
export function resumeCommand(
  roll: string,
  { pre, run, verify }: { readonly pre: string | null; readonly run: string | null; readonly verify: string | null },
): string {
  return gpCommand(['maintenance', 'roll'], { resume: roll, pre, run, verify });
}
