/**
 * Plans for maintenance: how long they take at 1,000 hosts and 20,000 VMs in rule-rich estates, how many moves and
 * waves a roll has, and how they compare with HiGHS on small instances.
 */
import type { HostName } from '../src/base/ids.ts';
import { checkPlan } from '../src/core/check/maintenance-plan.ts';
import type { Estate } from '../src/core/maintenance/estate.ts';
import { type Model, modelOf } from '../src/core/maintenance/model.ts';
import type { MaintenancePlan, Refusal } from '../src/core/maintenance/plan.ts';
import { planEvacuation } from '../src/core/maintenance/planner.ts';
import { planRoll } from '../src/core/maintenance/roll.ts';
import { seededEstate } from '../src/core/maintenance/testing/seeded-estate.ts';
import { atMost, type Bar, type BenchContext, type BenchResult } from './lib/bench.ts';
import { loadSolver } from './lib/plan/assignment.ts';
import { smallInstance } from './lib/plan/small-instances.ts';
import { median, percentile, rounded, summarize } from './lib/stats.ts';

const FILLS = [0.7, 0.85, 0.92] as const;
const HOSTS = 1_000;
const FEW_HOSTS = 100;
const RACK = 40;
const MAX_UNAVAILABLE = 2;
const INSTANCES = 300;
const SOLVER_SECONDS = 20;
const BARS = { hostMs: 50, rackMs: 1_000, rollMs: 20_000, growth: 15, movesPerVm: 1.1, wavesAbove: 3 };

/** What was measured at one fill level. */
interface AtFill {
  readonly fill: number;
  readonly vms: number;
  readonly modelMs: number;
  readonly hostMs: readonly number[];
  readonly fewHostsMs: readonly number[];
  readonly rackMs: readonly number[];
  readonly rollMs: number;
  readonly checkMs: number;
  readonly waves: number;
  readonly movesPerVm: number;
  readonly refused: readonly string[];
  readonly findings: number;
}

/** `--runs 1`: rolls at each fill. `--pairs 300`: small instances. */
export async function planBench(context: BenchContext): Promise<BenchResult> {
  const rolls = context.number('runs', 1);
  const measured = FILLS.map((fill) => {
    const found = atFill(fill, rolls);
    context.say(`${fill}: host p99 ${p99(found.hostMs)} ms, roll ${found.rollMs} ms, refused ${found.refused.length}`);
    return found;
  });
  const compared = await besideHighs(context, context.number('pairs', INSTANCES));
  return {
    bars: [...measured.flatMap(barsOf), ...compared.bars],
    summary: {
      ...Object.fromEntries(
        measured.flatMap(({ fill, hostMs, rackMs }) => [
          [`one host at ${fill}, ms`, { ...summarize(hostMs), p99: p99(hostMs) }],
          [`rack of ${RACK} at ${fill}, ms`, summarize(rackMs)],
        ]),
      ),
      'beside HiGHS': compared.summary,
    },
    samples: {
      'at each fill': measured.map(({ hostMs: _hostMs, fewHostsMs: _few, ...rest }) => rest),
      'differing from HiGHS': compared.differing,
    },
    method: [
      `${HOSTS} hosts in racks of ${RACK}, 20 VMs each, 500 guest clusters of 2 to 5, 20 % of the VMs in some rule, 20 ties, 2 CPU classes; hosts about equally full.`,
      'One host: every host in turn, every plan from the same model; `modelMs` is what making the model from the snapshot takes. Refusals count as well.',
      `Roll: ${MAX_UNAVAILABLE} away at once, one of a rack, a newer release on each host that is done; no ties.`,
      'Every plan that is counted passed the checker; `checkMs` is the check of the roll. For one host every tenth plan is checked.',
      'Small instances: up to 20 hosts and 200 VMs, fills from 70 to 95 %. HiGHS knows no order of moves. Memory moved is compared where HiGHS proves its optimum.',
    ],
  };
}

function estateOf(hosts: number, fill: number, ties: number): Estate {
  const vms = hosts * 20;
  return seededEstate({ seed: 17, hosts, vms, fill, hostsPerRack: RACK, guestClusters: hosts / 2, ruled: 0.2, ties });
}

