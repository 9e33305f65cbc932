/** The report's words for administrators: the meaning of each tie, doubt and cure. Contains no names of an estate. */
import type { Permit, TieKind } from '../estate/estate.ts';
import type { Confidence } from '../findings/guest-clusters.ts';
import type { Family } from '../findings/signs.ts';

interface TieWords {
  /** Follows the VM's name; the object is added after it. */
  readonly text: string;
  /** How to confirm the tie. */
  readonly confirm: string;
}

/** The meaning of a tie, by kind. */
export const TIE_WORDS: Readonly<Record<TieKind, TieWords>> = {
  'host device': {
    text: 'uses a device of its host',
    confirm: 'Look at the hardware of the VM for passed-through devices.',
  },
  gpu: { text: 'uses a graphics processor of its host', confirm: 'Look at the hardware of the VM.' },
  'sr-iov': {
    text: 'uses a network function of its host directly (SR-IOV)',
    confirm: 'Look at the network adapters of the VM; some platforms unplug the function for a move.',
  },
  usb: { text: 'uses a USB device of its host', confirm: 'Look whether the device is still plugged in and needed.' },
  'serial port': { text: 'uses a serial or parallel port of its host', confirm: 'Look at the ports of the VM.' },
  'host folder': { text: 'uses a directory or file of its host', confirm: 'Look at the volumes of the VM.' },
  'shared memory': { text: 'shares memory with its host', confirm: 'Look at the configuration of the VM.' },
  'local media': {
    text: 'has a CD image inserted that only its host has',
    confirm: 'Look at the CD drives of the VM.',
  },
  'host drive': {
    text: 'has the CD drive of a host or of a client connected',
    confirm: 'Look at the CD drives of the VM.',
  },
  'host tpm': { text: "uses its host's TPM", confirm: 'Look at the TPM of the VM.' },
  'cpu pin': { text: 'is pinned to processors of its host', confirm: 'Look at the CPU affinity of the VM.' },
  'cpu passthrough': {
    text: "sees its host's own processor and moves only to hosts of the same model",
    confirm: "Compare the hosts' processors and microcode.",
  },
  'cpu model': {
    text: 'has a CPU model that not every processor can offer',
    confirm: "Compare the hosts' processors with the model.",
  },
  'dedicated cpu': {
    text: 'has dedicated processors, and moves only to a host that has as many free',
    confirm: 'Look whether the other hosts hand out dedicated processors.',
  },
  'cpu limit': { text: 'hides processor features so that it can move', confirm: 'Nothing needs to be done.' },
  latency: {
    text: 'has high latency sensitivity, which reserves processors and memory of a host for it',
    confirm: 'Look at the latency sensitivity of the VM.',
  },
  'locked memory': { text: 'has all its memory reserved', confirm: 'Look at the memory reservation of the VM.' },
  'node selector': { text: 'may run only on hosts with a label', confirm: "Compare the hosts' labels." },
  pinned: { text: 'may run only on hosts that a rule names', confirm: 'Ask who made the rule and why.' },
  'agent vm': { text: 'belongs to its host and stays on it', confirm: 'The platform stops it when the host goes.' },
  'not highly available': {
    text: 'is no role of the failover cluster: a drain leaves it where it is, and a lost host takes it along',
    confirm: 'Look at the roles of the cluster.',
  },
  'platform verdict': {
    text: 'cannot be moved live, says its platform',
    confirm: 'Ask the platform for the message that belongs to the reason.',
  },
  'passthrough disk': { text: 'uses a disk of its host directly', confirm: 'Look at the disks of the VM.' },
  'virtual hba': {
    text: 'has a Fibre Channel adapter of its own, which every target host must be able to offer',
    confirm: 'Look whether all hosts are zoned for it.',
  },
  snapshot: { text: 'has snapshots', confirm: 'Ask whether they are still needed.' },
  'fault tolerance': { text: 'has a running shadow on a second host', confirm: 'Look at its fault tolerance.' },
  'soft tpm': { text: 'has a virtual TPM, whose state moves with it', confirm: 'Nothing needs to be done.' },
  'pod affinity': {
    text: 'must be on the host of another VM, which has to move first',
    confirm: 'Ask whether the rule is meant.',
  },
  'shared bus': {
    text: 'shares a disk over a SCSI bus, which allows a live move under conditions or not at all',
    confirm: 'Look at the bus sharing of the SCSI controllers, and ask the owner of the guest cluster.',
  },
  'affinity group': {
    text: 'is in a group whose VMs must be on one host, and its platform moves one VM at a time',
    confirm: 'Ask whether the group may become a preference.',
  },
  'encrypted memory': {
    text: 'has memory that its processor encrypts (SEV, TDX, SGX), with which its platform does not move it live',
    confirm: 'Look at the confidential computing settings of the VM.',
  },
  eviction: {
    text: 'is stopped, not moved, when its node is drained',
    confirm: 'Look at the eviction strategy of the VM.',
  },
  'node file': {
    text: 'needs a file of its host to start there',
    confirm: 'Look whether all hosts have the file, or take it from the VM.',
  },
  'direct path': {
    text: 'may use a network card of its host directly (DirectPath I/O), which some hosts allow only without live moves',
    confirm: 'Look whether the adapter shows DirectPath I/O as active, and whether its hosts can move it then.',
  },
  'preferred host': {
    text: 'prefers hosts that a rule names, and may run on others',
    confirm: 'Nothing needs to be done.',
  },
  'scsi reservation': {
    text: 'holds SCSI reservations, with which its platform does not move it live',
    confirm: 'Ask the owner of the guest cluster.',
  },
};

