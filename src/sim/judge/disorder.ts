/**
 * What is not as it should be once everything works again; empty when the cluster has converged. Written from the
 * records' meaning alone.
 */
import type { VmRecord } from '../../core/model/vm.ts';
import type { SimCluster } from '../cluster.ts';
import { isHeard } from '../network/overlay.ts';

/** One sentence for each thing that is wrong. */
export function disorder(cluster: SimCluster): string[] {
  const { tables } = cluster.truth;
  const wrong: string[] = [];
  for (const vm of tables.vm.values()) wrong.push(...disorderOf(cluster, vm));
  for (const host of tables.host.values()) {
    const isWaited = [...cluster.qemus].some(
      ({ order, process }) => cluster.truth.forgotten.has(order.vm) && process.machine.name === host.name,
    );
    if (host.quarantine !== null && !isWaited) wrong.push(`${host.name} is quarantined`);
    if (host.lost !== undefined) wrong.push(`${host.name} was declared lost and is not removed`);
    if (host.cordoned) wrong.push(`${host.name} is cordoned`);
    if ((host.maintenance ?? null) !== null) wrong.push(`${host.name} is in maintenance`);
  }
  for (const { order, process, key } of cluster.qemus) {
    if (cluster.truth.forgotten.has(order.vm)) continue;
    const { phase } = tables.vm.get(order.vm) ?? { phase: { kind: 'gone' } as const };
    const isNamed =
      'incarnation' in phase &&
      phase.incarnation.generation === order.generation &&
      phase.incarnation.host === process.machine.name;
    if (!isNamed) wrong.push(`${key} runs on ${process.machine.name} and nobody knows it`);
  }
  const waiting = new Set([...tables.vm.values()].flatMap((vm) => waitingTasks(cluster, vm)));
  wrong.push(...deafness(cluster));
  for (const task of tables.task.values())
    if (task.state === 'running' && !waiting.has(task.id))
      wrong.push(`task ${task.id} (${task.kind}) does not end: ${task.message}`);
  for (const disk of tables['shared-disk'].values())
    if (disk.phase !== 'ready') wrong.push(`shared disk ${disk.name} (${disk.id}) is still ${disk.phase}`);
  for (const { id, state, hosts } of tables.drain.values())
    if (state !== 'drained' && state !== 'cancelled') wrong.push(`${id} of ${hosts.join(', ')} is still ${state}`);
  for (const { id, state, held } of tables.roll.values())
    if (state !== 'completed' && state !== 'aborted')
      wrong.push(`${id} is still ${state} (${held ?? 'nothing holds it'})`);
  for (const { name, deleting } of tables['guest-cluster'].values())
    if (deleting === true) wrong.push(`guest cluster ${name} is not deleted`);
  for (const disk of tables.disk.values())
    if (!tables.vm.has(disk.vm)) wrong.push(`${disk.id} is left of ${disk.vm}, which is gone`);
  wrong.push(...leftovers(cluster));
  return wrong;
}

/** What lies on storage nodes and no record names: only a person would ever remove it. Lost nodes are nobody's. */
function leftovers({ storage, truth: { tables, forgotten } }: SimCluster): string[] {
  const wrong: string[] = [];
  for (const { name, pool } of storage.values()) {
    if (tables.storage.get(name)?.lost !== undefined) continue;
    for (const disk of pool.list())
      if (!tables.disk.has(disk) && !forgotten.has(disk)) wrong.push(`${name} holds ${disk}, which nobody knows`);
    for (const { disk } of pool.listShared())
      if (!tables['shared-disk'].has(disk)) wrong.push(`${name} holds shared disk ${disk}, which nobody knows`);
  }
  return wrong;
}

/** Running guests of one network that do not hear each other. */
function deafness({ truth, hosts, network }: SimCluster): string[] {
  const wrong: string[] = [];
  const guests = [...truth.tables.vm.values()].flatMap(({ name, spec, phase }) => {
    const host = phase.kind === 'running' ? hosts.get(phase.incarnation.host) : undefined;
    return host === undefined ? [] : spec.nics.map((nic) => ({ name, host, on: nic.network }));
  });
  for (const from of guests)
    for (const to of guests)
      if (from.on === to.on && !isHeard(network, from.on, { from: from.host, to: to.host }))
        wrong.push(`${to.name} on ${to.host.name} does not hear ${from.name} on ${from.host.name} in ${from.on}`);
  return wrong;
}

