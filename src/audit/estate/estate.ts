/**
 * One model for the inventories of all platforms: the statements of an export, each with its place in the export.
 * Readers fill the model in, findings read it. It holds no prose and no judgement: sentences are made when a report is
 * made.
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

/** The place of a statement. */
export interface Evidence {
  readonly file: string;
  /** Tab, element or path of fields. */
  readonly part: string;
  /** Row of a table (as a spreadsheet counts) or name of the object; empty if there is only one. */
  readonly row: string;
  readonly column: string;
  readonly value: string;
}

/** The areas of information on which a verdict about a host depends. */
export type Aspect = 'hosts' | 'vms' | 'memory' | 'disks' | 'storage' | 'networks' | 'devices' | 'rules' | 'cpu';

/** Information that an export lacks. If the gap blocks, no host that it covers is reported as drainable. */
export interface Gap {
  readonly platform: Platform;
  readonly aspect: Aspect;
  /**
   * `file`, `tab`, `column`: it is missing; `join`: a value names an object that does not exist; `value`: the value
   * cannot be parsed; `twin`: two exports are of one site, and one of them was merged into the other.
   */
  readonly kind: 'file' | 'tab' | 'column' | 'join' | 'value' | 'twin';
  readonly file: string;
  readonly part: string;
  readonly column: string;
  /** The number of objects that the gap concerns; 0: all of them. */
  readonly count: number;
  /** An example of an affected value, or empty. */
  readonly example: string;
  /** How to obtain the missing information, written by the reader; contains no names of the estate. */
  readonly fix: string;
  readonly blocks: boolean;
  /** Keys of the hosts that the gap covers; null: all hosts of the group. */
  readonly hosts: ReadonlySet<string> | null;
  /** The group of exports (one vCenter, one site) to which the gap belongs. */
  readonly group: string;
}

/** The hosts on which a storage or a network is available. */
export type Reach =
  | { readonly kind: 'every' }
  | { readonly kind: 'hosts'; readonly hosts: ReadonlySet<string> }
  /** A number of hosts without their names. */
  | { readonly kind: 'count'; readonly count: number }
  /** Available only on the VM's present host. */
  | { readonly kind: 'local' }
  | { readonly kind: 'unknown' };

/** Room that a cluster keeps free for the loss of hosts; its platform refuses what would take it. */
export interface FailoverReserve {
  readonly hosts: number;
  readonly evidence: Evidence;
}

export interface Cluster {
  readonly key: string;
  readonly name: string;
  readonly platform: Platform;
  readonly group: string;
  readonly reserve?: FailoverReserve | undefined;
}

export interface Host {
  readonly key: string;
  readonly name: string;
  readonly platform: Platform;
  readonly group: string;
  /** Key of the host's cluster; null: unknown. A standalone host has a cluster of its own. */
  readonly cluster: string | null;
  readonly memoryMib: number | null;
  /** True if the host is out of service and accepts no VM. */
  readonly state: 'in service' | 'out of service' | 'unknown';
  /**
   * Hosts with equal values accept each other's running VMs; null: unknown; empty: the platform says that all hosts do.
   */
  readonly cpu: string | null;
  /** Model of the processor, for VMs that see the host's own model; null: unknown. */
  readonly cpuModel: string | null;
  /** The number of running VMs that the host itself reports; null: unknown. */
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
  /** True if the network has no uplink: VMs on it reach only each other on the same host. */
  readonly isIsolated: boolean;
  readonly evidence: Evidence;
}

/** The settings that let two VMs open one disk. */
export type Permit =
  | 'shared bus'
  | 'multi-writer'
  | 'shareable'
  | 'reservation'
  | 'shared volume group'
  | 'multi-attach'
  | 'shared disk set';

export interface Identity {
  /** Equal for all VMs that open the same disk. */
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
  /** Used if `storage` is null. */
  readonly reach: Reach;
  readonly sizeGib: number | null;
  readonly isReadOnly: boolean;
  /** True for a LUN that the VM opens itself. */
  readonly isRaw: boolean;
  /** True for a CD, which is ejected instead of moved. */
  readonly isMedia: boolean;
  readonly evidence: Evidence;
}

export interface Nic {
  /** Key of a network; null: unknown or not connected. */
  readonly network: string | null;
  readonly address: string;
  readonly evidence: Evidence;
}

/** All ties that bind a VM to a host, except storage and networks, which follow from their reach. */
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
  'cpu model',
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
  'affinity group',
  'encrypted memory',
  'eviction',
  'node file',
  'direct path',
  'preferred host',
] as const;
export type TieKind = (typeof TIES)[number];

export interface Tie {
  readonly kind: TieKind;
  /** `blocks`: no live migration while the tie exists. `limits`: the VM may go only to the hosts in `hosts`. */
  readonly effect: 'blocks' | 'limits' | 'warns' | 'informs';
  /** The object that ties: a device, a file, or a reason of the platform. */
  readonly subject: string;
  /** Keys of hosts, with `limits`. */
  readonly hosts?: ReadonlySet<string>;
  readonly evidence: Evidence;
}

/** Information about one VM that the export lacks. */
export interface Unknown {
  readonly aspect: Aspect;
  readonly evidence: Evidence;
  readonly fix: string;
}

export interface Vm {
  readonly key: string;
  /** Equal for one VM in two exports; empty: unknown. */
  readonly uuid: string;
  readonly name: string;
  readonly platform: Platform;
  readonly group: string;
  /** Key of an existing host; null: unknown or not found. */
  readonly host: string | null;
  /** The host's name in the export; empty: none. */
  readonly hostSaid: string;
  readonly cluster: string | null;
  readonly power: 'running' | 'stopped' | 'suspended' | 'unknown';
  readonly isTemplate: boolean;
  readonly memoryMib: number | null;
  /** Memory that the platform reserves for the VM; null: all of it, since the platform does not overcommit. */
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
  /** `apart`: no two VMs on one host. `together`: all on one host. */
  readonly kind: 'apart' | 'together';
  readonly isHard: boolean;
  readonly vms: readonly string[];
  /** How many VMs of the rule may be on one host, with `apart`; 1 by default. */
  readonly perHost: number;
  readonly evidence: Evidence;
}

/** A LUN that no datastore uses, or that hosts are told to ignore because a guest cluster holds a reservation on it. */
export interface GuestLun {
  readonly name: string;
  readonly isReserved: boolean;
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
  readonly guestLuns: readonly GuestLun[];
  readonly gaps: readonly Gap[];
  readonly sources: readonly { readonly platform: Platform; readonly file: string }[];
}

/** Joins the parts of a key with a character that no export contains. */
export const keyOf = (...parts: readonly string[]): string => parts.join('\u0001');
