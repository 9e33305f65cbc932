/**
 * The only table of limits: every number that a user can meet, with its unit, its reason and the layers that enforce
 * it. The API's schemas, admission, agents, storage services and docs/operating/limits.md take their numbers from here.
 * Pure data.
 *
 * Guarantees: what admission accepts, every layer below accepts (limits.test.ts walks each limit to its boundary in
 * each layer that it names).
 */

/** The layers that enforce limits, from the outside in. */
export type Layer = 'API' | 'admission' | 'join' | 'agent' | 'storage' | 'target';

export type Unit =
  | 'addresses'
  | 'bytes'
  | 'cards'
  | 'characters'
  | 'consoles'
  | 'control nodes'
  | 'disks'
  | 'hosts'
  | 'images'
  | 'labels'
  | 'levels'
  | 'ms'
  | 'networks'
  | 'number'
  | 'sessions'
  | 'storage nodes'
  | 'streams'
  | 'values'
  | 'vCPUs'
  | 'VMs';

/** Headings of the generated document. */
export type Subject =
  | 'VM'
  | 'Direct boot'
  | 'cloud-init'
  | 'Disk'
  | 'Shared disk and guest cluster'
  | 'Image'
  | 'Network'
  | 'Cluster'
  | 'API';

export interface Limit {
  readonly subject: Subject;
  /** The counted quantity, as documents and errors name it. */
  readonly what: string;
  readonly min: number;
  readonly max: number;
  readonly unit: Unit;
  /** Valid values are multiples of this; absent: 1. */
  readonly step?: number;
  /** Why the limit has this value, and where the value comes from. */
  readonly reason: string;
  /** The layers that refuse a larger (or smaller) value. */
  readonly refusedBy: readonly Layer[];
}

const KIB = 1024;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const TIB = 1024 ** 4;
const DAY_MS = 86_400_000;

const VM = {
  vmVcpus: {
    subject: 'VM',
    what: 'vCPUs of a VM',
    min: 1,
    max: 255,
    unit: 'vCPUs',
    reason:
      'APIC identifiers have 8 bits: a 256th vCPU needs an IOMMU with interrupt remapping, which the machine does not have.',
    refusedBy: ['API', 'agent'],
  },
  vmMemoryBytes: {
    subject: 'VM',
    what: 'memory of a VM',
    min: 16 * MIB,
    max: 960 * GIB,
    unit: 'bytes',
    step: MIB,
    reason:
      'QEMU’s CPU models have 40 physical address bits: with the hole for devices, QEMU 7.2 refuses to start from about 978 GiB on.',
    refusedBy: ['API', 'agent'],
  },
  vmDisks: {
    subject: 'VM',
    what: 'disks of a VM of its own: its image’s, those asked for, its seed and its UEFI variables',
    min: 1,
    max: 16,
    unit: 'disks',
    reason:
      'Each has a PCI Express root port of its own, the same on every host so that it can move; agents of every version take 16.',
    refusedBy: ['admission', 'agent'],
  },
  vmNics: {
    subject: 'VM',
    what: 'network cards of a VM, those of heartbeat networks included',
    min: 0,
    max: 8,
    unit: 'cards',
    reason: 'The machine has 8 PCI Express root ports for network cards.',
    refusedBy: ['API', 'admission', 'agent'],
  },
  vmLabels: {
    subject: 'VM',
    what: 'labels of a VM',
    min: 0,
    max: 32,
    unit: 'labels',
    reason: 'Labels are in the VM’s record, which every step of its life writes anew.',
    refusedBy: ['API'],
  },
  labelKeyChars: {
    subject: 'VM',
    what: 'key of a label',
    min: 1,
    max: 63,
    unit: 'characters',
    reason: 'As the length of a DNS label (RFC 1123).',
    refusedBy: ['API'],
  },
  labelValueChars: {
    subject: 'VM',
    what: 'value of a label',
    min: 0,
    max: 256,
    unit: 'characters',
    reason: 'Labels are in the VM’s record, which every step of its life writes anew.',
    refusedBy: ['API'],
  },
  patienceMs: {
    subject: 'VM',
    what: 'patience with storage, or with a guest that is to shut down',
    min: 0,
    max: DAY_MS,
    unit: 'ms',
    reason: 'A day: every wait has an end.',
    refusedBy: ['API', 'agent'],
  },
} as const satisfies Record<string, Limit>;

