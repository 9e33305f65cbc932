/**
 * A wish to migrate, until the migration begins or is refused. Pure. Everything that moves a VM writes such a wish:
 * people, drains and rolls.
 * Guarantees: a member of a guest cluster that declared a notice moves only after its guest acknowledged the notice, or
 * after this leader has known of it for its whole time; nothing else delays a move for the guest's sake; if a move does
 * not take place, its notice is taken back.
 */
import type { Generation, HostName } from '../../../base/ids.ts';
import { nextGeneration } from '../../../base/ids.ts';
import type { MoveNotice } from '../../model/move-notice.ts';
import { type Incarnation, type VmPhase, type VmRecord, withoutNotice } from '../../model/vm.ts';
import { moveObstacle } from '../guest-clusters/guest-cluster-limits.ts';
import { place } from '../placement/placement.ts';
import { type Decision, inPhase, type VmSituation, wait } from '../vm/decision.ts';

/** How long a migration waits for QMP of its source before it is refused, in ms. */
const SOURCE_PATIENCE_MS = 60_000;
/** The longest a live migration may take before it is undone. */
const MIGRATION_DEADLINE_MS = 600_000;
/** How long a migration waits for other members of the VM's guest cluster, and how often it checks. */
const MEMBER_WAIT_MS = 600_000;
const MEMBER_LOOK_MS = 500;

type Request = NonNullable<VmRecord['migrationRequest']>;

/** Decides about a wish to migrate of a VM that runs as `source`. */
export function beginMigration(situation: VmSituation, source: Incarnation, request: Request): Decision {
  const { vm, cluster, now } = situation;
  const refuse = (message: string): Decision => ({
    kind: 'commit',
    vm: withoutNotice({ ...vm, migrationRequest: null }),
    event: { kind: 'migration-refused', message },
    tasks: [{ id: request.taskId, state: 'failed', message }],
  });
  if (request.to === source.host) return refuse(`${vm.name} is on ${source.host} already.`);
  const obstacle = moveObstacle(vm, cluster);
  if (obstacle !== null) {
    const isTooLate = askedForMs(situation, request) >= MEMBER_WAIT_MS;
    if (!obstacle.passes) return refuse(`${obstacle.why} ${vm.name} keeps running where it is.`);
    if (isTooLate)
      return refuse(`${obstacle.why} That has been so for too long; ${vm.name} keeps running where it is.`);
    return wait(`${obstacle.why} ${vm.name} is moved after that.`, MEMBER_LOOK_MS);
  }
  const { qmp } = situation.see(source);
  if (qmp.kind !== 'answers') {
    const isTooLate = askedForMs(situation, request) >= SOURCE_PATIENCE_MS;
    if (isTooLate) return refuse(`QMP of ${vm.name} on ${source.host} does not answer. It stays there.`);
    return wait(`Waiting for QMP of ${vm.name} before it is migrated.`);
  }
  // A guest that is to run was continued before. QEMU sends a guest again only after the guest has run since it was
  // last sent.
  if (qmp.status === 'postmigrate')
    return refuse(
      `${vm.name} is paused where a migration was undone at its very end, and QEMU moves it again only after its guest has run. ` +
        `It stays on ${source.host}, paused. Continue it with "gp vm resume ${vm.name}", then migrate it.`,
    );
  const { index, seeHost } = cluster;
  const from = index.host(source.host);
  const placement = place({
    vm,
    index,
    seeHost,
    exclude: [source.host],
    only: request.to,
    isOver: false,
    ...(from === null ? {} : { from }),
  });
  // A new leader has not heard from every host yet: it refuses only when it knows.
  if (placement.kind === 'nowhere' && !cluster.areAllHostsAsked())
    return wait(`Not every host was asked yet whether it can take ${vm.name}.`);
  if (placement.kind === 'nowhere')
    return refuse(`No host can take ${vm.name}. ${placement.reasons.join('; ')}. It keeps running where it is.`);
  const notice = decideNotice(situation, placement.host);
  if ('kind' in notice) return notice;
  const generation: Generation = nextGeneration(vm.generation);
  const destination: Incarnation = { generation, host: placement.host, slot: placement.slot };
  const phase: VmPhase = {
    kind: 'migrating',
    source,
    destination,
    taskId: request.taskId,
    deadlineAt: now + MIGRATION_DEADLINE_MS,
  };
  return {
    kind: 'commit',
    vm: inPhase(awaitedVm(situation), phase, now, { generation, migrationRequest: null, ...notice }),
    event: {
      kind: 'migrating',
      message: `${vm.name} migrates from ${source.host} to ${destination.host}, generation ${generation}.`,
    },
  };
}

/** How long a wish has waited, without the time of its notice: the cluster could not shorten that. */
function askedForMs({ vm, now }: VmSituation, { askedAt }: Request): number {
  const told = vm.notice?.state === 'scheduled' ? vm.notice.forMs : 0;
  return now - (askedAt ?? vm.phaseSince) - told;
}

/**
 * Gives the guest notice, or waits for the end of the notice's time; otherwise the record's notice for when the move
 * begins.
 */
function decideNotice(situation: VmSituation, to: HostName): Decision | Pick<VmRecord, 'notice'> {
  const { vm, cluster, notice: known, now } = situation;
  const { notice } = vm;
  if (notice?.state !== 'scheduled') {
    const { noticeMs } = cluster.index.guestClusterOf(vm) ?? {};
    return noticeMs === undefined ? {} : giveNotice(situation, noticeMs, to);
  }
  const started = (ended: MoveNotice['ended']): Pick<VmRecord, 'notice'> => ({
    notice: { ...notice, state: 'started', ended },
  });
  if (known.isAcknowledged) return started('acknowledged');
  // A time that was declared since counts if it is shorter: nobody waits for longer than is declared now.
  const forMs = Math.min(notice.forMs, cluster.index.guestClusterOf(vm)?.noticeMs ?? 0);
  const leftMs = Math.ceil(forMs - known.knownForMs);
  // A clock that goes back must not make it longer: the time is this leader's own.
  if (leftMs <= 0) return started('time');
  const until = new Date(now + leftMs).toISOString();
  return wait(`The guest of ${vm.name} has notice of its move until ${until}, unless it acknowledges earlier.`, leftMs);
}

function giveNotice({ vm, now }: VmSituation, forMs: number, to: HostName): Decision {
  const number = (vm.notice?.number ?? 0) + 1;
  return {
    kind: 'commit',
    vm: { ...vm, notice: { number, state: 'scheduled', forMs, givenAt: now, ended: null } },
    event: {
      kind: 'move-noticed',
      message: `The guest of ${vm.name} is told that it moves, to ${to} as things are: once it acknowledges, at the latest in ${forMs / 1000} s.`,
    },
  };
}

/** Takes back the notice of a move that nobody wants any more; null if there is none. */
export function withdrawNotice({ vm }: VmSituation): Decision | null {
  const without = withoutNotice(vm);
  if (without === vm) return null;
  return {
    kind: 'commit',
    vm: without,
    event: { kind: 'notice-withdrawn', message: `${vm.name} does not move, and its guest is told so.` },
  };
}

/**
 * The condition that a member must meet after its move: it has the keys that it has now. How it was seen healthy after
 * an earlier move does not count for this one.
 */
function awaitedVm({ vm: { seenHealthy: _, ...vm }, cluster }: VmSituation): VmRecord {
  return cluster.index.guestClusterOf(vm) === null ? vm : { ...vm, settling: { registered: cluster.registeredOn(vm) } };
}
