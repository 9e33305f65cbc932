/**
 * One model for the inventories of all platforms: what an export says, each statement with the place where it is said.
 * Readers fill it, findings read it. It holds no prose and no judgement: a sentence is made when a report is made.
 */

/** The platforms whose exports can be read. */
export const PLATFORMS = [
  'rvtools',
  'vsphere',
  'hyperv',
  'proxmox',
  'libvirt',
  'kubevirt',
  'nutanix',
  'xcpng',
  'ovirt',
  'openstack',
] as const;
export type Platform = (typeof PLATFORMS)[number];

/** Where something is written. */
export interface Evidence {
  readonly file: string;
  /** Tab, element or path of fields. */
  readonly part: string;
  /** Row of a table (as a spreadsheet counts), or the name of the object; empty where there is only one. */
  readonly row: string;
  readonly column: string;
  readonly value: string;
}

/** The areas that a verdict about a host rests on. */
export type Aspect = 'hosts' | 'vms' | 'memory' | 'disks' | 'storage' | 'networks' | 'devices' | 'rules' | 'cpu';

/** Something that an export does not say. Where it blocks, no host it covers is said to be drainable. */
export interface Gap {
  readonly platform: Platform;
  readonly aspect: Aspect;
  /** file, tab, column: it is not there; join: a value names something that is not there; value: it cannot be understood. */
  readonly kind: 'file' | 'tab' | 'column' | 'join' | 'value';
  readonly file: string;
  readonly part: string;
  readonly column: string;
  /** How many objects it concerns; 0: all of them. */
  readonly count: number;
  /** One value that shows it, or empty. */
  readonly example: string;
  /** How to get what is missing, written by the reader: names nothing of the estate. */
  readonly fix: string;
  readonly blocks: boolean;
  /** Keys of the hosts it covers; null: all hosts of the group. */
  readonly hosts: ReadonlySet<string> | null;
  /** The group of exports (one vCenter, one site) it belongs to. */
  readonly group: string;
}

/** On which hosts a storage or a network is there. */
export type Reach =
  | { readonly kind: 'every' }
  | { readonly kind: 'hosts'; readonly hosts: ReadonlySet<string> }
  /** A number of hosts without their names. */
  | { readonly kind: 'count'; readonly count: number }
  /** Bound to the host on which the VM is. */
  | { readonly kind: 'local' }
  | { readonly kind: 'unknown' };

export interface Cluster {
  readonly key: string;
  readonly name: string;
  readonly platform: Platform;
  readonly group: string;
}

export interface Host {
  readonly key: string;
  readonly name: string;
  readonly platform: Platform;
  readonly group: string;
  /** Key of a cluster; null: not said. A host that stands alone has a cluster of its own. */
  readonly cluster: string | null;
  readonly memoryMib: number | null;
  /** Out of service hosts take no VM. */
  readonly state: 'in service' | 'out of service' | 'unknown';
  /** Hosts of the same word take each other's running VMs; null: not said; empty: the platform says that all do. */
  readonly cpu: string | null;
  /** The processor's model, for VMs that see the host's own; null: not said. */
  readonly cpuModel: string | null;
  /** How many running VMs the host itself counts; null: not said. */
  readonly saysRunning: number | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly evidence: Evidence;
}

export interface Storage {
  readonly key: string;
  readonly name: string;
  readonly reach: Reach;
  readonly evidence: Evidence;
}

export interface Network {
  readonly key: string;
  readonly name: string;
  readonly reach: Reach;
  /** True: it has no way out of the host, so VMs on it hear only each other there. */
  readonly isIsolated: boolean;
  readonly evidence: Evidence;
}

/** What lets two VMs open one disk. */
export type Permit =
  | 'shared bus'
  | 'multi-writer'
  | 'shareable'
  | 'reservation'
  | 'shared volume group'
  | 'multi-attach'
  | 'shared disk set';

export interface Identity {
  /** Equal in every VM that opens the same disk. */
  readonly key: string;
  readonly kind: 'LUN' | 'path' | 'claim' | 'volume group' | 'volume' | 'disk';
  readonly name: string;
}

