/** Records and observations as the API shows them. */
import type {
  ControlNode,
  Disk,
  Event,
  Host,
  Image,
  Network,
  Observations,
  StorageNode,
  Task,
  Verdict,
  Vm,
  VmDetail,
} from '../../api/views.ts';
import type { HostName } from '../../base/ids.ts';
import type {
  BulkWork,
  DiskRecord,
  EventRecord,
  HostRecord,
  ImageRecord,
  NetworkRecord,
  NodeMaintenance,
  StorageRecord,
  TaskRecord,
} from '../../core/model/cluster.ts';
import {
  affinityGroup,
  cardsOf,
  currentIncarnation,
  expectedIncarnations,
  isSameCard,
  migrationPolicyOf,
  sharedDisksOf,
  type VmNic,
  type VmRecord,
  type VmSharedDisk,
} from '../../core/model/vm.ts';
import { removalWait } from '../../core/plan/hosts/lost-host-decision.ts';
import { judgementOf } from '../../core/plan/vm/decision.ts';
import { unreadableFor } from '../../core/plan/vm/unreadable.ts';
import type { Judgement } from '../../core/plan/vm/verdict.ts';
import type { Entry } from '../../core/ports/store.ts';
import { wwnOf } from '../../pki/unit-identity.ts';
import { snapshotOf } from '../store/leader-store.ts';
import type { BackendContext } from './context.ts';
import { hostEvacuability } from './evacuability-views.ts';
import { indexOfStore } from './records-index.ts';
import { silenceOfNode, silenceOfVm } from './storage-silence.ts';
import { undeclaredOf } from './undeclared-of.ts';

/** A view's sources: the records, and what the leader observes. */
export type ViewContext = Pick<BackendContext, 'store' | 'leading'>;

const time = (ms: number): string => new Date(ms).toISOString();
const revisionOf = (entry: Entry<unknown>): string => String(entry.revision);

/** A task; times as RFC 3339 text. */
export function taskView(entry: Entry<TaskRecord>): Task {
  const { id, kind, target, state, progressPercent, message, startedAt, endedAt, parent, bulk } = entry.value;
  return {
    id,
    revision: revisionOf(entry),
    kind,
    target,
    state,
    progressPercent,
    message,
    startedAt: time(startedAt),
    endedAt: endedAt === null ? null : time(endedAt),
    parent: parent ?? null,
    vms: bulk === undefined ? null : countsOf(bulk),
  };
}

function countsOf({ items }: BulkWork): NonNullable<Task['vms']> {
  const counts = { total: items.length, waiting: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 };
  for (const { state } of items) counts[state]++;
  return counts;
}

const OF_JUDGEMENT: Readonly<Record<Judgement['verdict'], Verdict>> = {
  unknown: 'unknown',
  running: 'running',
  paused: 'paused',
  'guest-shutdown': 'guest-shutdown',
  panicked: 'crashed',
  'disk-error': 'storage-trouble',
  incoming: 'migrating',
  'moved-out': 'migrating',
  unresponsive: 'unresponsive',
  crashed: 'crashed',
  lost: 'lost',
};

/** The verdict on a VM, with its reasons. Only the leader observes; another node says so. */
export function verdictOf(
  context: ViewContext,
  vm: VmRecord,
): { readonly verdict: Verdict; readonly because: readonly string[] } {
  const leading = context.leading();
  const since = `since ${time(vm.phaseSince)}`;
  if (vm.phase.kind === 'stopped') {
    const why = leading?.controller.vms.whyOf(vm.id) ?? '';
    const wanted = vm.intent !== 'stopped';
    return {
      verdict: 'stopped',
      because: [
        `No part of it may run, ${since}.`,
        ...(wanted && why !== '' ? [why] : []),
        ...(wanted || vm.failures === null ? [] : [`Its last start failed: ${vm.failures.message}`]),
      ],
    };
  }
  if (leading === null)
    return { verdict: 'unknown', because: ['This control node does not lead, so it observes nothing.'] };
  const current = currentIncarnation(vm.phase);
  const situation = leading.controller.vms.situation(vm);
  const judgement = current === null ? null : judgementOf(situation, current);
  const because = [...(judgement?.because ?? []), `Phase ${vm.phase.kind} ${since}.`];
  if (judgement?.agentless === true && judgement.verdict !== 'lost')
    because.push(`${current?.host ?? ''} is agentless: its VMs are not restarted; they stay manageable over QMP.`);
  const why = leading.controller.vms.whyOf(vm.id);
  if (vm.phase.kind === 'running') {
    // A VM that ended and is not started again waits for something, or for a host.
    if (
      why !== '' &&
      (judgement?.verdict === 'lost' ||
        judgement?.verdict === 'crashed' ||
        judgement?.verdict === 'disk-error' ||
        unreadableFor(vm, snapshotOf(context.store)) !== null ||
        isHeldBack(vm))
    )
      because.push(why);
    // A guest that an undone migration has left halted is shown as paused only if its owner wants it halted.
    const isHalted = judgement?.verdict === 'paused' || judgement?.verdict === 'moved-out';
    if (isHalted && vm.intent === 'suspended') return { verdict: 'suspended', because };
    return { verdict: OF_JUDGEMENT[judgement?.verdict ?? 'unknown'], because };
  }
  if (why !== '') because.push(why);
  if (vm.phase.kind === 'starting' || vm.phase.kind === 'stopping') return { verdict: vm.phase.kind, because };
  return { verdict: 'migrating', because };
}