function disorderOf(cluster: SimCluster, vm: VmRecord): string[] {
  const why = cluster.controller?.vms.whyOf(vm.id) ?? 'nobody leads';
  if (vm.restored !== undefined) return [`${vm.name} is neither adopted nor fenced (${why})`];
  const shares = vm.spec.sharedDisks ?? [];
  if (shares.some(({ joining, leaving }) => joining === true || leaving === true))
    return [`the shared disks of ${vm.name} come or go for ever (${why})`];
  if (vm.deleting) return [`${vm.name} is not deleted (${vm.phase.kind}: ${why})`];
  const wanted = vm.intent === 'stopped' ? 'stopped' : 'running';
  if (vm.phase.kind !== wanted) {
    return isWaitingForRoom(cluster, vm, why) ? [] : [`${vm.name} is ${vm.phase.kind}, not ${wanted} (${why})`];
  }
  if (vm.phase.kind !== 'running') return [];
  const { generation } = vm.phase.incarnation;
  const qemu = cluster.qemuOf(vm.id, generation);
  const open = [...(qemu?.sharedDisks ?? [])].sort().join();
  const held = shares.map(({ disk }) => disk).sort();
  if (qemu !== undefined && open !== held.join())
    return [`QEMU of ${vm.name} has shared disks ${open}, not ${held.join()}`];
  const status = qemu?.status ?? 'gone';
  const fits = vm.intent === 'running' ? status === 'running' : status !== 'running' && status !== 'gone';
  return fits ? [] : [`${vm.name} is to be ${vm.intent} and its QEMU is ${status} (${why})`];
}

/**
 * What waits for a host may do so for longer, and so may the move of a member while another one of its guest cluster
 * does: those whom people stopped or suspended count as disturbed, too, but for them alone a move is refused at once.
 */
function waitingTasks({ truth: { tables } }: SimCluster, vm: VmRecord): readonly (string | null)[] {
  const group = [...tables['guest-cluster'].values()].find(({ members }) => members.includes(vm.id));
  const others = (group?.members ?? []).flatMap((id) => (id === vm.id ? [] : (tables.vm.get(id) ?? [])));
  const down = others.filter(({ phase, intent }) => phase.kind !== 'running' || intent !== 'running');
  const isHeldBack =
    group !== undefined && down.length >= group.maxDisturbed && down.some(({ intent }) => intent === 'running');
  return [vm.phase.kind === 'stopped' ? vm.startTask : null, isHeldBack ? (vm.migrationRequest?.taskId ?? null) : null];
}

/** A VM for which there is no room, or no host without one of its group, waits: that is how it should be. */
function isWaitingForRoom({ truth, swarm }: SimCluster, vm: VmRecord, why: string): boolean {
  if (vm.phase.kind !== 'stopped' || vm.intent === 'stopped' || !why.startsWith('No host can take')) return false;
  // Where something runs that nobody knows of, nothing is put.
  if (truth.forgotten.size > 0) return true;
  const vms = [...truth.tables.vm.values()];
  return [...truth.tables.host.values()].every((host) => {
    const there = vms.filter(({ phase }) => 'incarnation' in phase && phase.incarnation.host === host.name);
    const usedBytes = there.reduce((sum, { spec }) => sum + spec.memoryBytes, 0);
    const group = vm.spec.antiAffinity;
    const name = vm.spec.guestCluster ?? null;
    const isMemberApart = name !== null && truth.tables['guest-cluster'].get(name)?.sharesHosts === false;
    const isApart =
      (group !== null && there.some(({ spec }) => spec.antiAffinity === group)) ||
      (isMemberApart && there.some(({ spec }) => spec.guestCluster === name));
    // QEMU takes something beside the guest's memory: a host that is nearly full is full.
    return isApart || usedBytes + vm.spec.memoryBytes > swarm.hostMemoryBytes * 0.9;
  });
}
