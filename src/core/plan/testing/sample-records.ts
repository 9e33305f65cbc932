/** Records and observations for tests of decisions: plain, and each a function of what the test is about. */
import {
  type Generation,
  type HostName,
  parseDiskId,
  parseGeneration,
  parseGuestClusterName,
  parseHostName,
  parseTaskId,
  parseVmId,
  type StorageName,
  type VmId,
} from '../../../base/ids.ts';
import type { DiskRecord, HostRecord } from '../../model/cluster.ts';
import { indexOf } from '../../model/cluster-index.ts';
import type { GuestClusterRecord, SharedDiskRecord } from '../../model/guest-cluster.ts';
import type {
  HostObservation,
  IncarnationObservation,
  KernelObservation,
  QmpObservation,
} from '../../model/observation.ts';
import type { Incarnation, VmPhase, VmRecord } from '../../model/vm.ts';
import type { ClusterSituation, VmSituation } from '../vm/decision.ts';
import { type Acknowledged, NOTHING_ACKNOWLEDGED } from '../vm/steps.ts';

/** The time of every sample by either clock, in ms. */
export const NOW = 1_700_000_000_000;
/** Memory of a sample VM, in bytes. */
export const VM_BYTES = 2 ** 30;

/** The VM most samples are about. */
export const VM: VmId = parseVmId('vm-000000000001');
/** A task id by number. */
export const task = (n: number): ReturnType<typeof parseTaskId> =>
  parseTaskId(`task-${n.toString(16).padStart(12, '0')}`);
/** A host name by number. */
export const host = (n: number): HostName => parseHostName(`h${n}`);
/** A storage node by number. */
export const node = (n: number): StorageName => `s${n}` as StorageName;

/** Generation `generation` on host `h`. */
export function incarnation(generation: number, h = 1, slot = 0): Incarnation {
  return { generation: generation as Generation, host: host(h), slot };
}

/** A host with room for four sample VMs. */
export function hostRecord(n: number, more: Partial<HostRecord> = {}): HostRecord {
  return {
    name: host(n),
    addresses: { control: `10.0.0.${n}`, storage: `10.1.0.${n}`, overlay: `10.2.0.${n}` },
    capacity: { memoryBytes: 4.5 * VM_BYTES, vcpus: 8, accelerator: 'tcg', cpuModels: [] },
    cordoned: false,
    quarantine: null,
    joinedAt: 0,
    ...more,
  };
}

/** An observed host: alive unless the test says otherwise. */
export function seenHost(n: number, more: Partial<HostObservation> = {}): HostObservation {
  return {
    host: host(n),
    agent: 'alive',
    agentAgeMs: 10,
    agentError: null,
    kernel: { kind: 'reachable', via: 'its agent', ageMs: 10 },
    occupiedSlots: [],
    ...more,
  };
}

/** A kernel that was silent on the direct path and through `nodes`. */
export function silentKernel(rounds: number, nodes: readonly StorageName[]): KernelObservation {
  return { kind: 'silent', rounds, paths: ['direct', ...nodes.map((name) => `via ${name}`)], nodes };
}

/** QMP that answers; by default a source that has sent everything has sent it to generation 2. */
export function answers(status: string, sentTo = status === 'postmigrate' ? 2 : null): QmpObservation {
  const receiver = sentTo === null ? null : parseGeneration(sentTo);
  return { kind: 'answers', status, via: 'direct', ageMs: 5, migration: null, sentTo: receiver };
}

/** A VM with one disk on s1 that is to run. */
export function vmRecord(phase: VmPhase, more: Partial<VmRecord> = {}): VmRecord {
  const generations =
    'incarnation' in phase ? [phase.incarnation.generation] : 'source' in phase ? [phase.destination.generation] : [1];
  return {
    id: VM,
    name: 'web',
    spec: {
      vcpus: 1,
      memoryBytes: VM_BYTES,
      cpuModel: 'baseline',
      boot: { firmware: 'bios' },
      disks: [{ disk: parseDiskId('disk-000000000001'), role: 'data', bus: 'virtio' }],
      nics: [],
      restartPolicy: 'on-failure',
      labels: {},
      image: null,
      storagePatienceMs: 1_000,
      antiAffinity: null,
    },
    intent: 'running',
    generation: Math.max(...generations) as Generation,
    phase,
    migrationRequest: null,
    stopRequest: null,
    resetRequest: null,
    startTask: null,
    deleting: false,
    failures: null,
    createdAt: 0,
    phaseSince: NOW,
    ...more,
  };
}

