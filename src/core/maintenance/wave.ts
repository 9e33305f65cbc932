/**
 * Plans one wave: empties some hosts at once. The VMs are taken in hand and placed elsewhere, others are displaced
 * where they must be, the moves are put in an order, and the room that the policy keeps is proven. On success the
 * layout is as after the wave; otherwise as before. A VM that is on its way to one of the hosts counts as having arrived:
 * its move of the plan begins there.
 */
import { holdOf } from './held.ts';
import { atOnce } from './in-turns.ts';
import type { Journey } from './journey.ts';
import type { Layout } from './layout.ts';
import { fullestHost, loseHostInTurns, type RoomOptions } from './loss.ts';
import type { LossWitness, PlannedWave, Refusal } from './plan.ts';
import { isTooFull, type Proof, proofOf } from './proof.ts';
import { type ScheduleOptions, schedule } from './schedule.ts';
import { type Budget, placeAll } from './search.ts';

/** A planned wave, or what stood in its way. */
export type WaveOutcome =
  | { readonly kind: 'wave'; readonly wave: PlannedWave }
  | {
      readonly kind: 'none';
      readonly obstacle: Refusal['obstacle'];
      readonly vms: readonly number[];
      readonly proof: Proof | null;
    };

/** The result of one attempt. */
type Attempt = Extract<WaveOutcome, { kind: 'wave' }> | Omit<Extract<WaveOutcome, { kind: 'none' }>, 'proof'>;

/** The input of the plan for a wave. */
export interface WaveOptions {
  /** The number of its first move. */
  readonly firstId: number;
  readonly budget: Budget;
  /** The hosts to which an approved plan brings VMs, by lead: kept as far as that is still possible. */
  readonly wanted?: ReadonlyMap<number, Wanted>;
}

/** The way of a VM in a plan that was approved. */
export interface Wanted {
  readonly from: number;
  readonly to: number;
}

/**
 * Plans the wave that empties `hosts`, in pieces: nothing else may use the layout before the end. On success the hosts
 * are closed and the layout is as after the wave.
 */
export function planWave(layout: Layout, hosts: readonly number[], options: WaveOptions): Generator<void, WaveOutcome> {
  return planned(layout, hosts, { ...options, isKept: true });
}

/** As `planWave`, at once; the layout is as before, whatever the outcome. */
export function tryWave(layout: Layout, hosts: readonly number[], options: WaveOptions): WaveOutcome {
  return atOnce(planned(layout, hosts, { ...options, isKept: false }));
}

function* planned(
  layout: Layout,
  hosts: readonly number[],
  { isKept, firstId, budget, wanted = new Map() }: WaveOptions & { readonly isKept: boolean },
): Generator<void, WaveOutcome> {
  const mark = layout.mark();
  const tiers = hosts.map((host) => layout.tierOf(host));
  for (const host of hosts) layout.close(host);
  const arriving = arrivingAt(layout, hosts);
  for (const { vm, host } of arriving) layout.arrive(vm, host);
  // If there is too little memory in total, no VM is displaced in vain.
  const spent = isTooFull(layout, hosts) ? { steps: 0 } : budget;
  let outcome = yield* attempt(layout, hosts, { firstId, budget: spent, inSequence: false, wanted });
  if (outcome.kind === 'none' && wanted.size > 0) {
    layout.undo(mark);
    outcome = yield* attempt(layout, hosts, { firstId, budget: spent, inSequence: false });
  }
  if (outcome.kind === 'none' && outcome.obstacle === 'no-order') {
    layout.undo(mark);
    outcome = yield* attempt(layout, hosts, { firstId, budget, inSequence: true });
  }
  if (outcome.kind === 'wave' && isKept) {
    layout.rebase();
    return outcome;
  }
  layout.undo(mark);
  const found = outcome.kind === 'wave' ? outcome : { ...outcome, proof: proofOf(layout, hosts, outcome) };
  for (const { vm } of arriving) layout.leaveAgain(vm);
  for (const [number, host] of hosts.entries()) {
    const tier = tiers[number] ?? null;
    if (tier !== null) layout.reopen(host, { tier, kind: layout.kind[host] ?? 0 });
  }
  return found;
}

