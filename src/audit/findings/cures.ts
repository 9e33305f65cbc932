/**
 * Computes the actions that free hosts, cheapest first. The cost counts approvals, downtime and data; it is a price
 * only with the user's own prices.
 */

import type { TieKind, Vm } from '../estate/estate.ts';
import { compare } from '../estate/estate-builder.ts';
import type { DrainFinding } from './drain.ts';
import type { Reason } from './reasons.ts';

export type CureKind =
  | 'eject media'
  | 'add the network to the other hosts'
  | 'give the other hosts the storage'
  | 'move disks to shared storage'
  | 'lift the rule'
  | 'give the network an uplink'
  | 'detach the usb device'
  | 'take away the cpu pin'
  | 'make the serial port a network port'
  | 'replace the device'
  | 'agree on a time to shut the vm down'
  | 'add memory or a host';

export interface CureCost {
  readonly downtimeMin: number;
  readonly approvals: number;
}

const COSTS: Readonly<Record<CureKind, CureCost>> = {
  'eject media': { downtimeMin: 0, approvals: 0 },
  'add the network to the other hosts': { downtimeMin: 0, approvals: 0 },
  'give the other hosts the storage': { downtimeMin: 0, approvals: 0 },
  'move disks to shared storage': { downtimeMin: 0, approvals: 0 },
  'lift the rule': { downtimeMin: 0, approvals: 1 },
  'give the network an uplink': { downtimeMin: 0, approvals: 1 },
  'detach the usb device': { downtimeMin: 0, approvals: 1 },
  'take away the cpu pin': { downtimeMin: 5, approvals: 1 },
  'make the serial port a network port': { downtimeMin: 5, approvals: 1 },
  'replace the device': { downtimeMin: 15, approvals: 1 },
  'agree on a time to shut the vm down': { downtimeMin: 30, approvals: 1 },
  'add memory or a host': { downtimeMin: 0, approvals: 1 },
};

const BY_TIE: Readonly<Partial<Record<TieKind, CureKind>>> = {
  'local media': 'eject media',
  'host drive': 'eject media',
  usb: 'detach the usb device',
  'serial port': 'make the serial port a network port',
  'host device': 'replace the device',
  gpu: 'replace the device',
  'sr-iov': 'replace the device',
  'passthrough disk': 'replace the device',
  'host tpm': 'replace the device',
  'host folder': 'replace the device',
  'shared memory': 'replace the device',
  'cpu pin': 'take away the cpu pin',
  'cpu passthrough': 'take away the cpu pin',
  'dedicated cpu': 'take away the cpu pin',
  pinned: 'lift the rule',
  'node selector': 'lift the rule',
  'affinity group': 'lift the rule',
};

/** One action for one reason. */
export interface CureItem extends CureCost {
  readonly kind: CureKind;
  /** Equal if one action cures several reasons: a network, a rule, a VM. */
  readonly key: string;
  readonly host: string;
  readonly vm: Vm | null;
  readonly gib: number;
  readonly reason: Reason;
}

export interface Cure extends CureCost {
  readonly kind: CureKind;
  readonly items: number;
  readonly hosts: readonly string[];
  /** Hosts that become free by this action alone. */
  readonly frees: readonly string[];
  /** Hosts that are free after this action and all earlier ones. */
  readonly freesSoFar: number;
  readonly gib: number;
}

/** The user's prices, in one currency. */
export interface Prices {
  readonly currency: string;
  readonly approval: number;
  readonly downtimeMinute: number;
  readonly gib: number;
}

/** Returns the price of an action at the user's prices. */
export function priceOf(cost: CureCost & { readonly gib: number }, prices: Prices): number {
  const sum = cost.approvals * prices.approval + cost.downtimeMin * prices.downtimeMinute + cost.gib * prices.gib;
  return Math.round(sum * 100) / 100;
}

/** Returns all actions, host by host in the order of the findings. */
export function cureItems(drains: readonly DrainFinding[]): readonly CureItem[] {
  return drains.flatMap(({ host, reasons }) => reasons.map((reason) => itemOf(host.key, reason)));
}

function itemOf(host: string, reason: Reason): CureItem {
  const kind = cureOf(reason);
  const vm = 'vm' in reason ? reason.vm : null;
  const gib = reason.kind === 'storage' ? Math.round(reason.gib * 10) / 10 : 0;
  return { kind, key: keyFor(kind, reason, host), host, vm, gib, reason, ...COSTS[kind] };
}

function cureOf(reason: Reason): CureKind {
  if (reason.kind === 'tie') return BY_TIE[reason.tie.kind] ?? 'agree on a time to shut the vm down';
  if (reason.kind === 'media') return 'eject media';
  if (reason.kind === 'storage') return 'move disks to shared storage';
  if (reason.kind === 'network')
    return reason.isIsolated ? 'give the network an uplink' : 'add the network to the other hosts';
  if (reason.kind === 'no common host') return 'give the other hosts the storage';
  return reason.kind === 'rule' || reason.kind === 'together' ? 'lift the rule' : 'add memory or a host';
}

function keyFor(kind: CureKind, reason: Reason, host: string): string {
  if (reason.kind === 'network') return `${kind}|${reason.network}|${reason.isIsolated ? host : ''}`;
  if (reason.kind === 'rule' || reason.kind === 'together') return `${kind}|${reason.rule.key}`;
  if (reason.kind === 'no target') return `${kind}|${reason.cluster}`;
  return 'vm' in reason ? `${kind}|${reason.vm.key}` : `${kind}|${host}`;
}

/** Returns cures by kind, cheapest first; the cheapest set of cures for a host is a prefix of this list. */
export function cures(items: readonly CureItem[]): readonly Cure[] {
  const kinds = new Map<CureKind, CureItem[]>();
  for (const item of items) {
    const same = kinds.get(item.kind);
    if (same === undefined) kinds.set(item.kind, [item]);
    else same.push(item);
  }
  const needs = new Map<string, Set<CureKind>>();
  for (const { host, kind } of items) needs.set(host, (needs.get(host) ?? new Set()).add(kind));
  const summed = [...kinds].map(([kind, all]) => summary(kind, all, needs));
  const ordered = summed.toSorted(
    (a, b) => a.downtimeMin - b.downtimeMin || a.approvals - b.approvals || a.gib - b.gib || compare(a.kind, b.kind),
  );
  const done = new Set<CureKind>();
  return ordered.map((cure) => {
    done.add(cure.kind);
    const freesSoFar = [...needs.values()].filter((kindsOfHost) =>
      [...kindsOfHost].every((kind) => done.has(kind)),
    ).length;
    return { ...cure, freesSoFar };
  });
}

function summary(kind: CureKind, items: readonly CureItem[], needs: ReadonlyMap<string, ReadonlySet<CureKind>>): Cure {
  const hosts = [...new Set(items.map(({ host }) => host))];
  const acts = new Map(items.map((item) => [item.key, item]));
  return {
    kind,
    items: kind === 'eject media' ? items.length : acts.size,
    hosts,
    frees: hosts.filter((host) => needs.get(host)?.size === 1),
    freesSoFar: 0,
    downtimeMin: [...acts.values()].reduce((sum, { downtimeMin }) => sum + downtimeMin, 0),
    approvals: [...acts.values()].reduce((sum, { approvals }) => sum + approvals, 0),
    gib: Math.round(items.reduce((sum, { gib }) => sum + gib, 0) * 10) / 10,
  };
}
