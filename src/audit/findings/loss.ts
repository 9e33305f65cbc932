/**
 * Decides whether the VMs of a lost host can start elsewhere, by configured memory and also by the memory that the
 * platform reserves. A start needs less than a live migration: a CD is ejected, and the CPU need not match. VMs that
 * are bound to the host's hardware or disks stay down with the host.
 */
import type { Evidence, Host, Rule, TieKind, Vm } from '../estate/estate.ts';
import type { EstateIndex } from './estate-index.ts';
import { type MemoryKind, memoryEvidence, memoryOf } from './memory.ts';
import type { Room, Rooms } from './room.ts';

export interface LossFinding {
  readonly host: Host;
  /** `not proved`: the export lacks the needed information. */
  readonly verdict: 'covered' | 'covered by reserved memory' | 'not covered' | 'not proved';
  /** VMs without room by configured memory. */
  readonly unplaced: readonly Vm[];
  /** VMs that only this host can run. */
  readonly bound: readonly Vm[];
  readonly neededMib: number;
  readonly freeMib: number;
  /** The largest VMs and hosts of the sums. */
  readonly evidence: readonly Evidence[];
}

/** A rule that already needs every host. */
export interface SlackFinding {
  readonly rule: Rule;
  readonly members: number;
  readonly hosts: number;
}

const HARDWARE: ReadonlySet<TieKind> = new Set([
  'host device',
  'gpu',
  'usb',
  'passthrough disk',
  'host folder',
  'shared memory',
  'pinned',
  'agent vm',
]);

/** Returns one finding per host that runs VMs, in the order of the estate. */
export function judgeLosses(index: EstateIndex, rooms: Rooms): readonly LossFinding[] {
  return [...index.estate.hosts.values()].flatMap((host) => {
    const vms = index.toMove(host.key).filter(({ power }) => power === 'running');
    if (vms.length === 0) return [];
    if (host.cluster === null) return [unproved(host, vms)];
    return [judge(host, vms, rooms.of(host.cluster), index)];
  });
}

function unproved(host: Host, vms: readonly Vm[]): LossFinding {
  const neededMib = vms.reduce((sum, vm) => sum + memoryOf(vm, 'configured'), 0);
  const evidence = [host.evidence, ...memoryEvidence(vms, [])];
  return { host, verdict: 'not proved', unplaced: [], bound: [], neededMib, freeMib: 0, evidence };
}

function judge(host: Host, vms: readonly Vm[], room: Room, index: EstateIndex): LossFinding {
  const others = index.othersOf(host);
  const bound = vms.filter((vm) => isBound(vm, host, index));
  const boundVms = new Set(bound);
  const free = vms.filter((vm) => !boundVms.has(vm));
  const neededMib = free.reduce((sum, vm) => sum + memoryOf(vm, 'configured'), 0);
  const freeMib = room.freeMib(host, 'configured');
  const evidence = [host.evidence, ...memoryEvidence(free, others)];
  if (others.length === 0)
    return { host, verdict: 'not covered', unplaced: free, bound, neededMib, freeMib: 0, evidence };
  const isKnown =
    room.vmWithoutMemory === undefined &&
    others.every(({ memoryMib, state }) => memoryMib !== null && state !== 'unknown') &&
    index.gapsFor(host).every(({ aspect }) => aspect !== 'hosts' && aspect !== 'vms' && aspect !== 'memory');
  if (!isKnown) return { ...unproved(host, vms), bound };
  const unplacedBy = (memory: MemoryKind): readonly Vm[] =>
    room.ask({ from: host, vms: free, memory, targets: () => null, mayDisplace: () => false }).unplaced;
  const unplaced = unplacedBy('configured');
  const lends = free.some(({ reservedMib }) => reservedMib !== null);
  const verdict =
    unplaced.length === 0
      ? 'covered'
      : lends && unplacedBy('reserved').length === 0
        ? 'covered by reserved memory'
        : 'not covered';
  return { host, verdict, unplaced, bound, neededMib, freeMib, evidence };
}

function isBound(vm: Vm, host: Host, index: EstateIndex): boolean {
  const stays = (kind: TieKind, effect: string): boolean =>
    kind === 'not highly available' || (effect === 'blocks' && HARDWARE.has(kind));
  if (vm.ties.some(({ kind, effect }) => stays(kind, effect))) return true;
  return vm.disks.some((disk) => {
    if (disk.isMedia) return false;
    const reach = (disk.storage === null ? undefined : index.estate.storages.get(disk.storage)?.reach) ?? disk.reach;
    if (reach.kind === 'local') return true;
    if (reach.kind === 'count') return reach.count <= 1;
    return reach.kind === 'hosts' && reach.hosts.size <= 1 && (reach.hosts.size === 0 || reach.hosts.has(host.key));
  });
}

/**
 * Returns hard rules with as many members as the hosts of their cluster can hold: none of these hosts can be out of
 * service.
 */
export function rulesWithoutSlack(index: EstateIndex): readonly SlackFinding[] {
  return index.estate.rules.flatMap((rule) => {
    if (rule.kind !== 'apart' || !rule.isHard) return [];
    const members = rule.vms
      .flatMap((key) => index.estate.vms.get(key) ?? [])
      .filter(({ power }) => power === 'running');
    const clusters = new Set(members.map(({ host }) => index.estate.hosts.get(host ?? '')?.cluster ?? null));
    const [cluster] = clusters;
    if (clusters.size !== 1 || cluster === undefined || cluster === null) return [];
    const hosts = index.inService(cluster).length;
    return members.length > rule.perHost * (hosts - 1) ? [{ rule, members: members.length, hosts }] : [];
  });
}
