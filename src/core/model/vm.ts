/**
 * The VM's record in etcd. One record per VM holds specification, intent and the state of its incarnations, so that
 * every step of the protocol (docs/specs/protocol.md) is one compare-and-swap of one key.
 *                     start                     QMP says running
 *        ┌──────────┐ ─────────► ┌──────────┐ ────────────────► ┌─────────┐ ◄──────────────┐
 *        │ stopped  │            │ starting │                   │ running │ ──────┐        │
 *        └──────────┘ ◄───┐      └──────────┘ ◄──────────────── └─────────┘       │        │
 *             │ delete    │        ▲  │  ▲      lost, crashed     │    ▲          │ stop   │ done
 *             ▼           │   lost │  │  └──── generation + 1 ────┘    │ undone   │        │
 *        (no record)      │        │  │ stop       migrate │           │          │        │
 *                         │        │  ▼                    ▼           │          ▼        │
 *                         │  ┌──────────┐   postmigrate ┌───────────┐  │   ┌───────────┐   │
 *                         └─ │ stopping │   ┌────────── │ migrating │ ─┴─► │ unwinding │   │
 *                            └──────────┘   │  commit   └───────────┘ fail └───────────┘   │
 *                                           ▼                                              │
 *                                     ┌───────────┐                                        │
 *                                     │ switching │ ───────────────────────────────────────┘
 *                                     └───────────┘
 * Invariants (docs/specs/generations.md): G1 `generation` only grows; G2 every generation in the record is <=
 * `generation`; G3 at most one generation is current; G4 a generation is granted only while `admittedGenerations` names
 * it.
 */
import type {
  DiskId,
  Generation,
  GuestClusterName,
  HostName,
  ImageName,
  NetworkName,
  Sha256,
  TaskId,
  VmId,
} from '../../base/ids.ts';
import type { Debt } from './debt.ts';
import { endedNotice, type MoveNotice } from './move-notice.ts';

/** The state that the owner wants. `suspended` keeps an incarnation whose vCPUs do not run. */
export type Intent = 'running' | 'suspended' | 'stopped';

/** What happens when a guest ends by itself: `on-failure` restarts a crash or panic, not a power-off from inside. */
export type RestartPolicy = 'always' | 'on-failure' | 'never';

/** One run of the VM: one QEMU process on one host. */
export interface Incarnation {
  readonly generation: Generation;
  readonly host: HostName;
  /** The number of its block of ports and of its user id on its host (ports.ts). */
  readonly slot: number;
}

export type VmPhase =
  | { readonly kind: 'stopped' }
  /** Fence below, grant, launch, run. `avoid`: hosts where launching this VM failed since it last ran. */
  | {
      readonly kind: 'starting';
      readonly incarnation: Incarnation;
      readonly reason: StartReason;
      readonly avoid: readonly HostName[];
    }
  | { readonly kind: 'running'; readonly incarnation: Incarnation }
  | {
      readonly kind: 'stopping';
      readonly incarnation: Incarnation;
      readonly mode: 'acpi' | 'hard';
      /** Measured with the clock that wrote phaseSince: the guest may take the difference between the two. */
      readonly deadlineAt: number;
      readonly reason: StopReason;
    }
  /** The source is current; the destination is granted beside it and receives memory. */
  | {
      readonly kind: 'migrating';
      readonly source: Incarnation;
      readonly destination: Incarnation;
      readonly taskId: TaskId | null;
      /** Measured with the clock that wrote phaseSince: the migration may take the difference between the two. */
      readonly deadlineAt: number;
    }
  /** Committed: the destination is current. The source is fenced and ended, the destination continued. */
  | {
      readonly kind: 'switching';
      readonly source: Incarnation;
      readonly destination: Incarnation;
      readonly taskId: TaskId | null;
      /**
       * How long the guest had been paused when the source said that it was complete, in ms. Absent if the source did
       * not say.
       */
      readonly pausedMs?: number;
    }
  /** Given up before the commit: the source is current and continued, the destination revoked and ended. */
  | {
      readonly kind: 'unwinding';
      readonly source: Incarnation;
      readonly destination: Incarnation;
      readonly taskId: TaskId | null;
      readonly reason: string;
      /** Set when a user cancelled the migration: its task ends as cancelled. */
      readonly cancelled?: true;
    };

