/**
 * Decides whether each host can be drained: it can, it cannot (with every reason), or it is not proved (with every
 * doubt). A reason outweighs a doubt, and a doubt outweighs a placement, so that information missing from an export
 * never makes a host drainable.
 */
import type { Host, Vm } from '../estate/estate.ts';
import type { EstateIndex } from './estate-index.ts';
import { type MemoryKind, memoryEvidence, memoryOf } from './memory.ts';
import type { Doubt, Reason } from './reasons.ts';
import type { Room, Rooms } from './room.ts';
import { togetherReasons, unitsAmong } from './together.ts';
import { targetsOf, type VmTargets } from './vm-targets.ts';

export type Verdict = 'can' | 'cannot' | 'not proved';

export interface DrainFinding {
  readonly host: Host;
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
  readonly doubts: readonly Doubt[];
  /** How many VMs have to move. */
  readonly vms: readonly Vm[];
  /** How many VMs of other hosts have to move first. */
  readonly displaced: number;
}

/** Returns one finding per host, in the order of the estate. */
export function judgeDrains(index: EstateIndex, targets: TargetCache, rooms: Rooms): readonly DrainFinding[] {
  return [...index.estate.hosts.values()].map((host) => {
    const room = host.cluster === null ? null : rooms.of(host.cluster);
    return judge(host, room, index, targets);
  });
}

/** Caches each VM's targets as seen from its own host: a VM may be a candidate for displacement many times. */
export class TargetCache {
  readonly #index: EstateIndex;
  readonly #known = new Map<string, VmTargets>();

  constructor(index: EstateIndex) {
    this.#index = index;
  }

