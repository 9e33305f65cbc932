/**
 * What a leader says of hosts once all is quiet: whether each can be drained, whether it can be lost (rule EV1), and
 * which refusals nobody signed for (rule EV2). Compared with what the records say, by code that shares no line with what
 * keeps the verdicts: the checkers of plans for each yes, a search through all places for each no.
 */
import type { HostName } from '../../base/ids.ts';
import { canBeEmptied, canBeLost } from '../../core/check/evacuation-search.ts';
import { checkWitness } from '../../core/check/loss-witness.ts';
import { checkPlan } from '../../core/check/maintenance-plan.ts';
import { MaintenanceWorld } from '../../core/check/maintenance-world.ts';
import { namedIncarnations } from '../../core/check/records.ts';
import type { Controller } from '../../core/loop/controller.ts';
import type { Estate, EstateHost, EstateRule, EstateVm } from '../../core/maintenance/estate.ts';
import type { HostVerdict } from '../../core/maintenance/evacuability.ts';
import { atOnce } from '../../core/maintenance/in-turns.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import type { GuestClusterRecord } from '../../core/model/guest-cluster.ts';
import { releaseNumber } from '../../core/model/release.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { predictPause } from '../../core/plan/migration/pause-prediction.ts';
import type { SimCluster } from '../cluster.ts';

const MIB = 2 ** 20;
/** What a QEMU takes beside its guest's memory (docs/operating/limits.md), in bytes. */
const QEMU_BYTES = 96 * MIB;
/** A VM that was admitted counts on its host for so long before it has one; verdicts settle within a second more. */
const SETTLED_MS = 35_000;
const LOOK_MS = 500;
/** What nobody asked for is said once it has stood for a minute, by a look every ten seconds. */
const SAID_MS = 75_000;
const QUESTIONS = ['drain', 'loss'] as const;

/** Waits until the leader's verdicts are settled and judges them; what is wrong, by rule. */
export async function misjudged(
  cluster: SimCluster,
  isOver: () => boolean,
): Promise<readonly { readonly rule: string; readonly what: string }[]> {
  const { clock } = cluster;
  const isSettled = (): boolean => {
    const estate = cluster.controller?.estate;
    return estate?.isSettled === true && estate.expected().length === 0;
  };
  const until = clock.monotonicMs() + SETTLED_MS;
  while (!isSettled() && clock.monotonicMs() < until && !isOver())
    await clock.run(clock.monotonicMs() + LOOK_MS, isOver);
  const { controller } = cluster;
  if (isOver()) return [];
  if (controller === null || !isSettled())
    return [{ rule: 'EV1-verdicts-hold', what: 'the verdicts are never settled' }];
  const wrong = verdictFaults(controller, estateOf(cluster)).map((what) => ({ rule: 'EV1-verdicts-hold', what }));
  if (wrong.length > 0 || refusals(controller, cluster).length === 0) return wrong;
  await clock.run(clock.monotonicMs() + SAID_MS, isOver);
  // Another leader has not seen for how long it is so.
  if (isOver() || cluster.controller !== controller || !isSettled()) return [];
  return silenceFaults(controller, cluster).map((what) => ({ rule: 'EV2-refusals-are-said', what }));
}

/** Verdicts that are not those of the estate. */
function verdictFaults(controller: Controller, estate: Estate): readonly string[] {
  const world = atOnce(MaintenanceWorld.of(estate));
  return estate.hosts.flatMap(({ name }) => {
    const verdict = controller.estate.verdict(name);
    if (verdict === null) return `${name} has no verdict`;
    return [...drainFaults({ estate, world, name }, verdict), ...lossFaults({ world, name }, verdict)];
  });
}

interface Judged {
  readonly estate: Estate;
  readonly world: MaintenanceWorld;
  readonly name: HostName;
}

function drainFaults({ estate, world, name }: Judged, { drain }: HostVerdict): readonly string[] {
  if (drain.kind === 'cannot')
    return canBeEmptied(world, name) === 'yes'
      ? [`${name} is said not to be drainable (${drain.because[0]}), and is`]
      : [];
  const plan = { kind: 'plan', after: 'away', releaseAfter: null, waves: [drain.wave], movedMib: 0 } as const;
  // The wave's timetable is of the moment when it was planned.
  const progress = { ended: new Set<number>(), begun: new Set<number>(), isRest: true } as const;
  return checkPlan(estate, plan, progress).map((what) => `${name} is said to be drainable: ${what}`);
}

function lossFaults({ world, name }: Omit<Judged, 'estate'>, { loss }: HostVerdict): readonly string[] {
  if (loss.kind === 'can')
    return checkWitness(world, loss.witness).map((what) => `${name} is said to be one that may be lost: ${what}`);
  return canBeLost(world, name) === 'yes'
    ? [`${name} is said to be one that may not be lost (${loss.because[0]})`]
    : [];
}

