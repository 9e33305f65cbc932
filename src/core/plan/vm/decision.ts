/**
 * The types of a decision and of its input, with the few actions that several phases share (vm-decision.ts,
 * migration-decision.ts).
 * Guarantees: the only way to a new generation for a start is `startNext`, which takes the number after the highest
 * ever given.
 */
import type { DiskId, Generation, HostName, StorageName } from '../../../base/ids.ts';
import { nextGeneration } from '../../../base/ids.ts';
import type { DiskRecord } from '../../model/cluster.ts';
import type { ClusterIndex } from '../../model/cluster-index.ts';
import type { HostObservation, IncarnationObservation } from '../../model/observation.ts';
import type { PoolLevel } from '../../model/pool-room.ts';
import {
  currentIncarnation,
  expectedIncarnations,
  type Incarnation,
  type StartReason,
  settled,
  sharedDisksOf,
  type VmPhase,
  type VmRecord,
  withGuestAgent,
  withNextNics,
  withoutNotice,
} from '../../model/vm.ts';
import type { PoolReport } from '../../ports/storage-link.ts';
import { place } from '../placement/placement.ts';
import type { Acknowledged, Step } from './steps.ts';
import { type Judgement, judge } from './verdict.ts';

/** Everything one decision about one VM is made from. */
export interface VmSituation {
  readonly vm: VmRecord;
  readonly disks: readonly DiskRecord[];
  readonly see: (incarnation: Incarnation) => IncarnationObservation;
  /**
   * The result of the host's last attempt at the ports of the VM's disks; tried only while a disk error pauses the VM's
   * guest.
   */
  readonly diskPath: (host: HostName) => DiskPath;
  readonly acknowledged: Acknowledged;
  readonly cluster: ClusterSituation;
  /** Unix time in ms, for records and people: another leader's may be an hour away from it. */
  readonly now: number;
  /** This leader's monotonic clock in ms, as for the times in `acknowledged`. */
  readonly monotonicMs: number;
  /**
   * How long this leader has known the VM to be in its phase, by that clock. Durations in a record are measured by it.
   */
  readonly phaseForMs: number;
  /** The progress of the VM's notice, if it has one that is not over. */
  readonly notice: NoticeSituation;
  /** The result of its guest cluster's ready-check since its move, if one is awaited. */
  readonly readiness: Readiness;
}

/** The progress of a moved member's ready-check (loop/vm/ready-checks.ts). */
export type Readiness =
  /** The check was not requested yet, or has no result yet. */
  | { readonly kind: 'unasked' }
  | { readonly kind: 'ready' }
  /** `why`: continues a sentence about the check, "exited with 1". */
  | { readonly kind: 'not-ready'; readonly why: string }
  /** No agent has answered since the move, for this long in ms by this leader's monotonic clock. */
  | { readonly kind: 'silent'; readonly forMs: number };

/** How far a notice has come. */
export interface NoticeSituation {
  /**
   * How long this leader has known of the notice, in ms by its monotonic clock: a new leader grants the whole time
   * again.
   */
  readonly knownForMs: number;
  /** Whether the agent of the VM's host says that the guest acknowledged the notice. */
  readonly isAcknowledged: boolean;
}

/** A pool as last reported. */
export interface SeenPool {
  readonly report: PoolReport;
  readonly level: PoolLevel;
}

/** `open`: every port accepted the connection. `closed`: at least one did not. */
export type DiskPath = 'open' | 'closed' | 'unknown';