/** Whether a request waits for a move, or for a shared disk to be attached or removed. */
function isHeldBack(vm: VmRecord): boolean {
  return vm.migrationRequest !== null || sharedDisksOf(vm).some((use) => stateOf(use) !== 'attached');
}

/** The progress of attaching or removing a shared disk of a VM. */
export function stateOf({ joining, leaving }: VmSharedDisk): 'attached' | 'attaching' | 'detaching' {
  if (leaving === true) return 'detaching';
  return joining === true ? 'attaching' : 'attached';
}

/** Returns whether a card is present, comes at the next start, or is removed then. */
function stateOfCard({ spec, nextNics = spec.nics }: VmRecord, card: VmNic): Vm['nics'][number]['state'] {
  if (!spec.nics.some((nic) => isSameCard(nic, card))) return 'attaching';
  return nextNics.some((nic) => isSameCard(nic, card)) ? 'attached' : 'detaching';
}

/** A VM with its verdict; `task`: the one to follow, if any. */
export function vmView(context: ViewContext, entry: Entry<VmRecord>, task: Entry<TaskRecord> | null): Vm {
  const vm = entry.value;
  const { spec, phase } = vm;
  const current = currentIncarnation(phase);
  const { verdict, because } = verdictOf(context, vm);
  const destination = phase.kind === 'migrating' ? phase.destination.host : null;
  return {
    id: vm.id,
    name: vm.name,
    revision: revisionOf(entry),
    verdict,
    host: current?.host ?? null,
    generation: current?.generation ?? vm.generation,
    intent: vm.intent,
    phase: phase.kind,
    phaseSince: time(vm.phaseSince),
    destination,
    because: [...because, ...silenceOfVm(context, vm)],
    spec: {
      vcpus: spec.vcpus,
      memoryBytes: spec.memoryBytes,
      cpuModel: spec.cpuModel,
      firmware: spec.boot.firmware,
      display: spec.display ?? 'none',
      append: spec.boot.firmware === 'direct' ? spec.boot.append : null,
      image: spec.image,
      restartPolicy: spec.restartPolicy,
      antiAffinity: affinityGroup(vm),
      pin: spec.pin ?? null,
      storagePatienceMs: spec.storagePatienceMs,
      migrationPolicy: { ...migrationPolicyOf(vm) },
    },
    nics: cardsOf(vm).map((card) => ({ ...card, state: stateOfCard(vm, card) })),
    disks: spec.disks.map(({ disk, role, bus }) => {
      const record = context.store.disks.get(disk)?.value;
      return { id: disk, role, bus, sizeBytes: record?.sizeBytes ?? 0, node: record?.node ?? null };
    }),
    sharedDisks: sharedDisksOf(vm).map((use) => {
      const record = context.store.sharedDisks.get(use.disk)?.value;
      const { disk: id, lun } = use;
      return { id, name: record?.name ?? id, wwn: wwnOf(id), lun, node: record?.node ?? null, state: stateOf(use) };
    }),
    guestCluster: spec.guestCluster ?? null,
    labels: { ...spec.labels },
    task: task === null ? null : taskView(task),
    failure:
      vm.failures === null
        ? null
        : { count: vm.failures.count, lastAt: time(vm.failures.lastAt), message: vm.failures.message },
    createdAt: time(vm.createdAt),
  };
}

