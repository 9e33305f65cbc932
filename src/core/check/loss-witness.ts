/** Judges the places where the VMs of a lost host would restart. Shares nothing with the planner. */
import type { HostName, VmId } from '../../base/ids.ts';
import type { LossWitness } from '../maintenance/plan.ts';
import type { MaintenanceWorld } from './maintenance-world.ts';

/**
 * Returns the faults of the room that is kept for a loss: whether it is for the right host, and whether every VM of
 * that host restarts.
 */
export function checkLoss(world: MaintenanceWorld, witness: LossWitness | null): string[] {
  const held = new Map<HostName, number>();
  for (const { name, state } of world.hosts.values()) if (state === 'in-service') held.set(name, world.guestsMib(name));
  const most = Math.max(0, ...held.values());
  if (witness === null) return most > 0 ? ['no room is kept for the loss of a host'] : [];
  if ((held.get(witness.host) ?? 0) < most)
    return [`room is kept for ${witness.host}, and another host has more VMs' memory`];
  return checkWitness(world, witness);
}

/** Returns the faults of a witness: a VM without a place, or a place that cannot take the VM. */
export function checkWitness(world: MaintenanceWorld, { host, restarts, tied }: LossWitness): string[] {
  const findings: string[] = [];
  const lost = new Set(world.on(host));
  const named = [...restarts.map(({ vm }) => vm), ...tied];
  if (new Set(named).size !== named.length) findings.push('a VM is named twice');
  for (const id of named) if (!lost.has(id)) findings.push(`${id} is not on ${host}`);
  for (const id of lost) if (!named.includes(id)) findings.push(`${id} of ${host} restarts nowhere`);
  const together = world.together(lost);
  const bound = boundTo(world, host, together);
  for (const id of tied) if (!bound.has(id)) findings.push(`${id} is not tied to ${host}`);
  const free = new Map(restarts.flatMap(({ to }) => (world.hosts.has(to) ? [[to, world.free(to)] as const] : [])));
  const places = restarts.filter(({ vm }) => lost.has(vm));
  for (const { vm: id, to } of places) {
    const vm = world.vms.get(id);
    const target = world.hosts.get(to);
    const room = free.get(to);
    if (vm === undefined || target === undefined || room === undefined || to === host) {
      findings.push(`${id} cannot restart on ${to}`);
      continue;
    }
    room.mib -= vm.memoryMib;
    room.cpu -= vm.vcpus;
    const misfit = world.misfit(vm, target);
    if (misfit !== null) findings.push(`${id} cannot restart on ${to}: ${misfit}`);
  }
  for (const to of new Set(places.map((place) => place.to))) {
    const room = free.get(to);
    if (room !== undefined && (room.mib < 0 || room.cpu < 0))
      findings.push(`${to} has no room for what restarts there`);
  }
  return [...findings, ...rulesAfter(world, { places, together })];
}

/** VMs that a tie binds to the host, and those that a hard rule keeps on one host with such a VM. */
function boundTo(
  world: MaintenanceWorld,
  host: HostName,
  together: ReturnType<MaintenanceWorld['together']>,
): Set<VmId> {
  const bound = new Set<VmId>();
  for (const id of world.on(host))
    if (world.vms.get(id)?.tie?.hosts.every((name) => name === host) === true) bound.add(id);
  for (let before = -1; before < bound.size; ) {
    before = bound.size;
    for (const { by, vms } of together)
      if (by === 'host' && vms.some((id) => bound.has(id))) for (const id of vms) bound.add(id);
  }
  return bound;
}

function rulesAfter(
  world: MaintenanceWorld,
  {
    places,
    together,
  }: { readonly places: LossWitness['restarts']; readonly together: ReturnType<MaintenanceWorld['together']> },
): string[] {
  const before = new Map(places.map(({ vm }) => [vm, world.hostOf(vm)]));
  for (const { vm, to } of places) world.arrive(vm, to);
  const findings: string[] = [];
  for (const rule of new Set(places.flatMap(({ vm }) => world.apartOf.get(vm) ?? []))) {
    const there = places.filter(({ vm }) => rule.vms.has(vm)).map(({ to }) => world.placeOf(to, rule.by));
    for (const place of new Set(there))
      if (world.count(rule, place) > rule.most) findings.push(`${rule.name} is broken on ${place} after the loss`);
  }
  for (const rule of together) if (!world.isTogether(rule)) findings.push(`rule ${rule.name} is broken after the loss`);
  for (const [vm, host] of before) if (host !== undefined) world.arrive(vm, host);
  return findings;
}