/** The sample VM's disk. */
export function diskRecord(more: Partial<DiskRecord> = {}): DiskRecord {
  return {
    id: parseDiskId('disk-000000000001'),
    vm: VM,
    node: node(1),
    port: 30_000,
    sizeBytes: 2 ** 30,
    source: { kind: 'blank' },
    phase: 'ready',
    ...more,
  };
}

/** A shared disk on s2, of no guest cluster unless told otherwise. */
export function sharedDiskRecord(more: Partial<SharedDiskRecord> = {}): SharedDiskRecord {
  return {
    id: parseDiskId('disk-0000000000a1'),
    name: 'data',
    node: node(2),
    sizeBytes: 2 ** 30,
    blockBytes: 512,
    phase: 'ready',
    guestCluster: null,
    createdAt: 0,
    ...more,
  };
}

/** A guest cluster of these members, which bears one disturbed member and a pause of 3 s. */
export function guestClusterRecord(
  members: readonly VmRecord[],
  more: Partial<GuestClusterRecord> = {},
): GuestClusterRecord {
  return {
    name: parseGuestClusterName('sql'),
    members: members.map(({ id }) => id),
    disks: [],
    heartbeatNetworks: [],
    maxDisturbed: 1,
    toleratesMs: 3_000,
    sharesHosts: false,
    createdAt: 0,
    ...more,
  };
}

/** The `n`th member of guest cluster `sql`. */
export function memberRecord(n: number, phase: VmPhase, more: Partial<VmRecord> = {}): VmRecord {
  const record = vmRecord(phase, { id: parseVmId(`vm-0000000000b${n}`), name: `sql${n}`, ...more });
  return { ...record, spec: { ...record.spec, guestCluster: parseGuestClusterName('sql'), ...more.spec } };
}

/** Only the named acknowledgements. */
export function acknowledged(more: Partial<Acknowledged> = {}): Acknowledged {
  return { ...NOTHING_ACKNOWLEDGED, ...more };
}

/** The observations that a test gives, by generation; a generation without one is present and not asked yet. */
export type Seen = Readonly<Record<number, Partial<IncarnationObservation>>>;

/** A cluster of these objects, in which storage works and everything in phase running is seen running. */
export function clusterOf({
  vms,
  hosts,
  sharedDisks = [],
  guestClusters = [],
}: {
  readonly vms: readonly VmRecord[];
  readonly hosts: readonly { readonly record: HostRecord; readonly seen: HostObservation }[];
  readonly sharedDisks?: readonly SharedDiskRecord[];
  readonly guestClusters?: readonly GuestClusterRecord[];
}): ClusterSituation {
  const seen = new Map(hosts.map((each) => [each.record.name, each.seen]));
  const index = indexOf({ vms, hosts: hosts.map(({ record }) => record) });
  for (const disk of sharedDisks) index.setSharedDisk(disk.id, disk);
  for (const cluster of guestClusters) index.setGuestCluster(cluster.name, cluster);
  return {
    index,
    seeHost: (name) => seen.get(name) ?? seenHost(Number(name.slice(1)), { agent: 'unknown' }),
    areAllHostsAsked: () => hosts.every((each) => each.seen.agent !== 'unknown'),
    storageAnswers: () => true,
    isLost: () => false,
    pool: () => null,
    storageCutFrom: () => [],
    hostsWithStorageCut: () => [],
    seesRunning: ({ phase }) => phase.kind === 'running',
    registeredOn: () => [],
  };
}

/** A situation on three hosts. */
export function situation(vm: VmRecord, seen: Seen = {}, more: Partial<VmSituation> = {}): VmSituation {
  return {
    vm,
    disks: [diskRecord()],
    see: (which) => ({
      incarnation: which,
      process: 'present',
      qmp: { kind: 'unknown' },
      told: null,
      host: seenHost(Number(which.host.slice(1))),
      ...seen[which.generation],
    }),
    diskPath: () => 'unknown',
    acknowledged: acknowledged(),
    cluster: clusterOf({ vms: [vm], hosts: [1, 2, 3].map((n) => ({ record: hostRecord(n), seen: seenHost(n) })) }),
    now: NOW,
    monotonicMs: NOW,
    phaseForMs: 0,
    notice: { knownForMs: 0, isAcknowledged: false },
    readiness: { kind: 'unasked' },
    ...more,
  };
}

/** A host that is lost, as far as a VM with its disk on s1 goes. */
export const LOST: Partial<IncarnationObservation> = {
  process: 'unknown',
  qmp: { kind: 'silent', paths: ['direct', 'via s1'], ageMs: 0 },
  host: seenHost(1, { agent: 'silent', kernel: silentKernel(2, [node(1)]) }),
};
