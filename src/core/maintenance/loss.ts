/**
 * The sudden loss of a host: where each of its VMs restarts, given the present places of all VMs. Pure. A restart needs
 * no memory on the lost host and no similar releases of the two hosts, and it displaces no other VM: those continue to
 * run.
 */
import { atOnce } from './in-turns.ts';
import type { Layout } from './layout.ts';
import type { LossWitness } from './plan.ts';
import { placeAll, type SearchOptions } from './search.ts';

/** How room for a loss is sought. */
export interface RoomOptions extends Omit<SearchOptions, 'isMovable'> {
  /** Returns true if a lead of another host may be moved to make room. */
  readonly mayMove: (lead: number) => boolean;
}

/** A witness, or the VMs that have no place. */
export type LossOutcome =
  | { readonly kind: 'witness'; readonly witness: LossWitness }
  | { readonly kind: 'none'; readonly unplaced: readonly number[] };

/**
 * Says where the VMs of `host` restart. The layout is unchanged when it returns, except for VMs that `mayMove`: those
 * may have been moved to make room for the loss.
 */
export function loseHost(layout: Layout, host: number, options: RoomOptions): LossOutcome {
  return atOnce(loseHostInTurns(layout, host, options));
}

/** As `loseHost`, in pieces. Nothing else may use the layout before the end. */
export function* loseHostInTurns(
  layout: Layout,
  host: number,
  { mayMove, ...options }: RoomOptions,
): Generator<void, LossOutcome> {
  const { model } = layout;
  const mark = layout.mark();
  const kind = layout.kind[host] ?? 0;
  const tier = layout.tierOf(host);
  layout.close(host);
  const lost = [...layout.residents(host)];
  const isTied = (lead: number): boolean => layout.bundle(lead).some((vm) => model.vms[vm]?.tie?.hosts.length === 1);
  const inHand = new Set(lost.filter((lead) => !isTied(lead)));
  layout.restarting = inHand;
  if (options.inSequence) for (const lead of inHand) layout.take(lead);
  const isMovable = (lead: number): boolean => inHand.has(lead) || mayMove(lead);
  const unplaced = yield* placeAll(layout, [...inHand], { ...options, isMovable });
  const restarts = [...inHand].flatMap((lead) => {
    const to = model.hosts[layout.at[lead] ?? -1]?.name;
    return to === undefined ? [] : layout.bundle(lead).map((vm) => ({ vm: model.vmAt(vm).id, to }));
  });
  layout.restarting = new Set();
  if (unplaced.length > 0) layout.undo(mark);
  else {
    for (const lead of inHand) layout.put(lead, host);
    layout.forget(mark, inHand);
  }
  if (tier !== null) layout.reopen(host, { tier, kind });
  if (unplaced.length > 0) return { kind: 'none', unplaced };
  const tied = lost.filter((lead) => !inHand.has(lead)).flatMap((lead) => layout.bundle(lead));
  const names = tied.map((vm) => model.vmAt(vm).id);
  return { kind: 'witness', witness: { host: model.hostAt(host).name, restarts, tied: names } };
}

/** Returns the open host whose guests take the most memory, or -1: the lowest number where several do. */
export function fullestHost(layout: Layout): number {
  let fullest = -1;
  let most = 0;
  for (const host of layout.model.hosts.keys()) {
    if (!layout.isOpen(host)) continue;
    let held = 0;
    for (const lead of layout.residents(host)) held += layout.mib[lead] ?? 0;
    if (held > most) [fullest, most] = [host, held];
  }
  return fullest;
}
