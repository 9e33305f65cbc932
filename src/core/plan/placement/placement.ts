/**
 * Chooses the host for a VM. Pure. Most free memory first, names break ties, so that the same records and observations
 * give the same host. It looks at hosts in the order of their free memory and at no VM: its cost does not grow with the
 * cluster.
 */
import type { HostName } from '../../../base/ids.ts';
import type { HostRecord } from '../../model/cluster.ts';
import { type ClusterIndex, footprintBytes, type RankedHost, ranksBefore } from '../../model/cluster-index.ts';
import type { HostObservation } from '../../model/observation.ts';
import { SLOTS_PER_HOST } from '../../model/ports.ts';
import { releaseNumber } from '../../model/release.ts';
import { affinityGroup, expectedIncarnations, type VmRecord } from '../../model/vm.ts';

export interface PlacementInput {
  readonly vm: VmRecord;
  readonly index: ClusterIndex;
  readonly seeHost: (host: HostName) => HostObservation;
  /** Never here. */
  readonly exclude: readonly HostName[];
  /** The only host to consider, if given. */
  readonly only: HostName | null;
  /** True where the VM's present incarnations are over: what the records give them counts as free. */
  readonly isOver: boolean;
  /**
   * The host that the running guest comes from: it limits where the guest can continue. Absent: the VM starts from its
   * disk.
   */
  readonly from?: HostRecord;
  /**
   * Whether room that a drain was promised may be used if there is no other: a VM that is down goes before one that
   * moves.
   */
  readonly mayBreakClaims?: boolean;
}

export type Placement =
  | { readonly kind: 'placed'; readonly host: HostName; readonly slot: number }
  /** Hosts with the reason why they cannot take the VM: each of a few, the others by number. */
  | { readonly kind: 'nowhere'; readonly reasons: readonly string[] };

/** Hosts that a refusal names one by one. */
const REASONS_MAX = 10;

/** Chooses a host and a slot for one more incarnation of `vm`. */
export function place(input: PlacementInput): Placement {
  const kept = placeBesideClaims({ ...input, mayBreakClaims: false });
  return kept.kind === 'placed' || input.mayBreakClaims !== true ? kept : placeBesideClaims(input);
}

function placeBesideClaims(input: PlacementInput): Placement {
  const { never, ratherNot } = neighboursOf(input);
  if (ratherNot.size > 0) {
    const apart = search(input, new Map([...ratherNot, ...never]));
    if (apart.kind === 'placed') return apart;
  }
  return search(input, never);
}

/** Hosts of VMs that this VM must, or had better, be apart from; each with the name of such a VM, for people. */
type Neighbours = ReadonlyMap<HostName, string>;

function search(input: PlacementInput, apart: Neighbours): Placement {
  const found = new Search(input, apart);
  const { index, only } = input;
  const ranking = index.byFreeMemory();
  if (only !== null) {
    if (index.host(only) === null) return { kind: 'nowhere', reasons: [`${only}: no such host`] };
    found.consider({ host: only, freeBytes: found.freeBytes(only) });
    return found.outcome(1);
  }
  // The VM has more room there than the ranking says: its own room is free, or a claim may be broken.
  const apartFromRanking = new Set([...found.own, ...(input.mayBreakClaims === true ? index.hostsWithClaims() : [])]);
  for (const host of apartFromRanking) found.consider({ host, freeBytes: found.freeBytes(host) });
  for (const ranked of ranking) {
    if (found.isSettled(ranked)) break;
    if (!apartFromRanking.has(ranked.host)) found.consider(ranked);
  }
  const quarantined = found.isFound ? [] : [...index.quarantined()].map(({ name }) => name);
  for (const host of quarantined)
    if (!apartFromRanking.has(host)) found.consider({ host, freeBytes: found.freeBytes(host) });
  return found.outcome(ranking.length + quarantined.length);
}

class Search {
  readonly #input: PlacementInput;
  readonly #neededBytes: number;
  readonly #apart: Neighbours;
  /**
   * Whether reasons are put into words, for a refusal: a search passes many hosts that have room and cannot take the
   * VM.
   */
  readonly #reasons: (() => string)[] = [];
  #best: (RankedHost & { readonly slot: number }) | null = null;
  /** The hosts of the VM's incarnations that are over. */
  readonly own: ReadonlySet<HostName>;

  constructor(input: PlacementInput, apart: Neighbours) {
    this.#input = input;
    this.#neededBytes = footprintBytes(input.vm);
    this.#apart = apart;
    const over = input.isOver ? expectedIncarnations(input.vm.phase) : [];
    this.own = new Set(over.map(({ host }) => host).filter((host) => input.index.host(host) !== null));
  }

  /** Memory that is free on a host for the VM. */
  freeBytes(host: HostName): number {
    const { index, vm, mayBreakClaims } = this.#input;
    const own = this.#ownOn(host).length * this.#neededBytes;
    const claimed = index.claimedBytes(host, mayBreakClaims === true ? null : vm.id);
    return (index.host(host)?.capacity.memoryBytes ?? 0) - index.committedBytes(host) + own + claimed;
  }

  get isFound(): boolean {
    return this.#best !== null;
  }

