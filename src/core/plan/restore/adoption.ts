/**
 * Decides about a VM whose record comes from a snapshot, once it is known which of its incarnations run: one is adopted
 * and runs on, or all of them are fenced. Pure.
 * Guarantees: only a generation that storage serves on every disk of the VM is adopted (a served generation was neither
 * fenced nor revoked, however old the record is), and of several the lowest: a later one was never continued, because
 * that comes after the fence of the one before; no decision is made before each storage node of the VM follows this
 * epoch and so refuses orders of leaders from before; if hosts contradict each other about a place, it is not adopted,
 * and the record outweighs every host's report; no incarnation is fenced while its guest may run on a host that has not
 * been heard from. The answer lists the orders that must be acknowledged before the caller commits.
 */
import type { DiskId, Generation, HostName, StorageName } from '../../../base/ids.ts';
import { listed } from '../../../base/listed.ts';
import type { DiskRecord } from '../../model/cluster.ts';
import { expectedIncarnations, type Incarnation, type VmPhase, type VmRecord } from '../../model/vm.ts';
import type { RunningIncarnation } from '../../ports/host-link.ts';
import type { Decision, TaskOutcome } from '../vm/decision.ts';

/** A process of the VM, as its host's agent reports it. */
export interface SeenProcess extends Pick<RunningIncarnation, 'generation' | 'slot'> {
  readonly host: HostName;
}

/** A storage node's report about one disk. */
export interface SeenDisk {
  readonly disk: DiskId;
  readonly node: StorageName;
  /** `unheard`: the node has not answered in this epoch. `missing`: it has no such disk. */
  readonly state: 'unheard' | 'missing' | 'there';
  readonly grants: readonly Generation[];
}

/** Everything that the decision about one VM is made from. */
export interface AdoptionSituation {
  readonly vm: VmRecord;
  /** The disks of its own. */
  readonly disks: readonly { readonly record: DiskRecord; readonly seen: SeenDisk }[];
  /** Nodes of its shared disks that have not answered in this epoch. */
  readonly unheardShared: readonly StorageName[];
  readonly processes: readonly SeenProcess[];
  /** Hosts whose agents do not answer. */
  readonly unheardHosts: readonly HostName[];
  /** The silent hosts whose kernels are silent too: nobody reaches their processes, and these are given up. */
  readonly silentHosts: readonly HostName[];
  readonly now: number;
}

export type Adoption =
  | { readonly kind: 'wait'; readonly why: string }
  | {
      readonly kind: 'settle';
      /** Storage nodes must acknowledge that everything below is revoked. */
      readonly fenceBelow: Generation;
      /** The storage nodes must also revoke each of these. */
      readonly revoke: readonly Generation[];
      /** Disks that were made since the snapshot, or are missing, contrary to their records. */
      readonly corrected: readonly DiskRecord[];
      readonly commit: Extract<Decision, { kind: 'commit' }>;
    };

/** Decides about one VM. */
export function decideAdoption(situation: AdoptionSituation): Adoption {
  const { vm, disks, unheardShared } = situation;
  const unheard = [...disks.flatMap(({ seen }) => (seen.state === 'unheard' ? [seen.node] : [])), ...unheardShared];
  const [node] = unheard;
  if (node !== undefined) return wait(`storage node ${node} has not reported in this epoch which disks it serves`);
  const [generation] = disks.length === 0 ? toldByHosts(situation) : servedOnAll(situation);
  if (generation === undefined) {
    const hosts = mayRun(situation);
    if (disks.length === 0 && hosts.length > 0)
      return wait(`it has no disk to tell by, and may run on ${listed(hosts)}`);
    return fenceAll(situation, `${vm.name}: storage serves no incarnation of this VM.`);
  }
  const place = placeOf(situation, generation);
  if (place !== null && typeof place === 'object' && 'claimedBy' in place)
    return wait(
      `${listed(place.claimedBy)} each say that it runs there, and at most one is right: see which, and remove the others (gp host remove)`,
    );
  if (place === 'unknown')
    return wait(`storage serves generation ${generation} to a silent host: it may be ${listed(mayRun(situation))}`);
  if (place === null) return fenceAll(situation, `${vm.name}: generation ${generation} runs on no host.`);
  const served = [...new Set(disks.flatMap(({ seen }) => seen.grants))];
  return settle(situation, {
    fenceBelow: generation,
    revoke: served.filter((other) => other > generation),
    phase: { kind: 'running', incarnation: place },
    message: `${vm.name} was adopted: generation ${generation} runs on ${place.host}.`,
  });
}

/** Generations that every disk of the VM's own is granted to, the lowest first. */
function servedOnAll({ disks }: AdoptionSituation): readonly Generation[] {
  const [first, ...rest] = disks.filter(({ seen }) => seen.state === 'there');
  const everywhere = (first?.seen.grants ?? []).filter((one) => rest.every(({ seen }) => seen.grants.includes(one)));
  return everywhere.toSorted((a, b) => a - b);
}

/**
 * A VM without a disk of its own can be judged only by hosts: the generations that they report, the newest first.
 * Generations that the record knows come before anything else that a host reports.
 */
