/**
 * The snapshot that maintenance is planned from: hosts, the VMs that are on them, and the rules. Plain data, so that a
 * plan can be kept beside its snapshot, and checked by code that is independent of the planner
 * (check/maintenance-plan.ts).
 * Memory is in whole MiB. A stopped VM is not in it: it needs no host.
 */
import type { HostName, NetworkName, StorageName, VmId } from '../../base/ids.ts';

/** `in-service` alone is ever a destination. `maintenance`: emptied, or being emptied, by another plan. */
export type HostState = 'in-service' | 'cordoned' | 'quarantined' | 'maintenance' | 'silent';

export interface EstateHost {
  readonly name: HostName;
  /** Hosts that fail together; null: the host is a rack of its own. */
  readonly rack: string | null;
  readonly state: HostState;
  /** Memory for guests, QEMU's own share of each included. */
  readonly memoryMib: number;
  /** Memory that others were promised here: running plans, recoveries. */
  readonly claimedMib: number;
  /** Processors of the host itself; 0: not known, and not counted. */
  readonly vcpus: number;
  readonly accelerator: 'kvm' | 'tcg';
  readonly cpuModels: readonly string[];
  /** Networks that the host cannot reach. */
  readonly withoutNetworks: readonly NetworkName[];
  /** Storage nodes that the host cannot reach. */
  readonly withoutStorage: readonly StorageName[];
  /** Orders releases: a VM moves live only to the same or a larger one. 0: not known, and not counted. */
  readonly release: number;
  /** The physical link that its moves share with other hosts' (EstatePolicy.links); null: none but its own. */
  readonly link: string | null;
}

export interface EstateVm {
  readonly id: VmId;
  readonly name: string;
  readonly host: HostName;
  /** The destination of a move that is under way; null: none. */
  readonly movingTo: HostName | null;
  /** The memory that it takes on its host: the guest's and QEMU's own. */
  readonly memoryMib: number;
  readonly vcpus: number;
  /** `baseline`, or a model that its host must offer. */
  readonly cpuModel: string;
  readonly networks: readonly NetworkName[];
  /** Storage nodes that hold a disk of it, its own or shared. */
  readonly storage: readonly StorageName[];
  /** Binds the VM to hosts; null: nothing does. */
  readonly tie: EstateTie | null;
  /** Why it cannot be moved just now (it starts, is being stopped, …), in words; null: it can. */
  readonly unsettled: string | null;
  /** The predicted pause of its next move (pause-prediction.ts). */
  readonly pauseMs: number;
  /** How fast its guest writes to memory, in MiB a second; null: never measured. */
  readonly dirtyMibPerSecond: number | null;
}

export interface EstateTie {
  readonly name: string;
  /** The tie in words, for people: "local disk", "pinned by ops". */
  readonly what: string;
  /** The hosts it allows. */
  readonly hosts: readonly HostName[];
}

/** Keeps VMs apart, or together, on hosts or in racks. */
export interface EstateRule {
  readonly name: string;
  readonly kind: 'apart' | 'together';
  readonly by: 'host' | 'rack';
  /** A hard rule is never broken by a move; a soft one is kept where that costs nothing. */
  readonly hard: boolean;
  readonly vms: readonly VmId[];
  /** For `apart`: how many of them one host or rack may have, at least 1. */
  readonly most: number;
}

export interface EstateGuestCluster {
  readonly name: string;
  readonly members: readonly VmId[];
  /** Members that may move or be down at once, at least 1. */
  readonly maxDisturbed: number;
  /** The longest pause that its heartbeat tolerates, in ms. */
  readonly toleratesMs: number;
  /** Somebody consented to members on one host: then they are apart where that costs nothing. */
  readonly sharesHosts: boolean;
  /**
   * Members that are disturbed until somebody does something: stopped or paused by people. They need not be in the
   * snapshot.
   */
  readonly disturbed: readonly VmId[];
}

export interface EstateLink {
  readonly name: string;
  readonly movesMax: number;
  readonly mibPerSecond: number;
}

export interface EstatePolicy {
  /** Virtual CPUs of guests for each processor of a host. */
  readonly vcpuOvercommit: number;
  /** Keep room to restart every VM of the host whose guests take the most memory. */
  readonly keepRoomForLoss: boolean;
  /** Moves at once from and to one host together, at least 1. */
  readonly movesPerHost: number;
  /** The rate at which one host sends or receives, in MiB a second. */
  readonly hostMibPerSecond: number;
  /** The duration of a move beside copying (launch, switch, fence), in ms. */
  readonly moveOverheadMs: number;
  readonly links: readonly EstateLink[];
}

export interface Estate {
  readonly hosts: readonly EstateHost[];
  readonly vms: readonly EstateVm[];
  readonly rules: readonly EstateRule[];
  readonly guestClusters: readonly EstateGuestCluster[];
  readonly policy: EstatePolicy;
}