function atFill(fill: number, rolls: number): AtFill {
  const estate = estateOf(HOSTS, fill, 20);
  const [model, modelMs] = timed(() => modelOf(estate));
  let findings = 0;
  const refused: string[] = [];
  const each = (
    one: { estate: Estate; model: Model },
    groups: readonly (readonly HostName[])[],
    every: number,
  ): number[] =>
    groups.map((hosts, number) => {
      const [outcome, ms] = timed(() => planEvacuation(one.model, hosts));
      if (outcome.kind === 'plan' && number % every === 0) findings += checkPlan(one.estate, outcome).length;
      if (outcome.kind === 'refused') refused.push(reasonOf(hosts, outcome, one.estate));
      return ms;
    });
  const names = estate.hosts.map(({ name }) => [name]);
  const racks = [...Map.groupBy(estate.hosts, ({ rack }) => rack).values()].map((rack) => rack.map(({ name }) => name));
  // Warmed up: a leader that plans has planned before.
  for (const hosts of names.slice(0, 50)) planEvacuation(model, hosts);
  const hostMs = each({ estate, model }, names, 10);
  const rackMs = each({ estate, model }, racks, 1);
  const few = estateOf(FEW_HOSTS, fill, 2);
  const fewHostsMs = each(
    { estate: few, model: modelOf(few) },
    few.hosts.map(({ name }) => [name]),
    1,
  );
  const roll = rollOf(estateOf(HOSTS, fill, 0), rolls);
  return {
    fill,
    vms: estate.vms.length,
    modelMs,
    hostMs,
    rackMs,
    fewHostsMs,
    ...roll,
    refused: [...refused, ...roll.refused],
    findings: findings + roll.findings,
  };
}

function rollOf(
  estate: Estate,
  rolls: number,
): Pick<AtFill, 'rollMs' | 'checkMs' | 'waves' | 'movesPerVm' | 'refused' | 'findings'> {
  const hosts = estate.hosts.map(({ name }) => name);
  const model = modelOf(estate);
  const options = { hosts, maxUnavailable: MAX_UNAVAILABLE, perRack: 1, releaseAfter: 2 };
  const runs = Array.from({ length: rolls }, () => timed(() => planRoll(model, options)));
  const outcome = runs[0]?.[0];
  const rollMs = median(runs.map(([, ms]) => ms));
  if (outcome?.kind !== 'plan')
    return { rollMs, checkMs: 0, waves: 0, movesPerVm: 0, refused: ['the roll'], findings: 0 };
  const [found, checkMs] = timed(() => checkPlan(estate, outcome));
  const movesPerVm = movesOf(outcome) / estate.vms.length;
  return { rollMs, checkMs, waves: outcome.waves.length, movesPerVm, refused: [], findings: found.length };
}

function reasonOf(hosts: readonly HostName[], { obstacle, proven, vms }: Refusal, estate: Estate): string {
  const tied = estate.vms.filter(({ id, tie }) => tie !== null && vms.includes(id)).map(({ name }) => name);
  const why = tied.length > 0 ? `${tied.join(', ')} tied` : obstacle;
  return `${hosts.length === 1 ? hosts[0] : `${hosts.length} hosts from ${hosts[0]}`}: ${why}${proven ? ', proven' : ''}`;
}