export type StartReason = 'requested' | 'lost' | 'crashed' | 'guest-reset' | 'launch-failed';
export type StopReason = 'requested' | 'guest-shutdown' | 'deleted' | 'failed';

/**
 * How a moved member was seen healthy: its guest cluster's ready-check succeeded, it has the keys that it had (and its
 * guest cluster has no ready-check, or its guest no agent), or it was not seen healthy in the time allowed.
 */
export type SeenHealthy = 'by-check' | 'by-keys' | 'no';

export interface VmRecord {
  readonly id: VmId;
  readonly name: string;
  readonly spec: VmSpec;
  readonly intent: Intent;
  /** The highest generation ever given to this VM; 0 before its first start. */
  readonly generation: Generation | 0;
  readonly phase: VmPhase;
  /**
   * A wish to migrate that has not begun: taken up by the leader, which then sets phase migrating. `to: null` =
   * anywhere.
   */
  readonly migrationRequest: {
    readonly to: HostName | null;
    readonly taskId: TaskId;
    /** Unix ms: one that cannot begin does not wait for ever. Requests from before it was there lack it. */
    readonly askedAt?: number;
  } | null;
  /** A stop, reset or delete that was asked for and is not carried out yet. */
  readonly stopRequest: { readonly mode: 'acpi' | 'hard'; readonly patienceMs: number; readonly taskId: TaskId } | null;
  readonly resetRequest: { readonly taskId: TaskId } | null;
  /** The migration in progress that is to be undone, by its own task. Absent or null: none. */
  readonly cancelRequest?: { readonly taskId: TaskId } | null;
  /** The task that waits until the guest is paused, or runs again, as `intent` says. Absent or null: none. */
  readonly pauseTask?: TaskId | null;
  /** The task that waits for this VM to run. */
  readonly startTask: TaskId | null;
  readonly deleting: boolean;
  /**
   * The epoch that began with this record, from a snapshot: it is unknown which incarnation of the VM runs, and its
   * phase is that of the snapshot. Nothing is done with the VM except finding that out (plan/restore/adoption.ts).
   * Absent: the record is up to date.
   */
  readonly restored?: number;
  /**
   * The cards that the VM has from its next generation on; absent: those of `spec`. A running or migrating machine
   * keeps its present cards.
   */
  readonly nextNics?: readonly VmNic[];
  /** How long its last moves paused the guest, in ms, oldest first (pause-prediction.ts). Absent before the first. */
  readonly pausesMs?: readonly number[];
  /** The last notice of a move that its guest was given. Absent before the first. */
  readonly notice?: MoveNotice;
  /**
   * It was moved, or is moving, as a member of a guest cluster, and has not been seen healthy since. `registered`: the
   * shared disks on which it had a key when its move began. Absent: no health is awaited.
   */
  readonly settling?: { readonly registered: readonly DiskId[] };
  /** How it was seen healthy after its last move. Absent before the first. */
  readonly seenHealthy?: SeenHealthy;
  /**
   * Hosts of earlier incarnations that no phase names any more and whose fence no phase has confirmed yet. Absent: there
   * is none, or a leader of an older version wrote the record.
   */
  readonly unfenced?: readonly HostName[];
  /** Consecutive failures to start or crashes soon after a start, for the back-off. */
  readonly failures: {
    readonly count: number;
    readonly lastAt: number;
    readonly message: string;
    /** The host that itself refused the last order for a permanent reason: after a second such host, the start ends. */
    readonly refusedBy?: HostName;
  } | null;
  /** The debts that were signed for because of it. Absent: none. */
  readonly debts?: readonly Debt[];
  readonly createdAt: number;
  /**
   * When the phase last changed (Unix time in ms, the writer's clock: for people; no decision compares it with another
   * clock).
   */
  readonly phaseSince: number;
}