/** A VM with the observations of it: agent, QMP, storage. */
export function vmDetailView(context: ViewContext, entry: Entry<VmRecord>, task: Entry<TaskRecord> | null): VmDetail {
  const { id } = entry.value;
  const undeclared = [...(undeclaredOf(context.store).find(({ vms }) => vms.includes(id))?.because ?? [])];
  return { ...vmView(context, entry, task), observations: observationsOf(context, entry.value), undeclared };
}

function observationsOf(context: ViewContext, vm: VmRecord): Observations {
  const controller = context.leading()?.controller;
  const current = currentIncarnation(vm.phase);
  const seen = controller === undefined || current === null ? null : controller.vms.see(vm, current);
  const agentState =
    seen === null || seen.host.agent === 'unknown' ? 'unknown' : seen.host.agent === 'alive' ? 'alive' : 'dead';
  const endsAt = current === null ? null : controller?.certificateMoves.endsAt(vm.id, current.generation);
  const process = seen === null ? 'unknown' : seen.process === 'absent' ? 'gone' : seen.process;
  return {
    agent: { host: current?.host ?? null, state: agentState, process, ageMs: seen?.host.agentAgeMs ?? null },
    qmp: { ...qmpView(seen?.qmp ?? { kind: 'unknown' }), certificateEndsAt: endsAt == null ? null : time(endsAt) },
    storage: context.store.disksOf(vm.id).map((disk) => {
      const report = controller?.storageObserver.report(disk.node)?.disks.find((reported) => reported.disk === disk.id);
      const grants = report?.grants ?? [];
      const node = controller?.storageObserver.see(disk.node, vm.id, current?.generation ?? null, null);
      return {
        node: disk.node,
        disk: disk.id,
        admitted: grants.map(({ generation }) => generation),
        connected: grants.filter(({ connections }) => connections.length > 0).map(({ generation }) => generation),
        ageMs: node?.ageMs ?? null,
      };
    }),
  };
}

function qmpView(qmp: ReturnType<BackendContextSee>['qmp']): Omit<Observations['qmp'], 'certificateEndsAt'> {
  switch (qmp.kind) {
    case 'unknown':
      return { state: 'unknown', status: null, ageMs: null };
    case 'answers':
      return { state: 'answers', status: qmp.status, ageMs: qmp.ageMs };
    case 'refused':
      return { state: 'refused', status: null, ageMs: qmp.ageMs };
    case 'mute':
    case 'silent':
      return { state: 'silent', status: null, ageMs: qmp.ageMs };
  }
}
type BackendContextSee = NonNullable<ReturnType<ViewContext['leading']>>['controller']['vms']['see'];

/** A host with the observations of it, and whether it can be drained and lost. */
function vmsWith(context: ViewContext, host: HostName): readonly VmRecord[] {
  const ids = [...indexOfStore(context.store).vmsOn(host)].sort();
  return ids.flatMap((id) => context.store.vms.get(id)?.value ?? []);
}

/** A host with what is observed of it, and whether it can be drained and lost. */
export function hostView(context: ViewContext, entry: Entry<HostRecord>): Host {
  const { value: host } = entry;
  const seen = context.leading()?.controller.observer.see(host.name);
  return {
    name: host.name,
    revision: revisionOf(entry),
    agent: seen?.agent === 'alive' ? 'alive' : 'dead',
    agentAgeMs: seen?.agentAgeMs ?? null,
    evacuability: hostEvacuability(context, host.name),
    maintenance: maintenanceView(host),
    rack: host.rack ?? null,
    cordoned: host.cordoned,
    quarantined: host.quarantine !== null,
    quarantineReason: host.quarantine?.reason ?? null,
    lost: lostView(context, host),
    vms: vmsWith(context, host.name)
      .filter((vm) => expectedIncarnations(vm.phase)[0]?.host === host.name)
      .map(({ name }) => name)
      .sort(),
    memoryUsedBytes: indexOfStore(context.store).committedBytes(host.name),
    memoryTotalBytes: host.capacity.memoryBytes,
    vcpus: host.capacity.vcpus,
    accelerator: host.capacity.accelerator,
    cpuModels: [...host.capacity.cpuModels],
    release: { agent: host.release?.agent ?? null, qemu: host.release?.qemu ?? null },
    addresses: { ...host.addresses },
    joinedAt: time(host.joinedAt),
  };
}

/** VMs that the view of a lost host names. */
const WAITS_MAX = 10;