function toldByHosts(situation: AdoptionSituation): readonly Generation[] {
  const processes = possible(situation);
  const known = processes.filter((process) => recordedOf(situation, process.generation)?.host === process.host);
  const told = known.length > 0 ? known : processes;
  return told.map(({ generation }) => generation).toSorted((a, b) => b - a);
}

/** Processes but those of a generation that was never given. */
function possible({ vm, processes }: AdoptionSituation): readonly SeenProcess[] {
  return processes.filter(({ generation }) => generation <= vm.generation);
}

function recordedOf({ vm }: AdoptionSituation, generation: Generation): Incarnation | undefined {
  return expectedIncarnations(vm.phase).find((incarnation) => incarnation.generation === generation);
}

/**
 * The place where a generation runs: the record's, if it has one, since an incarnation never changes its place
 * (verdicts decide whether it is still there); or the place that one host reports. Null: nowhere. If hosts contradict
 * each other none is believed: adopting one incarnation ends those on the other hosts.
 */
function placeOf(
  situation: AdoptionSituation,
  generation: Generation,
): Incarnation | 'unknown' | { readonly claimedBy: readonly HostName[] } | null {
  const { disks, unheardHosts } = situation;
  const processes = possible(situation);
  const told = processes.filter((process) => process.generation === generation);
  const recorded = recordedOf(situation, generation);
  const seen = recorded === undefined ? told[0] : told.find(({ host }) => host === recorded.host);
  if (recorded !== undefined && seen === undefined && unheardHosts.includes(recorded.host)) return recorded;
  const claimedBy = [...new Set((disks.length === 0 ? processes : told).map(({ host }) => host))];
  if (recorded === undefined && claimedBy.length > 1) return { claimedBy };
  if (seen !== undefined) return { generation, host: seen.host, slot: seen.slot };
  return mayRun(situation).length > 0 ? 'unknown' : null;
}

/** The hosts on which something may run that no agent reports. */
function mayRun({ unheardHosts, silentHosts }: AdoptionSituation): readonly HostName[] {
  return unheardHosts.filter((host) => !silentHosts.includes(host));
}

function fenceAll(situation: AdoptionSituation, why: string): Adoption {
  const { vm, disks } = situation;
  const missing = disks.filter(({ seen, record }) => seen.state === 'missing' && record.phase !== 'deleting');
  const isGone = missing.length > 0 && !vm.deleting;
  const lost = isGone
    ? ` Its disk ${missing.map(({ record }) => record.id).join(', ')} is not there: it was deleted after the snapshot. Delete the VM: gp vm delete ${vm.name}.`
    : ' Everything of it was fenced.';
  return settle(situation, {
    fenceBelow: (vm.generation + 1) as Generation,
    revoke: [],
    phase: { kind: 'stopped' },
    message: `${why}${lost}`,
    ...(isGone ? { intent: 'stopped' } : {}),
  });
}

function settle(
  { vm, disks, now }: AdoptionSituation,
  outcome: {
    readonly fenceBelow: Generation;
    readonly revoke: readonly Generation[];
    readonly phase: VmPhase;
    readonly message: string;
    readonly intent?: VmRecord['intent'];
  },
): Adoption {
  const { restored: _, unfenced: _fenced, ...record } = vm;
  const { phase, fenceBelow, revoke, message } = outcome;
  // A running VM was meant to run: somebody started it after the snapshot.
  const meant = phase.kind === 'running' && vm.intent === 'stopped' && !vm.deleting ? 'running' : vm.intent;
  const corrected = disks.flatMap(({ record: disk, seen }): readonly DiskRecord[] => {
    if (seen.state === 'missing' && disk.phase !== 'deleting' && !vm.deleting) return [{ ...disk, missing: true }];
    return disk.phase === 'creating' && seen.state === 'there' ? [{ ...disk, phase: 'ready' }] : [];
  });
  const settled: VmRecord = { ...record, phase, phaseSince: now, intent: outcome.intent ?? meant };
  if (phase.kind !== 'stopped') {
    const event = { kind: 'adopted', message };
    const tasks: TaskOutcome[] = vm.startTask === null ? [] : [{ id: vm.startTask, state: 'succeeded', message }];
    const adopted = { ...settled, startTask: null };
    return { kind: 'settle', fenceBelow, revoke, corrected, commit: { kind: 'commit', vm: adopted, event, tasks } };
  }
  const isNotStarted = settled.intent === 'stopped';
  const over = [vm.resetRequest?.taskId, vm.migrationRequest?.taskId, vm.cancelRequest?.taskId, vm.pauseTask];
  const tasks = [...over, isNotStarted ? vm.startTask : null].flatMap((id): TaskOutcome[] =>
    id === null || id === undefined ? [] : [{ id, state: 'failed', message }],
  );
  const wishes = { resetRequest: null, migrationRequest: null, cancelRequest: null, pauseTask: null };
  const kept = { ...settled, ...wishes, ...(isNotStarted ? { startTask: null } : {}) };
  const event = { kind: 'fenced-after-restore', message };
  return { kind: 'settle', fenceBelow, revoke, corrected, commit: { kind: 'commit', vm: kept, event, tasks } };
}

const wait = (why: string): Adoption => ({ kind: 'wait', why: `It was restored from a snapshot: ${why}.` });
