/**
 * How long the cluster takes to answer, after a change, whether each of 1,000 hosts can be drained and whether it can
 * be lost.
 */
import type { HostName } from '../src/base/ids.ts';
import type { Estate } from '../src/core/maintenance/estate.ts';
import type { EstateChange } from '../src/core/maintenance/estate-change.ts';
import { type Evacuability, evacuabilityOf } from '../src/core/maintenance/evacuability.ts';
import { modelOf } from '../src/core/maintenance/model.ts';
import { planEvacuation } from '../src/core/maintenance/planner.ts';
import { LiveEstate } from '../src/core/maintenance/testing/live-estate.ts';
import { seededEstate } from '../src/core/maintenance/testing/seeded-estate.ts';
import { atMost, type BenchContext, type BenchResult } from './lib/bench.ts';
import { percentile, rounded, summarize } from './lib/stats.ts';

const HOSTS = 1_000;
const RACK = 40;
const CHANGES = 10_000;
/** Verdicts that are settled in one turn of the event loop. */
const TURN = 4;
const COMPARED_EVERY = 100;
const COMPARED_HOSTS = 50;
const BARS = { verdictMs: 100, turnMs: 20, rackMs: 2_000 };

/** What it took until every verdict was up to date. */
interface Settled {
  readonly ms: number;
  readonly cpuMs: number;
  readonly longestTurnMs: number;
  readonly verdicts: number;
}

/** `--runs 10000`: changes. `--pairs 50`: hosts that are planned from scratch at every hundredth state. */
export async function evacuabilityBench(context: BenchContext): Promise<BenchResult> {
  const changes = context.number('runs', CHANGES);
  const compared = context.number('pairs', COMPARED_HOSTS);
  const options = { seed: 17, hosts: HOSTS, vms: HOSTS * 20, fill: 0.85, hostsPerRack: RACK };
  const estate = seededEstate({ ...options, guestClusters: HOSTS / 2, ruled: 0.2, ties: 20 });
  const live = new LiveEstate(estate, 17);
  const index = evacuabilityOf(estate);
  const first = settle(index, []);
  context.say(`first verdicts: ${first.ms} ms`);
  const settled: Settled[] = [];
  const differing: unknown[] = [];
  let checked = 0;
  for (let change = 1; change <= changes; change += 1) {
    const next = live.next();
    settled.push(settle(index, [next]));
    if (change % COMPARED_EVERY !== 0) continue;
    const found = compare(index, live.estate, { change, count: compared });
    checked += found.checked;
    differing.push(...found.differing);
    if (change % 1_000 === 0) context.say(`${change} changes, ${differing.length} of ${checked} verdicts differ`);
    context.signal.throwIfAborted();
  }
  const lost = live.loseRack('r3');
  const rack = settle(index, lost);
  const ms = settled.map((one) => one.ms);
  const turns = settled.map(({ longestTurnMs }) => longestTurnMs);
  return {
    bars: [
      atMost('from a change to settled verdicts, p99', { measured: p99(ms), max: BARS.verdictMs, unit: 'ms' }),
      atMost('longest turn of a change, p99', { measured: p99(turns), max: BARS.turnMs, unit: 'ms' }),
      atMost(`a rack of ${RACK} lost: all verdicts`, { measured: rack.ms, max: BARS.rackMs, unit: 'ms' }),
      atMost('verdicts that differ from planning from scratch', {
        measured: differing.length,
        max: 0,
        unit: 'verdicts',
      }),
    ],
    summary: {
      'change to verdicts, ms': { ...summarize(ms), p99: p99(ms) },
      'processor time of a change, ms': {
        ...summarize(settled.map(({ cpuMs }) => cpuMs)),
        p99: p99(settled.map(({ cpuMs }) => cpuMs)),
      },
      'longest turn of a change, ms': { ...summarize(turns), p99: p99(turns) },
      'verdicts looked at in a change': summarize(settled.map(({ verdicts }) => verdicts)),
      'verdicts compared': checked,
    },
    samples: { first, rack, differing: differing.slice(0, 50) },
    method: [
      `${HOSTS} hosts in racks of ${RACK}, ${HOSTS * 20} VMs at 85 %, 500 guest clusters, 20 % of the VMs in some rule, 20 ties.`,
      `${changes} changes, one after the other, each settled before the next: VMs made, deleted, resized and moved where there is room, hosts cordoned and back.`,
      `At most ${TURN} verdicts in a turn. The worker's event loop is free between turns.`,
      `At every ${COMPARED_EVERY}th state ${compared} hosts are planned from scratch, and every host that the index says cannot be drained.`,
      'The rack: 40 hosts quarantined, their VMs restarted elsewhere, all in one go.',
    ],
  };
}

function settle(index: Evacuability, changes: readonly EstateChange[]): Settled {
  const began = process.cpuUsage();
  const startedMs = performance.now();
  let longestMs = 0;
  let verdicts = 0;
  let turnMs = startedMs;
  const turn = (): void => {
    const nowMs = performance.now();
    longestMs = Math.max(longestMs, nowMs - turnMs);
    turnMs = nowMs;
  };
  for (const change of changes) {
    index.apply(change);
    turn();
  }
  while (!index.isSettled) {
    verdicts += index.settle(TURN).length;
    turn();
  }
  const { user, system } = process.cpuUsage(began);
  return {
    ms: rounded(performance.now() - startedMs),
    cpuMs: rounded((user + system) / 1_000),
    longestTurnMs: rounded(longestMs),
    verdicts,
  };
}

function compare(
  index: Evacuability,
  estate: Estate,
  { change, count }: { readonly change: number; readonly count: number },
): { readonly checked: number; readonly differing: readonly unknown[] } {
  const model = modelOf({ ...estate, policy: { ...estate.policy, keepRoomForLoss: false } });
  const cannot = (name: HostName): boolean => index.verdict(name)?.drain.kind !== 'can';
  const hosts = estate.hosts.filter(
    ({ name }, number) => cannot(name) || (number + change) % Math.ceil(HOSTS / count) === 0,
  );
  const differing = hosts.flatMap(({ name }) => {
    const fresh = planEvacuation(model, [name]).kind === 'plan';
    return fresh === !cannot(name) ? [] : [{ change, host: name, fresh, kept: !fresh }];
  });
  return { checked: hosts.length, differing };
}

function p99(samples: readonly number[]): number {
  return percentile(
    samples.toSorted((a, b) => a - b),
    99,
  );
}