function* attempt(
  layout: Layout,
  hosts: readonly number[],
  options: ScheduleOptions & Pick<WaveOptions, 'budget' | 'wanted'>,
): Generator<void, Attempt> {
  const { model } = layout;
  const mark = layout.mark();
  const leads = hosts.flatMap((host) => [...layout.residents(host)]);
  const isHeld = (lead: number): boolean =>
    layout.bundle(lead).some((vm) => holdOf(model, vm, layout.countsAsArrived(vm)) !== null);
  // A VM that is leaving already needs no move of this plan, unless it goes where it may not stay.
  const isLeaving = (lead: number): boolean => {
    const to = model.destination(model.vmAt(lead));
    return to >= 0 && !hosts.includes(to) && !layout.countsAsArrived(lead);
  };
  const toGo = leads.filter((lead) => !isLeaving(lead));
  const held = [...toGo.filter((lead) => isHeld(lead)), ...stillComing(layout, hosts)];
  if (held.length > 0) return { kind: 'none', obstacle: 'no-place', vms: held };
  const placed = options.wanted === undefined ? null : putWanted(layout, toGo, options.wanted, isHeld);
  const toPlace = placed === null ? toGo : toGo.filter((lead) => !placed.has(lead));
  const unplaced = yield* placeAll(layout, toPlace, { ...options, isMovable: (lead) => !isHeld(lead) });
  if (unplaced.length > 0) return { kind: 'none', obstacle: 'no-place', vms: unplaced };
  if (!options.inSequence) bringBack(layout, hosts);
  yield;
  const room = yield* roomFor(layout, { ...options, mayMove: (lead) => !isHeld(lead) });
  if (room.kind === 'none') return { kind: 'none', obstacle: 'no-room-for-loss', vms: room.unplaced };
  const journeys = options.inSequence ? legsOf(layout, hosts, mark) : journeysOf(layout, hosts);
  const scheduled = yield* schedule(layout, journeys, options);
  if (scheduled === null) return { kind: 'none', obstacle: 'no-order', vms: [] };
  const names = hosts.map((host) => model.hostAt(host).name);
  return { kind: 'wave', wave: { hosts: names, ...scheduled, room: room.witness } };
}

/**
 * Takes in hand the leads that must move, and puts each on the host of the approved plan, VMs that make room first, if
 * the lead is still on the host that the plan assumed and its new host has room. Returns the leads that were placed.
 */
function putWanted(
  layout: Layout,
  toGo: readonly number[],
  wanted: ReadonlyMap<number, Wanted>,
  isHeld: (lead: number) => boolean,
): ReadonlySet<number> {
  const mustGo = new Set(toGo);
  for (const lead of toGo) layout.take(lead);
  const ways = [...wanted].filter(([lead, { from }]) => layout.base[lead] === from && !isHeld(lead));
  const [others, evacuated] = [ways.filter(([lead]) => !mustGo.has(lead)), ways.filter(([lead]) => mustGo.has(lead))];
  const placed = new Set<number>();
  for (const [lead, { from, to }] of [...others, ...evacuated]) {
    if (!mustGo.has(lead)) layout.take(lead);
    const isPut = layout.holds(lead, to);
    if (isPut) placed.add(lead);
    if (isPut || !mustGo.has(lead)) layout.put(lead, isPut ? to : from);
  }
  return placed;
}

/** VMs that are moving to one of the hosts now, and go with no other VM. */
function arrivingAt(layout: Layout, hosts: readonly number[]): { readonly vm: number; readonly host: number }[] {
  const isAlone = (vm: number): boolean => layout.bundle(layout.lead(vm)).length === 1 && !layout.countsAsArrived(vm);
  return hosts.flatMap((host) => [...(layout.model.arriving[host] ?? [])].filter(isAlone).map((vm) => ({ vm, host })));
}

