/**
 * Why a host cannot be drained, or lost, as a few lines for people: the VMs without a place, and for each why the hosts
 * that come nearest cannot take it. Pure; what it costs does not grow with the estate's VMs.
 */
import { listed } from '../../base/listed.ts';
import { type ExcludedVm, Exclusions } from './exclusions.ts';
import { holdOf } from './held.ts';
import type { Layout } from './layout.ts';
import type { Refusal } from './plan.ts';

/** The question about each host: can it be drained, can it be lost. */
export type Question = 'drain' | 'loss';

/** VMs that are explained, and hosts that are named for each. */
const VMS_NAMED = 3;
const HOSTS_NAMED = 5;

/** The refused question. */
export interface Refused {
  /** The host that would be drained, or lost. */
  readonly emptied: number;
  /** The VMs without a place. */
  readonly vms: readonly number[];
  readonly question: Question;
  readonly obstacle: Refusal['obstacle'];
}

/**
 * The obstacle as a clause. `vms`: names of the VMs that a refusal has; where room for a loss is missing, those of the host
 * that might be lost.
 */
export function obstacleWords(obstacle: Refusal['obstacle'], vms: readonly string[]): string {
  switch (obstacle) {
    case 'no-place':
      return `no host can take ${listed(vms)}`;
    case 'no-order':
      return 'no order of the moves was found in which every host has room for each VM';
    case 'no-room-for-loss': {
      const clause = 'no room would be left for the loss of a host';
      return vms.length === 0 ? clause : `${clause}: ${listed(vms)} would have no place`;
    }
  }
}

/** Returns a line for each of a few VMs, and one that counts the others. The layout is as before anything was moved. */
export function reasonsOf(layout: Layout, { emptied, vms, question, obstacle }: Refused): string[] {
  const { model } = layout;
  // Every VM has a place: no host has to say why it takes none.
  if (obstacle === 'no-order') return [obstacleWords(obstacle, [])];
  const named = vms.slice(0, VMS_NAMED);
  const more = vms.length - named.length;
  const rest = more > 0 ? [`and ${more} more VMs`] : [];
  const { name } = model.hostAt(emptied);
  const nearest = [...model.hosts.keys()]
    .filter((host) => host !== emptied)
    .toSorted(
      (a, b) => rankOf(layout, a) - rankOf(layout, b) || (layout.free[b] ?? 0) - (layout.free[a] ?? 0) || a - b,
    );
  const lines = named.map((vm) => {
    const exclusions = new Exclusions(layout, vm, { emptied: new Set([name]), isRestart: question === 'loss' });
    const hosts = nearest.slice(0, HOSTS_NAMED).map((host) => exclusions.of(host));
    const held = question === 'drain' ? holdOf(model, vm) : null;
    return wordsOf({ vm: model.vmAt(vm).id, name: model.vmAt(vm).name, held, hosts }, nearest.length);
  });
  return [...lines, ...rest];
}

/** Why no host takes a VM: a few hosts by name, the others of `count` by number. */
export function wordsOf({ name, held, hosts }: ExcludedVm, count: number): string {
  if (held !== null) return `${name}: ${held.words}`;
  const named = hosts.slice(0, HOSTS_NAMED).map(({ host, words }) => `${host}: ${words}`);
  const more = count - named.length;
  if (named.length === 0) return `${name}: there is no other host`;
  return `${name}: ${[...named, ...(more > 0 ? [`${more} more hosts cannot either`] : [])].join('; ')}`;
}

/** Hosts in service come first. */
function rankOf(layout: Layout, host: number): number {
  return layout.model.hosts[host]?.state === 'in-service' ? 0 : 1;
}