export interface Disk {
  readonly label: string;
  readonly identities: readonly Identity[];
  readonly permit: { readonly kind: Permit; readonly evidence: Evidence } | null;
  /** Key of a storage; null: see `reach`. */
  readonly storage: string | null;
  /** Used where `storage` is null. */
  readonly reach: Reach;
  readonly sizeGib: number | null;
  readonly isReadOnly: boolean;
  /** A CD: to be ejected, not moved. */
  readonly isMedia: boolean;
  readonly evidence: Evidence;
}

export interface Nic {
  /** Key of a network; null: not said or not connected. */
  readonly network: string | null;
  readonly address: string;
  readonly evidence: Evidence;
}

/** Everything that can bind a VM to a host, apart from storage and networks, which are found by their reach. */
export const TIES = [
  'host device',
  'gpu',
  'sr-iov',
  'usb',
  'serial port',
  'host folder',
  'shared memory',
  'local media',
  'host drive',
  'host tpm',
  'cpu pin',
  'cpu passthrough',
  'dedicated cpu',
  'cpu limit',
  'latency',
  'locked memory',
  'node selector',
  'pinned',
  'agent vm',
  'not highly available',
  'platform verdict',
  'passthrough disk',
  'virtual hba',
  'snapshot',
  'fault tolerance',
  'soft tpm',
  'pod affinity',
  'shared bus',
  'scsi reservation',
] as const;
export type TieKind = (typeof TIES)[number];

export interface Tie {
  readonly kind: TieKind;
  /** blocks: no live move while it is there. limits: the VM may go to the hosts of `hosts` only. */
  readonly effect: 'blocks' | 'limits' | 'warns' | 'informs';
  /** The thing: a device, a file, a reason of the platform. */
  readonly subject: string;
  /** Keys of hosts, with `limits`. */
  readonly hosts?: ReadonlySet<string>;
  readonly evidence: Evidence;
}

/** Something that the export does not say about one VM. */
export interface Unknown {
  readonly aspect: Aspect;
  readonly evidence: Evidence;
  readonly fix: string;
}

export interface Vm {
  readonly key: string;
  /** Equal for one VM in two exports; empty: not said. */
  readonly uuid: string;
  readonly name: string;
  readonly platform: Platform;
  readonly group: string;
  /** Key of a host that exists; null: not said or not found. */
  readonly host: string | null;
  /** As the export writes it; empty: nothing. */
  readonly hostSaid: string;
  readonly cluster: string | null;
  readonly power: 'running' | 'stopped' | 'suspended' | 'unknown';
  readonly isTemplate: boolean;
  readonly memoryMib: number | null;
  /** Memory that the platform keeps for it; null: all of it, the platform does not overcommit. */
  readonly reservedMib: number | null;
  readonly cpus: number | null;
  readonly disks: readonly Disk[];
  readonly nics: readonly Nic[];
  readonly ties: readonly Tie[];
  readonly unknowns: readonly Unknown[];
  readonly owner: string;
  readonly notes: string;
  readonly guest: string;
  readonly evidence: Evidence;
}

export interface Rule {
  readonly key: string;
  readonly name: string;
  /** apart: no two on one host. together: all on one host. */
  readonly kind: 'apart' | 'together';
  readonly isHard: boolean;
  readonly vms: readonly string[];
  /** VMs of the rule that may be on one host, with `apart`; 1 unless told otherwise. */
  readonly perHost: number;
  readonly evidence: Evidence;
}

/** A LUN that its hosts are told to leave alone because a guest cluster holds a reservation on it. */
export interface ReservedLun {
  readonly name: string;
  readonly hosts: ReadonlySet<string>;
  readonly evidence: Evidence;
}

export interface Estate {
  readonly clusters: ReadonlyMap<string, Cluster>;
  readonly hosts: ReadonlyMap<string, Host>;
  readonly storages: ReadonlyMap<string, Storage>;
  readonly networks: ReadonlyMap<string, Network>;
  readonly vms: ReadonlyMap<string, Vm>;
  readonly rules: readonly Rule[];
  readonly reservedLuns: readonly ReservedLun[];
  readonly gaps: readonly Gap[];
  readonly sources: readonly { readonly platform: Platform; readonly file: string }[];
}

/** Parts of a key are joined by a character that no export writes. */
export const keyOf = (...parts: readonly string[]): string => parts.join('\u0001');
