/** Determines where one VM can go while it runs, and what keeps it: the same for every host and platform. */
import type { Disk, Host, Network, Nic, Reach, TieKind, Vm } from '../estate/estate.ts';
import type { EstateIndex } from './estate-index.ts';
import type { Doubt, Reason } from './reasons.ts';

export interface VmTargets {
  /** Keys of hosts that may accept the VM as far as is known; null: every other in-service host of its cluster. */
  readonly possible: ReadonlySet<string> | null;
  /** Keys of hosts that are known to accept the VM; null: as `possible`. */
  readonly proved: ReadonlySet<string> | null;
  readonly reasons: readonly Reason[];
  readonly doubts: readonly Doubt[];
}

/** `at`: the VM's present host, if known; `others`: the other in-service hosts of its cluster. */
export function targetsOf(vm: Vm, at: Host | null, others: readonly Host[], index: EstateIndex): VmTargets {
  const search = new TargetSearch(vm, at, others, index);
  for (const tie of vm.ties) {
    if (tie.effect === 'blocks') search.reasons.push({ kind: 'tie', vm, tie });
    if (tie.effect === 'limits') search.limit(tie.hosts ?? new Set(), { kind: 'tie', vm, tie });
  }
  for (const disk of vm.disks) search.disk(disk);
  for (const nic of vm.nics) search.nic(nic);
  for (const unknown of vm.unknowns) search.doubts.push({ kind: 'unknown', vm, unknown });
  return search.outcome();
}

/** Ties because of which only a host with an equal processor is known to take the VM. */
const NEEDS_MODEL: ReadonlySet<TieKind> = new Set(['cpu passthrough', 'cpu model']);

class TargetSearch {
  readonly #vm: Vm;
  readonly #at: Host | null;
  readonly #others: readonly Host[];
  readonly #index: EstateIndex;
  readonly reasons: Reason[] = [];
  readonly doubts: Doubt[] = [];
  #possible: Set<string> | null = null;
  #limit: Reason | null = null;

  constructor(vm: Vm, at: Host | null, others: readonly Host[], index: EstateIndex) {
    this.#vm = vm;
    this.#at = at;
    this.#others = others;
    this.#index = index;
  }

  disk(disk: Disk): void {
    const storage = disk.storage === null ? undefined : this.#index.estate.storages.get(disk.storage);
    const name = storage?.name ?? disk.label;
    const evidence = disk.evidence;
    const reason: Reason = disk.isMedia
      ? { kind: 'media', vm: this.#vm, storage: name, evidence }
      : { kind: 'storage', vm: this.#vm, storage: name, evidence, gib: disk.sizeGib ?? 0 };
    const doubt: Doubt = { kind: 'reach', vm: this.#vm, what: 'storage', name, evidence };
    this.#reach(storage?.reach ?? disk.reach, reason, doubt);
  }

  nic(nic: Nic): void {
    const network = nic.network === null ? undefined : this.#index.estate.networks.get(nic.network);
    if (network === undefined) return;
    const reason = this.#networkReason(network, nic);
    if (network.isIsolated) {
      // A network that only one VM uses still holds it: the platform refuses the move, and a peer may not be in the
      // export.
      this.reasons.push(reason);
      return;
    }
    const doubt: Doubt = { kind: 'reach', vm: this.#vm, what: 'network', name: network.name, evidence: nic.evidence };
    this.#reach(network.reach, reason, doubt);
  }

  limit(hosts: ReadonlySet<string>, reason: Reason): void {
    // A standalone host has a reason of its own.
    if (this.#others.length === 0) return;
    if (this.#index.hasWholeCluster(this.#at?.cluster ?? '', hosts)) return;
    const left = this.#others.filter(({ key }) => hosts.has(key)).map(({ key }) => key);
    if (left.length === 0) {
      this.#add(reason);
      return;
    }
    if (left.length === this.#others.length) return;
    const before = this.#possible;
    this.#possible = new Set(before === null ? left : left.filter((key) => before.has(key)));
    this.#limit = reason;
  }

  outcome(): VmTargets {
    const possible = this.#possible;
    if (possible?.size === 0 && this.reasons.length === 0 && this.#limit !== null)
      this.reasons.push({ kind: 'no common host', vm: this.#vm, evidence: this.#vm.evidence });
    const proved = this.#proved();
    const candidates = this.#others.length > 0 && (possible === null || possible.size > 0);
    if (candidates && proved?.size === 0)
      this.doubts.push({ kind: 'cpu', vm: this.#vm, evidence: (this.#at ?? this.#vm).evidence });
    return { possible, proved, reasons: this.reasons, doubts: this.doubts };
  }

  /** Merges the disks of one VM on one storage into one reason. */
  #add(reason: Reason): void {
    if (reason.kind === 'storage') {
      const same = this.reasons.findIndex((one) => one.kind === 'storage' && one.storage === reason.storage);
      const before = this.reasons[same];
      if (before?.kind === 'storage') {
        this.reasons[same] = { ...before, gib: before.gib + reason.gib };
        return;
      }
    }
    this.reasons.push(reason);
  }

  #networkReason(network: Network, nic: Nic): Reason {
    const { isIsolated } = network;
    return { kind: 'network', vm: this.#vm, network: network.name, isIsolated, evidence: nic.evidence };
  }

  #reach(reach: Reach, reason: Reason, doubt: Doubt): void {
    if (reach.kind === 'local') this.#add(reason);
    if (reach.kind === 'hosts') this.limit(reach.hosts, reason);
    if (reach.kind === 'unknown') this.doubts.push(doubt);
    if (reach.kind !== 'count') return;
    if (reach.count <= 1) this.#add(reason);
    // The export gives a count without names: the cluster's hosts are covered only if the count covers all hosts.
    else if (reach.count < (this.#index.hostsPerGroup.get(this.#vm.group) ?? 0)) this.doubts.push(doubt);
  }

  /** Returns the possible targets whose processors accept the VM as it runs. */
  #proved(): ReadonlySet<string> | null {
    const field = this.#vm.ties.some(({ kind }) => NEEDS_MODEL.has(kind)) ? 'cpuModel' : 'cpu';
    const mine = this.#at?.[field] ?? null;
    const common = this.#index.commonCpu(this.#at?.cluster ?? '', field);
    if (this.#possible === null && mine !== null && common === mine) return null;
    const takes = (host: Host): boolean => host.state === 'in service' && mine !== null && host[field] === mine;
    if (this.#possible === null && this.#others.every(takes)) return null;
    const possible = this.#possible;
    return new Set(
      this.#others.filter((host) => (possible?.has(host.key) ?? true) && takes(host)).map(({ key }) => key),
    );
  }
}