export interface VmSpec {
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** A CPU model every host can offer: `baseline`, or a QEMU model name. */
  readonly cpuModel: string;
  readonly boot: VmBoot;
  readonly disks: readonly VmDisk[];
  readonly nics: readonly VmNic[];
  readonly restartPolicy: RestartPolicy;
  readonly labels: Readonly<Record<string, string>>;
  readonly image: ImageName | null;
  /** How long a guest's I/O waits for its storage before it is paused with an error, in ms. */
  readonly storagePatienceMs: number;
  /**
   * No host ever has two VMs of one group; null: in no group. Records from before this field lack it: read it by
   * `affinityGroup`.
   */
  readonly antiAffinity: string | null;
  /** The disks it shares with other VMs. Records from before it was there lack it: read it by `sharedDisksOf`. */
  readonly sharedDisks?: readonly VmSharedDisk[];
  /**
   * The measures that are allowed if its guest writes faster than a live migration copies. Absent: read it by
   * `migrationPolicyOf`.
   */
  readonly migrationPolicy?: MigrationPolicy;
  /** The guest cluster that names it as a member: both records are written in one transaction. Absent or null: none. */
  readonly guestCluster?: GuestClusterName | null;
  /** A display, which people see over VNC. Absent: none. */
  readonly display?: 'vga';
  /** The only host that it may be on: somebody signed for that. Absent or null: any. */
  readonly pin?: HostName | null;
  /**
   * Its machine has a port for the guest agent. Machines from before this field lack the port until they start again.
   */
  readonly guestAgent?: true;
}

/** The measures that an owner allows for moving a guest that writes faster than it is copied. */
export interface MigrationPolicy {
  /** QEMU takes processor time from the guest until its memory can be copied (capability `auto-converge`). */
  readonly slowDown: boolean;
  /** The longest pause at the end of a move, in ms; null: QEMU's default. A guest cluster's tolerance is kept as well. */
  readonly pauseMsMax: number | null;
  /** A drain may stop the VM, and start it on another host. */
  readonly stop: boolean;
}

/** The measures that are allowed for a VM whose owner chose none. */
const MIGRATION_POLICY: MigrationPolicy = { slowDown: true, pauseMsMax: null, stop: false };

/** The measures that the owner allows; the default if the owner chose none. */
export function migrationPolicyOf({ spec }: Pick<VmRecord, 'spec'>): MigrationPolicy {
  return spec.migrationPolicy ?? MIGRATION_POLICY;
}

/** A shared disk under the number that this VM's guest sees it by. */
export interface VmSharedDisk {
  readonly disk: DiskId;
  /** 0 to 255; each once in a VM. */
  readonly lun: number;
  /**
   * Attached while the VM runs, or before the disk was made: the VM's QEMU may not have the disk yet, and no start
   * waits for it.
   */
  readonly joining?: true;
  /**
   * Being removed: its QEMU may still have it and storage still grant it, so fences reach its node until both
   * acknowledged that it is gone.
   */
  readonly leaving?: true;
}

/**
 * Every shared disk that an incarnation of the VM may reach, those that are leaving included: what a fence must cover.
 */
export function sharedDisksOf({ spec }: VmRecord): readonly VmSharedDisk[] {
  return spec.sharedDisks ?? [];
}

/** Returns the shared disks that the VM is to have; those that are made may be granted. */
export function heldSharedDisks(vm: VmRecord): readonly VmSharedDisk[] {
  return sharedDisksOf(vm).filter(({ leaving }) => leaving !== true);
}

/**
 * Returns the shared disks that a start grants and launches QEMU with: they stay the same from the transaction that
 * begins the start, even if more disks are made in the meantime.
 */
export function startedSharedDisks(vm: VmRecord): readonly VmSharedDisk[] {
  return heldSharedDisks(vm).filter(({ joining }) => joining !== true);
}