const BOOT = {
  kernelAppendBytes: {
    subject: 'Direct boot',
    what: 'kernel command line: the image’s and the VM’s, with a space between, in UTF-8',
    min: 0,
    max: 2_000,
    unit: 'bytes',
    reason: 'Linux keeps 2,048 bytes of it on x86 (COMMAND_LINE_SIZE); firmware and loader may add a few.',
    refusedBy: ['API', 'admission', 'agent'],
  },
  directBootBytes: {
    subject: 'Direct boot',
    what: 'kernel and initial RAM disk of an image together',
    min: 1,
    max: 512 * MIB,
    unit: 'bytes',
    reason: 'A host keeps at most so much of both, and needs both at the same time to start a VM.',
    refusedBy: ['API', 'admission', 'agent', 'storage'],
  },
} as const satisfies Record<string, Limit>;

const SEED = {
  userDataBytes: {
    subject: 'cloud-init',
    what: 'user-data',
    min: 0,
    max: 256 * KIB,
    unit: 'bytes',
    reason: 'With the two others it fits into one request of the API and into one order to a storage node.',
    refusedBy: ['API', 'admission'],
  },
  networkConfigBytes: {
    subject: 'cloud-init',
    what: 'network-config',
    min: 0,
    max: 64 * KIB,
    unit: 'bytes',
    reason: 'As user-data.',
    refusedBy: ['API', 'admission'],
  },
  metaDataBytes: {
    subject: 'cloud-init',
    what: 'meta-data',
    min: 0,
    max: 64 * KIB,
    unit: 'bytes',
    reason: 'As user-data.',
    refusedBy: ['API', 'admission'],
  },
  seedBytes: {
    subject: 'cloud-init',
    what: 'the seed’s ISO 9660 image, made of the three',
    min: 2 * KIB,
    max: MIB,
    unit: 'bytes',
    step: 2 * KIB,
    reason: 'The limit of a storage node for a seed; the three files at their largest make about 0.5 MiB.',
    refusedBy: ['storage'],
  },
} as const satisfies Record<string, Limit>;

const DISK = {
  diskBytes: {
    subject: 'Disk',
    what: 'size of a disk; less where the pool’s file system has smaller files (ext4: 16 TiB), which its node reports',
    min: MIB,
    max: 64 * TIB,
    unit: 'bytes',
    step: 512,
    reason: 'The L1 table of a qcow2 file with clusters of 64 KiB has 1 MiB then; larger ones were not tried.',
    refusedBy: ['API', 'admission', 'storage'],
  },
  disksPerNode: {
    subject: 'Disk',
    what: 'disks that VMs have on one storage node',
    min: 0,
    max: 20_000,
    unit: 'disks',
    reason: 'Each has a TCP port of its own, 30000 to 49999.',
    refusedBy: ['admission', 'storage'],
  },
} as const satisfies Record<string, Limit>;