/** Hosts in service that cannot be drained, or lost, as `question host`. */
function refusals(controller: Controller, { truth: { tables } }: SimCluster): readonly string[] {
  return [...tables.host.values()].flatMap(({ name }) =>
    QUESTIONS.filter((question) => controller.estate.verdict(name)?.[question].kind === 'cannot').map(
      (question) => `${question} ${name}`,
    ),
  );
}

/** What the leader lists of refusals that nobody signed for, compared with what there is. */
function silenceFaults(controller: Controller, cluster: SimCluster): readonly string[] {
  const { tables } = cluster.truth;
  const there = new Set(refusals(controller, cluster));
  const said = new Set(controller.evacuability.standing.map(({ host, question }) => `${question} ${host}`));
  const stale = [...said].filter((each) => !there.has(each)).map((each) => `${each} is listed, and is not so`);
  const isSigned =
    [...tables.vm.values()].some(({ spec, debts = [] }) => debts.length > 0 || (spec.pin ?? null) !== null) ||
    [...tables['guest-cluster'].values()].some(({ members }) => members.length >= tables.host.size);
  if (isSigned || tables.host.size < 2) return stale;
  return [...stale, ...[...there].filter((each) => !said.has(each)).map((each) => `${each} is so, and is not listed`)];
}

/** The estate by the records, when nothing moves. */
function estateOf({ truth: { tables } }: SimCluster): Estate {
  const vms = [...tables.vm.values()].flatMap(vmOf);
  return {
    hosts: [...tables.host.values()].map(hostOf),
    vms,
    rules: rulesOf([...tables.vm.values()], vms),
    guestClusters: [...tables['guest-cluster'].values()].map((cluster) => guestClusterOf(cluster, tables.vm)),
    policy: {
      ...{ vcpuOvercommit: 8, keepRoomForLoss: false, movesPerHost: 2, hostMibPerSecond: 110, moveOverheadMs: 1_500 },
      links: [],
    },
  };
}

function hostOf({
  name,
  rack = null,
  capacity,
  quarantine,
  maintenance = null,
  cordoned,
  release,
}: HostRecord): EstateHost {
  const isAway = maintenance === null ? null : ('maintenance' as const);
  return {
    ...{ name, rack, claimedMib: 0, withoutNetworks: [], withoutStorage: [], link: null },
    state: quarantine === null ? (isAway ?? (cordoned ? 'cordoned' : 'in-service')) : 'quarantined',
    memoryMib: Math.floor(capacity.memoryBytes / MIB),
    vcpus: capacity.vcpus,
    accelerator: capacity.accelerator,
    cpuModels: capacity.cpuModels,
    release: releaseNumber(release),
  };
}

function vmOf(vm: VmRecord): EstateVm[] {
  const [at] = namedIncarnations(vm);
  if (at === undefined) return [];
  const { id, name, spec } = vm;
  const { pin = null, memoryBytes } = spec;
  return [
    {
      ...{ id, name, host: at.host, movingTo: null, storage: [], unsettled: null, dirtyMibPerSecond: null },
      memoryMib: Math.ceil((memoryBytes + QEMU_BYTES) / MIB),
      vcpus: spec.vcpus,
      cpuModel: spec.cpuModel,
      networks: spec.nics.map(({ network }) => network),
      tie: pin === null ? null : { name: `pin of ${name}`, what: 'a pin', hosts: [pin] },
      pauseMs: predictPause({ measuredMs: vm.pausesMs ?? [], memoryBytes }).ms,
    },
  ];
}

function rulesOf(records: readonly VmRecord[], there: readonly EstateVm[]): EstateRule[] {
  const known = new Set(there.map(({ id }) => id));
  const groups = new Map<string, VmRecord['id'][]>();
  for (const { id, spec } of records)
    if (spec.antiAffinity != null && known.has(id))
      groups.set(spec.antiAffinity, [...(groups.get(spec.antiAffinity) ?? []), id]);
  return [...groups].map(([name, vms]) => ({ name, kind: 'apart', by: 'host', hard: true, vms, most: 1 }));
}

function guestClusterOf(
  { name, members, maxDisturbed, toleratesMs, sharesHosts }: GuestClusterRecord,
  vms: ReadonlyMap<string, VmRecord>,
): Estate['guestClusters'][number] {
  const disturbed = members.filter((id) => {
    const vm = vms.get(id);
    return vm !== undefined && (vm.intent !== 'running' || vm.deleting || namedIncarnations(vm).length === 0);
  });
  return { name, members, maxDisturbed, toleratesMs, sharesHosts, disturbed };
}
