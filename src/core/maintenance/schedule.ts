/**
 * Puts moves in an order in which they can be carried out, and predicts when each begins. A move holds its memory on
 * both hosts until it has ended. Each move lists the moves that must end before it (token-pool.ts), so that memory,
 * vCPUs, hard rules, moves at once and guest clusters' limits hold in whatever order the moves really end. Where moves
 * wait for each other in a circle, one of them goes by way of a third host. Each moment at which moves begin is a piece
 * of the work.
 */
import type { Journey, Schedule } from './journey.ts';
import type { Layout } from './layout.ts';
import type { Model } from './model.ts';
import { Timetable } from './timetable.ts';

/** Detours of one wave. */
const DETOURS_MAX = 32;

/** How to schedule. */
export interface ScheduleOptions {
  /** The number of the first move. */
  readonly firstId: number;
  /** True: moves begin in the order given, which is known to work one by one. False: in any order, with detours. */
  readonly inSequence: boolean;
}

/** Schedules the journeys; null if no order was found. `layout`: every VM where the journeys bring it. */
export function* schedule(
  layout: Layout,
  journeys: readonly Journey[],
  options: ScheduleOptions,
): Generator<void, Schedule | null> {
  const moved = [...new Set(journeys.map(({ vm }) => vm))];
  const timetable = new Timetable(layout, { moved, firstId: options.firstId });
  return yield* options.inSequence ? oneByOne(timetable, journeys) : inAnyOrder(layout, timetable, journeys);
}

function* oneByOne(timetable: Timetable, journeys: readonly Journey[]): Generator<void, Schedule | null> {
  for (const journey of journeys) {
    yield;
    while (!timetable.begin(journey)) {
      if (timetable.isIdle) return null;
      timetable.advance();
    }
  }
  return timetable.finish();
}

function* inAnyOrder(
  layout: Layout,
  timetable: Timetable,
  journeys: readonly Journey[],
): Generator<void, Schedule | null> {
  const { model } = layout;
  const byRank = (a: Journey, b: Journey): number =>
    rankOf(a) - rankOf(b) || (model.mibOf[b.vm] ?? 0) - (model.mibOf[a.vm] ?? 0) || a.vm - b.vm;
  let waiting = journeys.toSorted(byRank);
  for (let detours = 0; waiting.length > 0; ) {
    yield;
    const left = waiting.filter((journey) => !timetable.begin(journey));
    const hasBegun = left.length < waiting.length;
    waiting = left;
    if (!hasBegun && timetable.isIdle) {
      const detour = detours < DETOURS_MAX ? detourFor(layout, timetable, waiting) : null;
      if (detour === null) return null;
      detours += 1;
      waiting = [detour, ...waiting.filter(({ vm }) => vm !== detour.vm)];
      continue;
    }
    waiting = [...waiting, ...timetable.advance()].toSorted(byRank);
  }
  return timetable.finish();
}

/** Room is made before it is needed. */
function rankOf({ why }: Journey): number {
  return why === 'evacuate' ? 1 : 0;
}

/** Finds a waiting VM that can go to a third host now, so that others can have its place; the smallest one. */
function detourFor(layout: Layout, timetable: Timetable, waiting: readonly Journey[]): Journey | null {
  const { model } = layout;
  const wanted = new Set(waiting.map(({ to }) => to));
  const candidates = waiting
    .filter(({ from, onward }) => wanted.has(from) && onward === undefined)
    .toSorted((a, b) => (model.mibOf[a.vm] ?? 0) - (model.mibOf[b.vm] ?? 0) || a.vm - b.vm);
  for (const { vm, from, to, why } of candidates) {
    for (const host of model.hosts.keys()) {
      if (host === from || host === to || !layout.isOpen(host)) continue;
      if (!isOnTheWay(model, layout, { vm, from, to, host })) continue;
      const detour: Journey = { vm, from, to: host, why: 'by-way', onward: { to, why } };
      if (timetable.canBegin(detour)) return detour;
    }
  }
  return null;
}

function isOnTheWay(
  { kinds, shapeOf, vms, hosts }: Model,
  { kind }: Layout,
  { vm, from, to, host }: { readonly vm: number; readonly from: number; readonly to: number; readonly host: number },
): boolean {
  const [source, third, last] = [kind[from] ?? -1, kind[host] ?? -1, kind[to] ?? -1];
  const tie = vms[vm]?.tie ?? null;
  const name = hosts[host]?.name;
  return (
    kinds.runs(shapeOf[vm] ?? -1, third) &&
    kinds.carries(source, third) &&
    kinds.carries(third, last) &&
    (tie === null || (name !== undefined && tie.hosts.includes(name)))
  );
}