/** VMs that are moving to one of the hosts now, and delay the wave until they have arrived. */
function stillComing(layout: Layout, hosts: readonly number[]): number[] {
  return hosts.flatMap((host) => [...(layout.model.arriving[host] ?? [])].filter((vm) => !layout.countsAsArrived(vm)));
}

/**
 * Brings displaced VMs back to their own hosts where room is left in the end: the fewest moves that the search finds.
 */
function bringBack(layout: Layout, hosts: readonly number[]): void {
  for (const lead of movedLeads(layout)) {
    const base = layout.base[lead] ?? -1;
    const now = layout.at[lead] ?? -1;
    if (hosts.includes(base)) continue;
    layout.take(lead);
    layout.put(lead, layout.holds(lead, base) ? base : now);
  }
}

function movedLeads(layout: Layout): number[] {
  const { at, base } = layout;
  const moved: number[] = [];
  for (let vm = 0; vm < at.length; vm += 1) if (at[vm] !== base[vm] && layout.lead(vm) === vm) moved.push(vm);
  return moved;
}

function journeysOf(layout: Layout, hosts: readonly number[]): Journey[] {
  return movedLeads(layout).flatMap((lead) =>
    layout.bundle(lead).map((vm): Journey => {
      const from = layout.base[vm] ?? -1;
      return { vm, from, to: layout.at[vm] ?? -1, why: hosts.includes(from) ? 'evacuate' : 'make-room' };
    }),
  );
}

/** Every step that was taken since the mark, as it was taken: a VM may be moved more than once. */
function legsOf(layout: Layout, hosts: readonly number[], mark: number): Journey[] {
  const at = new Map<number, number>();
  return layout.since(mark).flatMap(({ lead, to }) => {
    const from = at.get(lead) ?? layout.base[lead] ?? -1;
    if (to < 0 || to === from) return [];
    at.set(lead, to);
    const isLast = to === layout.at[lead];
    const why = !isLast ? 'by-way' : hosts.includes(layout.base[lead] ?? -1) ? 'evacuate' : 'make-room';
    return layout.bundle(lead).map((vm): Journey => ({ vm, from, to, why }));
  });
}

/** Other hosts may be the fullest after room was made: so often it is made again. */
const ROOM_ROUNDS = 4;

/** Proves the room for the loss of the fullest host; moves further VMs where that makes it. */
function* roomFor(
  layout: Layout,
  options: RoomOptions,
): Generator<
  void,
  | { readonly kind: 'witness'; readonly witness: LossWitness | null }
  | { readonly kind: 'none'; readonly unplaced: readonly number[] }
> {
  let unplaced: readonly number[] = [];
  for (let round = 0; round < ROOM_ROUNDS; round += 1) {
    const host = layout.model.policy.keepRoomForLoss ? fullestHost(layout) : -1;
    if (host < 0) return { kind: 'witness', witness: null };
    const asItIs = yield* loseHostInTurns(layout, host, { ...options, mayMove: () => false });
    if (asItIs.kind === 'witness') return asItIs;
    const mark = layout.mark();
    // (Also in sequence, VMs that move because of the loss go where there is room now: the lost host's VMs take theirs
    // only for the proof.)
    const made = yield* loseHostInTurns(layout, host, options);
    if (made.kind === 'none') return made;
    unplaced = movedLeads(layout).filter((lead) => !staysRight(layout, lead));
    if (unplaced.length > 0) {
      layout.undo(mark);
      break;
    }
  }
  return { kind: 'none', unplaced };
}

/** Returns true if a lead may be where it is. */
function staysRight(layout: Layout, lead: number): boolean {
  const host = layout.at[lead] ?? -1;
  const mark = layout.mark();
  layout.take(lead);
  const holds = layout.holds(lead, host);
  layout.undo(mark);
  return holds;
}