/** The meaning of each level of confidence. */
export const CONFIDENCE_WORDS: Readonly<Record<Confidence, { readonly word: string; readonly meaning: string }>> = {
  certain: { word: 'certain', meaning: 'The VMs open the same disk, and a setting permits it.' },
  member: {
    word: 'member, peers unseen',
    meaning: 'The VM has a disk that others may open, and no other VM of the export opens it.',
  },
  probable: { word: 'probable', meaning: 'Independent signs agree; no disk proves it.' },
  collision: {
    word: 'collision',
    meaning: 'The VMs name the same disk, and no setting permits it: a clone, a template or a library.',
  },
  hint: { word: 'hint', meaning: 'Too little is known to say more.' },
};

/** How to confirm a cluster. */
export const CONFIRM_CLUSTER: Readonly<Record<Confidence, string>> = {
  certain: 'Ask the owner what the cluster is and how long a pause it tolerates.',
  member: 'Find out who else opens the disk: a VM of another export, or a machine.',
  probable: 'Ask the owner, or look inside one guest for a cluster service.',
  collision: 'Look whether one of the VMs is a left-over copy; two of them running would destroy the disk.',
  hint: 'Nothing needs to be done unless the owner says more.',
};

export const PERMIT_WORDS: Readonly<Record<Permit, string>> = {
  'shared bus': 'a shared SCSI bus',
  'multi-writer': 'the multi-writer mode',
  shareable: 'the mark "shareable"',
  reservation: 'SCSI reservations',
  'shared volume group': 'a shared volume group',
  'multi-attach': 'multiple attachment',
  'shared disk set': 'a shared virtual disk set',
};

/** The meaning of a sign; the object follows. */
export const SIGN_WORDS: Readonly<Record<Family, string>> = {
  network: 'they alone are on a network that does not leave its host',
  rule: 'a rule keeps them on different hosts',
  lun: 'their hosts see a LUN that is always reserved',
  'raw lun': 'their hosts see a LUN that no datastore uses',
  names: 'their names differ only in their number',
  shape: 'they have equal processors, memory and disks',
  addresses: 'they have link-local addresses',
  words: 'their names, notes or networks contain a word used for clusters',
  bus: 'they have controllers that share disks',
  together: 'a rule keeps them on one host, whose loss takes all of them',
  kubernetes: 'they look like nodes of Kubernetes, which share no disk',
};