const SHARED = {
  vmSharedDisks: {
    subject: 'Shared disk and guest cluster',
    what: 'shared disks of a VM, including those that are being removed',
    min: 0,
    max: 64,
    unit: 'disks',
    reason: 'The capacity of one order to an agent or a storage node.',
    refusedBy: ['admission', 'agent', 'storage'],
  },
  sharedDiskLun: {
    subject: 'Shared disk and guest cluster',
    what: 'number (LUN) of a shared disk in a VM',
    min: 0,
    max: 255,
    unit: 'number',
    reason: 'Peripheral device addressing of SCSI (SAM-5, 4.7.7.2) has 8 bits.',
    refusedBy: ['API', 'agent', 'storage', 'target'],
  },
  sharedDiskUsers: {
    subject: 'Shared disk and guest cluster',
    what: 'VMs that have one shared disk, and members of a guest cluster',
    min: 0,
    max: 16,
    unit: 'VMs',
    reason:
      'A disk’s persistent reservations are one record of bounded size; 16 is what guest cluster software is tested with.',
    refusedBy: ['API', 'admission'],
  },
  migrationPauseMs: {
    subject: 'VM',
    what: 'longest pause at the end of a move that a migration policy allows',
    min: 300,
    max: 8_000,
    unit: 'ms',
    reason:
      'QEMU allows 300 ms by default. A guest that is paused for 10 s at the end of its migration continues on its source.',
    refusedBy: ['API'],
  },
  drainMoves: {
    subject: 'Cluster',
    what: 'moves of one drain',
    min: 0,
    max: 1_000,
    unit: 'VMs',
    reason: 'A drain and all its moves are one record of etcd, which takes values of 1.5 MiB.',
    refusedBy: ['admission'],
  },
  rollUnavailable: {
    subject: 'Cluster',
    what: 'hosts that a roll takes out of service at once',
    min: 1,
    max: 50,
    unit: 'hosts',
    reason: 'One transaction begins a wave and writes every host of it; etcd takes 128 operations.',
    refusedBy: ['API', 'admission'],
  },
  rollPlanChars: {
    subject: 'Cluster',
    what: 'approved plan of a roll, with a line for each VM that moves',
    min: 1,
    max: 900_000,
    unit: 'characters',
    reason: 'It is one record of etcd, which takes values of 1.5 MiB: room for some 25,000 moves.',
    refusedBy: ['API'],
  },
  sharedDisksPerNode: {
    subject: 'Shared disk and guest cluster',
    what: 'shared disks on one storage node',
    min: 0,
    max: 10_000,
    unit: 'disks',
    reason: 'The target of the node is sent all of them at once.',
    refusedBy: ['admission', 'target'],
  },
  newClusterDisks: {
    subject: 'Shared disk and guest cluster',
    what: 'disks in the request that makes a guest cluster; more can be added',
    min: 0,
    max: 32,
    unit: 'disks',
    reason: 'One transaction of etcd makes all of them.',
    refusedBy: ['API'],
  },
  heartbeatNetworks: {
    subject: 'Shared disk and guest cluster',
    what: 'heartbeat networks of a guest cluster',
    min: 0,
    max: 4,
    unit: 'networks',
    reason: 'Each is a card of every member.',
    refusedBy: ['API'],
  },
  toleratesMs: {
    subject: 'Shared disk and guest cluster',
    what: 'pause that the heartbeat of a guest cluster tolerates',
    min: 1,
    max: 3_600_000,
    unit: 'ms',
    reason: 'An hour: no heartbeat waits longer.',
    refusedBy: ['API'],
  },
  noticeMs: {
    subject: 'Shared disk and guest cluster',
    what: 'notice that a member is given before it moves',
    min: 1_000,
    max: 900_000,
    unit: 'ms',
    reason: 'A notice delays a move and vetoes nothing; Azure, whose agents guests use, gives 15 minutes as well.',
    refusedBy: ['API'],
  },
  readyCheckChars: {
    subject: 'Shared disk and guest cluster',
    what: 'ready-check of a guest cluster',
    min: 1,
    max: 1_000,
    unit: 'characters',
    reason: 'A longer one is a script in the guest: the channel to its agent takes one short line at a time.',
    refusedBy: ['API'],
  },
  readyCheckMs: {
    subject: 'Shared disk and guest cluster',
    what: 'time in which a moved member becomes ready by its check',
    min: 10_000,
    max: 3_600_000,
    unit: 'ms',
    reason: 'Maintenance waits for it with every member; a guest’s agent may take ten seconds to answer at all.',
    refusedBy: ['API'],
  },
  quietWindows: {
    subject: 'Shared disk and guest cluster',
    what: 'weekly windows of quiet hours of a guest cluster',
    min: 0,
    max: 14,
    unit: 'values',
    reason: 'Two for each day; every drain looks at all of them.',
    refusedBy: ['API'],
  },
} as const satisfies Record<string, Limit>;

