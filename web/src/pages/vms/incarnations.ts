/** The incarnations of a VM, as its events tell them. Pure. */
import type { Event, VmDetail } from '../../api/types.ts';

/** One run of the VM on one host. `until` is null for the one that is there now. */
export interface Incarnation {
  readonly generation: number;
  readonly host: string | null;
  readonly since: string;
  readonly until: string | null;
  /** The text about its end: the first event of the next incarnation, or its own last event. */
  readonly ending: string | null;
}

const ENDED = new Set(['stopped', 'deleted', 'crashed', 'lost']);

type Present = Pick<VmDetail, 'generation' | 'host' | 'phase' | 'phaseSince'>;

/**
 * Events oldest first; incarnations oldest first. Events are forgotten after a time: the present incarnation is known
 * from the VM itself.
 */
export function incarnationsOf(events: readonly Event[], present: Present): readonly Incarnation[] {
  const byGeneration = new Map<number, Event[]>();
  for (const event of events) {
    if (event.generation === null || event.generation === 0) continue;
    byGeneration.set(event.generation, [...(byGeneration.get(event.generation) ?? []), event]);
  }
  const all = [...byGeneration].sort(([a], [b]) => a - b);
  const known: readonly Incarnation[] = all.flatMap(([generation, of], at) => {
    const [first] = of;
    const last = of.at(-1);
    const next = all[at + 1]?.[1][0];
    if (first === undefined || last === undefined) return [];
    const end = next ?? (ENDED.has(last.kind) ? last : null);
    const host = of.findLast((event) => event.host !== null)?.host ?? null;
    return [{ generation, host, since: first.at, until: end?.at ?? null, ending: end?.message ?? null }];
  });
  const { generation, host, phase, phaseSince: since } = present;
  if (generation === 0 || phase === 'stopped' || known.some((each) => each.generation >= generation)) return known;
  return [...known, { generation, host, since, until: null, ending: null }];
}
