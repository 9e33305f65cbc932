/**
 * Totals over all VMs. Guarantees: no turn of the event loop takes longer than some milliseconds, however many VMs
 * there are; simultaneous requests share one computation; in a large cluster an answer is reused for some seconds.
 */
import { currentIncarnation } from '../../core/model/vm.ts';
import { monotonicMs } from '../../os/monotonic.ts';
import { inTurns } from '../../os/turns.ts';
import type { MetricFamily } from '../api/call.ts';
import type { BackendContext } from './context.ts';
import { verdictOf } from './views.ts';

/** How long an answer is kept, per VM of the cluster: 4 ms at a dozen VMs, 6 s at 20,000. */
const KEPT_MS_PER_VM = 0.3;

type Counts = Readonly<Record<string, number>>;
type Samples = MetricFamily['samples'];
type SummaryContext = Pick<BackendContext, 'store' | 'leading'>;

/** The summaries of one control node. */
export class Summary {
  /** Returns the number of VMs by verdict. */
  readonly byVerdict: () => Promise<Counts>;
  /** Returns one metric sample per VM; its value is the VM's generation. */
  readonly vmSamples: () => Promise<Samples>;

  constructor(context: SummaryContext) {
    this.byVerdict = kept(context, () => countsOf(context));
    this.vmSamples = kept(context, () => vmSamplesOf(context));
  }
}

function kept<T>(context: SummaryContext, make: () => Promise<T>): () => Promise<T> {
  let last: { readonly atMs: number; readonly term: number; readonly value: Promise<T> } | null = null;
  let isMaking = false;
  return () => {
    const term = context.leading()?.term ?? 0;
    const isFresh =
      last !== null &&
      last.term === term &&
      (isMaking || monotonicMs() - last.atMs < context.store.vms.size * KEPT_MS_PER_VM);
    if (last !== null && isFresh) return last.value;
    isMaking = true;
    const value = make().finally(() => {
      if (last?.value === value) isMaking = false;
    });
    last = { atMs: monotonicMs(), term, value };
    return value;
  };
}

async function countsOf(context: SummaryContext): Promise<Counts> {
  const { store } = context;
  const byVerdict = new Map<string, number>();
  await inTurns(store.vms.values(), ({ value }) => {
    const { verdict } = verdictOf(context, value);
    byVerdict.set(verdict, (byVerdict.get(verdict) ?? 0) + 1);
  });
  return Object.fromEntries(byVerdict);
}

async function vmSamplesOf(context: SummaryContext): Promise<Samples> {
  const samples: Samples[number][] = [];
  await inTurns(context.store.vms.values(), ({ value: vm }) => {
    const labels = {
      vm: vm.name,
      host: currentIncarnation(vm.phase)?.host ?? '',
      phase: vm.phase.kind,
      verdict: verdictOf(context, vm).verdict,
    };
    samples.push({ labels, value: vm.generation });
  });
  return samples;
}