const REST = {
  fileBytes: {
    subject: 'Image',
    what: 'one file of an image (qcow2 or raw disk); less where the pool has smaller files or no room',
    min: 1,
    max: 512 * GIB,
    unit: 'bytes',
    reason: 'It is sent in one piece within an hour.',
    refusedBy: ['API', 'storage'],
  },
  images: {
    subject: 'Image',
    what: 'images of the cluster',
    min: 0,
    max: 3_000,
    unit: 'images',
    reason: 'Each has up to 3 files, and a storage node’s report names at most 10,000 files.',
    refusedBy: ['admission'],
  },
  networks: {
    subject: 'Network',
    what: 'networks of the cluster',
    min: 0,
    max: 1_000,
    unit: 'networks',
    reason: 'A host that has VMs in all of them is sent all of them in one order.',
    refusedBy: ['admission', 'agent'],
  },
  networkAddresses: {
    subject: 'Network',
    what: 'addresses given to cards in one network',
    min: 0,
    max: 8_000,
    unit: 'addresses',
    reason: 'They are one record, and etcd takes 1.5 MiB in one request.',
    refusedBy: ['admission'],
  },
  nameChars: {
    subject: 'Cluster',
    what: 'name of anything',
    min: 1,
    max: 40,
    unit: 'characters',
    reason: 'A host name in a guest (RFC 1123), a file name, and a part of longer names.',
    refusedBy: ['API', 'admission'],
  },
  hosts: {
    subject: 'Cluster',
    what: 'hosts of the cluster',
    min: 0,
    max: 2_000,
    unit: 'hosts',
    reason: 'A network’s tunnels to all other hosts are in one order.',
    refusedBy: ['join', 'agent'],
  },
  controlNodes: {
    subject: 'Cluster',
    what: 'control nodes of the cluster',
    min: 1,
    max: 7,
    unit: 'control nodes',
    reason: 'Each is a member of etcd, which asks a majority of them before it answers.',
    refusedBy: ['join'],
  },
  storageNodes: {
    subject: 'Cluster',
    what: 'storage nodes of the cluster',
    min: 0,
    max: 32,
    unit: 'storage nodes',
    reason: 'An agent that fetches a kernel is sent all nodes that may have it in one order.',
    refusedBy: ['join', 'agent'],
  },
  vmsPerHost: {
    subject: 'Cluster',
    what: 'VMs on one host, migrations to it included',
    min: 0,
    max: 1_000,
    unit: 'VMs',
    reason: 'Each has 8 TCP ports of its own there, from 21000 on.',
    refusedBy: ['agent'],
  },
  bulkVms: {
    subject: 'Cluster',
    what: 'VMs of one bulk request',
    min: 1,
    max: 500,
    unit: 'VMs',
    reason: 'The request and the progress of each VM are one record of etcd, which is rewritten as they progress.',
    refusedBy: ['API', 'admission'],
  },
  sessions: {
    subject: 'API',
    what: 'sessions of browsers, unused one-time links and consoles that are being opened, in total',
    min: 0,
    max: 2_000,
    unit: 'sessions',
    reason: 'Each is a record that every control node keeps in memory and looks through at each log-in.',
    refusedBy: ['admission'],
  },
  sessionsOfToken: {
    subject: 'API',
    what: 'sessions, links and consoles being opened of one API token; one more ends the oldest',
    min: 0,
    max: 64,
    unit: 'sessions',
    reason: 'Somebody who begins sessions without end takes none from others.',
    refusedBy: ['admission'],
  },
} as const satisfies Record<string, Limit>;

/** The API's alone: no layer below has them. */
const API = {
  requestBytes: {
    subject: 'API',
    what: 'body of a request that carries files of a guest (cloud-init), in JSON',
    min: 0,
    max: MIB,
    unit: 'bytes',
    reason: 'Larger than every valid request; a larger one is refused unread.',
    refusedBy: ['API'],
  },
  smallRequestBytes: {
    subject: 'API',
    what: 'body of every other request, in JSON',
    min: 0,
    max: 64 * KIB,
    unit: 'bytes',
    reason: 'More than the largest body that fits its schema has in UTF-8; a larger one is refused unread.',
    refusedBy: ['API'],
  },
  requestValues: {
    subject: 'API',
    what: 'values in the body of a request',
    min: 0,
    max: 1_000,
    unit: 'values',
    reason: 'The largest body that fits its schema has some 300; a larger one is not parsed.',
    refusedBy: ['API'],
  },
  requestLevels: {
    subject: 'API',
    what: 'levels of the body of a request, one in another',
    min: 0,
    max: 16,
    unit: 'levels',
    reason: 'The deepest body that fits its schema has 4; a deeper one is not parsed.',
    refusedBy: ['API'],
  },
  eventStreams: {
    subject: 'API',
    what: 'event streams that are open at one control node',
    min: 0,
    max: 128,
    unit: 'streams',
    reason: 'Each one reads every change.',
    refusedBy: ['API'],
  },
  consoles: {
    subject: 'API',
    what: 'consoles that are open at one control node',
    min: 0,
    max: 256,
    unit: 'consoles',
    reason: 'Each holds two connections, and the output that its client has not read yet.',
    refusedBy: ['API'],
  },
} as const satisfies Record<string, Limit>;

/** Every limit by its name. */
export const LIMITS = { ...VM, ...BOOT, ...SEED, ...DISK, ...SHARED, ...REST, ...API } as const satisfies Record<
  string,
  Limit
>;

export type LimitName = keyof typeof LIMITS;

/** Names of limits of requests and connections themselves, which nothing below the API has. */
export type ApiLimitName = keyof typeof API;