/** The facts about the rest of the cluster that a placement and a disk error need. */
export interface ClusterSituation {
  readonly index: ClusterIndex;
  readonly seeHost: (host: HostName) => HostObservation;
  /** True once an attempt to ask each host has ended. */
  readonly areAllHostsAsked: () => boolean;
  /** Storage nodes that answered the leader's last call. */
  readonly storageAnswers: (node: StorageName) => boolean;
  /** Storage nodes that were declared lost: fences cannot reach them, and need not. */
  readonly isLost: (node: StorageName) => boolean;
  /** Returns the last report of a storage node's pool; null before its first report. */
  readonly pool: (node: StorageName) => SeenPool | null;
  /** Storage nodes that could not reach `host` at their last attempt, where that is known. */
  readonly storageCutFrom: (host: HostName) => readonly StorageName[];
  /** The hosts that some storage node could not reach at its last attempt. */
  readonly hostsWithStorageCut: () => readonly HostName[];
  /** Whether the current incarnation of a VM is in phase running and its guest is seen to run. */
  readonly seesRunning: (vm: VmRecord) => boolean;
  /** The shared disks on which a VM's guest has a key registered. */
  readonly registeredOn: (vm: VmRecord) => readonly DiskId[];
}

/** The next thing for one VM; the caller carries it out and asks again. */
export type Decision =
  /** Nothing now; decide again when something changes, at the latest after `againInMs`. */
  | {
      readonly kind: 'wait';
      readonly why: string;
      readonly againInMs: number;
      /** True where a host that comes, or has more room, may change it. */
      readonly forRoom?: true;
    }
  | { readonly kind: 'do'; readonly step: Step }
  | {
      readonly kind: 'commit';
      readonly vm: VmRecord;
      readonly event: DecisionEvent;
      readonly quarantine?: Quarantine;
      readonly tasks?: readonly TaskOutcome[];
    }
  /** Deletes the record: nothing of the VM is left. */
  | { readonly kind: 'remove'; readonly event: DecisionEvent };

/** The entry of a commit in the cluster's event list. */
export interface DecisionEvent {
  readonly kind: string;
  readonly message: string;
}

/** A host that every other host drops from now on, set in the same transaction. */
export interface Quarantine {
  readonly host: Incarnation['host'];
  readonly reason: string;
}

/** A task that ends in the same transaction. */
export interface TaskOutcome {
  readonly id: NonNullable<VmRecord['migrationRequest']>['taskId'];
  readonly state: 'succeeded' | 'failed' | 'cancelled';
  readonly message: string;
}

/** A run this long clears the failure count, in ms. */
export const STABLE_RUN_MS = 60_000;
const SOON_MS = 1_000;
/** How long an agent may be silent before the decision goes to another host, in ms. */
const AGENT_PATIENCE_MS = 5_000;

/** Nothing now: `why` for people, and the longest time until the next decision, in ms. */
export const wait = (why: string, againInMs = SOON_MS): Decision => ({ kind: 'wait', why, againInMs });
/** No host can take the VM now. */
const waitForRoom = (why: string): Decision => ({ kind: 'wait', why, againInMs: SOON_MS, forRoom: true });
/** One effect to carry out now. */
export const perform = (step: Step): Decision => ({ kind: 'do', step });

/**
 * Changes the phase of a record. A request to undo a migration, and the notice of it, end with that migration's phase;
 * with a new machine, or none, the next cards become the present ones, and the health of the old machine is not
 * awaited.
 */
export function inPhase(vm: VmRecord, phase: VmPhase, now: number, more: Partial<VmRecord> = {}): VmRecord {
  const undone = (vm.cancelRequest ?? null) === null ? {} : { cancelRequest: null };
  const isNewMachine = phase.kind === 'stopped' || phase.kind === 'starting';
  const isMoving = phase.kind === 'migrating' || phase.kind === 'switching' || phase.kind === 'unwinding';
  const told = isMoving ? vm : withoutNotice(vm);
  const next = { ...(isNewMachine ? withNextNics(settled(told)) : told), ...undone, ...more, phase, phaseSince: now };
  return withUnfenced(next, unfencedAfter(vm, phase));
}

/**
 * The hosts of earlier incarnations that the phase no longer names and that may not be fenced. Phases running and
 * stopped are committed after everything below was fenced or revoked.
 */
function unfencedAfter(before: VmRecord, phase: VmPhase): readonly HostName[] {
  if (phase.kind === 'running' || phase.kind === 'stopped') return [];
  const named = new Set(expectedIncarnations(phase).map(({ host }) => host));
  const left = expectedIncarnations(before.phase).map(({ host }) => host);
  return [...new Set([...(before.unfenced ?? []), ...left])].filter((host) => !named.has(host));
}