  /** Returns a VM's targets; a VM without a host has the targets of a standalone host. */
  of(vm: Vm): VmTargets {
    const before = this.#known.get(vm.key);
    if (before !== undefined) return before;
    const host = this.#index.estate.hosts.get(vm.host ?? '');
    const others = host === undefined ? [] : this.#index.othersOf(host);
    const found = targetsOf(vm, host ?? null, others, this.#index);
    this.#known.set(vm.key, found);
    return found;
  }
}

function judge(host: Host, room: Room | null, index: EstateIndex, targets: TargetCache): DrainFinding {
  const vms = index.toMove(host.key);
  // For a host without listed VMs, only the completeness of the list can be in doubt.
  const gaps = index.gapsFor(host).filter(({ aspect }) => vms.length > 0 || aspect === 'vms' || aspect === 'hosts');
  const doubts: Doubt[] = gaps.map((gap) => ({ kind: 'gap', gap }));
  const listed = vms.length + helpersOn(host, index);
  if (host.saysRunning !== null && host.saysRunning > listed)
    doubts.push({ kind: 'count', said: host.saysRunning, listed, evidence: host.evidence });
  if (host.state === 'unknown') doubts.push({ kind: 'state unknown', evidence: host.evidence });
  if (vms.length === 0) return finding(host, [], doubts, vms, 0);
  if (host.cluster === null) doubts.push({ kind: 'no cluster', evidence: host.evidence });
  const reasons: Reason[] = [];
  for (const vm of vms) {
    const found = targets.of(vm);
    doubts.push(...found.doubts);
    if (vm.power === 'running') reasons.push(...found.reasons);
    else doubts.push(...ifRunning(vm, found.reasons));
  }
  const others = index.othersOf(host);
  const running = vms.filter(({ power }) => power === 'running');
  if (room !== null && others.length === 0 && running.length > 0)
    reasons.push({ kind: 'no target', cluster: host.cluster ?? '', vms: running.length, evidence: host.evidence });
  let displaced = 0;
  if (room !== null && others.length > 0) {
    const fit = judgeRoom({ host, vms, others, room, index, targets });
    reasons.push(...fit.reasons);
    doubts.push(...fit.doubts, ...reserveDoubts(host, others, room, index));
    displaced = fit.displaced;
  }
  return finding(host, reasons, doubts, vms, displaced);
}

/** VMs of the platform itself, which the platform stops together with their host. */
function helpersOn(host: Host, index: EstateIndex): number {
  const all = index.vmsOn.get(host.key) ?? [];
  return all.filter(({ ties }) => ties.some(({ kind, effect }) => kind === 'agent vm' && effect === 'informs')).length;
}

function finding(
  host: Host,
  reasons: readonly Reason[],
  doubts: readonly Doubt[],
  vms: readonly Vm[],
  displaced: number,
): DrainFinding {
  const verdict = reasons.length > 0 ? 'cannot' : doubts.length > 0 ? 'not proved' : 'can';
  return { host, verdict, reasons, doubts, vms, displaced };
}

function ifRunning(vm: Vm, reasons: readonly Reason[]): readonly Doubt[] {
  return reasons.length === 0
    ? [{ kind: 'if running', vm, reason: null }]
    : reasons.map((reason) => ({ kind: 'if running', vm, reason }));
}

interface RoomInput {
  readonly host: Host;
  readonly vms: readonly Vm[];
  readonly others: readonly Host[];
  readonly room: Room;
  readonly index: EstateIndex;
  readonly targets: TargetCache;
}

interface Fit {
  readonly reasons: readonly Reason[];
  readonly doubts: readonly Doubt[];
  readonly displaced: number;
}

function judgeRoom(input: RoomInput): Fit {
  const { host, vms, others, room, targets } = input;
  const reasons = certainlyTooFull(input);
  const doubts = unknownMemory(room, others);
  if (reasons.length > 0 || doubts.length > 0) return { reasons, doubts, displaced: 0 };
  // VMs without any target have reasons of their own.
  const movable = vms.filter((vm) => targets.of(vm).reasons.length === 0 && targets.of(vm).proved?.size !== 0);
  const ask = (memory: MemoryKind): { unplaced: readonly Vm[]; displaced: number } =>
    room.ask({
      from: host,
      vms: movable,
      memory,
      targets: (vm) => targets.of(vm).proved,
      mayDisplace: (vm) => targets.of(vm).reasons.length === 0 && targets.of(vm).doubts.length === 0,
    });
  const configured = ask('configured');
  if (configured.unplaced.length === 0) return { reasons, doubts, displaced: configured.displaced };
  const lends = vms.some(({ reservedMib }) => reservedMib !== null);
  if (lends && ask('reserved').unplaced.length === 0) {
    const neededMib = total(movable, 'configured');
    const freeMib = room.freeMib(host, 'configured');
    const doubt: Doubt = { kind: 'overcommit', neededMib, freeMib, evidence: memoryEvidence(movable, others) };
    return { reasons, doubts: [doubt], displaced: 0 };
  }
  return { reasons, doubts: [{ kind: 'no placement found', vms: configured.unplaced }], displaced: 0 };
}

/** Returns reasons that exclude every placement: sums, sizes, and rules with more members than hosts. */
function certainlyTooFull({ host, vms, others, room, index, targets }: RoomInput): Reason[] {
  const reasons: Reason[] = [];
  const running = vms.filter(({ power, memoryMib }) => power === 'running' && memoryMib !== null);
  if (others.every(({ memoryMib }) => memoryMib !== null)) {
    const largestMib = largestOf(others);
    for (const vm of running) {
      const neededMib = memoryOf(vm, 'reserved');
      if (neededMib > largestMib) reasons.push({ kind: 'too large', vm, neededMib, largestMib });
    }
    const neededMib = total(running, 'reserved');
    const freeMib = room.freeMib(host, 'reserved');
    const isCounted = room.vmWithoutMemory === undefined;
    const sum = { neededMib, freeMib, evidence: memoryEvidence(running, others) };
    if (isCounted && neededMib > freeMib + 1) reasons.push({ kind: 'memory', ...sum, hosts: others.length });
  }
  const isKnown = others.every(({ memoryMib }) => memoryMib !== null);
  const largestMib = isKnown ? largestOf(others) : null;
  reasons.push(...togetherReasons(unitsAmong(running, index), largestMib, (vm) => targets.of(vm).possible));
  const rules = new Set(running.flatMap(({ key }) => index.rulesOf.get(key) ?? []));
  for (const rule of rules) {
    if (rule.kind !== 'apart' || !rule.isHard) continue;
    const members = rule.vms.filter((key) => {
      const vm = index.estate.vms.get(key);
      return vm?.power === 'running' && index.estate.hosts.get(vm.host ?? '')?.cluster === host.cluster;
    }).length;
    if (members > rule.perHost * others.length) reasons.push({ kind: 'rule', rule, members, hosts: others.length });
  }
  return reasons;
}

function largestOf(hosts: readonly Host[]): number {
  return hosts.reduce((most, { memoryMib }) => Math.max(most, memoryMib ?? 0), 0);
}

/**
 * vCenter and XAPI keep room for lost hosts, counted in reserved memory, and may refuse to evacuate a host into it. A
 * person can still move the VMs one by one, so that this is a doubt and no reason.
 */
function reserveDoubts(host: Host, others: readonly Host[], room: Room, index: EstateIndex): readonly Doubt[] {
  const reserve = index.estate.clusters.get(host.cluster ?? '')?.reserve;
  if (reserve === undefined || reserve.hosts < 1 || others.some(({ memoryMib }) => memoryMib === null)) return [];
  const kept = others
    .map(({ memoryMib }) => memoryMib ?? 0)
    .toSorted((a, b) => a - b)
    .slice(0, Math.max(0, others.length - reserve.hosts));
  const leftMib = kept.length === 0 ? null : kept.reduce((sum, mib) => sum + mib, 0);
  const neededMib = room.usedMib('reserved');
  if (leftMib !== null && neededMib <= leftMib) return [];
  return [{ kind: 'reserve', lost: reserve.hosts, neededMib, leftMib, evidence: reserve.evidence }];
}

function unknownMemory(room: Room, others: readonly Host[]): readonly Doubt[] {
  const host = others.find(({ memoryMib }) => memoryMib === null);
  const vm = room.vmWithoutMemory;
  return [...(host === undefined ? [] : [doubtOf('host', host)]), ...(vm === undefined ? [] : [doubtOf('vm', vm)])];
}

function doubtOf(of: 'host' | 'vm', { name, evidence }: Host | Vm): Doubt {
  return { kind: 'memory unknown', of, name, evidence };
}

function total(vms: readonly Vm[], memory: MemoryKind): number {
  return vms.reduce((sum, vm) => sum + memoryOf(vm, memory), 0);
}
