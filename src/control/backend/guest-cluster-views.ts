/**
 * Shared disks and guest clusters as the API shows them: who has what, who holds what, and what each member may do now.
 */

import type { GuestCluster, SharedDisk } from '../../api/views.ts';
import type { HostName, VmId } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import type { GuestClusterRecord, ReservationRecord, SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import { noticeEventId } from '../../core/model/move-notice.ts';
import { vmOfInitiator } from '../../core/model/shared-disk-identity.ts';
import { currentIncarnation, sharedDisksOf, type VmRecord } from '../../core/model/vm.ts';
import { disturbedMembers, moveObstacle } from '../../core/plan/guest-clusters/guest-cluster-limits.ts';
import { predictPause } from '../../core/plan/migration/pause-prediction.ts';
import { place } from '../../core/plan/placement/placement.ts';
import type { Entry } from '../../core/ports/store.ts';
import { RESERVATION_TYPE } from '../../core/scsi/reservations.ts';
import { wwnOf } from '../../pki/unit-identity.ts';
import { indexOfStore } from './records-index.ts';
import { undeclaredOf } from './undeclared-of.ts';
import { stateOf, taskView, type ViewContext, verdictOf } from './views.ts';

type MemberView = GuestCluster['members'][number];
type DiskView = GuestCluster['disks'][number];
type May = MemberView['may']['migrate'];

const time = (ms: number): string => new Date(ms).toISOString();

const TYPES: Readonly<Record<number, string>> = {
  [RESERVATION_TYPE.writeExclusive]: 'write exclusive',
  [RESERVATION_TYPE.exclusiveAccess]: 'exclusive access',
  [RESERVATION_TYPE.writeExclusiveRegistrantsOnly]: 'write exclusive, registrants only',
  [RESERVATION_TYPE.exclusiveAccessRegistrantsOnly]: 'exclusive access, registrants only',
  [RESERVATION_TYPE.writeExclusiveAllRegistrants]: 'write exclusive, all registrants',
  [RESERVATION_TYPE.exclusiveAccessAllRegistrants]: 'exclusive access, all registrants',
};

/** A shared disk with the VMs that have it and the reservations on it. */
export function sharedDiskView(context: ViewContext, entry: Entry<SharedDiskRecord>): SharedDisk {
  const { guestCluster, tasks, createdAt } = entry.value;
  return {
    ...diskFields(context, entry.value),
    revision: String(entry.revision),
    guestCluster,
    task: lastTask(context, tasks),
    createdAt: time(createdAt),
  };
}

/** A guest cluster that somebody declared. */
export function guestClusterView(context: ViewContext, entry: Entry<GuestClusterRecord>): GuestCluster {
  const { value: cluster, revision } = entry;
  const seen = seenBy(context);
  return {
    name: cluster.name,
    revision: String(revision),
    declared: true,
    because: [],
    deleting: cluster.deleting === true,
    members: membersOf(context, cluster.members),
    disks: cluster.disks.flatMap((id) => {
      const record = context.store.sharedDisks.get(id)?.value;
      return record === undefined ? [] : [diskFields(context, record)];
    }),
    heartbeatNetworks: [...cluster.heartbeatNetworks],
    maxDisturbed: cluster.maxDisturbed,
    disturbed: seen === null ? [] : disturbedMembers(cluster, seen).map(({ why }) => why),
    toleratesMs: cluster.toleratesMs,
    noticeMs: cluster.noticeMs ?? null,
    readyCheck: cluster.readyCheck ?? null,
    quiet: [...(cluster.quiet ?? [])],
    sharesHosts: cluster.sharesHosts,
    task: lastTask(context, cluster.tasks),
    createdAt: time(cluster.createdAt),
  };
}

/** The views of undeclared guest clusters. */
export function undeclaredViews(context: ViewContext): readonly GuestCluster[] {
  return undeclaredOf(context.store).map(({ disks, vms, because }) => ({
    name: null,
    revision: null,
    declared: false,
    because: [...because],
    deleting: false,
    members: membersOf(context, vms),
    disks: disks.flatMap((id) => {
      const record = context.store.sharedDisks.get(id)?.value;
      return record === undefined ? [] : [diskFields(context, record)];
    }),
    heartbeatNetworks: [],
    maxDisturbed: null,
    disturbed: [],
    toleratesMs: null,
    noticeMs: null,
    readyCheck: null,
    quiet: [],
    sharesHosts: true,
    task: null,
    createdAt: null,
  }));
}

function seenBy(context: ViewContext) {
  const controller = context.leading()?.controller;
  if (controller === undefined) return null;
  return { index: indexOfStore(context.store), seesRunning: (vm: VmRecord) => controller.vms.seesRunning(vm) };
}

function membersOf(context: ViewContext, ids: readonly VmId[]): MemberView[] {
  return ids.flatMap((id): MemberView[] => {
    const vm = context.store.vms.get(id)?.value;
    if (vm === undefined) return [];
    const current = currentIncarnation(vm.phase);
    return [
      {
        vm: vm.name,
        id,
        host: current?.host ?? null,
        generation: current?.generation ?? vm.generation,
        verdict: verdictOf(context, vm).verdict,
        phase: vm.phase.kind,
        notice: noticeOf(vm),
        pause: pauseOf(vm),
        may: { ...movesOf(context, vm), snapshot: no('This version takes no snapshots of VMs.') },
      },
    ];
  });
}

function pauseOf({ pausesMs = [], spec }: VmRecord): MemberView['pause'] {
  const { ms, because } = predictPause({ measuredMs: pausesMs, memoryBytes: spec.memoryBytes });
  return { foretoldMs: ms, because, measuredMs: [...pausesMs] };
}

function noticeOf({ id, notice }: VmRecord): MemberView['notice'] {
  if (notice === undefined) return null;
  const { state, ended, givenAt, forMs } = notice;
  return { event: noticeEventId(id, notice), state, ended, givenAt: time(givenAt), notBefore: time(givenAt + forMs) };
}

const no = (reason: string): May => ({ allowed: false, reason });

/** A drain waits for what passes; a move that is asked for now does so as well, but cannot begin now. */
function movesOf(context: ViewContext, vm: VmRecord): { readonly migrate: May; readonly drain: May } {
  const both = (may: May) => ({ migrate: may, drain: may });
  const controller = context.leading()?.controller;
  const seen = seenBy(context);
  if (controller === undefined || seen === null) return both(no('Not known: this control node does not lead.'));
  if (vm.phase.kind === 'stopped') return { migrate: no('It does not run.'), drain: { allowed: true, reason: null } };
  if (vm.phase.kind !== 'running') return both(no(`It is in phase ${vm.phase.kind}.`));
  const { host } = vm.phase.incarnation;
  const seeHost = (name: HostName) => controller.observer.see(name);
  const placement = place({ vm, index: seen.index, seeHost, exclude: [host], only: null, isOver: false });
  if (placement.kind === 'nowhere') return both(no(`No other host can take it. ${placement.reasons.join('; ')}.`));
  const obstacle = moveObstacle(vm, seen);
  if (obstacle === null) return both({ allowed: true, reason: null });
  return { migrate: no(obstacle.why), drain: { allowed: obstacle.passes, reason: obstacle.why } };
}

function diskFields(context: ViewContext, disk: SharedDiskRecord): DiskView {
  const { id, name, node, sizeBytes, blockBytes, phase } = disk;
  const error = context.leading()?.controller.sharedDisks.errorOf(id) ?? null;
  return {
    ...{ id, name, wwn: wwnOf(id), node, sizeBytes, blockBytes, phase, error },
    vms: [...indexOfStore(context.store).usersOf(id)]
      .flatMap((vm) => {
        const record = context.store.vms.get(vm)?.value;
        const use = record === undefined ? undefined : sharedDisksOf(record).find((each) => each.disk === id);
        return record === undefined || use === undefined
          ? []
          : [{ vm: record.name, lun: use.lun, state: stateOf(use) }];
      })
      .sort((a, b) => (a.vm < b.vm ? -1 : 1)),
    ...holdersOf(context, context.store.reservations.get(id)?.value ?? null),
  };
}

function holdersOf(
  { store }: ViewContext,
  record: ReservationRecord | null,
): Pick<DiskView, 'registrations' | 'reservation'> {
  if (record === null) return { registrations: [], reservation: null };
  const nameOf = (nexus: string): string | null => {
    const vm = vmOfInitiator(nexus);
    return vm === undefined ? null : (store.vms.get(vm)?.value.name ?? null);
  };
  const { registrations, reservation } = record.state;
  return {
    registrations: registrations.map(({ nexus, key }) => {
      const since = own(record.registeredAt, nexus);
      return { vm: nameOf(nexus), initiator: nexus, key, since: since === undefined ? null : time(since) };
    }),
    reservation:
      reservation === null
        ? null
        : {
            type: TYPES[reservation.type] ?? `type ${reservation.type}`,
            holder: reservation.holder === null ? null : (nameOf(reservation.holder) ?? reservation.holder),
            since: record.reservedAt === null ? null : time(record.reservedAt),
          },
  };
}

function lastTask({ store }: ViewContext, tasks: readonly string[] | undefined): SharedDisk['task'] {
  const entry = store.tasks.get(tasks?.at(-1) ?? '');
  return entry === undefined ? null : taskView(entry);
}