function withUnfenced({ unfenced: _, ...vm }: VmRecord, hosts: readonly HostName[]): VmRecord {
  return hosts.length === 0 ? vm : { ...vm, unfenced: hosts };
}

/** The storage nodes that hold disks of the VM's own. */
export function diskNodes(disks: readonly DiskRecord[]): StorageName[] {
  return [...new Set(disks.map((disk) => disk.node))];
}

/** Stands for the node of a shared disk whose record is not known yet: no attempt can have reached it. */
const UNKNOWN_NODE = 'a node that is not known yet' as StorageName;

/**
 * Returns the storage nodes that hold a shared disk of the VM, including disks that are being detached. A disk that is
 * not made yet is on no node.
 */
export function sharedNodes({ vm, cluster }: Pick<VmSituation, 'vm' | 'cluster'>): StorageName[] {
  const nodes = sharedDisksOf(vm).flatMap(({ disk }) => {
    const record = cluster.index.sharedDisk(disk);
    if (record?.phase === 'creating' || (record !== null && cluster.isLost(record.node))) return [];
    return [record?.node ?? UNKNOWN_NODE];
  });
  return [...new Set(nodes)];
}

/** The judgement on one incarnation. */
export function judgementOf(situation: VmSituation, incarnation: Incarnation): Judgement {
  const own = (): StorageName[] => diskNodes(situation.disks).filter((node) => !situation.cluster.isLost(node));
  return judge(situation.see(incarnation), () => [...own(), ...sharedNodes(situation)]);
}

/** Whether every storage node of the VM in its present record acknowledged a fence of all generations below `below`. */
export function isFenced(situation: VmSituation, below: Generation): boolean {
  const { fencedBelow, sharedFences } = situation.acknowledged;
  return fencedBelow >= below && sharedNodes(situation).every((node) => (sharedFences.get(node) ?? 0) >= below);
}

/**
 * True when a phase with a deadline has lasted for as long as it may. A record's times were written by some leader's
 * wall clock, which may be wrong: only their difference counts, and a new leader grants all of it again.
 */
export function hasLastedEnough(
  { vm, phaseForMs }: VmSituation,
  { deadlineAt }: { readonly deadlineAt: number },
): boolean {
  return phaseForMs >= deadlineAt - vm.phaseSince;
}

/**
 * Returns true if a host's agent has been silent for so long that no answer is expected, and for at least `forMs` as
 * far as is known.
 */
export function hasLostPatience({ agent, agentAgeMs }: HostObservation, forMs: number): boolean {
  return agent === 'silent' && Math.min(agentAgeMs ?? forMs, forMs) >= AGENT_PATIENCE_MS;
}

/** True when somebody asked for this VM not to run. */
export function wantsStop(vm: VmRecord): boolean {
  return vm.deleting || vm.stopRequest !== null || vm.intent === 'stopped';
}

/** Returns true if a guest is paused, whatever the reason. */
function standsStill(verdict: Judgement['verdict']): boolean {
  return verdict === 'paused' || verdict === 'disk-error' || verdict === 'moved-out';
}

/**
 * Commits that a guest now is paused, or runs, as a task asked; null if no task waits, or if the guest is not there
 * yet.
 */
export function settlePause(
  { vm }: VmSituation,
  { host }: Incarnation,
  verdict: Judgement['verdict'],
): Decision | null {
  const taskId = vm.pauseTask ?? null;
  if (taskId === null) return null;
  const isPaused = vm.intent === 'suspended';
  if (isPaused ? !standsStill(verdict) : verdict !== 'running') return null;
  const message = isPaused ? `${vm.name} is paused on ${host}.` : `${vm.name} was resumed on ${host}.`;
  return {
    kind: 'commit',
    vm: { ...vm, pauseTask: null },
    event: { kind: isPaused ? 'paused' : 'resumed', message },
    tasks: [{ id: taskId, state: 'succeeded', message }],
  };
}