  /** True when neither `next` nor any host after it can change the outcome. */
  isSettled(next: RankedHost): boolean {
    if (this.#best !== null) return !ranksBefore(next, this.#best);
    return next.freeBytes < this.#neededBytes && this.#reasons.length >= REASONS_MAX;
  }

  /** Takes the host if it suits and none found before is better. */
  consider(ranked: RankedHost): void {
    const record = this.#input.index.host(ranked.host);
    if (record === null) return;
    const obstacle = this.#obstacle(record, ranked.freeBytes);
    const slot = obstacle === null ? this.#freeSlot(ranked.host) : null;
    if (slot !== null) {
      if (this.#best === null || ranksBefore(ranked, this.#best)) this.#best = { ...ranked, slot };
    } else if (this.#reasons.length < REASONS_MAX) {
      this.#reasons.push(() => `${ranked.host}: ${obstacle?.() ?? 'no free slot'}`);
    }
  }

  /** The outcome of a search among `hosts` hosts. */
  outcome(hosts: number): Placement {
    if (this.#best !== null) return { kind: 'placed', host: this.#best.host, slot: this.#best.slot };
    const unnamed = hosts - this.#reasons.length;
    return {
      kind: 'nowhere',
      reasons: [...this.#reasons.map((say) => say()), ...(unnamed > 0 ? [`${unnamed} more hosts cannot either`] : [])],
    };
  }

  /** Why the host cannot take the VM, in words that are made only where somebody reads them. */
  #obstacle(record: HostRecord, freeBytes: number): (() => string) | null {
    const { vm, seeHost, exclude, only, from } = this.#input;
    const { name, capacity, quarantine } = record;
    if (exclude.includes(name)) return () => 'excluded';
    const { pin = null } = vm.spec;
    if (pin !== null && pin !== name) return () => `${vm.name} is pinned to ${pin}`;
    if (quarantine !== null) return () => `quarantined: ${quarantine.reason}`;
    if ((record.maintenance ?? null) !== null) return () => 'in maintenance';
    if (seeHost(name).agent !== 'alive') return () => 'its agent does not answer';
    if (record.cordoned && only === null) return () => 'cordoned';
    const misfit = from === undefined ? null : whyNotOnward(from, record);
    if (misfit !== null) return () => misfit;
    const { cpuModel } = vm.spec;
    if (cpuModel !== 'baseline' && !capacity.cpuModels.includes(cpuModel))
      return () => `its CPUs cannot be ${cpuModel}`;
    if (this.#input.index.isUncounted(name))
      return () => 'a VM runs there that no record describes, and how much memory it takes is not known';
    if (freeBytes < this.#neededBytes) return () => `too little memory: ${this.#memory(freeBytes)}`;
    if (capacity.vcpus > 0 && vm.spec.vcpus > capacity.vcpus * 8)
      return () => `too few CPUs for ${vm.spec.vcpus} vCPUs`;
    const neighbour = this.#apart.get(name);
    return neighbour === undefined ? null : () => `it has ${neighbour}`;
  }

  #memory(freeBytes: number): string {
    return `${Math.floor(freeBytes / 1048576)} MiB free, ${Math.ceil(this.#neededBytes / 1048576)} MiB needed`;
  }

  /** The lowest slot that neither a record nor a process has. */
  #freeSlot(host: HostName): number | null {
    const used = this.#input.index.slotsOn(host);
    const occupied = this.#input.seeHost(host).occupiedSlots;
    const own = this.#ownOn(host);
    for (let slot = 0; slot < SLOTS_PER_HOST; slot++) {
      const ownUses = own.length === 0 ? 0 : own.filter((incarnation) => incarnation.slot === slot).length;
      if ((used.get(slot) ?? 0) - ownUses === 0 && !occupied.includes(slot)) return slot;
    }
    return null;
  }

  #ownOn(host: HostName) {
    const { vm, isOver } = this.#input;
    return isOver ? expectedIncarnations(vm.phase).filter((incarnation) => incarnation.host === host) : [];
  }
}

/** Why a running guest cannot go on there; null: it can. */
function whyNotOnward(from: HostRecord, to: HostRecord): string | null {
  // A guest begun under KVM cannot continue in software emulation, nor the other way round.
  const [own, other] = [from.capacity.accelerator, to.capacity.accelerator];
  if (own !== other) return `its guests run under ${other}, and this one under ${own}`;
  const there = releaseNumber(to.release);
  return there > 0 && there < releaseNumber(from.release)
    ? `its QEMU ${to.release?.qemu} is older than the ${from.release?.qemu} of ${from.name}`
    : null;
}

/**
 * The others of the VM's anti-affinity group and of its guest cluster. Members that somebody let share hosts are apart
 * where that is possible.
 */
function neighboursOf({ vm, index }: PlacementInput): { readonly never: Neighbours; readonly ratherNot: Neighbours } {
  const never = new Map<HostName, string>();
  const ratherNot = new Map<HostName, string>();
  const note = (hosts: Map<HostName, string>, other: VmRecord, what: string): void => {
    if (other.id === vm.id) return;
    for (const { host } of expectedIncarnations(other.phase)) hosts.set(host, `${other.name} of ${what}`);
  };
  const group = affinityGroup(vm);
  for (const other of group === null ? [] : index.groupMembers(group))
    note(never, other, `anti-affinity group ${group}`);
  const cluster = index.guestClusterOf(vm);
  for (const id of cluster?.members ?? []) {
    const other = index.vm(id);
    if (cluster !== null && other !== null)
      note(cluster.sharesHosts ? ratherNot : never, other, `guest cluster ${cluster.name}`);
  }
  return { never, ratherNot };
}