/** Why the record of a host that was declared lost is still there; null for a member. */
function lostView(context: ViewContext, { name, lost }: HostRecord): Host['lost'] {
  if (lost === undefined) return null;
  const index = indexOfStore(context.store);
  const { vms = [], unreadable = null } = removalWait(index, context.store.unreadable, name) ?? {};
  const whys = vms.slice(0, WAITS_MAX).flatMap((id) => {
    const vm = index.vm(id);
    if (vm === null) return [];
    const why = context.leading()?.controller.vms.whyOf(id) ?? 'the leader knows why';
    return [`${vm.name} (${vm.phase.kind}): ${why}`];
  });
  const more = vms.length > WAITS_MAX ? [`${vms.length - WAITS_MAX} more VMs`] : [];
  return {
    since: time(lost.at),
    by: lost.by,
    waitsFor: [...whys, ...more, ...(unreadable === null ? [] : [unreadable])],
  };
}

function maintenanceView({ maintenance = null }: HostRecord): Host['maintenance'] {
  if (maintenance === null) return null;
  const { drain, since, reason, isEmpty = false } = maintenance;
  return { drain, isEmpty, since: time(since), reason };
}

/** A storage node; sizes are null while it does not answer. */
export function storageView(context: ViewContext, entry: Entry<StorageRecord>): StorageNode {
  const { value: node } = entry;
  const observer = context.leading()?.controller.storageObserver;
  const report = observer?.report(node.name) ?? null;
  const { disks: own, sharedDisks } = context.store;
  const disks = [...own.values(), ...sharedDisks.values()].filter(({ value }) => value.node === node.name).length;
  return {
    name: node.name,
    revision: revisionOf(entry),
    state: node.lost !== undefined ? 'lost' : observer?.answers(node.name) === true ? 'alive' : 'dead',
    served: observer?.silences().get(node.name)?.served ?? null,
    because: silenceOfNode(context, node.name),
    ageMs: observer === undefined ? null : ageOf(observer.see(node.name, '' as never, null, null).ageMs),
    version: report?.version ?? null,
    addresses: { ...node.addresses },
    disks,
    usedBytes: report === null ? null : report.pool.totalBytes - report.pool.freeBytes,
    totalBytes: report?.pool.totalBytes ?? null,
    room: context.leading()?.controller.pools.levelOf(node.name) ?? null,
    faults: (report?.faults ?? []).map(({ message }) => message),
    maintenance: nodeMaintenanceView(node.maintenance),
    joinedAt: time(node.joinedAt),
  };
}

/** When a node was taken out of service, and why; null: it is in service. */
export function nodeMaintenanceView(maintenance: NodeMaintenance | undefined): ControlNode['maintenance'] {
  if (maintenance === undefined) return null;
  const { since, who, reason, change = null } = maintenance;
  return { since: time(since), who, reason, change };
}

const ageOf = (ms: number | null): number | null => (ms === null ? null : Math.max(0, ms));

/** A network with its reservations, VMs by name. */
export function networkView(context: ViewContext, entry: Entry<NetworkRecord>): Network {
  const { name, vni, cidr, gateway, dhcp, nat, metadata = false, reservations, createdAt } = entry.value;
  return {
    name,
    revision: revisionOf(entry),
    vni,
    cidr,
    gateway,
    dhcp,
    nat,
    metadata,
    reservations: Object.entries(reservations).map(([mac, { address, vm, hostname }]) => ({
      mac,
      address,
      vm: context.store.vms.get(vm)?.value.name ?? vm,
      hostname,
    })),
    createdAt: time(createdAt),
  };
}

/** An image and the nodes that hold its files. */
export function imageView(entry: Entry<ImageRecord>): Image {
  const { name, disk, direct, defaults, minMemoryBytes = null, nodes, createdAt } = entry.value;
  const made = { nodes: [...nodes], createdAt: time(createdAt) };
  return { name, revision: revisionOf(entry), disk, direct, defaults, minMemoryBytes, ...made };
}

/** A disk with the VM that owns it, by name. */
export function diskView(context: ViewContext, entry: Entry<DiskRecord>): Disk {
  const { id, vm, node, sizeBytes, source, phase } = entry.value;
  const owner = context.store.vms.get(vm)?.value;
  return {
    id,
    revision: revisionOf(entry),
    vm: owner?.name ?? vm,
    role: owner?.spec.disks.find(({ disk }) => disk === id)?.role ?? 'data',
    node,
    sizeBytes,
    source: source.kind,
    phase,
  };
}

/** An event as it was recorded. */
export function eventView(entry: Entry<EventRecord>): Event {
  const { at, kind, vm, vmName, host, generation, message } = entry.value;
  return { revision: revisionOf(entry), at: time(at), kind, vm: vmName, vmId: vm, host, generation, message };
}
