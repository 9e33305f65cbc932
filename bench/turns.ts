/**
 * The longest piece of long work of a leader at 1,000 hosts and 20,000 VMs: what one turn of its event loop may be longer
 * than it is meant to be. Processor time of this thread, so that other processes add nothing.
 */
import type { HostName } from '../src/base/ids.ts';
import { checkPlanInTurns } from '../src/core/check/maintenance-plan.ts';
import { evacuationOf, explain } from '../src/core/maintenance/explain.ts';
import { modelOf } from '../src/core/maintenance/model.ts';
import { planEvacuationInTurns } from '../src/core/maintenance/planner.ts';
import { seededEstate } from '../src/core/maintenance/testing/seeded-estate.ts';
import { atMost, type BenchContext, type BenchResult } from './lib/bench.ts';
import { rounded, summarize } from './lib/stats.ts';

const FILLS = [0.85, 0.92, 0.96] as const;
const HOSTS = 1_000;
const RACK = 40;
const RUNS = 6;
const PIECE_MS_MAX = 50;
/** Attempts at displacing VMs for each way that an explanation tries. */
const STEPS = 2_000;

/** Longest pieces, in ms, by what was done. */
class Pieces {
  readonly ms: Record<string, number[]> = {};

  /** Drives work to its end; a garbage collection may fall into a piece. */
  drive<T>(what: string, work: Generator<void, T>): T {
    let longest = 0;
    for (;;) {
      const before = busyMs();
      const piece = work.next();
      longest = Math.max(longest, busyMs() - before);
      if (piece.done !== true) continue;
      const known = this.ms[what] ?? [];
      this.ms[what] = [...known, rounded(longest)];
      return piece.value;
    }
  }
}

/** `--runs 6`: racks of 40 hosts at each fill. */
export async function turnsBench(context: BenchContext): Promise<BenchResult> {
  const runs = context.number('runs', RUNS);
  const pieces = new Pieces();
  for (const fill of FILLS) {
    measure(pieces, fill, runs);
    context.say(
      `fill ${fill}: ${Object.entries(pieces.ms)
        .map(([what, ms]) => `${what} ${Math.max(...ms)} ms`)
        .join(', ')}`,
    );
    context.signal.throwIfAborted();
  }
  return {
    bars: Object.entries(pieces.ms).map(([what, ms]) =>
      atMost(`${what}: longest piece`, { measured: Math.max(...ms), max: PIECE_MS_MAX, unit: 'ms' }),
    ),
    summary: Object.fromEntries(Object.entries(pieces.ms).map(([what, ms]) => [`${what}, ms`, summarize(ms)])),
    samples: pieces.ms,
    method: [
      `${HOSTS} hosts in racks of ${RACK}, ${HOSTS * 20} VMs at fills of ${FILLS.join(', ')}, 500 guest clusters, 20 % of the VMs in some rule, 20 ties.`,
      `The first ${runs} racks, each emptied at once: the plan, its check, and where there is none the explanation.`,
      'Processor time of the thread for each piece; a turn of the leader is pieces for 4 ms, and longer by one piece at most.',
    ],
  };
}

function measure(pieces: Pieces, fill: number, runs: number): void {
  const options = { seed: 17, hosts: HOSTS, vms: HOSTS * 20, fill, hostsPerRack: RACK };
  const estate = seededEstate({ ...options, guestClusters: HOSTS / 2, ruled: 0.2, ties: 20 });
  const kept = modelOf(estate);
  for (let run = 0; run < runs; run += 1) {
    const hosts: readonly HostName[] = estate.hosts.slice(run * RACK, (run + 1) * RACK).map(({ name }) => name);
    const model = pieces.drive('copy of the estate', copying(kept));
    const outcome = pieces.drive('plan for a rack', planEvacuationInTurns(model, hosts));
    if (outcome.kind === 'plan') pieces.drive('check of that plan', checkPlanInTurns(estate, outcome));
    else {
      const request = { model, hosts, question: 'drain', refusal: outcome, plan: evacuationOf(hosts, STEPS) } as const;
      pieces.drive('explanation of a refusal', explain(request));
    }
  }
}

/** A copy is one piece. */
function* copying(model: ReturnType<typeof modelOf>): Generator<void, ReturnType<typeof modelOf>> {
  yield;
  return model.copy();
}

function busyMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
