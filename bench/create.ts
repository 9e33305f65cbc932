/**
 * `gp vm create` -> QMP answers, the image already imported: from the start of the command's process (and, apart, from
 * an API request) to the event that says that the guest runs, which is after QMP answered and carried out `cont`.
 */

import { join } from 'node:path';
import { run } from '../src/os/child-process.ts';
import { monotonicMs } from '../src/os/monotonic.ts';
import { atMost, type BenchContext, type BenchResult } from './lib/bench.ts';
import { BenchCluster, eventMs } from './lib/cluster.ts';
import { rounded, summarize } from './lib/stats.ts';

const DEADLINE_MS = 60_000;
const ROOT = join(import.meta.dirname, '..');

/** One creation, in ms since the command or the request began. */
interface Creation {
  readonly by: 'gp' | 'api';
  /** The start was committed. */
  readonly starting: number;
  readonly launched: number;
  readonly running: number;
  /** The command, or the request, had ended. */
  readonly returned: number;
}

/** `--runs 10`, of each kind, with a network, alternating. */
export async function create(context: BenchContext): Promise<BenchResult> {
  const runs = context.number('runs', 10);
  const cluster = await BenchCluster.start(context, { network: 'lan' });
  const samples: Creation[] = [];
  // The first VM on a host fetches kernel and initrd there: the image is imported, but not yet everywhere. Counted
  // apart.
  const first: Creation[] = [];
  for (let index = 0; index < runs * 2 + 1; index++) {
    const by = index % 2 === 0 ? 'gp' : 'api';
    const creation = await createOne(cluster, `vm${index}`, by);
    (index === 0 ? first : samples).push(creation);
    context.say(
      `${by}: running after ${Math.round(creation.running)} ms, returned after ${Math.round(creation.returned)} ms`,
    );
    await cluster.guestReady(`vm${index}`);
    await cluster.deleteVm(`vm${index}`);
  }
  const of = (by: Creation['by']): readonly Creation[] => samples.filter((one) => one.by === by);
  const byGp = summarize(of('gp').map(({ running }) => running));
  return {
    bars: [atMost('gp vm create -> QMP answers, median', { measured: byGp.median, max: 1_500, unit: 'ms' })],
    summary: { gpMs: phases(of('gp')), apiMs: phases(of('api')) },
    samples: { first, creations: samples },
    method: [
      'The end is the time of the transaction that says running: QMP answered before it. With a network; gp runs from the clone by bin/gp.mjs under Node 24.',
    ],
  };
}

async function createOne(cluster: BenchCluster, name: string, by: Creation['by']): Promise<Creation> {
  const mark = cluster.events.count;
  const startedMs = monotonicMs();
  const startedWallMs = Date.now();
  if (by === 'api') {
    await cluster.createVm(name, { networks: ['lan'] });
  } else {
    const gp = [process.execPath, join(ROOT, 'bin/gp.mjs'), '--dir', cluster.dir];
    await run([...gp, 'vm', 'create', name, '--image', 'tiny', '--network', 'lan'], { deadlineMs: DEADLINE_MS });
  }
  const returned = monotonicMs() - startedMs;
  const find = async (kind: string) =>
    cluster.events.first(`${kind} of ${name}`, {
      mark,
      deadlineMs: DEADLINE_MS,
      matches: (event) => event.vm === name && event.kind === kind,
    });
  const starting = await find('starting');
  const running = await find('running');
  const qemu = await cluster.qemuOf({ id: running.vmId ?? '', generation: running.generation ?? 0 });
  return {
    by,
    starting: eventMs(starting, startedWallMs),
    launched: rounded(qemu.startedMs - startedMs),
    running: eventMs(running, startedWallMs),
    returned: rounded(returned),
  };
}

function phases(creations: readonly Creation[]): Readonly<Record<string, unknown>> {
  return {
    starting: summarize(creations.map(({ starting }) => starting)),
    launched: summarize(creations.map(({ launched }) => launched)),
    running: summarize(creations.map(({ running }) => running)),
    returned: summarize(creations.map(({ returned }) => returned)),
  };
}