function barsOf(found: AtFill): Bar[] {
  const { fill, hostMs, rackMs, fewHostsMs, rollMs, waves, movesPerVm, refused, findings } = found;
  const at = `at ${Math.round(fill * 100)} %`;
  const bound = HOSTS / MAX_UNAVAILABLE;
  const unexplained = refused.filter((reason) => !reason.endsWith('tied, proven') && !reason.endsWith('proven')).length;
  const bars = [
    atMost(`plan for one host ${at}, p99`, { measured: p99(hostMs), max: BARS.hostMs, unit: 'ms' }),
    atMost(`plan for a rack of ${RACK} ${at}, longest`, {
      measured: Math.max(...rackMs),
      max: BARS.rackMs,
      unit: 'ms',
    }),
    atMost(`roll over the estate ${at}`, { measured: rounded(rollMs), max: BARS.rollMs, unit: 'ms' }),
    atMost(`one host of ${HOSTS} against one of ${FEW_HOSTS} ${at} (medians)`, {
      measured: rounded(median(hostMs) / median(fewHostsMs)),
      max: BARS.growth,
      unit: 'times',
    }),
    atMost(`refused without proof ${at}`, { measured: unexplained, max: 0, unit: 'plans' }),
    atMost(`findings of the checker ${at}`, { measured: findings, max: 0, unit: 'findings' }),
  ];
  if (fill > 0.9) return bars;
  const perVm = Math.round(movesPerVm * 1_000) / 1_000;
  return [
    ...bars,
    atMost(`roll ${at}: moves per VM`, { measured: perVm, max: BARS.movesPerVm, unit: 'moves' }),
    atMost(`roll ${at}: waves above ${bound}`, { measured: waves - bound, max: BARS.wavesAbove, unit: 'waves' }),
  ];
}

interface Compared {
  readonly bars: readonly Bar[];
  readonly summary: Readonly<Record<string, unknown>>;
  readonly differing: readonly unknown[];
}

async function besideHighs(context: BenchContext, count: number): Promise<Compared> {
  const solve = await loadSolver();
  const answers = { bothPossible: 0, bothImpossible: 0, provenImpossible: 0 };
  const ratios: number[] = [];
  const differing: unknown[] = [];
  let findings = 0;
  for (let number = 0; number < count; number += 1) {
    const { estate, hosts, fill } = smallInstance(number);
    const outcome = planEvacuation(modelOf(estate), hosts);
    const assignment = solve(estate, hosts, SOLVER_SECONDS);
    if (outcome.kind === 'plan') findings += checkPlan(estate, outcome).length;
    if (outcome.kind === 'refused' && outcome.proven) answers.provenImpossible += 1;
    if (outcome.kind === 'plan' && assignment.kind === 'possible') {
      answers.bothPossible += 1;
      if (assignment.isOptimal && assignment.movedMib > 0) ratios.push(outcome.movedMib / assignment.movedMib);
    } else if (outcome.kind === 'refused' && assignment.kind === 'impossible') answers.bothImpossible += 1;
    else
      differing.push({
        number,
        fill,
        planner: outcome.kind,
        highs: assignment.kind,
        reason: differenceOf(outcome, assignment.kind),
      });
    if (number % 50 === 49) context.say(`beside HiGHS: ${number + 1} instances`);
  }
  const ratio = (value: number): number => Math.round(value * 1_000) / 1_000;
  return {
    bars: [
      atMost(`answers that differ from HiGHS in ${count} instances`, {
        measured: differing.length,
        max: 0,
        unit: 'instances',
      }),
      atMost('findings of the checker in small instances', { measured: findings, max: 0, unit: 'findings' }),
      atMost('memory moved against its optimum, median', { measured: ratio(median(ratios)), max: 1.1, unit: 'times' }),
      atMost('memory moved against its optimum, worst', {
        measured: ratio(Math.max(...ratios)),
        max: 1.5,
        unit: 'times',
      }),
    ],
    summary: { instances: count, ...answers, differing: differing.length, compared: ratios.length },
    differing,
  };
}

function differenceOf(outcome: MaintenancePlan | Refusal, highs: string): string {
  if (outcome.kind === 'plan') return `the plan passed the checker; HiGHS: ${highs} in ${SOLVER_SECONDS} s`;
  if (highs === 'unknown') return `no plan was found, and HiGHS settles it no sooner than in ${SOLVER_SECONDS} s`;
  return `no plan was found (${outcome.obstacle}), and HiGHS finds an assignment`;
}

function timed<T>(work: () => T): [T, number] {
  const startedMs = performance.now();
  const result = work();
  return [result, rounded(performance.now() - startedMs)];
}

function p99(samples: readonly number[]): number {
  return percentile(
    samples.toSorted((a, b) => a - b),
    99,
  );
}

function movesOf({ waves }: MaintenancePlan): number {
  return waves.reduce((sum, { moves }) => sum + moves.length, 0);
}