/** Returns every card that the VM has, or gets at its next start: addresses are reserved for all of them. */
export function cardsOf({ spec, nextNics = [] }: VmRecord): readonly VmNic[] {
  const coming = nextNics.filter((next) => !spec.nics.some((nic) => isSameCard(nic, next)));
  return [...spec.nics, ...coming];
}

/** Returns true if two records describe the same card. */
export function isSameCard(a: VmNic, b: VmNic): boolean {
  return a.network === b.network && a.mac === b.mac;
}

/** Returns the VM with its next cards in place of the present ones. */
export function withNextNics(vm: VmRecord): VmRecord {
  const { nextNics, ...rest } = vm;
  return nextNics === undefined ? vm : { ...rest, spec: { ...vm.spec, nics: nextNics } };
}

/** Returns the VM whose next machine has a port for the guest's agent. */
export function withGuestAgent(vm: VmRecord): VmRecord {
  return vm.spec.guestAgent === true ? vm : { ...vm, spec: { ...vm.spec, guestAgent: true } };
}

/** Returns the VM without a notice that is to come to something. */
export function withoutNotice(vm: VmRecord): VmRecord {
  return vm.notice === undefined || vm.notice.state === 'over' ? vm : { ...vm, notice: endedNotice(vm.notice) };
}

/** Returns the VM of which nothing is awaited after its move. */
export function settled(vm: VmRecord): VmRecord {
  const { settling, ...rest } = vm;
  return settling === undefined ? vm : rest;
}

/** The anti-affinity group of a VM, or null. */
export function affinityGroup({ spec }: VmRecord): string | null {
  return spec.antiAffinity ?? null;
}

export type VmBoot =
  | { readonly firmware: 'bios' }
  | { readonly firmware: 'uefi' }
  | {
      readonly firmware: 'direct';
      readonly kernel: Sha256;
      readonly kernelBytes: number;
      readonly initrd: Sha256 | null;
      readonly initrdBytes: number;
      readonly append: string;
    };

/** `data`: the guest's own; `seed`: NoCloud ISO, read only; `nvram`: UEFI variables. */
export interface VmDisk {
  readonly disk: DiskId;
  readonly role: 'data' | 'seed' | 'nvram';
  readonly bus: 'virtio' | 'scsi';
}

export interface VmNic {
  readonly network: NetworkName;
  /** Lower-case, colon separated, locally administered. */
  readonly mac: string;
  /** IPv4 address reserved for it in the network's range, or null if the network has none. */
  readonly address: string | null;
}

/** The incarnations that may exist now, the current one first; every other one on any host is stale and is killed. */
export function expectedIncarnations(phase: VmPhase): readonly Incarnation[] {
  switch (phase.kind) {
    case 'stopped':
      return [];
    case 'starting':
    case 'running':
    case 'stopping':
      return [phase.incarnation];
    case 'migrating':
    case 'unwinding':
      return [phase.source, phase.destination];
    case 'switching':
      return [phase.destination, phase.source];
  }
}

/** The current incarnation: the one that may run the guest. */
export function currentIncarnation(phase: VmPhase): Incarnation | null {
  return expectedIncarnations(phase)[0] ?? null;
}

/**
 * The generations storage may serve now. A storage service that restarts grants exactly these, read linearizably from
 * etcd.
 */
export function admittedGenerations(phase: VmPhase): readonly Generation[] {
  switch (phase.kind) {
    case 'stopped':
      return [];
    case 'starting':
    case 'running':
      return [phase.incarnation.generation];
    case 'stopping':
      // A power-off is fenced before `stopped` is committed: a storage service that restarts in between must not grant
      // again.
      return phase.mode === 'hard' ? [] : [phase.incarnation.generation];
    case 'migrating':
      return [phase.source.generation, phase.destination.generation];
    case 'unwinding':
      return [phase.source.generation];
    case 'switching':
      return [phase.destination.generation];
  }
}
