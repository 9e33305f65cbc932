/**
 * The part of vm-decision.ts about shared disks that are added and removed while a VM exists.
 * Guarantees: a disk leaves the record only after the running QEMU has closed it and every storage node of the VM was
 * granted a list without it, or when nothing is granted at all; a disk that does not exist yet delays nothing: it is
 * added when it is made; a migration begins only after the source was seen, in this term and for this very request, to
 * have exactly the disks in the record.
 */
import type { ClusterIndex } from '../../model/cluster-index.ts';
import {
  heldSharedDisks,
  type Incarnation,
  sharedDisksOf,
  startedSharedDisks,
  type VmRecord,
  type VmSharedDisk,
} from '../../model/vm.ts';
import { type Decision, perform, type VmSituation, wait } from '../vm/decision.ts';

/**
 * Pauses between attempts to change the disks of a running VM: 0.5 s, doubling, at most 10 s. A guest may hold on to a
 * disk for long.
 */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;

type Disks = Pick<ClusterIndex, 'sharedDisk'>;

/**
 * Returns true if a disk that the VM is to get is not made yet, or its record is not known yet: the disk was never
 * granted to the VM.
 */
function isAwaited({ disk, joining }: VmSharedDisk, index: Disks): boolean {
  return joining === true && (index.sharedDisk(disk)?.phase ?? 'creating') === 'creating';
}

/**
 * The shared disks that the incarnation is to have, and the migration that asked for the check, as one text to compare.
 */
export function sharingOf(vm: VmRecord, index: Disks): string {
  const disks = heldSharedDisks(vm).flatMap((use) => (isAwaited(use, index) ? [] : [`${use.disk}@${use.lun}`]));
  return [...disks.sort(), vm.migrationRequest?.taskId ?? ''].join(' ');
}

/** Returns why the VM cannot start yet; null if all shared disks that it starts with exist. */
export function missingSharedDisk({ vm, cluster }: VmSituation): string | null {
  for (const { disk } of startedSharedDisks(vm)) {
    const record = cluster.index.sharedDisk(disk);
    if (record === null) return `Shared disk ${disk} of ${vm.name} is not known yet.`;
    if (record.phase !== 'ready') return `Shared disk ${record.name} of ${vm.name} is still made on ${record.node}.`;
  }
  return null;
}

/** The next thing about the shared disks of a VM that runs; null if they are as the record says. */
export function decideSharing(situation: VmSituation, incarnation: Incarnation): Decision | null {
  const { vm, acknowledged } = situation;
  if (sharedDisksOf(vm).length === 0) return null;
  const missing = missingSharedDisk(situation);
  if (missing !== null) return wait(missing);
  const { index } = situation.cluster;
  const disks = sharingOf(vm, index);
  const { shared } = acknowledged;
  if (shared !== null && shared.generation === incarnation.generation && shared.disks === disks) {
    return isSettled(vm, index) ? null : settle(vm, index);
  }
  if (situation.see(incarnation).qmp.kind !== 'answers')
    return wait(`Waiting for QMP of ${vm.name} before its shared disks are looked at.`);
  return retryPause(situation) ?? perform({ do: 'share', incarnation, disks });
}

/**
 * A VM of which nothing runs and nothing is granted: what was to come comes with its next start, what was to go is
 * gone.
 */
export function decideSharingStopped({ vm, cluster: { index } }: VmSituation): Decision | null {
  return isSettled(vm, index) ? null : settle(vm, index);
}

function retryPause({ vm, acknowledged, monotonicMs }: VmSituation): Decision | null {
  const { failure } = acknowledged;
  if (failure === null || failure.step.do !== 'share') return null;
  const retryMs = Math.min(RETRY_FIRST_MS * 2 ** (failure.count - 1), RETRY_MAX_MS);
  const left = Math.ceil(failure.at + retryMs - monotonicMs);
  return left > 0 ? wait(`The shared disks of ${vm.name}: ${failure.message}`, left) : null;
}

/** Returns true if no disk has to be attached or detached, apart from disks that are not made yet. */
function isSettled(vm: VmRecord, index: Disks): boolean {
  return sharedDisksOf(vm).every((use) => use.leaving !== true && (use.joining !== true || isAwaited(use, index)));
}

function settle(vm: VmRecord, index: Disks): Decision {
  const held = heldSharedDisks(vm);
  const come = held.filter((use) => use.joining === true && !isAwaited(use, index)).length;
  const gone = sharedDisksOf(vm).length - held.length;
  const sharedDisks = held.map((use) => (isAwaited(use, index) ? use : { disk: use.disk, lun: use.lun }));
  const what = [...(come > 0 ? [`${come} attached`] : []), ...(gone > 0 ? [`${gone} detached`] : [])].join(', ');
  return {
    kind: 'commit',
    vm: { ...vm, spec: { ...vm.spec, sharedDisks } },
    event: { kind: 'shared-disks', message: `Shared disks of ${vm.name}: ${what}.` },
  };
}