/** Commits the end of the current incarnation, as somebody asked for. `tasks`: what else ends with it. */
export function beginStop(situation: VmSituation, mode: 'acpi' | 'hard', tasks: readonly TaskOutcome[] = []): Decision {
  const { vm, now } = situation;
  const incarnation = currentIncarnation(vm.phase);
  if (incarnation === null) return wait('Nothing runs.');
  const reason = vm.deleting ? 'deleted' : 'requested';
  const patienceMs = vm.stopRequest?.patienceMs ?? 0;
  return {
    kind: 'commit',
    vm: inPhase(vm, { kind: 'stopping', incarnation, mode, deadlineAt: now + patienceMs, reason }, now),
    event: { kind: 'stopping', message: `${vm.name} is being stopped${mode === 'acpi' ? ' by its guest' : ''}.` },
    tasks,
  };
}

/** Why the next generation starts, and what its transaction does besides. */
export interface StartOptions {
  readonly reason: StartReason;
  readonly avoid: readonly Incarnation['host'][];
  readonly why: string;
  readonly failure?: string;
  /** The host that itself refused the order (refused-start.ts). */
  readonly refusedBy?: Incarnation['host'];
  readonly quarantine?: Quarantine;
  readonly tasks?: readonly TaskOutcome[];
  /** The hosts of `avoid` cannot run the VM at all: none of them is tried for lack of another. */
  readonly strict?: true;
}

/** Commits the next generation on some host; if there is none, says why not. */
export function startNext(situation: VmSituation, options: StartOptions): Decision {
  const { vm, cluster, now } = situation;
  // The old incarnation no longer counts: its memory is free, or its host is out of the game.
  const mayBreakClaims = options.reason !== 'requested';
  const request = { vm, index: cluster.index, seeHost: cluster.seeHost, only: null, isOver: true, mayBreakClaims };
  let placement = place({ ...request, exclude: options.avoid });
  let avoid = options.avoid;
  if (placement.kind === 'nowhere' && avoid.length > 0 && options.strict !== true) {
    // Every host was tried: begin the round again, but never on one that is lost (its agent is silent, so it is no
    // candidate).
    avoid = [];
    placement = place({ ...request, exclude: [] });
  }
  if (placement.kind === 'nowhere') return waitForRoom(`No host can take ${vm.name}. ${placement.reasons.join('; ')}.`);
  const generation = nextGeneration(vm.generation);
  const incarnation: Incarnation = { generation, host: placement.host, slot: placement.slot };
  const failures = options.failure === undefined ? vm.failures : countFailure(vm, options, now);
  // A recovery does not ask more of the hosts than the machine before: one of an older version may be left alone.
  const machine = options.reason === 'requested' ? withGuestAgent(vm) : vm;
  return {
    kind: 'commit',
    vm: inPhase(machine, { kind: 'starting', incarnation, reason: options.reason, avoid }, now, {
      generation,
      failures,
      // Pauses of earlier moves were another run's, and a guest that was slow once must not keep it from moving for
      // ever.
      ...(vm.pausesMs === undefined ? {} : { pausesMs: [] }),
      resetRequest: null,
    }),
    event: {
      kind: options.reason === 'requested' ? 'starting' : options.reason,
      message: `${options.why} Generation ${generation} starts on ${placement.host}.`,
    },
    ...(options.quarantine === undefined ? {} : { quarantine: options.quarantine }),
    tasks: [...(options.tasks ?? []), ...interrupted(vm, options.why)],
  };
}

/** A new run counts as a reset: the request to reset the previous run is answered. */
function interrupted(vm: VmRecord, message: string): TaskOutcome[] {
  return vm.resetRequest === null ? [] : [{ id: vm.resetRequest.taskId, state: 'failed', message }];
}

function countFailure(vm: VmRecord, options: StartOptions, now: number): VmRecord['failures'] {
  const { failure: message = '', refusedBy } = options;
  const recent = vm.failures !== null && now - vm.failures.lastAt < STABLE_RUN_MS;
  const count = recent && vm.failures !== null ? vm.failures.count + 1 : 1;
  return { count, lastAt: now, message, ...(refusedBy === undefined ? {} : { refusedBy }) };
}
